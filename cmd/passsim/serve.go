package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// serve runs the simulator until ctx is done.
func serve(ctx context.Context, o options, log *slog.Logger) error {
	o.sim.Now, o.sim.Random, o.sim.Log = time.Now, rand.Reader, log
	server := dcrtest.New(o.sim)
	for _, fault := range o.faults {
		if err := server.SetFault(fault); err != nil {
			return fmt.Errorf("-fault: %w", err)
		}
	}
	var services []service
	defer func() {
		for _, s := range services {
			_ = s.listener.Close() // closed already, unless something below failed
		}
	}()
	if o.admin != "" {
		mux := http.NewServeMux()
		mux.Handle("/", server.Admin())
		mux.Handle("/dns/", o.names.Admin())
		admin, err := listen(o.admin, "http", mux, log)
		if err != nil {
			return err
		}
		services = append(services, admin)
		if err := writeFile(o.adminOut, admin.url+"\n"); err != nil {
			return err
		}
	}
	if o.dns != "" {
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		_, wait, err := o.names.Listen(ctx, o.dns)
		if err != nil {
			stop()
			return err
		}
		defer func() { stop(); wait() }()
	}
	scheme, config, err := secure(o)
	if err != nil {
		return err
	}
	front, err := listen(o.listen, scheme, server, log)
	if err != nil {
		return err
	}
	front.listener = server.Listener(front.listener)
	front.http.TLSConfig = config
	services = append(services, front)
	// This file is the last: whoever waits for it finds the others.
	if err := writeFile(o.addrOut, front.url+"\n"); err != nil {
		return err
	}
	log.Info("listening", "url", front.url)
	return serveAll(ctx, services)
}

// secure makes the certificate for -tls.
func secure(o options) (scheme string, config *tls.Config, err error) {
	if !o.tls {
		return "http", nil, nil
	}
	hosts := strings.FieldsFunc(o.tlsHosts, func(r rune) bool { return r == ',' })
	ca, cert, err := dcrtest.NewCA(time.Now(), hosts...)
	if err != nil {
		return "", nil, err
	}
	return "https", &tls.Config{Certificates: []tls.Certificate{cert}}, writeFile(o.caOut, string(ca))
}

// service is one listener and what it serves.
type service struct {
	listener net.Listener
	http     *http.Server
	url      string
}

func listen(address, scheme string, handler http.Handler, log *slog.Logger) (service, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return service{}, fmt.Errorf("listen on %s: %w", address, err)
	}
	s := &http.Server{
		Handler:           handler,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      6 * time.Minute, // longer than the longest delay that a fault can have
		IdleTimeout:       2 * time.Minute,
		Protocols:         new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true) // only there can a fault reset a connection
	return service{listener: l, http: s, url: baseURL(scheme, l.Addr())}, nil
}

// baseURL returns the URL at which this machine reaches a listener.
func baseURL(scheme string, addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		return scheme + "://" + net.JoinHostPort("127.0.0.1", port)
	}
	return scheme + "://" + addr.String()
}

// serveAll serves until ctx is done or one of the services fails.
func serveAll(ctx context.Context, services []service) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(services))
	var running sync.WaitGroup
	for _, s := range services {
		running.Go(func() {
			var err error
			if s.http.TLSConfig != nil {
				err = s.http.ServeTLS(s.listener, "", "")
			} else {
				err = s.http.Serve(s.listener)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", s.url, err)
				cancel()
			}
		})
	}
	<-ctx.Done()
	// Requests under way have a moment to end. A hanging one is cut off.
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer stop()
	for _, s := range services {
		if s.http.Shutdown(last) != nil {
			_ = s.http.Close()
		}
	}
	running.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// writeFile replaces a file, so that whoever waits for it never sees half of
// the content. It does nothing if path is "".
func writeFile(path, content string) (err error) {
	if path == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
