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

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
)

const (
	// maxSkew is how far the device's clock may be from the server's: its Date
	// has whole seconds, and an answer takes time.
	maxSkew = time.Minute
	// soon is the rest of a certificate's life in which it should have been
	// replaced.
	soon = 3 * 24 * time.Hour

	checkNetwork = "check the cable or Wi-Fi, and what the router lets through"
)

// loopback reports whether the calls go to this device itself.
func (f *facts) loopback() bool {
	if f.server.proxy != nil {
		return config.Loopback(f.server.proxy.Hostname())
	}
	u, err := url.Parse(f.conf.Endpoint)
	return err == nil && config.Loopback(u.Hostname())
}

func judgeBuild(f *facts) *Check {
	if f.cfg.Undated {
		return warn("build it with SOURCE_DATE_EPOCH set, or install an official build",
			"tvpassd %s does not know its build date, so a clock that is years behind counts as set", f.cfg.Version)
	}
	return pass("tvpassd %s, built %s", f.cfg.Version, stamp(f.cfg.BuildDate))
}

func judgeClock(f *facts) *Check {
	now := f.cfg.Clock.Now().Wall
	if now.Before(f.cfg.BuildDate) {
		return fail("set the clock, or wait for the time service: check that NTP gets through (UDP port 123)",
			"the clock shows %s, which is before this program was built (%s): no certificate can be checked",
			stamp(now), stamp(f.cfg.BuildDate))
	}
	if date, ok := f.server.date(); ok {
		// The answer was made between these two.
		behind := max(date.Sub(f.server.at), min(date.Add(time.Second).Sub(f.server.sentAt), 0))
		if behind.Abs() > maxSkew {
			side := "behind"
			if behind < 0 {
				side = "ahead of"
			}
			return warn("check the time service; tokens are not affected",
				"the clock is %v %s the server's", behind.Abs().Round(time.Second), side)
		}
		return pass("%s, like the server's", stamp(now))
	}
	if !f.cfg.Clock.Synchronised() {
		return skip(fmt.Sprintf("it shows %s, which neither a time service nor the server confirms", stamp(now)))
	}
	return pass("%s, set by a time service", stamp(now))
}

func judgeRoute(f *facts) *Check {
	switch {
	case f.deviceErr != nil:
		return skip(fmt.Sprintf("the routes can't be read: %v", f.deviceErr))
	case f.loopback():
		return pass("not needed: the calls go to this device")
	case f.device.Interface != "":
		kind, _ := f.device.Info.Get("connectionType")
		return pass("through %s (%v)", f.device.Interface, kind)
	case f.server.peer != "":
		return pass("there is no default route, but the server can be reached")
	}
	return fail("check the cable or Wi-Fi, and DHCP; ip route shows the routes", "there is no default route")
}

// judgeProxy finds what net/http does not report: it silently ignores a
// variable that it can't parse, so that calls leave directly, or takes "http"
// for the proxy's name.
func judgeProxy(f *facts) *Check {
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
			return warn("write "+name+"=http://host:port, or [http] proxy in config.toml",
				"%s of %s is not a URL: it is silently ignored, or misread", name, f.cfg.EnvOf)
		}
		if misread(u) {
			return fail("write its password with %2F for / , %3F for ? and %23 for #, then tvpassd restart",
				"%s of %s is misread: the first part of its user and password is taken for the proxy's name",
				name, f.cfg.EnvOf)
		}
		if f.server.proxy == nil {
			return pass("none: %s of %s names one, but NO_PROXY or the address excludes this endpoint", name, f.cfg.EnvOf)
		}
		return pass("%s://%s, from %s of %s", u.Scheme, u.Host, name, f.cfg.EnvOf)
	}
	return pass("none: calls leave directly")
}

// misread reports whether a URL of a proxy ends its host too early: a user or
// password holds a character that must be escaped.
func misread(proxy *url.URL) bool {
	return proxy.User == nil && strings.Contains(proxy.Path+proxy.RawQuery+proxy.Fragment, "@")
}

func judgeDNS(f *facts) *Check {
	const servers = "check the name servers in /etc/resolv.conf, and the name in config.toml"
	r := f.server
	name, _, _ := net.SplitHostPort(r.address) // dcr.HostPort made it
	if r.proxy != nil {
		name = "the proxy " + name
	}
	failure, failed := errors.AsType[*dcr.LookupError](r.err)
	blocked := r.blocked()
	switch {
	case f.unsent > 0:
		return behind("throttle") // no request was sent
	case r.peer == "" && r.refused() == 0 && (failed || r.dialErr != nil) && f.blame(true, "proxy") != "":
		return behind("proxy") // calls leave directly because of it
	case blocked != nil:
		return fail(blocked.Advice(), "%v", blocked)
	case failed:
		return fail(servers, "%s can't be resolved: %s", name, failure.Reason)
	case r.asked && len(r.resolved) == 0 && len(r.nameFaults) > 0:
		return fail(servers, "%s can't be resolved: %s", name, strings.Join(r.nameFaults, ", "))
	case r.asked && len(r.resolved) == 0:
		return fail(servers, "%s can't be resolved: %s", name, reason(r.err, nil))
	case len(r.nameFaults) > 0:
		return warn("update the router, or use another name server; tvpassd gets along with this one",
			"%s is %s, but %s", name, r.addresses(), strings.Join(r.nameFaults, ", "))
	case r.asked:
		return pass("%s is %s", name, r.addresses())
	case r.peer == "" && r.dialErr == nil && r.err != nil:
		return fail(f.configAdvice(), "no request could be made: %v", r.err)
	}
	return pass("not needed: %s is an address", r.address)
}

// addresses lists the first addresses that a look-up found.
func (r *reach) addresses() string {
	const most = 3
	return strings.Join(r.resolved[:min(len(r.resolved), most)], ", ")
}

func judgePortal(f *facts) *Check {
	switch {
	case f.portal != "":
		return fail("sign this device in to the network, or have the portal let its address through",
			"in place of %s something %s", f.server.host, f.portal)
	case f.server.answer != nil:
		return pass("none: the server itself answers")
	case !f.portalAsked:
		return skip("nothing answers where a portal would")
	}
	return pass("none found")
}

func judgeTCP(f *facts) *Check {
	r := f.server
	who := r.address
	if r.proxy != nil {
		who = "the proxy " + who
	}
	switch {
	case r.refused() != 0:
		return fail("have the proxy let "+r.host+" through, or correct user and password in [http] proxy or HTTPS_PROXY",
			"%s does not connect (HTTP %d)", who, r.refused())
	case r.peer == "":
		return fail(checkNetwork, "%s can't be reached: %s", who, reason(r.dialErr, r.err))
	case !r.tunneled() && r.tls != nil && r.root == nil: // an https proxy, and nothing was sent to it
		return judgeHandshake(f, who, "[http] proxy or HTTPS_PROXY")
	case !r.tunneled():
		return fail("check scheme, host and port in [http] proxy or HTTPS_PROXY, and the proxy itself",
			"%s takes connections, but does not connect to %s: %s", who, r.host, reason(r.tlsErr, r.err))
	}
	return pass("%s took the connection", r.peer)
}

func judgeTLS(f *facts) *Check {
	r := f.server
	if strings.HasPrefix(f.conf.Endpoint, "http:") {
		return pass("not used: the endpoint is http://, on this device")
	}
	if r.rootsErr != nil {
		return fail("correct [http] ca_file: the daemon can't use this one", "%v", r.rootsErr)
	}
	if r.tls == nil || r.tlsErr != nil && r.root == nil {
		return judgeHandshake(f, r.host, "the endpoint")
	}
	leaf := r.tls.PeerCertificates[0]
	if left := leaf.NotAfter.Sub(f.cfg.Clock.Now().Wall); left < soon {
		return warn("tell the server's operator", "the certificate of %s ends on %s", r.host, stamp(leaf.NotAfter))
	}
	return pass("certificate until %s, issued by %s, root %s from %s", leaf.NotAfter.UTC().Format(time.DateOnly),
		named(leaf.Issuer.String()), named(r.root.Subject.String()), r.from)
}

// judgeHandshake describes what went wrong in the handshake with a host that a
// setting names.
func judgeHandshake(f *facts, host, setting string) *Check {
	r := f.server
	switch err := r.tlsErr.(type) {
	case tls.RecordHeaderError:
		return fail("find out what stands between, or correct "+setting, "what answers as %s does not speak TLS", host)
	case x509.UnknownAuthorityError:
		todo := "if a proxy of yours intercepts TLS, name its root in [http] ca_file; " +
			"otherwise find out what stands between"
		if sent := r.tls.PeerCertificates; len(sent) == 1 && !sent[0].IsCA {
			todo += ", or whether the server leaves out the certificate of an authority in between"
		}
		return fail(todo,
			"this device does not know the authority behind the certificate of %s: %s", host, r.chain())
	case x509.HostnameError:
		return fail("correct "+setting+", or find out what intercepts the connection",
			"what answers as %s has a certificate for %s", host, f.names())
	case x509.CertificateInvalidError:
		if err.Reason == x509.Expired {
			return fail("check the clock; if it is right, tell the operator of "+host+", "+
				"or find out what intercepts the connection",
				"the certificate of %s %s, and the clock shows %s: %s",
				host, f.validity(), stamp(f.cfg.Clock.Now().Wall), r.chain())
		}
	}
	if r.tls != nil {
		return fail("find out what intercepts the connection",
			"the certificate of %s can't be trusted: %s: %s", host, reason(r.tlsErr, r.err), r.chain())
	}
	between := "a firewall, a filter or a router"
	if r.proxy != nil {
		between = "the proxy, or something behind it,"
	}
	return fail("find out what stands between: "+between+" interrupts TLS",
		"%s takes connections, but the TLS handshake breaks off: %s", host, reason(r.tlsErr, r.err))
}

// validity describes why the peer's certificate is not valid now.
func (f *facts) validity() string {
	leaf, now := f.server.tls.PeerCertificates[0], f.cfg.Clock.Now().Wall
	switch {
	case now.After(leaf.NotAfter):
		return "expired on " + stamp(leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		return "is valid only from " + stamp(leaf.NotBefore)
	}
	return "comes from an authority whose own certificate is not valid"
}

// chain lists the certificates that the peer sent, and their issuers.
func (r *reach) chain() string {
	var names []string
	for _, cert := range r.tls.PeerCertificates[:min(len(r.tls.PeerCertificates), 3)] {
		names = append(names, named(cert.Subject.String())+" from "+named(cert.Issuer.String()))
	}
	return strings.Join(names, ", ")
}

// names lists what the peer's certificate is for.
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

func judgeEndpoint(f *facts) *Check {
	r := f.server
	if r.answer == nil {
		return fail("try again; "+checkNetwork, "%s gives no answer: %s", r.host, reason(r.err, nil))
	}
	var refusal struct{ Error string }
	wrong := "correct environment or endpoint in config.toml; if they are right, tell the server's operator"
	if r.tls == nil { // the certificate says that it is the server
		wrong = "sign this device in if its network has a captive portal; otherwise " + wrong
	}
	switch status := r.answer.StatusCode; {
	case status == http.StatusTooManyRequests:
		return pass("it answers that there were too many requests")
	case status >= 500:
		return fail("wait: the daemon retries by itself", "%s has trouble of its own (HTTP %d)", r.host, status)
	case status >= 300 && status < 400:
		to := "nowhere"
		if u := location(r.answer); u != nil {
			to = u.Scheme + "://" + u.Host
		}
		return fail(wrong, "%s redirects to %s (HTTP %d)", r.host, to, status)
	case json.Unmarshal(r.body, &refusal) == nil && refusal.Error != "":
		return pass("it answers as Adobe Pass does")
	default:
		return fail(wrong, "%s answers HTTP %d, and not as Adobe Pass does", r.host, status)
	}
}

// throttled returns an app that has no token because of the throttle; "" if none
// has.
func (f *facts) throttled() string {
	if f.status == nil {
		return ""
	}
	for _, a := range f.status.Apps {
		if e := a.LastError; !a.Usable() && e != nil && e.Code == ipc.CodeThrottled {
			return a.App
		}
	}
	return ""
}

func judgeThrottle(f *facts) *Check {
	const wait = "wait; if it comes back, find out which player or device behind this address sends so many requests"
	switch r := f.server; {
	case f.unsent > 0:
		return warn(wait, "it stays shut for %v: too many requests came from this address", f.unsent.Round(time.Second))
	case r.answer != nil && r.answer.StatusCode == http.StatusTooManyRequests:
		return warn(wait, "it is shut: too many requests came from this address")
	case f.throttled() != "":
		return fail(wait, "app %s has no token because of it: too many requests came from this address", f.throttled())
	case r.answer == nil && f.status == nil:
		return skip("unknown without an answer of the server")
	}
	return pass("open")
}

// reason describes an error, or another one if it is nil, without the operation
// and the address.
func reason(err, otherwise error) string {
	if err == nil {
		err = otherwise
	}
	slow, isNet := errors.AsType[net.Error](err)
	if isNet && slow.Timeout() {
		return "no answer in time"
	}
	text := fmt.Sprint(err)
	if cut := strings.LastIndex(text, ": "); cut >= 0 && isNet {
		text = text[cut+2:]
	}
	return text
}

// named quotes a name that a peer chose, and limits its length.
func named(name string) string {
	const most = 60
	if len(name) > most {
		name = name[:most] + "..."
	}
	return fmt.Sprintf("%q", name)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
