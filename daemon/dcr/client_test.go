package dcr

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tvpassd/tvpassd/daemon/dcr/dcrtest"
	"github.com/tvpassd/tvpassd/ipc"
)

func TestRegisterAndToken(t *testing.T) {
	up := newSim()
	s := serve(t, up)
	c := s.client(t)
	cred, err := c.Register(t.Context(), labRegistration)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := c.Token(
		t.Context(),
		TokenRequest{ClientID: cred.ClientID, ClientSecret: cred.ClientSecret, ApplicationID: labApp},
	)
	if err != nil {
		t.Fatal(err)
	}
	if cred.ClientID != up.Requests()[0].ClientID || cred.ClientSecret == "" || tok.AccessToken == "" ||
		tok.ID == "" {
		t.Errorf("got %+v and %+v", cred, tok)
	}
	cred.ClientID, cred.ClientSecret, tok.AccessToken, tok.ID = "", "", "", ""
	wantCred := Credentials{
		IssuedAt: labTime, RedirectURIs: []string{"adobepass://com.programmer"},
		GrantTypes: []string{"client_credentials"}, Scopes: []string{"api:client:v2"}, Date: labTime,
	}
	if diff := cmp.Diff(wantCred, cred); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Token{ExpiresIn: 6 * time.Hour, CreatedAt: labTime, Date: labTime}, tok); diff != "" {
		t.Error(diff)
	}
	asked := s.asked()
	if len(asked) != 2 || asked[0].remote != asked[1].remote {
		t.Errorf("not one connection: %+v", asked)
	}
}

// The server gets what its documentation asks for, and nothing else.
func TestRequests(t *testing.T) {
	s := serve(t, http.NotFoundHandler())
	c := newClient(t, s.URL+"/base/", func(c *Config) { c.CAFile = s.caFile })
	_, err := c.Register(t.Context(), labRegistration)
	failure(t, err)
	_, err = c.Register(t.Context(), RegisterRequest{SoftwareStatement: "a.b.c", ApplicationID: labApp})
	failure(t, err)
	_, err = c.Token(t.Context(), TokenRequest{ClientID: "a b", ClientSecret: "&=+é", ApplicationID: labApp})
	failure(t, err)

	const toRegister, toToken = "/base/o/client/register", "/base/o/client/token"
	const json, form = "application/json;charset=utf-8", "application/x-www-form-urlencoded"
	want := []seen{
		{target: toRegister, header: http.Header{"Content-Type": {json}},
			body: `{"software_statement":"` + labStatement + `","redirect_uri":"adobepass://com.programmer"}`},
		{target: toRegister, header: http.Header{"Content-Type": {json}}, body: `{"software_statement":"a.b.c"}`},
		{target: toToken, header: http.Header{"Content-Type": {form}},
			body: "client_id=a+b&client_secret=%26%3D%2B%C3%A9&grant_type=client_credentials"},
	}
	asked := s.asked()
	for i := range want {
		w := &want[i]
		w.method, w.proto, w.remote = http.MethodPost, "HTTP/1.1", asked[0].remote
		w.header["Accept"] = []string{json}
		w.header["User-Agent"] = []string{"tvpassd/1.2"}
		w.header["X-Device-Info"] = []string{labDevice(labApp, netip.MustParseAddrPort(w.remote))}
		w.header["Content-Length"] = []string{strconv.Itoa(len(w.body))}
	}
	if diff := cmp.Diff(want, asked, cmp.AllowUnexported(seen{})); diff != "" {
		t.Error(diff)
	}
}

// Without a User-Agent none is sent, not even a library's. User and password in
// an endpoint are not sent either.
func TestNothingIsAdded(t *testing.T) {
	s := serve(t, newSim())
	c := newClient(
		t,
		strings.Replace(s.URL, "://", "://user:password@", 1),
		func(c *Config) { c.CAFile, c.UserAgent = s.caFile, "" },
	)
	register(t, c)
	if h := s.asked()[0].header; h["User-Agent"] != nil || h["Authorization"] != nil {
		t.Errorf("got %v", h)
	}
}

// A connection is used for five minutes, however often calls follow one another.
// If the clock goes back nobody knows how old it is.
func TestConnectionsAreRenewed(t *testing.T) {
	s := serve(t, dcrtest.New(dcrtest.Config{Now: labNow}))
	now := labTime
	c := s.client(t, func(cfg *Config) { cfg.Now = func() time.Time { return now } })
	conns := map[string]int{}
	for i, tc := range []struct {
		after time.Duration
		conns int
	}{{0, 1}, {4 * time.Minute, 1}, {59 * time.Second, 1}, {time.Second, 2}, {4 * time.Minute, 2}, {-time.Hour, 3}} {
		now = now.Add(tc.after)
		_, _ = c.Register(t.Context(), RegisterRequest{SoftwareStatement: labStatement}) // it may be throttled
		asked := s.asked()
		if len(asked) != i+1 {
			t.Fatalf("%d requests came, want %d", len(asked), i+1)
		}
		if conns[asked[i].remote]++; len(conns) != tc.conns {
			t.Errorf("call %d, %v after the one before, comes over connection %d, want %d", i, tc.after, len(conns), tc.conns)
		}
	}
}

// After Forget there is a new connection, with a short handshake if the server
// allows it.
func TestForget(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		s := serve(t, newSim(), func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		c := s.client(t)
		r := register(t, c)
		c.Forget()
		if c.carrier != nil {
			t.Errorf("%s: the roots are still there", name)
		}
		for range 2 {
			if _, err := c.Token(t.Context(), r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		asked := s.asked()
		if asked[0].resumed || !asked[1].resumed {
			t.Errorf("%s: resumed before and after: %v, %v", name, asked[0].resumed, asked[1].resumed)
		}
		if asked[1].remote == asked[0].remote || asked[2].remote != asked[1].remote {
			t.Errorf("%s: the connections are %s, %s and %s", name, asked[0].remote, asked[1].remote, asked[2].remote)
		}
		for _, r := range asked {
			if got := connectionOf(t, r); got != r.remote {
				t.Errorf("%s: told %s, came from %s", name, got, r.remote)
			}
		}
	}
}

// connectionOf returns the address and port in a request's X-Device-Info; "" if
// there is none.
func connectionOf(t *testing.T, r seen) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(r.header.Get("X-Device-Info"))
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		IP   netip.Addr `json:"connectionIp"`
		Port uint16     `json:"connectionPort"`
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		t.Fatal(err)
	}
	if !info.IP.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(info.IP, info.Port).String()
}

// A server that closes a kept connection instead of answering may have acted on
// the request, so that is not repeated, behind a proxy neither.
func TestNothingIsSentTwice(t *testing.T) {
	for name, end := range map[string]http.HandlerFunc{
		"FIN": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"RST": func(w http.ResponseWriter, r *http.Request) {
			s := newSim()
			if err := s.SetFault(dcrtest.Fault{Kind: dcrtest.FaultReset}); err != nil {
				t.Error(err)
			}
			s.ServeHTTP(w, r)
		},
	} {
		up := newSim()
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/o/client/register" {
				end(w, r)
			}
			up.ServeHTTP(w, r)
		}))
		proxy := throughProxy(tunnels(t, s).Listener.Addr().String())
		trust := func(c *Config) { c.CAFile = s.caFile }
		for i, c := range []*Client{s.client(t), newClient(t, "https://sp.example", trust, proxy)} {
			_, err := c.Token(t.Context(), register(t, c))
			if e := failure(t, err); e.Kind != Offline {
				t.Errorf("%s: %v", name, e)
			}
			register(t, c)
			_, err = c.Send(t.Context(), &Request{Method: http.MethodGet, Path: "/api/v2/REF30/profiles", Timeout: labTimeout})
			if e := failure(t, err); e.Kind != ServerError || !e.Sent {
				t.Errorf("%s: %v", name, e)
			}
			asked := s.asked()[4*i:]
			if len(asked) != 4 || asked[0].remote != asked[1].remote || asked[2].remote != asked[3].remote {
				t.Errorf("%s: got %+v", name, asked)
			}
		}
	}
}

// A connection that the server closed while it was idle is replaced.
func TestDeadConnection(t *testing.T) {
	s := serve(t, newSim())
	c := s.client(t)
	r := register(t, c)
	s.CloseClientConnections()
	want := 2
	if _, err := c.Token(t.Context(), r); err != nil {
		failure(t, err)
		want = 1
	}
	if got := len(s.asked()); got != want {
		t.Errorf("%d requests came, want %d", got, want)
	}
	if _, err := c.Token(t.Context(), r); err != nil {
		t.Error(err)
	}
}

func TestConcurrentCalls(t *testing.T) {
	s := serve(t, newSim())
	c := s.client(t)
	r := register(t, c)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if _, err := c.Token(t.Context(), r); err != nil {
				t.Error(err)
			}
			c.Forget()
		})
	}
	all.Wait()
	if got := len(s.asked()); got != 11 {
		t.Errorf("%d requests came, want 11", got)
	}
	for _, r := range s.asked() {
		if got := connectionOf(t, r); got != r.remote {
			t.Errorf("told %s, came from %s", got, r.remote)
		}
	}
}

// A Date proves the time only over TLS and on a loopback address.
func TestDate(t *testing.T) {
	plain := servePlain(t, newSim()).client(t)
	cred, err := plain.Register(t.Context(), labRegistration)
	if err != nil || !cred.Date.Equal(labTime) {
		t.Errorf("on this machine: %v, %v", cred.Date, err)
	}
	_, err = plain.Token(t.Context(), labTokenRequest)
	if e := failure(t, err); !e.Date.Equal(labTime) {
		t.Errorf("with an error: %v", e.Date)
	}
	for witness, want := range map[bool]time.Time{true: labTime, false: {}} {
		w := httptest.NewRecorder()
		w.Header().Set("Date", labTime.Format(http.TimeFormat))
		w.WriteString("{}")
		ans, err := plain.read(t.Context(), w.Result(), nil, witness)
		if err != nil || !ans.date.Equal(want) {
			t.Errorf("witness %v: %v, %v", witness, ans.date, err)
		}
	}
	silent := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil
		w.WriteHeader(http.StatusTeapot)
	}))
	_, err = silent.client(t).Register(t.Context(), labRegistration)
	if e := failure(t, err); !e.Date.IsZero() {
		t.Errorf("a server that tells no time: %v", e.Date)
	}
}

func TestNewChecks(t *testing.T) {
	good := Config{Endpoint: "https://sp.example", Timeout: labTimeout, Now: labNow, DeviceInfo: labDevice}
	_, caFile := labTLS(t)
	for _, test := range []struct {
		change func(*Config)
		want   string // "": no error
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.CAFile = caFile }, ""},
		{func(c *Config) { c.Endpoint = "https://[" }, "the endpoint"},
		{func(c *Config) { c.CAFile = "/no/such/file" }, "/no/such/file"},
		{func(c *Config) { c.CAFile = "lab_test.go" }, "lab_test.go holds no PEM certificate"},
	} {
		cfg := good
		test.change(&cfg)
		_, err := New(cfg)
		if test.want == "" && err != nil ||
			test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}

// Each kind has the name of a code of ipc. This package must not know ipc; its
// tests may.
func TestKinds(t *testing.T) {
	want := []string{
		Offline:     ipc.CodeOffline,
		Throttled:   ipc.CodeThrottled,
		ServerError: ipc.CodeServerError,
		Rejected:    ipc.CodeRejected,
		Timeout:     ipc.CodeTimeout,
	}
	if diff := cmp.Diff(want, kinds[:]); diff != "" {
		t.Error(diff)
	}
}

// Forget leaves a call that is under way its connection, for the call that
// follows.
func TestForgetDuringACall(t *testing.T) {
	up := newSim()
	var c *Client
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.Forget()
		up.ServeHTTP(w, r)
	}))
	done := 0
	c = s.client(t, func(cfg *Config) { cfg.Done = func() { done++ } })
	if _, err := c.Token(t.Context(), register(t, c)); err != nil {
		t.Fatal(err)
	}
	if asked := s.asked(); asked[0].remote != asked[1].remote || done != 2 {
		t.Errorf("connections %s and %s, %d calls done", asked[0].remote, asked[1].remote, done)
	}
	c.Forget()
	if c.carrier != nil {
		t.Error("the roots are still there")
	}
}

// A server or a middlebox may accept only one curve.
func TestServersOfOneCurve(t *testing.T) {
	for _, curve := range []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521} {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.TLS = &tls.Config{CurvePreferences: []tls.CurveID{curve}}
		server.StartTLS()
		defer server.Close()
		config := TLSConfig(time.Now)
		config.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		conn, err := tls.Dial("tcp", server.Listener.Addr().String(), config)
		if err != nil {
			t.Errorf("%v: %v", curve, err)
			continue
		}
		conn.Close()
	}
}

// The ClientHello fits into one packet, and into the 512 bytes that some
// middleboxes expect.
func TestClientHello(t *testing.T) {
	hello := make(chan int, 1)
	address := raw(t, nil, func(c net.Conn) {
		n, _ := c.Read(make([]byte, 4096))
		hello <- n
	})
	_, err := newClient(t, "https://"+address).Token(t.Context(), labTokenRequest)
	failure(t, err)
	if n := <-hello; n < 100 || n > 512 {
		t.Errorf("the ClientHello has %d bytes", n)
	}
}
