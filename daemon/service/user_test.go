package service

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns a new terminal, that is the controlling one of no session.
func terminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return tty
}

// The daemon weighs its session only if nothing but the service is in it.
func TestOwnSession(t *testing.T) {
	if os.Getenv("OWN_SESSION") != "" {
		fmt.Println("own session:", ownSession())
		return
	}
	const loop = `"$0" "$@"; exit $?`
	for name, tc := range map[string]struct {
		before []string // what starts the daemon
		tty    bool
		want   bool
	}{
		"by itself":              {nil, false, true},
		"by itself, a terminal":  {nil, true, true},
		"by a loop":              {[]string{"sh", "-c", loop}, false, true},
		"by a login shell":       {[]string{"sh", "-c", loop}, true, false},
		"by a script of another": {[]string{"sh", "-c", loop, "sh", "-c", loop}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(tc.before, os.Args[0], "-test.run=^TestOwnSession$", "-test.v")
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(os.Environ(), "OWN_SESSION=1")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if tc.tty {
				cmd.Stdin, cmd.SysProcAttr.Setctty = terminal(t), true
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), fmt.Sprint("own session: ", tc.want)) {
				t.Errorf("want %v: %v\n%s", tc.want, err, out)
			}
		})
	}
}
