package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/client"
)

const (
	// manyRestarts by the service manager are not an accident.
	manyRestarts = 3
	// exitUnusable is the daemon's exit status if the configuration or the state is
	// unusable.
	exitUnusable = 78
)

func judgeService(f *facts) Check {
	s := f.service
	ended := fmt.Sprintf("%s, exit status %d", s.Result, s.ExitStatus)
	todo := "tvpassd start; if it ends again, why is in journalctl -u tvpassd, or in /var/log"
	switch {
	case f.serviceErr != nil:
		return skip(fmt.Sprintf("the service manager does not tell: %v", f.serviceErr))
	case !s.Installed:
		return warn("tvpassd install", "tvpassd is no service of this system, so nothing starts it at boot")
	case f.status != nil && s.Active != "active" && s.Active != "":
		return warn("end the one that runs, then tvpassd start", "a daemon runs, but not as the service, which is %s",
			s.Active)
	case s.ExitStatus == exitUnusable && s.Active != "active":
		return fail("see the checks above; then tvpassd start",
			"the configuration or the state is unusable (exit status %d)", exitUnusable)
	case s.Active == "failed" || s.Active == "activating" && s.Restarts > 0:
		return fail(todo, "it ends again and again, or gave up: %s", ended)
	case s.Active == "inactive":
		return fail(todo, "it is installed and not started")
	case !s.Enabled:
		return warn("systemctl enable tvpassd", "it is not enabled: at the next boot it is not started")
	case s.Restarts > manyRestarts:
		return warn("why is in journalctl -u tvpassd", "it was started again %d times; its last end: %s", s.Restarts, ended)
	}
	return pass("installed, enabled and started (%s)", s.Manager)
}

func judgeSocket(f *facts) Check {
	const begin = "tvpassd start"
	switch {
	case errors.Is(f.socketErr, fs.ErrNotExist):
		return fail(begin, "%s is not there: no daemon runs", f.socket)
	case f.needsRoot(f.socketErr):
		return skipForRoot(f.socket)
	case f.socketErr != nil:
		return fail("correct [socket] path", "%v", f.socketErr)
	case f.socketInfo.Mode().Type() != fs.ModeSocket:
		return fail("move it away, then tvpassd restart", "%s is in the way, and is no socket", f.socket)
	case errors.Is(f.statusErr, client.ErrNotRunning):
		return fail(begin, "%s is stale: the daemon that made it is gone", f.socket)
	case errors.Is(f.statusErr, client.ErrPermission):
		return skip(fmt.Sprintf("this user may not use %s (%s): run this as root, or join the group", f.socket, f.access()))
	}
	if dir := f.closedFolder(); dir != "" {
		return warn("chmod 755 "+dir, "players don't get to %s: %s is closed to others", f.socket, dir)
	}
	if f.conf == nil {
		return pass("%s: %s", f.socket, f.access())
	}
	if want := f.conf.Socket.Mode; f.cfg.Socket == "" && f.socketInfo.Mode().Perm() != want {
		return warn("tvpassd restart; where systemd holds the socket, set SocketMode in tvpassd.socket",
			"%s has mode %04o, and the configuration wants %04o", f.socket, f.socketInfo.Mode().Perm(), want)
	}
	if who, app := f.lockedOut(); who != "" {
		return warn(fmt.Sprintf("usermod -aG %s %s, then start the player again", f.socketGroup(), who),
			"user %s may use %s, but not the socket (%s)", who, app, f.access())
	}
	return pass("%s: %s", f.socket, f.access())
}

func (f *facts) socketGroup() string { return groupName(f.socketInfo.Sys().(*syscall.Stat_t).Gid) }

// access returns who may connect.
func (f *facts) access() string {
	who := "its owner"
	switch mode := f.socketInfo.Mode().Perm(); {
	case mode&0o002 != 0:
		who = "everybody"
	case mode&0o020 != 0:
		who += " and group " + f.socketGroup()
	}
	return fmt.Sprintf("mode %04o, for %s", f.socketInfo.Mode().Perm(), who)
}

// closedFolder returns a directory above the socket that others can't pass; "" if
// there is none.
func (f *facts) closedFolder() string {
	for dir := filepath.Dir(f.socket); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
			return dir
		}
	}
	return ""
}

// lockedOut returns a user who may use an app by the configuration, but can't open
// the socket by its mode.
func (f *facts) lockedOut() (who, app string) {
	sys := f.socketInfo.Sys().(*syscall.Stat_t)
	mode := f.socketInfo.Mode().Perm()
	if mode&0o002 != 0 {
		return "", ""
	}
	for _, app := range f.apps() {
		for _, uid := range app.Users {
			u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
			if err != nil || uid == 0 || uid == sys.Uid {
				continue
			}
			groups, err := u.GroupIds()
			if err == nil && (mode&0o020 == 0 || !slices.Contains(groups, strconv.FormatUint(uint64(sys.Gid), 10))) {
				return u.Username, app.ID
			}
		}
	}
	return "", ""
}

func judgeDaemon(f *facts) Check {
	if f.status == nil {
		return fail("tvpassd restart", "it does not answer as it should: %v", f.statusErr)
	}
	st := f.status
	if st.Version != f.cfg.Version {
		return warn("tvpassd restart", "version %s runs, and this is %s", st.Version, f.cfg.Version)
	}
	var faults []error
	for _, w := range st.Warnings {
		// Device, clock and disk have checks of their own.
		if !strings.HasPrefix(w.Code, "device_") && w.Code != "identifier_generated" && w.Code != ipc.CodeClockUnset &&
			w.Code != ipc.CodeStorage {
			faults = append(faults, errors.New(w.Code+": "+w.Detail))
		}
	}
	if len(faults) > 0 {
		return warn("tvpassd status shows all of it", "%s", list(faults))
	}
	return pass("version %s, up %v", st.Version, time.Duration(st.UptimeS)*time.Second)
}

func judgeToken(f *facts, a ipc.AppStatus) Check {
	if a.State == ipc.StateReady {
		return pass("good")
	}
	detail, e := a.State, a.LastError
	if e == nil && a.State != ipc.StateStale {
		return warn("wait a moment, then tvpassd status", "there is none yet: %s", detail)
	}
	todo := "tvpassd status shows how it goes"
	if e != nil {
		if e.Code != a.State {
			detail += ": " + e.Code
		}
		if e.ServerCode != "" {
			detail += " (" + e.ServerCode + ")"
		}
		todo = e.Detail
		// An unreachable server, or a wrong one, is reported above.
		for _, cause := range []string{"clock", "route", "dns", "captive_portal", "tcp", "tls", "endpoint"} {
			if (e.Code == ipc.CodeOffline || e.Code == ipc.CodeServerError || e.Code == ipc.CodeClockUnset) && f.failed(cause) {
				return behind(cause)
			}
		}
	}
	if a.State == ipc.StateStale {
		return warn(todo, "the token is good still: %s", detail)
	}
	return fail(todo, "there is none: %s", detail)
}
