// Command passsim simulates Adobe Pass for labs, the demo and tests: client
// registration, access tokens, REST API V2 with a TV provider's sign-in page,
// the throttle, a name server, and faults of all of them. It is never shipped
// to a device.
//
// It owns the flags, the listeners and the files with their addresses. What it
// answers is decided by package dcrtest. With -admin there is an admin API on a
// loopback address, in JSON:
//
//	POST /fault {"path","kind","count",…}   something goes wrong: see dcrtest.Fault
//	DELETE /fault                           nothing does
//	POST /sign-in {"code","mvpd"}           a person signs in with a code
//	POST /sign-out                          everybody is signed out
//	GET /sessions                           the codes that are valid
//	POST /revoke {"client_id"}              forget a client, or all
//	POST /unauthorize {"client_id"}         refuse a client tokens
//	POST /revoke-tokens                     forget all access tokens
//	POST /statement {"approved"}
//	POST /clock {"offset"}
//	POST /token-life {"life"}
//	POST /throttle {"on"}
//	GET /requests, GET /counts, DELETE /requests
//	POST /dns/fault, DELETE /dns/fault      see dcrtest.NameFault
//	POST /dns/host {"name","addresses"}
//	GET /dns/queries, DELETE /dns/queries
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
)

// exitUsage is sysexits' EX_USAGE.
const exitUsage = 64

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole command. It ends when ctx is done, and returns the exit
// status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "passsim: %v; see passsim -help\n", err)
		return exitUsage
	case o.statement != "":
		fmt.Fprintln(stdout, dcrtest.Statement(o.statement))
		return 0
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if err := serve(ctx, o, log); err != nil {
		fmt.Fprintf(stderr, "passsim: %v\n", err)
		return 1
	}
	return 0
}

// options are the command line.
type options struct {
	listen, addrOut string
	tls             bool
	tlsHosts        string
	caOut           string
	admin, adminOut string
	statement       string
	faults          []dcrtest.Fault
	sim             dcrtest.Config
	dns             string
	names           *dcrtest.NameServer
}

// parse reads the command line. It prints the usage on stderr only if help is
// asked for.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("passsim", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "`address` to serve on; port 0 takes a free one")
	f.StringVar(&o.addrOut, "addr-out", "", "`file` that gets the base URL once it is served")
	f.BoolVar(&o.tls, "tls", false, "serve https, with a certificate of a throw-away CA")
	f.StringVar(&o.tlsHosts, "tls-hosts", "", "more `names` for the certificate than localhost, separated by commas")
	f.StringVar(&o.caOut, "ca-out", "", "`file` that gets the throw-away CA's certificate (PEM)")
	f.StringVar(&o.admin, "admin", "", "loopback `address` of the admin API; none without it")
	f.StringVar(&o.adminOut, "admin-out", "", "`file` that gets the admin API's base URL")
	f.Func("statement", "print a software statement of this `name` and exit", func(name string) error {
		o.statement = name
		if name == "" {
			return errors.New("the name is empty")
		}
		return nil
	})
	f.DurationVar(&o.sim.TokenLife, "token-life", 6*time.Hour, "how long access tokens live")
	f.IntVar(&o.sim.TokenStatus, "token-status", http.StatusCreated, "HTTP `status` of an issued token, 200 or 201")
	f.DurationVar(&o.sim.ClockOffset, "clock-offset", 0, "how far the server's clock is ahead")
	f.BoolVar(&o.sim.NoThrottle, "no-throttle", false, "never answer 429 unless a fault is set")
	f.Func("providers", "`names` of the service providers that tokens are for, separated by commas; default any",
		func(list string) error {
			o.sim.Providers = strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
			return nil
		})
	f.Func("fault", "a `fault`, such as \"path=token kind=status status=503 count=2\"; may be repeated",
		func(text string) error {
			fault, err := dcrtest.ParseFault(text)
			o.faults = append(o.faults, fault)
			return err
		})
	o.dnsFlags(f)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(stderr)
			f.Usage()
		}
		return o, err
	}
	return o, o.check(f.Args())
}

// dnsFlags are those of the name server.
func (o *options) dnsFlags(f *flag.FlagSet) {
	o.names = dcrtest.NewNameServer()
	f.StringVar(&o.dns, "dns", "", "`address` of a name server, such as 192.0.2.53:53; none without it")
	f.Func("dns-host", "what the name server knows, such as \"`sp.example=192.0.2.10`\"; may be repeated", o.setHost)
	f.Func("dns-fault", "a `fault` of the name server, such as \"type=AAAA kind=drop\"; may be repeated",
		func(text string) error {
			fault, err := dcrtest.ParseNameFault(text)
			if err != nil {
				return err
			}
			return o.names.SetFault(fault)
		})
}

// setHost reads a name and its addresses, separated by commas.
func (o *options) setHost(text string) error {
	name, list, _ := strings.Cut(text, "=")
	var addrs []netip.Addr
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' }) {
		addr, err := netip.ParseAddr(word)
		if err != nil {
			return err
		}
		addrs = append(addrs, addr)
	}
	if name == "" {
		return errors.New("the name is empty")
	}
	o.names.SetHost(name, addrs...)
	return nil
}

func (o *options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q: there are only flags", rest[0])
	case o.caOut != "" && !o.tls:
		return errors.New("-ca-out needs -tls")
	case o.adminOut != "" && o.admin == "":
		return errors.New("-admin-out needs -admin")
	case o.admin != "" && !loopback(o.admin):
		return fmt.Errorf("-admin %s is not a loopback address and port, such as 127.0.0.1:0", o.admin)
	case o.sim.TokenStatus != http.StatusOK && o.sim.TokenStatus != http.StatusCreated:
		return fmt.Errorf("-token-status %d is neither 200 nor 201", o.sim.TokenStatus)
	case o.sim.TokenLife < time.Second:
		return fmt.Errorf("-token-life %v is less than 1s", o.sim.TokenLife)
	}
	return nil
}

// loopback reports whether an address can be reached only from this machine.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
