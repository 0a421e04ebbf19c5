package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// A damaged database is mended and reported: to admins in detail, to players
// without anything about other apps, and never with a secret.
func TestADamagedStateIsToldOf(t *testing.T) {
	needRoot(t)
	l := newLab(t)
	l.addApp("ref30", "allow_users = [61001]")
	l.addApp("hidden", "allow_groups = [61777]")
	d := l.up()
	l.token()
	l.tokenOf(nil, "hidden")
	d.stop()
	copied := l.read("state/tvpassd.copy")
	_, after, _ := strings.Cut(copied, `"client_secret":"`)
	secret, _, _ := strings.Cut(after, `"`)

	// One bit of a key's length, so that the key seems to hold what stands
	// behind it.
	db := []byte(l.read("state/tvpassd.db"))
	spoilt := 0
	for page := 0; page+4096 <= len(db); page += os.Getpagesize() {
		if kind, count := db[page+8], int(db[page+10]); kind == 2 { // a leaf: behind 16 bytes of header come elements of 16
			for n := range count {
				db[page+16+16*n+9] ^= 1
				spoilt++
			}
		}
	}
	if spoilt == 0 || secret == "" {
		t.Fatal("the form of the files is not known")
	}
	l.must(os.WriteFile(l.path("state/tvpassd.db"), db, 0o600))
	l.up()
	l.token()
	l.run("status").expect(t, 1, "warning state_mended", ".damaged-")
	players := l.curlAs(player, "/v1/status").stdout
	if strings.Contains(players, "hidden") || strings.Contains(players, ".damaged-") ||
		!strings.Contains(players, "state_mended") {
		t.Errorf("a player is told %s", players)
	}
	for who, said := range map[string]string{"a player": players, "root": l.run("status", "--json").stdout,
		"the log": l.daemon.stderr.String()} {
		if strings.Contains(said, secret) || strings.Contains(said, "client_secret") {
			t.Errorf("%s is told a secret\n%s", who, said)
		}
	}
	if n := len(l.requests("/register")); n != 2 {
		t.Errorf("%d registrations, want the first two alone", n)
	}
}

// The reader of the log may go away.
func TestALogThatNobodyReads(t *testing.T) {
	l := newLab(t)
	read, write, err := os.Pipe()
	l.must(err)
	d := l.startTo(write, programs.tvpassd, "run", "--config", l.path("config.toml"))
	l.daemon = d
	t.Cleanup(d.kill)
	l.must(write.Close())
	d.until("socket", func() bool { return l.exists("sock") })
	l.must(read.Close())
	l.run("reload").expect(t, 0)
	l.token()
	l.must(d.cmd.Process.Signal(syscall.SIGTERM))
	if code := d.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
