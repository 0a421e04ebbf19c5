package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// give makes a file another user's.
func (l *lab) give(who *syscall.Credential, names ...string) {
	l.t.Helper()
	for _, name := range names {
		l.must(os.Lchown(l.path(name), int(who.Uid), int(who.Gid)))
	}
}

// restart ends the daemon and starts it again.
func (l *lab) restart() {
	l.t.Helper()
	l.daemon.stop()
	l.up()
}

// TestAnIDStaysWithItsFile lets a stranger claim a player's id, with a file
// whose name comes first, across reloads, restarts and a lost database. The id
// moves within a user and to root's files; to the stranger's only if an admin
// accepts that.
func TestAnIDStaysWithItsFile(t *testing.T) {
	needRoot(t)
	l := newLab(t)
	const players, evil = "apps.d/ref30.toml", "apps.d/00-evil.toml"
	l.addApp("ref30", "allow_users = [61001]")
	l.give(player, players, "apps.d/ref30.jwt")
	l.up()
	l.tokenOf(player, "ref30")
	l.write("apps.d/evil.jwt", l.read("apps.d/ref30.jwt"))
	l.write(evil, strings.Replace(strings.Replace(l.read(players), "ref30.jwt", "evil.jwt", 1), "61001", "61002", 1))
	l.give(stranger, evil, "apps.d/evil.jwt")

	const taken, waits = `00-evil.toml:2: [[app]] id "ref30" is taken by `, `id "ref30" belongs to user 61001`
	inForce := func(file string, who *syscall.Credential, complaint string) {
		t.Helper()
		for _, caller := range []*syscall.Credential{player, stranger} {
			if caller == who {
				l.tokenOf(caller, "ref30")
			} else if got := l.curlAs(caller, "/v1/apps/ref30/token"); got.code != 403 {
				t.Errorf("with %s in force user %d gets %d %s", file, caller.Uid, got.code, got.stdout)
			}
		}
		l.run("config", "check").expect(t, 1, complaint)
		l.run("status", "--json").expect(t, 1, "app_disabled", strings.ReplaceAll(complaint, `"`, `\"`))
	}
	l.run("reload").expect(t, 0)
	inForce(players, player, taken+l.path(players))
	l.restart()
	inForce(players, player, taken+l.path(players))
	l.daemon.kill()
	l.must(os.Remove(l.path("state/tvpassd.db")))
	l.up()
	inForce(players, player, taken+l.path(players))

	l.must(os.Rename(l.path(players), l.path("apps.d/99.toml")))
	l.run("reload").expect(t, 0)
	inForce("99.toml", player, taken+l.path("apps.d/99.toml"))
	l.run("reload", "--accept", "ref30").expect(t, 0) // nothing waits for it
	inForce("99.toml", player, taken+l.path("apps.d/99.toml"))

	l.must(os.Remove(l.path("apps.d/99.toml")))
	l.restart()
	inForce("nobody's file", nil, waits)
	l.run("reload", "--accept", "other").expect(t, 1, "no file in apps.d waits for this id")
	l.run("reload", "--accept", "ref30").expect(t, 0)
	l.restart()
	l.run("config", "check").expect(t, 0)
	l.tokenOf(stranger, "ref30")
	l.expectCalls(1, 2) // the database took the first token along
}
