package clock

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asleep is how long the device of the next test has slept since boot.
const asleep = 24 * time.Hour

// TestASuspendCounts runs itself in a time namespace in which CLOCK_BOOTTIME is
// a day ahead of CLOCK_MONOTONIC, as on a device that has slept for a day. A
// real suspend would stop this machine.
func TestASuspendCounts(t *testing.T) {
	const inside = "TVPASSD_TEST_ASLEEP"
	if os.Getenv(inside) != "" {
		expectSlept(t)
		return
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Fatal("this test needs unshare: install util-linux")
	}
	namespace := []string{"--time", "--boottime", "86400"}
	if os.Getuid() != 0 {
		namespace = append(namespace, "--user", "--map-root-user")
	}
	if out, err := exec.Command(unshare, append(namespace, "true")...).CombinedOutput(); err != nil {
		t.Skipf("the kernel allows no time namespace here: %v: %s", err, out)
	}
	cmd := exec.Command(unshare, append(namespace, os.Args[0], "-test.run=^TestASuspendCounts$", "-test.v")...)
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestASuspendCounts") {
		t.Errorf("in the namespace: %v\n%s", err, out)
	}
}

func expectSlept(t *testing.T) {
	var awake unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake); err != nil {
		t.Fatal(err)
	}
	a := newAlarm(t)
	if slept := a.clock.Now().Boot - time.Duration(awake.Nano()); slept < asleep || slept > asleep+time.Hour {
		t.Errorf("Boot is %v ahead of the time awake, want %v", slept, asleep)
	}
	at := a.clock.Now().Boot + 30*time.Millisecond
	a.Set(at)
	expectRing(t, a)
	if now := a.clock.Now().Boot; now < at {
		t.Errorf("the alarm rang %v too early", at-now)
	}
}
