package server

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

// watchBuffer is what the kernel may hold for a watcher, in bytes: a slow reader
// gets the latest state, not a backlog.
const watchBuffer = 4 << 10

// watch sends the state of an app now and on every change, until the caller
// leaves, the daemon stops, or the caller may no longer use the app.
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
	c.conn.become(stream)
	var sent sent
	for c.tell(&sent, snap) {
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

// sent is what a watcher was sent last.
type sent struct {
	at    time.Time
	state *ipc.AppStatus
	token *ipc.Token
}

// tell sends what is new in a snapshot, and reports whether that worked.
func (c *call) tell(last *sent, snap Snapshot) bool {
	now := c.cfg.Now()
	var text []byte
	if last.state == nil || !last.state.Same(snap.State, now.Sub(last.at)) {
		state, err := json.Marshal(snap.State)
		if err != nil {
			c.cfg.Log.Error("watch ended", "app", c.app, "code", ipc.CodeInternal, "uid", c.conn.peer.UID, "err", err)
			return false
		}
		text = appendEvent(text, "state", state)
	}
	if snap.Token != nil && (last.token == nil || !last.token.Same(*snap.Token)) {
		text = appendEvent(text, "token", appendToken(nil, *snap.Token, plain(snap.Token.AccessToken)))
	}
	*last = sent{now, &snap.State, snap.Token}
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
