package localapi

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// Item is one thing that is wrong. Status, health, metrics and the service
// manager's line are all made from the same list of items.
type Item struct {
	Code   string
	Detail string // what is wrong and what to do
	Public string // the detail for callers who are not admins, if Detail names paths or other apps; "" is Detail
	App    string // the app concerned; "" is everybody
	Admin  bool   // for admins alone: it shows what others have configured
}

// replacedFor is how long status shows a replaced registration: as long as no
// other one is allowed.
const replacedFor = 24 * time.Hour

// items lists what is wrong. A cause hides its consequences: the troubles of an
// app stand in its own status, and while the clock is unset it is obvious that
// no server can be reached.
func (a *API) items(o broker.Overview) []Item {
	var list []Item
	add := func(it Item) { list = append(list, it) }
	if !o.ClockSet {
		add(Item{Code: ipc.CodeClockUnset,
			Detail: "the clock is not set, so the server's certificate can't be checked: set it, or wait for the time service"})
	}
	if a.cfg.Undated {
		add(Item{Code: ipc.WarnBuildDateMissing, Detail: UndatedDetail})
	}
	if err := a.unwritten(o); err != nil {
		add(Item{Code: ipc.CodeStorage, Public: unwrittenPublic,
			Detail: fmt.Sprintf("state can't be written: %v", err)})
	}
	if o.Shared {
		add(Item{Code: ipc.WarnThrottleShared,
			Detail: "the server throttles this device, though tvpassd keeps to 1 call a second: " +
				"a player calls the server itself, or others share the device's address: " +
				"have players call through tvpassd's socket"})
	}
	if mended := a.cfg.Store.Mended(); mended != "" {
		add(Item{Code: ipc.WarnStateMended, Detail: mended,
			Public: "the state was damaged, and mended as far as it could be: as root, tvpassd status says more"})
	}
	if err := a.cfg.Socket(); err != nil {
		add(Item{Code: ipc.WarnSocketRemoved, Detail: err.Error()})
	}
	for id, v := range a.cfg.Broker.Views() {
		if at := v.Replaced(); !at.IsZero() && o.Reading.Wall.Sub(at).Abs() < replacedFor {
			add(Item{Code: ipc.WarnReplaced, App: id,
				Detail: fmt.Sprintf("app %s: the server no longer knew this device, "+
					"so it was registered again: viewers must sign in to their TV provider again; "+
					"if this happens again, ask who revokes the registrations", id)})
		}
	}
	for _, w := range a.cfg.Hardware.Warnings() {
		add(Item{Code: w.Code, Detail: w.Detail})
	}
	if loss := a.cfg.Volatile(); loss != "" {
		add(Item{Code: ipc.WarnStateVolatile, Detail: loss,
			Public: "the state of this device does not last: as root, tvpassd status says why"})
	}
	set := a.settings.Load().Items
	refused := slices.ContainsFunc(set, func(it Item) bool { return it.Code == ipc.CodeInvalidConfiguration })
	if file := a.cfg.Changed(); file != "" && !refused {
		add(Item{Code: ipc.WarnReloadNeeded, Admin: true,
			Detail: file + " changed since it was read: try `tvpassd config check`, then `tvpassd reload`"})
	}
	return append(list, set...)
}

// UndatedDetail says what is wrong with a build that does not know its date.
const UndatedDetail = "this build of tvpassd does not know its date, so a clock that is years behind counts as set: " +
	"build it with SOURCE_DATE_EPOCH set, or install an official build"

const unwrittenPublic = "state can't be written: as root, tvpassd status says why"

// unwritten is why the files do not hold the whole state; nil if they do.
func (a *API) unwritten(o broker.Overview) error {
	if o.StorageErr != nil {
		return o.StorageErr
	}
	return a.cfg.Store.Unwritten()
}

// since remembers when each item was first seen.
type since struct {
	mu    sync.Mutex
	first map[string]time.Time
}

// warnings returns the items that a caller may see, with the moment that each
// was first seen.
func (s *since) warnings(list []Item, viewer server.Viewer, now time.Time) []ipc.Warning {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := make(map[string]time.Time, len(list))
	var out []ipc.Warning
	for _, it := range list {
		key := it.Code + "\x00" + it.Detail
		first[key] = now
		if at, known := s.first[key]; known {
			first[key] = at
		}
		if it.Admin && !viewer.Admin || it.App != "" && !viewer.Sees(it.App) {
			continue
		}
		w := ipc.Warning{Code: it.Code, Detail: it.Detail, Since: first[key]}
		if !viewer.Admin && it.Public != "" {
			w.Detail = it.Public
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
		switch {
		case !a.Usable():
			return ipc.Failed
		case a.State == ipc.StateStale:
			worst = ipc.Degraded
		}
	}
	return worst
}

// Summary is the status in one line, for the service manager.
func (a *API) Summary() string {
	st := a.Status(server.Viewer{Admin: true})
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
		return fmt.Sprintf("%s: apps with a token: %d of %d", st.Health, len(st.Apps), len(st.Apps))
	}
	return st.Health + ": " + strings.Join(troubled, ", ") + "; see tvpassd status"
}
