package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// maxSkew is how far the box's clock may be from the server's: its Date has whole seconds, and an answer takes its time.
	maxSkew = time.Minute
	// soon is when a server's certificate ends that somebody should have replaced by now.
	soon = 3 * 24 * time.Hour

	checkNetwork = "check the cable or Wi-Fi, and what the router lets through"
)

// loopback tells whether the calls go to this very machine.
func (f *facts) loopback() bool {
	if f.server.proxy != nil {
		return isLoopback(f.server.proxy.Hostname())
	}
	u, err := url.Parse(f.conf.Endpoint)
	return err == nil && isLoopback(u.Hostname())
}

func judgeClock(f *facts) Check {
	now := f.cfg.Clock.Now().Wall
	if now.Before(f.cfg.BuildDate) {
		return fail("set the clock, or wait for the time service: check that NTP gets through (UDP port 123)",
			"it shows %s, which is before this program was built (%s): no certificate can be checked", stamp(now), stamp(f.cfg.BuildDate))
	}
	if date, ok := f.server.date(); ok {
		// The answer was made between these two.
		behind := max(date.Sub(f.server.at), min(date.Add(time.Second).Sub(f.server.sentAt), 0))
		if behind.Abs() > maxSkew {
			side := "behind"
			if behind < 0 {
				side = "ahead of"
			}
			return warn("check the time service; tokens are kept right all the same",
				"it is %v %s the server's", behind.Abs().Round(time.Second), side)
		}
		return pass("%s, as the server's", stamp(now))
	}
	if !f.cfg.Clock.Synchronised() {
		return pass("%s, which no time service vouches for", stamp(now))
	}
	return pass("%s, set by a time service", stamp(now))
}

func judgeRoute(f *facts) Check {
	switch {
	case f.deviceErr != nil:
		return skip(f.deviceErr.Error())
	case f.loopback():
		return pass("none is needed: the calls go to this machine")
	case f.device.Interface != "":
		kind, _ := f.device.Info.Get("connectionType")
		return pass("through %s (%v)", f.device.Interface, kind)
	case f.server.peer != "":
		return pass("there is no default route, but the server can be reached")
	}
	return fail("check the cable or Wi-Fi, and DHCP; ip route shows the routes", "there is no default route")
}

// judgeProxy looks for what net/http does not tell: a variable that it can't read it passes over without a word, so that calls
// leave directly, or it takes "http" for the proxy's name.
func judgeProxy(f *facts) Check {
	if p := f.conf.HTTP.Proxy; p != nil {
		return pass("%s://%s, from [http] proxy", p.Scheme, p.Host)
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		value := f.cfg.Getenv(name)
		if value == "" {
			continue
		}
		if !strings.Contains(value, "://") {
			value = "http://" + value // as net/http does
		}
		u, err := url.Parse(value)
		if err != nil || u.Hostname() == "" {
			return warn("write "+name+"=http://host:port, or [http] proxy in config.toml", "%s of %s is no URL, so it is passed over without a word, or misread", name, f.cfg.EnvOf)
		}
		if f.server.proxy == nil {
			return pass("none: %s of %s names one, but not for this endpoint", name, f.cfg.EnvOf)
		}
		return pass("%s://%s, from %s of %s", u.Scheme, u.Host, name, f.cfg.EnvOf)
	}
	return pass("none: calls leave directly")
}

func judgeDNS(f *facts) Check {
	r := f.server
	name, _, _ := net.SplitHostPort(r.address) // hostPort made it
	switch {
	case f.unsent > 0:
		return behind("throttle") // no request was sent
	case r.asked && len(r.resolved) == 0:
		return fail("check the name servers in /etc/resolv.conf, and the name in config.toml", "%s can't be resolved: %s", name, reason(r.dnsErr, r.err))
	case r.asked:
		return pass("%s is %s", name, strings.Join(r.resolved[:min(len(r.resolved), 3)], ", "))
	case r.peer == "" && r.dialErr == nil && r.err != nil:
		return fail(checkConfig, "no request could be made: %v", r.err)
	}
	return pass("not needed: %s is an address", r.address)
}

func judgePortal(f *facts) Check {
	switch {
	case f.portal != "":
		return fail("sign the box in to the network, or have the portal let its address through", "in place of %s something %s", f.server.host, f.portal)
	case f.server.verified():
		return pass("none: the server itself answers")
	}
	return pass("none shows itself")
}

func judgeTCP(f *facts) Check {
	r := f.server
	switch {
	case r.refused != 0:
		return fail("have the proxy let "+r.host+" through, or correct user and password in [http] proxy or HTTPS_PROXY",
			"the proxy %s does not connect (HTTP %d)", r.address, r.refused)
	case r.peer == "":
		return fail(checkNetwork, "%s can't be reached: %s", r.address, reason(r.dialErr, r.err))
	}
	return pass("%s took the connection", r.peer)
}

func judgeTLS(f *facts) Check {
	r := f.server
	if strings.HasPrefix(f.conf.Endpoint, "http:") {
		return pass("not used: the endpoint is http://, on this machine")
	}
	if r.rootsErr != nil {
		return fail("correct [http] ca_file: the daemon does not start with it", "%v", r.rootsErr)
	}
	if r.tls == nil || r.tlsErr != nil && r.root == nil {
		return judgeHandshake(f)
	}
	leaf := r.tls.PeerCertificates[0]
	if left := leaf.NotAfter.Sub(f.cfg.Clock.Now().Wall); left < soon {
		return warn("tell whoever runs the server", "the certificate of %s ends on %s", r.host, stamp(leaf.NotAfter))
	}
	return pass("certificate until %s, issued by %s, root %s from %s", leaf.NotAfter.UTC().Format(time.DateOnly),
		named(leaf.Issuer.String()), named(r.root.Subject.String()), r.from)
}

// judgeHandshake words what went wrong.
func judgeHandshake(f *facts) Check {
	r := f.server
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch err := r.tlsErr; {
	case errors.As(err, new(tls.RecordHeaderError)):
		return fail("find out what stands between, or correct the endpoint", "what answers as %s does not speak TLS", r.host)
	case r.tls == nil:
		return fail("find out what stands between: something cuts TLS off", "%s takes connections, but does not shake hands: %s", r.host, reason(err, r.err))
	case errors.As(err, &unknown):
		return fail("where a proxy of yours intercepts TLS, name its root in [http] ca_file; else find out what stands between",
			"this box does not know the authority behind the certificate of %s: %s", r.host, r.chain())
	case errors.As(err, &name):
		return fail("correct the endpoint, or find out what intercepts the connection",
			"what answers as %s has a certificate for %s", r.host, f.names())
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		leaf := r.tls.PeerCertificates[0]
		return fail("check the clock; if that is right, tell whoever runs the server, or what intercepts the connection",
			"the certificate of %s is good from %s to %s, or its issuer's is not, and the clock shows %s: %s", r.host, stamp(leaf.NotBefore), stamp(leaf.NotAfter),
			stamp(f.cfg.Clock.Now().Wall), r.chain())
	default:
		return fail("find out what intercepts the connection", "the certificate of %s is not to be trusted: %s: %s", r.host, reason(err, r.err), r.chain())
	}
}

// chain says who vouches for whom in what was shown.
func (r *reach) chain() string {
	var names []string
	for _, cert := range r.tls.PeerCertificates[:min(len(r.tls.PeerCertificates), 3)] {
		names = append(names, named(cert.Subject.String())+" from "+named(cert.Issuer.String()))
	}
	return strings.Join(names, ", ")
}

func (f *facts) names() string {
	leaf := f.server.tls.PeerCertificates[0]
	names := leaf.DNSNames
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return named(leaf.Subject.String())
	}
	return named(strings.Join(names[:min(len(names), 3)], ", "))
}

func judgeEndpoint(f *facts) Check {
	r := f.server
	if r.answer == nil {
		return fail("try again; "+checkNetwork, "%s gives no answer: %s", r.host, reason(r.err, nil))
	}
	var refusal struct{ Error string }
	const wrong = "sign the box in to its network if it has a captive portal; else correct environment or endpoint in config.toml"
	switch status := r.answer.StatusCode; {
	case status == http.StatusTooManyRequests:
		return pass("it answers, if only that there were too many requests")
	case status >= 500:
		return fail("wait: the daemon tries again by itself", "%s has trouble of its own (HTTP %d)", r.host, status)
	case status >= 300 && status < 400:
		to := "nowhere"
		if u, err := r.answer.Location(); err == nil {
			to = u.Scheme + "://" + u.Host
		}
		return fail(wrong, "%s redirects to %s (HTTP %d)", r.host, to, status)
	case json.Unmarshal(r.body, &refusal) == nil && refusal.Error != "":
		return pass("it answers as Adobe Pass does")
	default:
		return fail(wrong, "%s answers HTTP %d, and not as Adobe Pass does", r.host, status)
	}
}

func judgeThrottle(f *facts) Check {
	const wait = "wait; if it comes back, find out which player or box behind this address asks so often"
	switch r := f.server; {
	case f.unsent > 0:
		return warn(wait, "it stays shut for %v: the server was asked too often from this address", f.unsent.Round(time.Second))
	case r.answer != nil && r.answer.StatusCode == http.StatusTooManyRequests:
		return warn(wait, "it is shut: the server was asked too often from this address")
	case r.answer == nil && f.status == nil:
		return skip("not known without an answer of the server")
	}
	return pass("open")
}

// reason is an error without what is known already.
func reason(err, otherwise error) string {
	if err == nil {
		err = otherwise
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "no answer in time"
	}
	text := fmt.Sprint(err)
	if cut := strings.LastIndex(text, ": "); cut >= 0 && errors.As(err, new(interface{ Temporary() bool })) {
		text = text[cut+2:]
	}
	return text
}

// named bounds a name that somebody made up.
func named(name string) string {
	const most = 60
	if len(name) > most {
		name = name[:most] + "..."
	}
	return fmt.Sprintf("%q", name)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
