package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// programs are the binaries under attack.
type programs struct{ tvpassd, passsim string }

// The users of the lab. They need no names.
const (
	victim   = 20001 // may use the app
	entitled = 20002 // may use it too, and so may those who follow
	stranger = 20010 // may use nothing, and neither may those who follow
)

const app = "ref30"

// lab is a simulator with a configuration of a daemon that has a token.
type lab struct {
	programs programs
	dir      string
	passsim  *exec.Cmd
}

func newLab(ctx context.Context, p programs) (_ *lab, err error) {
	if os.Getuid() != 0 {
		return nil, errors.New("only root can be several users: run this as root")
	}
	dir, err := os.MkdirTemp("", "abuse")
	if err != nil {
		return nil, err
	}
	l := &lab{programs: p, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	l.passsim = exec.CommandContext(ctx, p.passsim, "-listen", "127.0.0.1:0", "-tls", "-ca-out", l.path("ca.pem"),
		"-addr-out", l.path("addr"))
	if err := l.passsim.Start(); err != nil {
		l.passsim = nil
		return nil, fmt.Errorf("start the simulator (make build makes it): %w", err)
	}
	if err := until("the simulator is up", func() bool { return l.read("addr") != "" }); err != nil {
		return nil, err
	}
	statement, err := exec.CommandContext(ctx, p.passsim, "-statement", app).Output()
	if err != nil {
		return nil, fmt.Errorf("get a software statement: %w", err)
	}
	config := fmt.Sprintf("endpoint = %q\nstate_dir = %q\naccept_volatile_state = true\n"+
		"[socket]\npath = %q\ngroup = \"\"\nmode = \"0666\"\n"+
		"[http]\nca_file = %q\n[[app]]\nid = %q\nsoftware_statement = %q\nallow_users = [%s]\n",
		l.read("addr"), l.path("state"),
		l.socket(), l.path("ca.pem"), app, strings.TrimSpace(string(statement)), allowed())
	return l, os.WriteFile(l.path("config.toml"), []byte(config), 0o600)
}

// allowed lists the users who may use the app.
func allowed() string {
	var users []string
	for uid := victim; uid < stranger; uid++ {
		users = append(users, strconv.Quote(strconv.Itoa(uid)))
	}
	return strings.Join(users, ", ")
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }
func (l *lab) socket() string          { return l.path("sock") }

func (l *lab) read(name string) string {
	content, err := os.ReadFile(l.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

func (l *lab) close() error {
	var err error
	if l.passsim != nil {
		err = l.passsim.Process.Kill()
		_ = l.passsim.Wait() // it was killed
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// until waits up to a minute for something.
func until(what string, done func() bool) error {
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain until %s", what)
		}
	}
	return nil
}

// result is what came of an attack.
type result struct {
	victim    tally
	attackers tally // the sum
	rss       int64 // the highest, in bytes
	cpu       time.Duration
	log       string
}

// run starts a daemon, attacks it, and has the victim play a role meanwhile.
func (l *lab) run(ctx context.Context, a attack, role string, lasts time.Duration) (r result, err error) {
	log, err := os.Create(l.path("log"))
	if err != nil {
		return r, err
	}
	defer log.Close()
	daemon := exec.CommandContext(ctx, l.programs.tvpassd, "run", "--config", l.path("config.toml"))
	daemon.Stderr = log
	if err := daemon.Start(); err != nil {
		return r, fmt.Errorf("start tvpassd (make build makes it): %w", err)
	}
	defer func() {
		err = errors.Join(err, daemon.Process.Signal(syscall.SIGTERM), daemon.Wait())
		r.log = l.read("log")
	}()
	err = until("there is a token", func() bool {
		c, err := net.Dial("unix", l.socket())
		if err != nil {
			return false
		}
		defer c.Close()
		status, _, err := ask(c, bufio.NewReader(c), "GET /v1/apps/"+app+"/token?wait=30s")
		return err == nil && status == 200
	})
	if err != nil {
		return r, fmt.Errorf("%w\n%s", err, l.read("log"))
	}
	peak := watchRSS(daemon.Process.Pid)
	before := cpuTime(daemon.Process.Pid)
	var all sync.WaitGroup
	defer all.Wait()
	var mu sync.Mutex
	var failed error
	for _, part := range a.parts {
		all.Go(func() {
			t, err := l.as(ctx, part, lasts)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			r.attackers.Answered += t.Answered
			r.attackers.Refused += t.Refused
		})
	}
	if err := sleep(ctx, lasts/5); err != nil { // the attack begins first
		return r, err
	}
	r.victim, err = l.as(ctx, part{uid: victim, role: role}, lasts*3/5)
	all.Wait()
	r.rss = peak()
	r.cpu = cpuTime(daemon.Process.Pid) - before
	return r, errors.Join(err, failed)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// as plays a role as its user, in a process of its own.
func (l *lab) as(ctx context.Context, p part, lasts time.Duration) (t tally, err error) {
	exe, err := os.Open("/proc/self/exe") // which other users may not find by its path
	if err != nil {
		return t, err
	}
	defer exe.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{exe}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), roleVariable+"="+p.role, "SOCKET="+l.socket(),
		"CONNECTIONS="+strconv.Itoa(p.connections), "LASTS="+lasts.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: p.uid, Gid: p.uid}}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &t)
	}
	if err != nil {
		err = fmt.Errorf("%s as user %d: %w", p.role, p.uid, err)
	}
	return t, err
}

// watchRSS follows the memory of a process. The returned function stops that
// and returns the highest value.
func watchRSS(pid int) (peak func() int64) {
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		var highest int64
		for {
			select {
			case <-time.After(20 * time.Millisecond):
				highest = max(highest, rss(pid))
			case <-stop:
				most <- highest
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-most
	}
}

func rss(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err == nil {
				return kb << 10
			}
		}
	}
	return 0
}
