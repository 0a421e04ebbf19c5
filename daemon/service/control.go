// Package service deals with the system around the daemon: it installs and
// controls the service, tells the service manager the daemon's state, takes over
// the socket and the log that the manager holds, and turns root into the daemon's
// user for good.
//
// It owns the unit, the init scripts and the directories that only root can make.
// It knows nothing of apps and tokens, and reads no configuration.
package service

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/kardianos/service"
)

// name is the name of the service on every system.
const name = "tvpassd"

// packagedExecutable is where the packages put the program; the unit and the
// scripts name it.
const packagedExecutable = "/usr/bin/tvpassd"

// systemd is the name that kardianos/service has for it.
const systemd = "linux-systemd"

// Options say what the service runs. Only install uses more than Stdout.
type Options struct {
	Executable string    // "" is the running program
	ConfigFile string    // "" is the default
	Stdout     io.Writer // what was done, for the person who asked; nil discards it
}

// Control installs, uninstalls, starts, stops or restarts the system service; action
// is one of these words. Installing again brings the service up to date. Neither
// installing nor uninstalling touches the configuration or the state.
func Control(action string, o Options) error {
	if !slices.Contains(service.ControlAction[:], action) {
		return fmt.Errorf("unknown action %q for a service", action)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("only root may %s the service: sudo tvpassd %s", action, action)
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	m, err := o.installer()
	if err != nil {
		return err
	}
	switch action {
	case "install":
		err = install(m, o)
	case "uninstall":
		err = uninstall(m, o)
	default:
		err = m.control(action)
	}
	if err != nil {
		return fmt.Errorf("%s the service: %w%s", action, err, hint(m, err))
	}
	return nil
}

// installer is what starts services on this device.
type installer interface {
	install(Options) error
	control(action string) error
	where() string // where a person finds the reason of a failure
}

// hint returns what to do about an error; the service manager's own error says
// little more than its exit status.
func hint(m installer, err error) string {
	_, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case errors.Is(err, syscall.EROFS):
		return "; put the service into the image that the device boots (the packages hold the files)"
	case !exited:
		return ""
	case ours() == "" && packagedUnit() == "":
		return "; it is not installed: tvpassd install"
	}
	return "; the reason is in " + m.where()
}

// installer returns the installer of this device, and completes the options.
func (o *Options) installer() (installer, error) {
	if o.Executable == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.Executable = self
	}
	if o.ConfigFile != "" {
		path, err := filepath.Abs(o.ConfigFile)
		if err != nil {
			return nil, err
		}
		o.ConfigFile = path
	}
	if other := otherInit(); other != nil {
		return other, nil
	}
	return o.library()
}

// library is kardianos/service, for systemd and upstart.
type library struct{ service.Service }

func (o *Options) library() (library, error) {
	c := &service.Config{
		Name:        name,
		DisplayName: name,
		Description: "Access tokens of Adobe Pass for the players of this device",
		Executable:  o.Executable,
		Arguments:   []string{"run"},
		Option:      service.KeyValue{"SystemdScript": unitTemplate()},
	}
	if service.ChosenSystem().String() != systemd {
		c.Arguments = append(c.Arguments, "--user", "tvpass")
	}
	if o.ConfigFile != "" {
		c.Arguments = append(c.Arguments, "--config", o.ConfigFile)
	}
	s, err := service.New(nil, c)
	return library{s}, err
}

// unitTemplate is the unit that the packages ship, with the command line in
// kardianos/service's template language.
func unitTemplate() string {
	return strings.NewReplacer(
		packagedExecutable+" run", "{{Path | cmdEscape}}{{range Arguments}} {{. | cmd}}{{end}}",
		packagedExecutable, "{{Path | cmdEscape}}",
	).Replace(shipped("tvpassd.service"))
}

func (l library) control(action string) error { return service.Control(l.Service, action) }

func (l library) where() string {
	if l.Platform() == systemd {
		return "`systemctl status tvpassd` and `journalctl -u tvpassd`"
	}
	return "/var/log/upstart/tvpassd.log"
}

func (l library) install(o Options) error {
	// The library refuses to replace what is there, even if it is out of date.
	if err := clear(); err != nil {
		return err
	}
	if l.Platform() == systemd {
		if err := os.WriteFile(unitFolder+name+".socket", []byte(shipped("tvpassd.socket")), 0o644); err != nil {
			return err
		}
	}
	return l.Install()
}

func install(m installer, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	if out, err := exec.Command("sh", "-c", shipped("prepare.sh")).CombinedOutput(); err != nil {
		return errors.New(strings.TrimSpace(string(out)))
	}
	if path := packagedUnit(); path != "" && service.ChosenSystem().String() == systemd {
		if err := exec.Command("systemctl", "enable", name).Run(); err != nil {
			return err
		}
		fmt.Fprintf(o.Stdout, "%s came with a package: enabled; start it with: tvpassd start\n", path)
		return nil
	}
	if err := m.install(o); err != nil {
		return err
	}
	fmt.Fprintf(o.Stdout, "installed %s, which runs %s; start it with: tvpassd start\n", ours(), o.Executable)
	return nil
}

// check refuses what the service could not run.
func (o *Options) check() error {
	for _, path := range []string{o.Executable, o.ConfigFile} {
		if path == "" {
			continue
		}
		if err := lasting(path); err != nil {
			return err
		}
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	return nil
}

// lasting refuses a file that the service could not rely on: its sandbox hides the
// homes, and the other folders are empty after a boot.
func lasting(path string) error {
	for _, folder := range []string{"/home/", "/root/", "/run/", "/tmp/"} {
		if strings.HasPrefix(path, folder) {
			return fmt.Errorf("a service can't rely on %s: move it out of %s first, say to /usr/local/bin or /etc/tvpassd",
				path, folder)
		}
	}
	return nil
}

func uninstall(m installer, o Options) error {
	if path := packagedUnit(); path != "" && ours() == "" {
		return fmt.Errorf("%s came with a package: remove the package", path)
	}
	path := ours()
	if path == "" {
		return service.ErrNotInstalled
	}
	l, isLibrary := m.(library)
	if isLibrary && l.Platform() == systemd { // otherwise the next player would start the service again
		_ = exec.Command("systemctl", "disable", "--now", name+".socket").Run() // it may not be enabled
	}
	stopped := m.control("stop") // which fails on some systems if the service does not run
	if isLibrary {
		if err := l.Uninstall(); err != nil {
			return errors.Join(stopped, err)
		}
	}
	if err := clear(); err != nil {
		return err
	}
	fmt.Fprintf(o.Stdout, "removed %s; the configuration and the state stay\n", path)
	return nil
}

const unitFolder = "/etc/systemd/system/"

// ours is the file that `tvpassd install` made; "" if there is none.
func ours() string {
	return firstOf(unitFolder+name+".service", busyboxInit, etcInit, "/etc/init/"+name+".conf")
}

// packagedUnit is the unit that a package brought; "" if there is none.
func packagedUnit() string {
	return firstOf("/usr/lib/systemd/system/"+name+".service", "/lib/systemd/system/"+name+".service")
}

func firstOf(paths ...string) string {
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// clear removes all files of an installation, also those of earlier versions.
func clear() error {
	var all error
	for _, pattern := range leftovers() {
		paths, _ := filepath.Glob(pattern) // only a malformed pattern is an error
		for _, path := range paths {
			if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
				all = errors.Join(all, err)
			}
		}
	}
	return all
}
