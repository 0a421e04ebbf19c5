package server

import (
	"slices"
	"testing"
)

func TestPolicy(t *testing.T) {
	p := &Policy{Owner: 900, AdminGroup: new(uint32(50)), Apps: map[string]Allow{
		"open":   {Everyone: true},
		"users":  {Users: []uint32{1000}},
		"groups": {Groups: []uint32{60, 61}},
		"nobody": {},
	}}
	all := []string{"groups", "nobody", "open", "users"}
	for _, test := range []struct {
		name  string
		peer  Peer
		admin bool
		want  []string
	}{
		{"root", Peer{UID: 0, GID: 7}, true, all},
		{"owner", Peer{UID: 900, GID: 7}, true, all},
		{"admin by primary group", Peer{UID: 5, GID: 50}, true, all},
		{"admin by another group", Peer{UID: 5, GID: 7, Groups: []uint32{1, 50}}, true, all},
		{"user", Peer{UID: 1000, GID: 7}, false, []string{"open", "users"}},
		{"member by primary group", Peer{UID: 5, GID: 61}, false, []string{"groups", "open"}},
		{"member by another group", Peer{UID: 5, GID: 7, Groups: []uint32{60}}, false, []string{"groups", "open"}},
		{"a group that has a user's number", Peer{UID: 5, GID: 1000, Groups: []uint32{900, 0}}, false,
			[]string{"open"}},
		{"a user that has a group's number", Peer{UID: 60, GID: 7}, false, []string{"open"}},
	} {
		if got := p.Usable(test.peer); p.Admin(test.peer) != test.admin || !slices.Equal(got, test.want) {
			t.Errorf("%s: admin %v, may use %q", test.name, p.Admin(test.peer), got)
		}
		if p.MayUse(test.peer, "unknown") {
			t.Errorf("%s may use what doesn't exist", test.name)
		}
	}
	// Without an admin group, group 0 makes no admin.
	if (&Policy{Owner: 900}).Admin(Peer{UID: 5, GID: 0, Groups: []uint32{0}}) {
		t.Error("group 0 is an admin")
	}
}
