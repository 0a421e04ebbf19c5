package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/several-apps.md is played through, word by word: its files are dropped,
// its commands typed by real users, and what they print is what stands there. A
// mount namespace gives the test an /etc of its own to make users in.
func TestSeveralApps(t *testing.T) {
	l := pageLab(t)
	page := l.page("several-apps.md")
	for name, text := range pageFiles(page) {
		l.write("packages/"+name, text)
		id := strings.TrimSuffix(name, ".toml")
		statement, err := exec.Command(programs.passsim, "-statement", id).Output()
		l.must(err)
		l.write("packages/"+id+".jwt", string(statement))
	}
	device := l.device()

	steps := pageSteps(page)
	if len(steps) < 10 {
		t.Fatalf("the page has only %d commands", len(steps))
	}
	for _, s := range steps {
		r := l.typesIn(device, s.user, s.command)
		if got := r.stdout + r.stderr; !s.prints.MatchString(got) {
			t.Errorf("%s types: %s\nand sees (exit %d):\n%s\nbut the page has:\n%s", s.user, s.command, r.code, got, s.output)
		}
	}
	for path, want := range map[string]int{"/register": 2, "/token": 2} {
		if n := len(l.requests(path)); n != want {
			t.Errorf("%d requests to …%s, want %d", n, path, want)
		}
	}
}

// pageLab is a lab for pages that are played through by real users.
func pageLab(t *testing.T) *lab {
	t.Helper()
	needRoot(t)
	for _, tool := range []string{"unshare", "nsenter", "setpriv", "useradd", "usermod", "groupadd", "gpasswd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: this takes apt-get install util-linux passwd", err)
		}
	}
	needMounts(t)
	l := newLab(t)
	l.must(os.Mkdir(l.path("packages"), 0o755))
	return l
}

// page returns a page of the documents.
func (l *lab) page(name string) string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	l.must(err)
	return string(text)
}

// device starts a daemon in a mount namespace with an /etc of its own.
func (l *lab) device() *process {
	l.t.Helper()
	l.write("device.toml", fmt.Sprintf("endpoint = %q\naccept_volatile_state = true\n"+
		"[device]\nmodel = \"Box\"\nversion = \"1\"\n[http]\nca_file = %q\n", l.endpoint, l.path("ca.pem")))
	b := l.start("unshare", "--mount", "--propagation", "private", "sh", "-euc", deviceScript, "sh", l.dir,
		programs.tvpassd)
	l.t.Cleanup(b.kill)
	b.until("socket", func() bool { return l.typesIn(b, "root", "tvpassd status").code < 3 })
	return b
}

// deviceScript makes a device of a namespace: the files of tvpassd's package,
// and the daemon.
const deviceScript = `
cp -a /etc "$1/etc"
mount --bind "$1/etc" /etc
for dir in /run /var/lib /var/log; do mount -t tmpfs tmpfs $dir; done
rm -rf /etc/tvpassd
mkdir -p /etc/tvpassd/apps.d /run/tvpassd /var/lib/tvpassd
cp "$1/device.toml" /etc/tvpassd/config.toml
groupadd --system --force tvpass
exec "$2" run
`

// typesIn makes a user of the device type a command, in the directory with the
// players' packages.
func (l *lab) typesIn(device *process, user, command string) result {
	l.t.Helper()
	script := fmt.Sprintf("cd %s && export PATH=%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin &&"+
		" exec setpriv --reuid=%s --regid=$(id -g %s) --init-groups sh -c \"$1\"",
		l.path("packages"), programs.dir, user, user)
	return l.exec(nil, "", "nsenter", "--mount", "--root", "--wd", fmt.Sprintf("--target=%d", device.cmd.Process.Pid),
		"sh", "-c", script, "sh", command)
}

// step is a command of the page, who types it, and what it prints.
type step struct {
	user, command, output string
	prints                *regexp.Regexp
}

var (
	fence  = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")
	prompt = regexp.MustCompile(`^(?:# |([a-z]+)\$ )(.*)$`)
)

// pageFiles are the files that the page shows, under the names in their first
// lines.
func pageFiles(page string) map[string]string {
	files := map[string]string{}
	for _, block := range fence.FindAllStringSubmatch(page, -1) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(block[2], "# "), "\n"); ok && block[1] == "toml" {
			files[name] = block[2]
		}
	}
	return files
}

// pageSteps are the commands that the page shows.
func pageSteps(page string) []step {
	var steps []step
	for _, block := range fence.FindAllStringSubmatch(page, -1) {
		if block[1] != "console" {
			continue
		}
		for line := range strings.Lines(block[2]) {
			if typed := prompt.FindStringSubmatch(strings.TrimSuffix(line, "\n")); typed != nil {
				steps = append(steps, step{user: typed[1], command: typed[2]})
				if typed[1] == "" {
					steps[len(steps)-1].user = "root"
				}
			} else {
				steps[len(steps)-1].output += line
			}
		}
	}
	for i, s := range steps {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(s.output), "…", ".*")
		steps[i].prints = regexp.MustCompile(`^` + pattern + `$`)
	}
	return steps
}
