package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/service"
	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/device/hostfile"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/client"
	"github.com/tvpassd/tvpassd/storage"
)

// How long each look may take; less than 25 s in all.
const (
	managerPatience  = 5 * time.Second
	daemonPatience   = 5 * time.Second
	throttlePatience = 3 * time.Second
	serverPatience   = 8 * time.Second
	portalPatience   = 2 * time.Second
)

// facts are what was seen, and the outcomes of the checks so far.
type facts struct {
	cfg  Config
	done []Check

	conf    *config.Config // nil: see confErr
	confErr error

	service    service.State
	serviceErr error

	socket     string
	socketInfo fs.FileInfo // nil: see socketErr
	socketErr  error
	status     *ipc.Status // nil: see statusErr
	statusErr  error
	listens    bool // a process listens on the socket, even if the file is gone

	stateInfo fs.FileInfo // nil: see stateErr
	stateErr  error
	place     storage.Place
	placeErr  error
	disk      unix.Statfs_t
	diskErr   error
	kept      storage.Inspection // with the daemon down
	keptErr   error

	device    *device.Report
	deviceErr error

	server *reach
	unsent time.Duration // nothing was sent, for the throttle stays shut so long
	portal string        // what answers in the server's place; "" nothing does

	portalAsked bool // something answered where a portal would
}

func look(ctx context.Context, cfg Config) *facts {
	f := &facts{cfg: cfg, server: &reach{}}
	f.conf, f.confErr = cfg.Load()
	f.lookAtService(ctx)
	f.lookAtSocket(ctx)
	f.lookAtState()
	if f.conf == nil {
		return f
	}
	f.device, f.deviceErr = device.Probe(device.Options{Overrides: f.conf.Device})
	f.unsent = f.shut()
	if f.unsent <= throttlePatience { // perhaps just the pause between the daemon's own calls
		select {
		case <-time.After(f.unsent):
		case <-ctx.Done():
		}
		f.unsent = 0
		f.lookAtServer(ctx)
	}
	return f
}

func (f *facts) apps() []config.App {
	if f.conf == nil {
		return nil
	}
	return f.conf.Apps
}

func (f *facts) lookAtService(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, managerPatience)
	defer cancel()
	f.service, f.serviceErr = f.cfg.Service(ctx)
}

// lookAtSocket asks the daemon for its status.
func (f *facts) lookAtSocket(ctx context.Context) {
	f.socket = f.cfg.Socket
	if f.socket == "" {
		part, _ := config.LoadPart(f.cfg.ConfigFile) // the check of the configuration says what is wrong
		f.socket = part.SocketPath
	}
	if _, f.socketErr = hostfile.Stat(f.socket); errors.Is(f.socketErr, os.ErrDeadlineExceeded) {
		f.statusErr = f.socketErr
		return
	}
	f.socketInfo, f.socketErr = os.Lstat(f.socket)
	ctx, cancel := context.WithTimeout(ctx, daemonPatience)
	defer cancel()
	c := client.Client{Socket: f.socket}
	defer c.Close()
	st, err := c.Status(ctx)
	if f.statusErr = err; err == nil {
		f.status = &st
	}
	f.listens = Listens(f.socket)
}

// Listens reports whether a process listens on the socket of that path. The
// kernel lists the path for everybody, even if the file is gone.
func Listens(path string) bool {
	const listening = "00010000" // __SO_ACCEPTCON
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return false
	}
	for _, line := range strings.Split(string(table), "\n") {
		columns := strings.SplitN(strings.TrimSpace(line), " ", 8)
		if len(columns) == 8 && columns[3] == listening && columns[7] == path {
			return true
		}
	}
	return false
}

// alive reports whether a daemon runs, whatever its socket and the service manager
// say.
func (f *facts) alive() bool {
	return f.status != nil || f.listens || errors.Is(f.keptErr, storage.ErrInUse)
}

// lookAtState looks at the state directory. It never opens the database of a
// running daemon, whose status describes it.
func (f *facts) lookAtState() {
	dir := ""
	if f.conf != nil {
		dir = f.conf.StateDir
	} else if part, _ := config.LoadPart(f.cfg.ConfigFile); part.StateDir != "" {
		dir = part.StateDir // a daemon may hold it
	}
	f.stateInfo, f.stateErr = hostfile.Stat(dir)
	if errors.Is(f.stateErr, os.ErrDeadlineExceeded) {
		f.placeErr, f.diskErr = f.stateErr, f.stateErr
		return
	}
	f.place, f.placeErr = storage.Locate(dir)
	f.diskErr = unix.Statfs(dir, &f.disk)
	if f.status != nil || f.stateErr != nil {
		return
	}
	for _, name := range []string{"/tvpassd.db", "/tvpassd.copy"} {
		if _, err := hostfile.Stat(dir + name); errors.Is(err, os.ErrDeadlineExceeded) {
			f.keptErr = err
			return
		}
	}
	f.kept, f.keptErr = storage.Inspect(dir)
}

// shut returns for how long the throttle is shut, by the daemon's status or its
// state: a request that comes sooner would keep it shut.
func (f *facts) shut() time.Duration {
	if f.status != nil {
		return time.Duration(f.status.Throttle.OpensInMS) * time.Millisecond
	}
	if f.kept.Gate.Wait == 0 || f.kept.Gate.Noted.BootID != f.cfg.Clock.BootID() {
		return 0
	}
	return max(f.kept.Gate.Noted.Boot+f.kept.Gate.Wait-f.cfg.Clock.Now().Boot, 0)
}

func (f *facts) lookAtServer(ctx context.Context) {
	now := func() time.Time { return f.cfg.Clock.Now().Wall }
	f.server.ask(ctx, f.conf, f.cfg.Proxy, "tvpassd/"+f.cfg.Version+" doctor", now)
	if f.server.dialer == nil || f.server.answer != nil || f.server.blocked() != nil || f.server.proxy != nil ||
		f.loopback() && f.cfg.Portal == "" {
		return
	}
	url := f.cfg.Portal
	if url == "" {
		url = "http://" + f.server.host + "/"
	}
	f.portal, f.portalAsked = f.server.findPortal(ctx, url)
}

// needsRoot reports whether only root may see something.
func (f *facts) needsRoot(err error) bool {
	return f.cfg.UID != 0 && errors.Is(err, fs.ErrPermission)
}

func skipForRoot(what string) *Check {
	return skip(what + " may be read by root only: run this as root")
}

// list joins errors into one detail: the first, and how many more there are.
func list(errs ...error) string {
	text := strings.ReplaceAll(errs[0].Error(), "\n", "; ")
	if len(errs) > 1 {
		text += fmt.Sprintf(" (and %d more)", len(errs)-1)
	}
	return text
}
