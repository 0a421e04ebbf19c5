package server

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

// watchBuffer is what the kernel may hold for a watcher, in bytes: one who reads slowly shall find the newest state, not a
// history.
const watchBuffer = 4 << 10

// watch tells a caller how an app stands, now and on every change, until the caller goes, the daemon stops, or the app is no
// longer the caller's.
func (c *call) watch() error {
	snap, err := c.cfg.Tokens.Watch(c.app)
	if err != nil {
		return err
	}
	if b, ok := c.conn.Conn.(interface{ SetWriteBuffer(int) error }); ok {
		if err := b.SetWriteBuffer(watchBuffer); err != nil {
			return err
		}
	}
	h := c.w.Header()
	h["Date"] = nil
	h["Cache-Control"] = noStore
	h["Content-Type"] = eventsType
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	var told news
	for c.tell(&told, snap) {
		select {
		case <-snap.Changed:
		case <-c.policy.Replaced:
		case <-c.r.Context().Done():
			return nil
		case <-c.stopping:
			return nil
		}
		if c.policy = c.cfg.Policy(); !c.sees(c.app) {
			return nil
		}
		if snap, err = c.cfg.Tokens.Watch(c.app); err != nil {
			return nil // the app is gone; it is too late for a problem
		}
	}
	return nil
}

// tell sends what is new in a snapshot, and tells whether that worked.
func (c *call) tell(told *news, snap Snapshot) bool {
	now := c.cfg.Now()
	var text []byte
	if !told.knowsState(&snap.State, now) {
		state, err := json.Marshal(snap.State)
		if err != nil {
			c.cfg.Log.Error("watch ended", "app", c.app, "code", ipc.CodeInternal, "uid", c.conn.peer.UID, "err", err)
			return false
		}
		text = appendEvent(text, "state", state)
	}
	if snap.Token != nil && !told.knowsToken(snap.Token) {
		text = appendEvent(text, "token", appendToken(nil, *snap.Token, plain(snap.Token.AccessToken)))
	}
	*told = news{at: now, state: &snap.State, token: snap.Token}
	if _, err := c.w.Write(text); err != nil {
		return false
	}
	return http.NewResponseController(c.w).Flush() == nil
}

func appendEvent(b []byte, name string, data []byte) []byte {
	b = append(append(b, "event: "...), name...)
	b = append(append(b, "\ndata: "...), data...)
	return append(b, "\n\n"...)
}

// news is what a watcher was told last. Seconds that merely go by are none.
type news struct {
	at    time.Time
	state *ipc.AppStatus
	token *ipc.Token
}

func (n *news) knowsToken(t *ipc.Token) bool {
	was := n.token
	return was != nil && was.AccessToken == t.AccessToken && was.ID == t.ID && was.TokenType == t.TokenType &&
		near(&was.ExpiresAt, &t.ExpiresAt)
}

func (n *news) knowsState(s *ipc.AppStatus, now time.Time) bool {
	was := n.state
	return was != nil && was.App == s.App && was.State == s.State && was.ClientID == s.ClientID &&
		was.Registrations == s.Registrations && equal(was.RegisteredAt, s.RegisteredAt, time.Time.Equal) &&
		equal(was.LastContactAt, s.LastContactAt, time.Time.Equal) && equal(was.LastError, s.LastError, sameError) &&
		near(was.TokenExpiresAt, s.TokenExpiresAt) && near(instant(n.at, was.NextRefreshIn), instant(now, s.NextRefreshIn))
}

func sameError(a, b ipc.LastError) bool {
	return a.Code == b.Code && a.ServerCode == b.ServerCode && a.Detail == b.Detail && a.At.Equal(b.At)
}

// equal compares what may be unknown.
func equal[T any](a, b *T, same func(T, T) bool) bool {
	return a == b || a != nil && b != nil && same(*a, *b)
}

// near tells whether two instants are one, read twice: seconds are rounded.
func near(a, b *time.Time) bool {
	const slack = 2 * time.Second
	return equal(a, b, func(a, b time.Time) bool { return a.Sub(b).Abs() <= slack })
}

// instant is when seconds from now are over.
func instant(now time.Time, seconds *int64) *time.Time {
	if seconds == nil {
		return nil
	}
	return new(now.Add(time.Duration(*seconds) * time.Second))
}
