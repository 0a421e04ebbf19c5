package main

import (
	"strings"
	"syscall"
	"testing"
)

// A reload that takes a right away ends the watches that lived by it, and no
// others.
func TestAReloadEndsTheWatchesWhoseRightItTakes(t *testing.T) {
	needRoot(t)
	l := newLab(t)
	l.addApp("ref30", "allow_users = [61001, 61002]")
	l.up()
	first := l.token()
	watch := func(who *syscall.Credential) *process {
		t.Helper()
		w := l.startAs(who, "curl", "-sSN", "--unix-socket", l.path("sock"), "http://tvpassd/v1/apps/ref30/watch")
		t.Cleanup(w.kill)
		w.until("first token", func() bool { return strings.Contains(w.stderr.String(), first) })
		return w
	}
	stays, goes := watch(player), watch(stranger)
	l.addApp("ref30", "allow_users = [61001]")
	l.run("reload").expect(t, 0)
	if code := goes.exit(); code != 0 {
		t.Errorf("the watch ends with %d\n%s", code, goes.stderr)
	}
	l.run("refresh", "--app", "ref30").expect(t, 0)
	stays.until("second token", func() bool { return strings.Count(stays.stderr.String(), "event: token") == 2 })
	if strings.Count(goes.stderr.String(), "event: token") != 1 {
		t.Errorf("the other one was told of it too\n%s", goes.stderr)
	}
}

// To list the groups of a caller with 65,536 takes milliseconds for each
// connection. So those of a caller with too many do not count, and both sides
// learn why.
func TestACallerInManyGroups(t *testing.T) {
	needRoot(t)
	l := newLab(t)
	l.addApp("grouped", `allow_groups = ["61500"]`)
	l.up()
	for count, want := range map[uint32]int{200: 200, 300: 403} {
		who := &syscall.Credential{Uid: 61002, Gid: 61002}
		for i := range count {
			who.Groups = append(who.Groups, 61500+i)
		}
		a := l.curlAs(who, "/v1/apps/grouped/token?wait=60s")
		a.expect(t, want)
		if strings.Contains(a.stdout, "more than 256 groups") != (want == 403) {
			t.Errorf("a caller in %d groups is told: %s", count, a.stdout)
		}
	}
	if log := l.daemon.stderr.String(); !strings.Contains(log, "code=too_many_groups uid=61002") {
		t.Errorf("the log: %s", log)
	}
	l.daemon.stop()
}
