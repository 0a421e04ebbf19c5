package daemon

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// item is one thing that is not as it should be. Status, health, metrics and the service manager's line are all made of
// the same list of them.
type item struct {
	code   string
	detail string // what is wrong and what to do
	public string // what those hear who are no admins, where detail tells of paths or of others; "" is detail
	app    string // whom it concerns; "" is everybody
	admin  bool   // for admins alone: it tells of what others have configured
}

// codeMended is the code of a state that was damaged.
const codeMended = "state_mended"

// replacedFor is how long status tells of a replaced registration: as long as another one is out of the question.
const replacedFor = 24 * time.Hour

// items is that list. A cause hides its consequences: an app's own troubles stand in its status, and with the clock unset
// it is no news that nothing can be reached.
func (d *Daemon) items(o broker.Overview) []item {
	var list []item
	if !o.ClockSet {
		list = append(list, item{code: ipc.CodeClockUnset, detail: "the clock is not set, so the server's certificate can't be checked: set it, or wait for the time service"})
	}
	if err := d.unwritten(o); err != nil {
		list = append(list, item{code: ipc.CodeStorage, public: unwrittenPublic,
			detail: fmt.Sprintf("state can't be written (%v): check free space and mode of the state directory", err)})
	}
	if mended := d.store.Mended(); mended != "" {
		list = append(list, item{code: codeMended, detail: mended, public: "the state was damaged, and mended as far as it could be: tvpassd status tells root more"})
	}
	for id, v := range d.broker.Views() {
		if at := v.Replaced(); !at.IsZero() && o.Reading.Wall.Sub(at).Abs() < replacedFor {
			list = append(list, item{code: "credentials_replaced", app: id, detail: fmt.Sprintf("app %s: the server no longer knew this device, "+
				"so it was registered again: viewers must sign in to their TV provider again; if this comes back, ask who revokes the registrations", id)})
		}
	}
	list = append(list, d.box.items()...)
	return append(list, *d.reloaded.Load()...)
}

const unwrittenPublic = "state can't be written: tvpassd status tells root why"

// unwritten is why the files do not hold all of the state; nil where they do.
func (d *Daemon) unwritten(o broker.Overview) error {
	if o.StorageErr != nil {
		return o.StorageErr
	}
	return d.store.Unwritten()
}

// since remembers when each item was first seen.
type since struct {
	mu    sync.Mutex
	first map[string]time.Time
}

// warnings are the items that a caller may see, with the moment that each was first seen at.
func (s *since) warnings(list []item, viewer server.Viewer, now time.Time) []ipc.Warning {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := make(map[string]time.Time, len(list))
	var out []ipc.Warning
	for _, it := range list {
		key := it.code + "\x00" + it.detail
		first[key] = now
		if at, known := s.first[key]; known {
			first[key] = at
		}
		if it.admin && !viewer.Admin || it.app != "" && !viewer.Sees(it.app) {
			continue
		}
		w := ipc.Warning{Code: it.code, Detail: it.detail, Since: first[key]}
		if !viewer.Admin && it.public != "" {
			w.Detail = it.public
		}
		out = append(out, w)
	}
	s.first = first
	return out
}

// health sums up what a caller sees.
func health(warnings []ipc.Warning, apps []ipc.AppStatus) string {
	worst := ipc.Healthy
	if len(warnings) > 0 || len(apps) == 0 {
		worst = ipc.Degraded
	}
	for _, a := range apps {
		switch a.State {
		case ipc.StateReady:
		case ipc.StateStale:
			worst = ipc.Degraded
		default:
			return ipc.Failed
		}
	}
	return worst
}

// summary is one line for the service manager.
func summary(st ipc.Status) string {
	var troubled []string
	for _, a := range st.Apps {
		if a.State != ipc.StateReady {
			troubled = append(troubled, a.App+" "+a.State)
		}
	}
	for _, w := range st.Warnings {
		troubled = append(troubled, w.Code)
	}
	switch {
	case len(st.Apps) == 0:
		troubled = append(troubled, "no app is configured")
	case len(troubled) == 0:
		return fmt.Sprintf("%s: %d of %d apps have a token", st.Health, len(st.Apps), len(st.Apps))
	}
	return st.Health + ": " + strings.Join(troubled, ", ") + "; see tvpassd status"
}
