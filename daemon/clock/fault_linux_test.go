package clock

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestTheAlarmRingsWhateverTheKernelRefuses runs itself under strace, which
// makes the timerfd's system calls fail. It is not parallel to other tests: it
// steps the clock.
func TestTheAlarmRingsWhateverTheKernelRefuses(t *testing.T) {
	const inside = "TVPASSD_TEST_REFUSED"
	if os.Getenv(inside) != "" {
		expectRingsAllTheSame(t)
		return
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test needs strace: install strace")
	}
	for name, faults := range map[string][]string{
		"every set":      {"-e", "inject=timerfd_settime:error=EINVAL"},
		"a few sets":     {"-e", "inject=timerfd_settime:error=EINVAL:when=1..3"},
		"every read":     {"-P", "anon_inode:[timerfd]", "-e", "inject=read:error=EIO"},
		"the first read": {"-P", "anon_inode:[timerfd]", "-e", "inject=read:error=EIO:when=1"},
		"the timer":      {"-e", "inject=timerfd_create:error=ENOSYS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"-f", "-qq", "-o", os.DevNull}, faults...)
			args = append(args, os.Args[0], "-test.run=^TestTheAlarmRingsWhateverTheKernelRefuses$", "-test.v")
			cmd := exec.Command(strace, args...)
			cmd.Env = append(os.Environ(), inside+"=1")
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestTheAlarmRings") {
				t.Errorf("under strace: %v\n%s", err, out)
			}
		})
	}
}

func expectRingsAllTheSame(t *testing.T) {
	var logs bytes.Buffer
	a := NewAlarm(NewSystem(), slog.New(slog.NewTextHandler(&logs, nil)))
	for range 3 {
		at := a.clock.Now().Boot + 20*time.Millisecond
		a.Set(at)
		for a.clock.Now().Boot < at {
			expectRing(t, a)
		}
	}
	a.Set(math.MaxInt64)
	step(t)
	expectRing(t, a)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(logs.String(), "the kernel's timer fails"); n != 1 {
		t.Errorf("the failure is told %d times, want once: %s", n, &logs)
	}
}
