package doctor

import (
	"cmp"
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

	startCommand = "tvpassd start"
)

// judgeService compares what the service manager says with what the socket shows.
// If no daemon runs it finds out why, if the manager knows.
func judgeService(f *facts) *Check {
	s := f.service
	switch running := f.alive(); {
	case f.serviceErr != nil:
		return skip(fmt.Sprintf("the service manager could not be asked: %v", f.serviceErr))
	case running && !s.Installed:
		return warn("tvpassd install", "tvpassd is not a service of this system, so nothing starts it at boot")
	case !s.Installed:
		return fail("tvpassd install, then "+startCommand, "tvpassd is not a service of this system, and nobody started it")
	case s.Broken != "":
		return f.judgeBroken(running)
	case running && s.Active != "active" && s.Active != "reloading" && s.Active != "":
		return warn("end the one that runs, then "+startCommand,
			"a daemon runs, but not as the service, which is %s", s.Active)
	case !running && s.Active != "active" && s.Active != "":
		return f.judgeDown()
	case !s.Enabled:
		return warn(f.enable(), "it is not enabled: at the next boot it is not started")
	case s.Restarts > manyRestarts:
		return warn("why is in "+f.logs(), "it was started again %d times; its last end: %s", s.Restarts, f.end())
	case s.Active == "":
		return pass("installed and enabled (%s); whether it runs, the socket shows", s.Manager)
	}
	return pass("installed, enabled and started (%s)", s.Manager)
}

// judgeBroken describes why systemd can't start what is installed.
func (f *facts) judgeBroken(running bool) *Check {
	todo, detail := "systemctl status tvpassd names the fault; mend it, then systemctl daemon-reload and "+startCommand,
		"systemd can't load the unit of tvpassd ("+f.service.Broken+")"
	if f.service.Broken == "masked" {
		todo = "systemctl unmask tvpassd, then " + startCommand
		detail = "the unit of tvpassd is masked, so nothing can start it"
	}
	if running {
		return warn(todo, "%s; the daemon that runs is not started again", detail)
	}
	return fail(todo, "%s", detail)
}

// judgeDown finds out why the service does not run.
func (f *facts) judgeDown() *Check {
	s := f.service
	if s.Active == "inactive" && s.ExitStatus == 0 {
		return fail(startCommand, "it is installed and not started")
	}
	if cause := f.stopper(); cause != "" {
		return behind(cause)
	}
	if s.ExitStatus == exitUnusable {
		return fail("why is in "+f.logs()+"; then "+startCommand,
			"it ended, and is not started again: the configuration or the state is unusable (exit status %d)", exitUnusable)
	}
	if why := setupFault(s.ExitStatus, cmp.Or(s.User, "tvpass")); why.detail != "" {
		return fail(why.todo, "systemd can't start it: %s (exit status %d)", why.detail, s.ExitStatus)
	}
	if s.Active == "inactive" {
		return fail(startCommand+"; if it ends again, why is in "+f.logs(), "it was stopped; its last end: %s", f.end())
	}
	return fail("why is in "+f.logs()+"; mend that, then tvpassd restart",
		"it ends again and again, or gave up: %s", f.end())
}

// stopper returns the failed check that keeps a daemon from running; "" if there is
// none.
func (f *facts) stopper() string {
	if id := f.firstFailed("config state_dir"); id != "" {
		return id
	}
	if f.server.rootsErr != nil {
		return "tls"
	}
	return ""
}

// end is how the service ended last.
func (f *facts) end() string {
	if f.service.Result == "" {
		return "unknown"
	}
	return fmt.Sprintf("%s, exit status %d", f.service.Result, f.service.ExitStatus)
}

func (f *facts) logs() string {
	if f.service.Manager == "systemd" {
		return "journalctl -u tvpassd -n 20"
	}
	return "the system's log (logread, /var/log/messages)"
}

func (f *facts) enable() string {
	if f.service.Manager == "systemd" {
		return "systemctl enable tvpassd"
	}
	return "tvpassd install"
}

// fault is something that is wrong, and what to do.
type fault struct{ detail, todo string }

// setupFault describes the exit statuses of systemd itself, from the table
// "Process exit codes" in systemd.exec(5).
func setupFault(status int, user string) fault {
	const again, drop = "; then tvpassd restart", "systemctl cat tvpassd shows the units and drop-ins; " +
		"correct or remove what asks for it, then systemctl daemon-reload and tvpassd restart"
	people := "add the user and its group"
	if user == "tvpass" {
		people = "tvpassd install makes user and group tvpass"
	}
	switch status {
	case 203:
		return fault{"the program is missing, or made for another processor",
			"install the package for this device again" + again}
	case 216:
		return fault{"the group of user " + user + " does not exist", people + again}
	case 217:
		return fault{"the user " + user + " does not exist", people + again}
	case 226:
		return fault{"its sandbox can't be set up: a directory of the unit is missing or read-only, " +
			"or the kernel has no namespaces", "journalctl -u tvpassd -n 20 names the step; " + drop}
	case 228:
		return fault{"the kernel has no system call filter (seccomp)", drop}
	case 233:
		return fault{"/run/tvpassd can't be made", "see that /run is writable and not full" + again}
	case 238:
		return fault{"the state directory can't be made", "see that /var/lib is there, writable and not full, " +
			"and that nothing else is called /var/lib/tvpassd" + again}
	}
	if status < 200 || status > 245 {
		return fault{}
	}
	return fault{"a setting of the unit can't be applied", "journalctl -u tvpassd -n 20 names the step; " + drop}
}

// judgeSocket judges the socket by connecting to it, whatever the service
// manager says.
func judgeSocket(f *facts) *Check {
	switch {
	case errors.Is(f.socketErr, fs.ErrNotExist) && f.alive():
		return fail(f.restart(), "a daemon runs, but %s is gone: players can't find it", f.socket)
	case errors.Is(f.socketErr, fs.ErrNotExist):
		return f.noDaemon("no daemon runs: " + f.socket + " is not there")
	case f.needsRoot(f.socketErr):
		return skipForRoot(f.socket)
	case f.socketErr != nil:
		return fail("correct [socket] path", "%v", f.socketErr)
	case f.socketInfo.Mode().Type() != fs.ModeSocket:
		return fail("move it away, then tvpassd restart", "%s is in the way: it is not a socket", f.socket)
	case errors.Is(f.statusErr, client.ErrNotRunning) && f.alive():
		return fail(f.restart(), "a daemon runs, but does not listen on %s", f.socket)
	case errors.Is(f.statusErr, client.ErrNotRunning):
		return f.noDaemon(f.socket + " is stale: the daemon that made it is gone")
	case errors.Is(f.statusErr, client.ErrPermission):
		return skip(fmt.Sprintf("this user may not use %s (%s): run this as root, or join the group", f.socket, f.access()))
	}
	return f.judgeAccess()
}

// noDaemon is a failure of its own unless another check found the cause.
func (f *facts) noDaemon(detail string) *Check {
	for _, c := range f.done {
		if c.ID != "service" {
			continue
		}
		if cause, ok := strings.CutPrefix(c.Detail, behindWords); ok && c.Status == Skipped {
			return behind(cause)
		}
		if c.Status == Failed {
			return behind(c.ID)
		}
	}
	if cause := f.stopper(); cause != "" {
		return behind(cause)
	}
	if f.service.Installed && (f.service.Active == "active" || f.service.Active == "") {
		return fail("tvpassd restart; if it ends again, why is in "+f.logs(), "%s", detail)
	}
	return fail(startCommand, "%s", detail)
}

// restart returns the command that makes the socket again.
func (f *facts) restart() string {
	switch {
	case f.service.HoldsPath:
		return "systemctl restart tvpassd.socket tvpassd: systemd holds the socket"
	case f.service.Installed && f.service.Active != "inactive":
		return "tvpassd restart"
	}
	return "end the daemon that runs, then " + startCommand
}

// judgeAccess compares who may connect with who should.
func (f *facts) judgeAccess() *Check {
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

func judgeDaemon(f *facts) *Check {
	if f.status == nil {
		if errors.Is(f.statusErr, client.ErrPermission) || f.needsRoot(f.socketErr) {
			return behind("socket")
		}
		return fail("tvpassd restart", "it does not answer as it should: %v", f.statusErr)
	}
	st := f.status
	if st.Version != f.cfg.Version {
		return warn("tvpassd restart", "version %s runs, and this is %s", st.Version, f.cfg.Version)
	}
	var faults []error
	for _, w := range st.Warnings {
		if !f.judgedElsewhere(w.Code) {
			faults = append(faults, errors.New(w.Code+": "+w.Detail))
		}
	}
	if len(faults) > 0 {
		return warn("tvpassd status --all shows all of it", "%s", list(faults...))
	}
	return pass("version %s, up %v", st.Version, time.Duration(st.UptimeS)*time.Second)
}

// judgedElsewhere reports whether another check is about the subject of a warning.
func (f *facts) judgedElsewhere(code string) bool {
	switch code {
	case ipc.WarnIdentifierGenerated, ipc.WarnStateVolatile, ipc.WarnBuildDateMissing, ipc.WarnDeviceValue,
		ipc.WarnDeviceKey, ipc.CodeClockUnset, ipc.CodeStorage:
		return true
	case ipc.WarnAppDisabled:
		return f.failed("apps")
	case ipc.CodeInvalidConfiguration:
		return f.failed("config") || f.failed("apps")
	}
	return false
}

// causes returns the checks that may have found the cause of an app's failure.
func causes(app string, e *ipc.LastError) string {
	switch e.Code {
	case ipc.CodeClockUnset:
		return "clock"
	case ipc.CodeThrottled:
		return "throttle"
	case ipc.CodeStorage:
		return "state_dir disk database"
	case ipc.CodeRejected:
		return "statement:" + app
	}
	return ""
}

// wayToServer are the checks of what lies between the device and the server.
const wayToServer = "clock route proxy dns captive_portal tcp tls endpoint"

func judgeToken(f *facts, a ipc.AppStatus) *Check {
	if a.State == ipc.StateReady {
		return pass("good")
	}
	total := !a.Usable()
	e := a.LastError
	if e == nil && total {
		return warn("wait a moment, then tvpassd status", "there is none yet: %s", a.State)
	}
	detail, todo := a.State, "tvpassd status shows how it goes"
	if e != nil {
		cause := f.blame(total, causes(a.App, e))
		away := e.Code == ipc.CodeOffline || e.Code == ipc.CodeServerError
		if away {
			cause = f.firstFailed(wayToServer)
		}
		if cause != "" {
			return behind(cause)
		}
		if e.Code != a.State {
			detail += ": " + e.Code
		}
		if e.ServerCode != "" {
			detail += " (" + e.ServerCode + ")"
		}
		todo = e.Detail
		if away { // no check sees it any more
			detail += ": " + e.Detail
			todo = "tvpassd refresh --app " + a.App + ": the server can be reached by now"
		}
	}
	if !total {
		return warn(todo, "the token is good still: %s", detail)
	}
	return fail(todo, "there is none: %s", detail)
}
