package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// docs/first-player.md is played through in a shell: what it says to type prints
// what it says, from an empty directory to a decision.
func TestFirstPlayer(t *testing.T) {
	needTools(t, "bash", "curl", "python3")
	l := newLab(t) // for its directory: the page starts a simulator of its own
	page := l.page("first-player.md")
	l.must(os.Mkdir(l.path("lab"), 0o755))
	for _, block := range fence.FindAllStringSubmatch(page, -1) {
		switch name, _, _ := strings.Cut(strings.TrimPrefix(block[2], "# "), "\n"); block[1] {
		case "python":
			l.write("lab/"+name, block[2])
		case "console":
		default:
			t.Errorf("a block of %s, which nothing runs:\n%s", block[1], block[2])
		}
	}
	sh := l.shell("bash")
	sh.run(typed{command: "PATH=" + programs.dir + ":$PATH"})
	steps := typedSteps(t, page)
	for _, s := range steps {
		sh.run(s)
	}
	if len(steps) < 15 {
		t.Errorf("the page has only %d commands", len(steps))
	}
	for _, path := range []string{"lab/passsim.log", "lab/tvpassd.log"} {
		if t.Failed() {
			t.Logf("%s:\n%s", path, l.read(path))
		}
	}
}

// The sign-in by curl of docs/players.md is typed as it stands there, by the user of
// the page's app.
func TestSignInByCurl(t *testing.T) {
	l := pageLab(t)
	page := l.page("players.md")
	device := l.device()
	l.typesIn(device, "root", "useradd --system --user-group --groups tvpass player").expect(t, 0)
	for _, block := range fence.FindAllStringSubmatch(page, -1) {
		if block[1] == "toml" {
			l.write("ref30.toml", block[2])
		}
	}
	files := fmt.Sprintf("cp %s %s /etc/tvpassd/apps.d/ && tvpassd reload",
		l.path("ref30.toml"), l.path("apps.d/ref30.jwt"))
	l.typesIn(device, "root", files).expect(t, 0)
	home := l.path("home")
	l.must(os.Mkdir(home, 0o777))
	l.must(os.Chmod(home, 0o777))
	sh := l.shell("nsenter", "--mount", "--root", "--wd", fmt.Sprintf("--target=%d", device.cmd.Process.Pid),
		"setpriv", "--reuid=player", "--regid=player", "--init-groups", "bash")
	sh.run(typed{command: "cd " + home})
	steps := typedSteps(t, page)
	for _, s := range steps {
		sh.run(s)
		if strings.Contains(s.output, `{"profiles":{}}`) { // the viewer signs in
			l.order("POST", "/sign-in", fmt.Sprintf(`{"code":%q}`, field(t, l.read("home/session"), "code")))
		}
	}
	if len(steps) < 8 {
		t.Errorf("the page has only %d commands", len(steps))
	}
}

func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: this takes apt-get install %s", err, strings.Join(tools, " "))
		}
	}
}

// shell is a shell that is typed into, command by command.
type shell struct {
	*process
	in io.WriteCloser
}

// shell starts a shell, whatever program it takes to get into one.
func (l *lab) shell(name string, args ...string) *shell {
	l.t.Helper()
	p := &process{t: l.t, cmd: exec.Command(name, args...), stderr: &logBuffer{}, done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stderr, p.cmd.Stdout = l.dir, p.stderr, p.stderr
	in, err := p.cmd.StdinPipe()
	l.must(err)
	p.run(l, nil)
	s := &shell{p, in}
	l.t.Cleanup(func() {
		_, _ = io.WriteString(in, "kill $(jobs -p) 2>/dev/null\n") // the shell may have ended
		in.Close()
		<-p.done
	})
	return s
}

// typed is a command of a page, and what it prints.
type typed struct{ command, output string }

// typedSteps are the commands that a page has somebody type: what stands behind
// "$ ", and goes on behind "> ".
func typedSteps(t *testing.T, page string) []typed {
	t.Helper()
	var steps []typed
	for _, block := range fence.FindAllStringSubmatch(page, -1) {
		if block[1] != "console" {
			continue
		}
		open := false // a command has begun, and nothing has been printed
		for line := range strings.Lines(block[2]) {
			command, isCommand := strings.CutPrefix(line, "$ ")
			more, goesOn := strings.CutPrefix(line, "> ")
			switch {
			case isCommand:
				steps, open = append(steps, typed{command: command}), true
			case len(steps) == 0:
				t.Fatalf("a block begins with %q", line)
			case goesOn && open:
				steps[len(steps)-1].command += more
			default:
				steps[len(steps)-1].output += line
				open = false
			}
		}
	}
	return steps
}

// run types a command, and wants it to print what the page has.
func (s *shell) run(step typed) {
	s.t.Helper()
	const end = "\n-- end of the command --\n"
	before := len(s.stderr.String())
	if _, err := fmt.Fprintf(s.in, "%s\nprintf %q\n", strings.TrimSuffix(step.command, "\n"), end); err != nil {
		s.t.Fatal(err)
	}
	var got string
	s.until("end of "+step.command, func() bool {
		var ended bool
		got, ended = strings.CutSuffix(s.stderr.String()[before:], end)
		return ended
	})
	pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSuffix(step.output, "\n")), "…", ".*")
	if !regexp.MustCompile("^" + pattern + "\\n?$").MatchString(got) {
		s.t.Errorf("typed: %s\nprinted:\n%s\nbut the page has:\n%s", step.command, got, step.output)
	}
}
