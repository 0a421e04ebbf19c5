package dcrtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// Revoke makes the server forget a client: its credentials are invalid_client
// from now on. Its access tokens stay valid, RevokeTokens ends those. It
// reports whether there is such a client.
func (s *Server) Revoke(clientID string) bool {
	return s.change(clientID, func(c *client) { c.revoked = true })
}

// RevokeAll revokes every client that exists. One that registers later is not
// revoked.
func (s *Server) RevokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.revoked = true
	}
}

// Unauthorize makes the server refuse tokens to a client: unauthorized_client.
// It reports whether there is such a client.
func (s *Server) Unauthorize(clientID string) bool {
	return s.change(clientID, func(c *client) { c.unauthorized = true })
}

func (s *Server) change(clientID string, change func(*client)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[clientID]
	if c == nil {
		return false
	}
	change(c)
	return true
}

// RevokeTokens makes every access token issued so far invalid.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// SetStatement sets whether software statements are approved. Unless they are,
// nobody registers.
func (s *Server) SetStatement(approved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unapproved = !approved
}

// SetClock sets how far the server's clock is ahead of the true one.
func (s *Server) SetClock(offset time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset = offset
}

// SetTokenLife sets the life of the tokens that are issued from now on.
func (s *Server) SetTokenLife(life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokenLife = life
}

// SetThrottle turns the throttle on or off. Turned on, it begins with full
// buckets.
func (s *Server) SetThrottle(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.throttled = on
	clear(s.buckets)
}

// Requests returns the requests that came, oldest first, at most the last
// 10,000.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Counts returns the numbers of requests, whatever their answers were.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// ClearRequests forgets the requests and starts counting anew.
func (s *Server) ClearRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.counts = nil, Counts{}
}

// Admin returns the admin API: JSON over HTTP, for a loopback listener of its
// own. Its commands answer 204, or 400 with the reason.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	s.adminFaults(mux)
	s.adminClients(mux)
	s.adminSettings(mux)
	s.adminViewers(mux)
	s.adminLog(mux)
	return mux
}

func (s *Server) adminFaults(mux *http.ServeMux) {
	mux.HandleFunc("POST /fault", command(func(in struct {
		Fault
		Delay duration `json:"delay"`
	}) error {
		in.Fault.Delay = time.Duration(in.Delay)
		return s.SetFault(in.Fault)
	}))
	mux.HandleFunc("DELETE /fault", plain(s.ClearFaults))
}

func (s *Server) adminClients(mux *http.ServeMux) {
	mux.HandleFunc("POST /revoke", command(func(in struct {
		ClientID *string `json:"client_id"`
	}) error {
		if in.ClientID == nil {
			s.RevokeAll()
			return nil
		}
		return known(s.Revoke(*in.ClientID))
	}))
	mux.HandleFunc("POST /unauthorize", command(func(in struct {
		ClientID string `json:"client_id"`
	}) error {
		return known(s.Unauthorize(in.ClientID))
	}))
	mux.HandleFunc("POST /revoke-tokens", plain(s.RevokeTokens))
}

func (s *Server) adminSettings(mux *http.ServeMux) {
	mux.HandleFunc("POST /statement", command(func(in struct {
		Approved *bool `json:"approved"`
	}) error {
		return given(in.Approved, "approved", s.SetStatement)
	}))
	mux.HandleFunc("POST /clock", command(func(in struct {
		Offset *duration `json:"offset"`
	}) error {
		return given(in.Offset, "offset", func(d duration) { s.SetClock(time.Duration(d)) })
	}))
	mux.HandleFunc("POST /token-life", command(func(in struct {
		Life duration `json:"life"`
	}) error {
		if in.Life < duration(time.Second) {
			return errors.New("life is missing or less than 1s")
		}
		s.SetTokenLife(time.Duration(in.Life))
		return nil
	}))
	mux.HandleFunc("POST /throttle", command(func(in struct {
		On *bool `json:"on"`
	}) error {
		return given(in.On, "on", s.SetThrottle)
	}))
}

func (s *Server) adminViewers(mux *http.ServeMux) {
	mux.HandleFunc("POST /sign-in", command(func(in struct {
		Code string `json:"code"`
		MVPD string `json:"mvpd"`
	}) error {
		return s.SignIn(in.Code, in.MVPD)
	}))
	mux.HandleFunc("POST /sign-out", plain(s.SignOut))
	mux.HandleFunc("GET /sessions", func(w http.ResponseWriter, _ *http.Request) { show(w, s.Sessions()) })
}

func (s *Server) adminLog(mux *http.ServeMux) {
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) {
		show(w, append([]Request{}, s.Requests()...)) // [] rather than null
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) { show(w, s.Counts()) })
	mux.HandleFunc("DELETE /requests", plain(s.ClearRequests))
}

// Admin returns the admin API of the name server, in the form of
// [Server.Admin].
func (n *NameServer) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /dns/fault", command(func(in struct {
		NameFault
		Delay duration `json:"delay"`
	}) error {
		in.NameFault.Delay = time.Duration(in.Delay)
		return n.SetFault(in.NameFault)
	}))
	mux.HandleFunc("DELETE /dns/fault", plain(n.ClearFaults))
	mux.HandleFunc("POST /dns/host", command(func(in struct {
		Name      string       `json:"name"`
		Addresses []netip.Addr `json:"addresses"`
	}) error {
		if in.Name == "" {
			return errors.New("name is missing")
		}
		n.SetHost(in.Name, in.Addresses...)
		return nil
	}))
	mux.HandleFunc("GET /dns/queries", func(w http.ResponseWriter, _ *http.Request) {
		show(w, append([]NameQuery{}, n.Queries()...)) // [] rather than null
	})
	mux.HandleFunc("DELETE /dns/queries", plain(n.ClearQueries))
	return mux
}

// plain makes a command that takes nothing.
func plain(do func()) http.HandlerFunc {
	return command(func(struct{}) error { do(); return nil })
}

// known returns the error of a client that does not exist.
func known(ok bool) error {
	if !ok {
		return errors.New("there is no client of that client_id")
	}
	return nil
}

// given passes on a value that must not be left out.
func given[T any](value *T, name string, set func(T)) error {
	if value == nil {
		return errors.New(name + " is missing")
	}
	set(*value)
	return nil
}

// command reads the JSON object of a command and carries it out. No body counts
// as an empty object.
func command[T any](do func(T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in T
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		err := d.Decode(&in)
		if err == nil {
			if _, more := d.Token(); !errors.Is(more, io.EOF) {
				err = errors.New("there is something behind the JSON object")
			}
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
		if err == nil {
			err = do(in)
		}
		if err != nil {
			http.Error(w, fmt.Sprintf("%s %s: %v", r.Method, r.URL.Path, err), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// show answers with JSON. A write fails if the client is gone.
func show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// duration is one of Go's, such as 750ms, in JSON.
type duration time.Duration

// UnmarshalText reads a duration.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}
