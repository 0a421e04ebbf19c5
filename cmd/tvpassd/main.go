// Command tvpassd keeps an access token for Adobe Pass at hand for the player apps
// of a device.
//
// `tvpassd run` is the daemon (package daemon). The other commands ask it over its
// socket (package ipc/client), or look at the device themselves if it does not run.
// Each group of commands has a file.
//
//go:debug updatemaxprocs=0
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/doctor"
	_ "github.com/tvpassd/tvpassd/daemon/oneproc" // before all others
	"github.com/tvpassd/tvpassd/ipc/client"
	"github.com/tvpassd/tvpassd/storage/fserr"
)

// Exit statuses beside those that a single command has.
const (
	exitFailure = 1
	exitUsage   = 64 // sysexits' EX_USAGE
	exitConfig  = 78 // EX_CONFIG
)

func main() {
	growStack()
	frugal()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// growStack makes room on the stack for a start, while there is little on it. Later
// the runtime would copy it frame by frame, twice: 150 k instructions on ARM.
//
//go:noinline
func growStack() byte {
	var room [20 << 10]byte
	return room[len(os.Args)%len(room)]
}

// memoryLimit is what the Go runtime tries to stay within: under attack it
// collects garbage more often rather than take more.
const memoryLimit = 32 << 20

// garbagePercent has the Go runtime collect garbage when the heap reaches three
// fifths of the usual 4 MB. The daemon keeps a tenth of that alive, and of what a
// rush spreads over more memory a part stays in use. Each collection adds to
// the cost of a token: half would make it 3 % dearer.
const garbagePercent = 60

// frugal limits the Go runtime's share of a small device, beyond what package
// oneproc does. The environment variables of the runtime win.
func frugal() {
	if n, err := strconv.Atoi(os.Getenv("GOMAXPROCS")); err == nil && n > 0 { // in place of oneproc's
		runtime.GOMAXPROCS(n)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}

// env is what a command works with: streams, and the flags of every command.
type env struct {
	ctx            context.Context
	stdin          io.Reader
	screen         io.Writer // standard output as it is, for control sequences of our own
	stdout, stderr io.Writer // each write is made printable

	configFile, socket string // as flags gave them; "" otherwise

	stage *atomic.Int32 // plain, installing, starting or serving
}

// run is the whole program except for the process. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	e := &env{ctx: ctx, stdin: stdin, screen: stdout, stdout: printer{stdout}, stderr: printer{stderr},
		stage: new(atomic.Int32)}
	context.AfterFunc(ctx, e.leave)
	err := e.dispatch(args)
	status, own := errors.AsType[*exitStatus](err)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case own:
		if status.err != nil {
			e.complain(status.err)
		}
		return status.code
	default:
		e.complain(err)
		return exitFailure
	}
}

// What a command is, to be ended by a signal.
const (
	plain      int32 = iota
	installing       // a change of the system, which must not stop halfway
	starting         // the daemon
	serving          // the daemon, which may be writing to worn flash
)

// leave ends the process if it goes on after a signal: it may wait for its standard
// input, or for a call that hangs in the kernel. The state is then as after a kill.
func (e *env) leave() {
	within, status, why := 5*time.Second, 0, ", because a call did not end"
	switch e.stage.Load() {
	case plain:
		status, why = exitFailure, ""
	case installing:
		within, status, why = time.Minute, exitFailure, ", halfway: run it again"
	case serving:
		within = 12 * time.Second // service managers wait for 15
	}
	time.Sleep(within)
	go fmt.Fprintf(e.stderr, "tvpassd: ended by a signal%s\n", why)
	time.Sleep(time.Second / 10) // standard error may hang, too
	os.Exit(status)
}

// complain prints an error in one line.
func (e *env) complain(err error) {
	fmt.Fprintf(e.stderr, "tvpassd: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// exitStatus is an error that ends the program with a status of its own. err is nil
// if everything has been printed already.
type exitStatus struct {
	code int
	err  error
}

func (e *exitStatus) Error() string { return fmt.Sprint(e.err) }

func misused(format string, args ...any) error {
	return &exitStatus{exitUsage, fmt.Errorf(format+"; see tvpassd --help", args...)}
}

// dispatch reads the command line. Flags that every command takes may stand before
// the command or behind it.
func (e *env) dispatch(args []string) error {
	front := e.flagSet("tvpassd")
	asked := false // --version is the command of that name: an error ends the flags before it
	front.BoolFunc("version", "", func(string) error { asked = true; return errors.New("a command") })
	if err := e.parse(front, args, e.help); err != nil && !asked {
		return err
	}
	rest := front.Args()
	if asked {
		rest = append([]string{"version"}, rest...)
	}
	if len(rest) == 0 {
		e.help(e.stderr)
		return &exitStatus{code: exitUsage}
	}
	name, args := rest[0], rest[1:]
	if name == "help" {
		return e.helpOn(args)
	}
	c, err := find(name)
	if err != nil {
		return err
	}
	set := e.flagSet("tvpassd " + name)
	do := c.flags(set)
	var words []string
	for len(args) > 0 { // flags may stand behind a word, as in config check --config FILE
		if err := e.parse(set, args, func(w io.Writer) { c.help(w, set) }); err != nil {
			return err
		}
		if args = set.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	return do(e, words)
}

// flagSet returns the flags that every command takes.
func (e *env) flagSet(name string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&e.configFile, "config", e.configFile, "configuration `file`; apps.d is beside it")
	set.StringVar(&e.socket, "socket", e.socket, "`path` of the daemon's socket")
	return set
}

// parse reads flags up to the first word that is not a flag.
func (e *env) parse(set *flag.FlagSet, args []string, help func(io.Writer)) error {
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		help(e.stdout)
		return err
	}
	if err != nil {
		return misused("%v", err)
	}
	return nil
}

// answerWithin is the longest that a healthy daemon takes to answer, beside the
// wait that it was asked for.
const answerWithin = 10 * time.Second

// socketPath returns the path of the daemon's socket: that of the flag, or else that
// of the configuration.
func (e *env) socketPath() string {
	if e.socket != "" {
		return e.socket
	}
	part, err := config.LoadPart(e.configFile) // the path can be used despite an error
	if fserr.MayPass(err) {
		e.complain(fmt.Errorf("%w: the daemon is looked for at %s", err, part.SocketPath))
	}
	return part.SocketPath
}

// errSocketGone means that the daemon runs, but that its path is gone.
var errSocketGone = errors.New("tvpassd runs, but its socket is gone")

// ask runs f with a client of the daemon, for the time that f may take.
func (e *env) ask(within time.Duration, f func(context.Context, *client.Client) error) error {
	path := e.socketPath()
	c := &client.Client{Socket: path}
	defer c.Close()
	ctx, cancel := context.WithTimeout(e.ctx, within)
	defer cancel()
	err := f(ctx, c)
	if errors.Is(err, client.ErrNotRunning) && doctor.Listens(path) {
		return fmt.Errorf("%w: %s: `tvpassd restart` makes it again, or, if systemd holds it, "+
			"`systemctl restart tvpassd.socket tvpassd`", errSocketGone, path)
	}
	if err != nil && ctx.Err() != nil && e.ctx.Err() == nil {
		err = e.late(c, path, within)
	}
	return err
}

// late returns the error of a request that took too long. A daemon that answers
// others waits for something itself, such as a slow disk.
func (e *env) late(c *client.Client, path string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(e.ctx, 2*time.Second)
	defer cancel()
	if _, err := c.Status(ctx); err == nil {
		return fmt.Errorf("not done within %v, though tvpassd runs: it may wait for a slow disk, see `tvpassd status`",
			within)
	}
	return fmt.Errorf("no answer on %s within %v: try `tvpassd restart`; `tvpassd doctor` finds the cause", path, within)
}
