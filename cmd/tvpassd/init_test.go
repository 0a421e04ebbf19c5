package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Root's script for SysV stops the service, whoever else runs the same program,
// and keeps its file to itself, whatever the umask.
func TestTheInitScriptBesideAnothersDaemon(t *testing.T) {
	l, exe := userLab(t)
	text, err := os.ReadFile("../../daemon/service/tvpassd.init")
	l.must(err)
	l.program("init", strings.NewReplacer(
		"exe=/usr/bin/tvpassd", "exe="+exe, `"run --user tvpass"`,
		fmt.Sprintf(`"run --user %s --config %s"`, unprivileged, l.path("config.toml")),
		"#run --user tvpass}", "#run --user "+unprivileged+"}", "id -u tvpass", "id -u "+unprivileged,
		"/run/tvpassd.pid", l.path("pid"), "[ -d /run ] || pidfile", "false && pidfile",
		"RUNTIME_DIRECTORY=/run/tvpassd", "RUNTIME_DIRECTORY="+l.path("runtime"),
		"logger -t tvpassd -p daemon.info", "cat >>"+l.path("log"),
	).Replace(string(text)))
	script := func(action string) result { return l.exec(nil, "", "sh", "-c", "umask 0; "+l.path("init")+" "+action) }
	defer script("stop")
	script("start").expect(t, 0, "started")
	if _, mode := owner(t, l.path("pid")); mode&0o022 != 0 {
		t.Errorf("others may write to the file of the loop: %o", mode)
	}

	l.must(os.Mkdir(l.path("theirs"), 0o755))
	l.must(os.Chown(l.path("theirs"), int(stranger.Uid), int(stranger.Gid)))
	l.write("theirs.toml", fmt.Sprintf("endpoint = %q\nstate_dir = \"theirs/state\"\naccept_volatile_state = true\n"+
		"[socket]\npath = \"theirs/sock\"\ngroup = \"\"\n", l.endpoint))
	theirs := l.startAs(stranger, exe, "run", "--config", l.path("theirs.toml"))
	t.Cleanup(theirs.kill)
	theirs.until("socket", func() bool { return l.exists("theirs/sock") })

	script("restart").expect(t, 0, "stopped", "started")
	script("stop").expect(t, 0, "stopped")
	if slices.Contains([]int{0, 1, 2}, l.run("status").code) {
		t.Error("it still runs")
	}
	if theirs.cmd.Process.Signal(syscall.Signal(0)) != nil {
		t.Error("the other daemon was stopped, too")
	}
}
