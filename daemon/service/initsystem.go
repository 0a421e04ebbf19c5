package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kardianos/service"
)

// initScript is the script for SysV and busybox.
const initScript = "tvpassd.init"

// initSystem is an init system other than systemd: a script that it runs, and what
// makes the boot run it.
type initSystem struct {
	name   string
	script string // its name among those that the packages ship
	path   string // where the script belongs

	enable [][]string   // commands that make the boot run the script; the first that works is enough
	boots  func() error // says why the boot would not run the script
}

const (
	etcInit = "/etc/init.d/" + name
	// Busybox runs what it finds in this order; network and log come before.
	busyboxInit = "/etc/init.d/S90" + name
)

// otherInit returns the init system of this device, unless that is systemd or
// upstart, which kardianos/service knows.
func otherInit() *initSystem {
	sysv := &initSystem{
		name: "SysV", script: initScript, path: etcInit,
		enable: [][]string{{"update-rc.d", name, "defaults"}, {"chkconfig", "--add", name}},
		boots:  sysvBoots,
	}
	busybox := &initSystem{
		name: "busybox", script: initScript, path: busyboxInit, boots: busyboxBoots,
	}
	switch platform := service.ChosenSystem().String(); {
	case platform == systemd || platform == "linux-upstart":
		return nil
	case platform == "linux-openrc":
		return &initSystem{
			name: "OpenRC", script: "tvpassd.openrc", path: etcInit,
			enable: [][]string{{"rc-update", "add", name, "default"}},
			boots:  linkedBy("/etc/runlevels/default/"+name, "rc-update add tvpassd default"),
		}
	case platform == "linux-procd":
		return &initSystem{
			name: "procd", script: "tvpassd.procd", path: etcInit,
			enable: [][]string{{etcInit, "enable"}},
			boots:  linkedBy("/etc/rc.d/S[0-9][0-9]"+name, "/etc/init.d/tvpassd enable"),
		}
	case isBusybox("/proc/1/exe") || isBusybox("/sbin/init"):
		return busybox
	}
	return sysv
}

func isBusybox(path string) bool {
	target, err := filepath.EvalSymlinks(path)
	return err == nil && strings.HasPrefix(filepath.Base(target), "busybox")
}

// text is the script with the command line of these options.
func (i *initSystem) text(o Options) string {
	arguments := "run --user tvpass"
	if o.ConfigFile != "" {
		arguments += " --config " + o.ConfigFile
	}
	return strings.NewReplacer(
		"exe="+packagedExecutable+"\n", "exe="+o.Executable+"\n",
		`arguments="run --user tvpass"`, `arguments="`+arguments+`"`,
	).Replace(shipped(i.script))
}

// install writes the script and makes the boot run it. If it can't be sure that
// the boot does, it takes the script away again.
func (i *initSystem) install(o Options) error {
	for _, path := range []string{o.Executable, o.ConfigFile} {
		if strings.ContainsAny(path, " \t\n\"'`$\\") {
			return fmt.Errorf("the path %q has characters that a shell script can't take: move it", path)
		}
	}
	if err := clear(); err != nil {
		return err
	}
	if err := os.WriteFile(i.path, []byte(i.text(o)), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(i.path, 0o755); err != nil { // whatever the umask
		return err
	}
	for _, command := range i.enable {
		if _, err := exec.LookPath(command[0]); err == nil && exec.Command(command[0], command[1:]...).Run() == nil {
			break
		}
	}
	if i.script == initScript && i.path == etcInit && i.boots() != nil {
		linkByHand()
	}
	if err := i.boots(); err != nil {
		return errors.Join(err, clear())
	}
	return nil
}

// linkByHand makes the links of SysV if no program of the system does. boots
// shows whether that helped.
func linkByHand() {
	for _, level := range []string{"0K10", "1K10", "2S90", "3S90", "4S90", "5S90", "6K10"} {
		for _, folder := range []string{"/etc/rc%c.d", "/etc/rc.d/rc%c.d"} {
			_ = os.Symlink(etcInit, filepath.Join(fmt.Sprintf(folder, level[0]), level[1:]+name))
		}
	}
}

// control runs the script.
func (i *initSystem) control(action string) error {
	if _, err := os.Stat(i.path); err != nil {
		return service.ErrNotInstalled
	}
	out, err := exec.Command(i.path, action).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", i.path, action, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (i *initSystem) where() string {
	return "the system's log (logread, /var/log/messages) and `tvpassd doctor`"
}

// linkedBy returns a check for a link that a command makes.
func linkedBy(pattern, command string) func() error {
	return func() error {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return nil
		}
		return fmt.Errorf("the boot would not start it: run `%s`", command)
	}
}

// bootLine is what a person adds to /etc/inittab if the boot runs no script.
const bootLine = "add this line to /etc/inittab: "

// sysvBoots checks that the default runlevel starts the script.
func sysvBoots() error {
	table, err := os.ReadFile("/etc/inittab")
	level := "2"
	if m := regexp.MustCompile(`(?m)^[^#:\n]*:([0-9]):initdefault:`).FindSubmatch(table); m != nil {
		level = string(m[1])
	}
	if err == nil && !regexp.MustCompile(`(?m)^[^#\n]*:[0-9]*`+level+`[0-9]*:[a-z]+:.*\brc\b`).Match(table) {
		return fmt.Errorf("/etc/inittab runs no scripts in runlevel %s: %stv:2345:wait:%s start", level, bootLine, etcInit)
	}
	for _, dir := range []string{"/etc/rc" + level + ".d", "/etc/rc.d/rc" + level + ".d"} {
		if found, _ := filepath.Glob(dir + "/S[0-9][0-9]" + name); len(found) > 0 {
			return nil
		}
	}
	return fmt.Errorf("the boot would not start it: no link in /etc/rc%s.d: %stv:2345:wait:%s start", level, bootLine,
		etcInit)
}

// busyboxBoots checks that the script which busybox's init runs first runs those
// in /etc/init.d whose names begin with S.
func busyboxBoots() error {
	first := "/etc/init.d/rcS" // unless the table names another one
	if table, err := os.ReadFile("/etc/inittab"); err == nil {
		if strings.Contains(string(table), busyboxInit+" start") {
			return nil
		}
		m := regexp.MustCompile(`(?m)^[^#:\n]*:[^:\n]*:sysinit:(?:/bin/sh )?(\S*/rcS)`).FindSubmatch(table)
		if m == nil {
			return fmt.Errorf("/etc/inittab runs no rcS: %s::once:%s start", bootLine, busyboxInit)
		}
		first = string(m[1])
	}
	text, err := os.ReadFile(first)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if regexp.MustCompile(`(?m)^[^#\n]*/etc/init\.d/(\$\{?\w+\}?/)?S(\?\?|\[0-9\]|\*)`).Match(text) ||
		strings.Contains(string(text), busyboxInit) {
		return nil
	}
	return fmt.Errorf("%s does not run the scripts /etc/init.d/S??*: %s::once:%s start", first, bootLine, busyboxInit)
}

// leftovers are the files of an installation, as patterns.
func leftovers() []string {
	return []string{
		unitFolder + name + ".service", unitFolder + name + ".socket", unitFolder + "*.wants/" + name + ".*",
		"/etc/init/" + name + ".conf", etcInit, busyboxInit, "/etc/runlevels/*/" + name, "/etc/rc.d/[SK][0-9][0-9]" + name,
		"/etc/rc*.d/[SK][0-9][0-9]" + name, "/etc/rc.d/rc[0-9].d/[SK][0-9][0-9]" + name,
	}
}
