package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long anything that should happen at once may take on a busy
// machine.
const patience = 30 * time.Second

// bootPath is the PATH of a server that a boot starts: a developer's is longer,
// and programs look through it.
const bootPath = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

// process is a server under measurement. What starts it stops it.
type process struct {
	cmd  *exec.Cmd
	log  string // the file with its output
	done chan struct{}
	err  error // of its end; valid when done is closed
}

// start runs a program with its output in a file, and on one processor only
// unless cpu is negative.
func start(ctx context.Context, log string, cpu int, name string, args ...string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, name, args...), log: log, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), bootPath)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = patience
	err = onProcessor(cpu, p.cmd.Start)
	if err = errors.Join(err, out.Close()); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process and waits for its end, which must be a clean one.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s does not stop on SIGTERM", p.cmd.Path), p.cmd.Process.Kill())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", p.cmd.Path, p.err, p.lastWords())
	}
	return nil
}

// kill ends a process that does not handle SIGTERM.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.done
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// lastWords returns the end of the process's output.
func (p *process) lastWords() string {
	said, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// until waits until ready returns true. It fails if the process ends before, or
// after [patience].
func (p *process) until(what string, ready func() bool) error {
	for deadline := time.Now().Add(patience); !ready(); time.Sleep(200 * time.Microsecond) {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before %s: %w\n%s", p.cmd.Path, what, p.err, p.lastWords())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: no %s within %v\n%s", p.cmd.Path, what, patience, p.lastWords())
		}
	}
	return nil
}

// untilListening waits until a socket accepts connections.
func (p *process) untilListening(socket string) error {
	return p.until("socket "+socket, func() bool { return connects(socket) })
}

func connects(socket string) bool {
	conn, err := net.Dial("unix", socket)
	return err == nil && conn.Close() == nil
}

// onProcessor runs f, which starts a process, so that the process stays on one
// processor: it inherits the calling thread's.
func onProcessor(cpu int, f func() error) error {
	if cpu < 0 {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	return errors.Join(f(), unix.SchedSetaffinity(0, &before))
}

// lastProcessor is the last of those that this process may use: the first ones
// get the machine's interrupts.
func lastProcessor() (int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, err
	}
	last := 0
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			last = cpu
		}
	}
	return last, nil
}
