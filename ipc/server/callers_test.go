package server

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// An ambiguous name lists the apps of its caller, and no others.
func TestAmbiguousListsWithTwoUsersAndThreeApps(t *testing.T) {
	l := startLab(t, nil)
	l.policy.Store(&Policy{Apps: map[string]Allow{
		"alpha": {Users: []uint32{alice, bob}}, "beta": {Users: []uint32{alice}},
		"gamma": {Groups: []uint32{groupTwo}},
	}})
	for _, tc := range []struct {
		uid  uint32
		list string
		not  []string
	}{
		{alice, "(alpha, beta): name one, with --app ID, or as in /v1/apps/", []string{"gamma"}},
		{bob, "alpha, gamma", []string{"beta"}},
		{root, "alpha, beta, gamma", nil},
		{stranger, "", []string{"alpha", "beta", "gamma"}},
	} {
		for _, path := range []string{"/v1/token", "/v1/headers"} {
			p := l.ask(tc.uid, "GET", path, "").problem(t)
			if p.Status != 409 || !strings.Contains(p.Detail, tc.list) {
				t.Errorf("%s for %d: %d %s", path, tc.uid, p.Status, p.Detail)
			}
			for _, other := range tc.not {
				if strings.Contains(p.Detail, other) {
					t.Errorf("%s for %d names %s: %s", path, tc.uid, other, p.Detail)
				}
			}
		}
	}
	l.policy.Store(&Policy{Apps: map[string]Allow{"only": {}}})
	if a := l.ask(root, "GET", "/v1/token", ""); !strings.Contains(a.body, `"app":"only"`) {
		t.Errorf("an admin, one app: %s %s", a.Status, a.body)
	}
}

// Two processes of one user may be in different groups, and have different
// rights then.
func TestGroupsAreThoseOfTheConnection(t *testing.T) {
	l := startLab(t, nil)
	l.stop()
	var member atomic.Bool
	l.server.identify = func(int) (Peer, error) {
		p := Peer{UID: stranger, GID: stranger}
		if member.Load() {
			p.Groups = []uint32{groupTwo}
		}
		return p, nil
	}
	l.run()
	expect := func(c net.Conn, status int) {
		t.Helper()
		if a := l.askOn(c, "GET", "/v1/apps/two/token", ""); a.StatusCode != status {
			t.Errorf("status %d, want %d: %s", a.StatusCode, status, a.body)
		}
	}
	before := l.dial(stranger)
	expect(before, 403)
	member.Store(true)
	inside := l.dial(stranger)
	expect(inside, 200)
	expect(before, 403)
	member.Store(false)
	after := l.dial(stranger)
	expect(after, 403)
	expect(inside, 200)
}
