package service

import (
	_ "embed"
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

// name is what the service is called on every system.
const name = "tvpassd"

// packagedExecutable is where the packages put the program; tvpassd.service names it.
const packagedExecutable = "/usr/bin/tvpassd"

// systemd is what kardianos/service calls it.
const systemd = "linux-systemd"

var (
	//go:embed tvpassd.service
	unit string
	//go:embed tvpassd.socket
	socketUnit string
	//go:embed prepare.sh
	prepare string
)

// Options say what the service is to run. All but Stdout matter to install alone.
type Options struct {
	Executable string    // "" is the running program
	ConfigFile string    // "" is the default
	Stdout     io.Writer // what was done, for the person who asked; nil: nobody wants to know
}

// Control installs, uninstalls, starts, stops or restarts the system service; action is one of these words. Installing
// again brings the service up to date. Neither installing nor uninstalling touches the configuration or the state.
func Control(action string, o Options) error {
	if !slices.Contains(service.ControlAction[:], action) {
		return fmt.Errorf("a service can't be told to %s", action)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("only root may %s the service: sudo tvpassd %s", action, action)
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	s, err := o.service()
	if err != nil {
		return err
	}
	do := map[string]func() error{
		"install":   func() error { return install(s, o) },
		"uninstall": func() error { return uninstall(s, o) },
		"start":     s.Start,
		"stop":      s.Stop,
		"restart":   s.Restart,
	}[action]
	if err := do(); err != nil {
		return fmt.Errorf("%s the service: %w%s", action, err, hint(s, err))
	}
	return nil
}

// hint is where to go from an error; the service manager's own says little more than its exit status.
func hint(s service.Service, err error) string {
	var exit *exec.ExitError
	switch {
	case errors.Is(err, syscall.EROFS):
		return "; put the service into the image that the box boots (the packages hold the files)"
	case !errors.As(err, &exit):
		return ""
	case ours() == "" && packagedUnit() == "":
		return "; it is not installed: tvpassd install"
	case s.Platform() == systemd:
		return "; the reason is in: systemctl status tvpassd; journalctl -u tvpassd"
	}
	return "; the reason is in /var/log/tvpassd.err or in the system's log"
}

// service is what kardianos/service makes of the options.
func (o *Options) service() (service.Service, error) {
	if o.Executable == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.Executable = self
	}
	c := &service.Config{
		Name:        name,
		DisplayName: name,
		Description: "Access tokens of Adobe Pass for the players of this device",
		Executable:  o.Executable,
		Arguments:   []string{"run"},
		Option:      service.KeyValue{"SystemdScript": unitTemplate()},
	}
	if o.ConfigFile != "" {
		path, err := filepath.Abs(o.ConfigFile)
		if err != nil {
			return nil, err
		}
		o.ConfigFile = path
		c.Arguments = append(c.Arguments, "--config", path)
	}
	return service.New(nil, c)
}

// unitTemplate is the unit that the packages ship, with the call in kardianos/service's template language.
func unitTemplate() string {
	return strings.NewReplacer(
		packagedExecutable+" run", "{{Path | cmdEscape}}{{range Arguments}} {{. | cmd}}{{end}}",
		packagedExecutable, "{{Path | cmdEscape}}",
	).Replace(unit)
}

func install(s service.Service, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	if out, err := exec.Command("sh", "-c", prepare).CombinedOutput(); err != nil {
		return errors.New(strings.TrimSpace(string(out)))
	}
	if path := packagedUnit(); path != "" && s.Platform() == systemd {
		if err := exec.Command("systemctl", "enable", name).Run(); err != nil {
			return err
		}
		fmt.Fprintf(o.Stdout, "%s came with a package: enabled; start it with: tvpassd start\n", path)
		return nil
	}
	// kardianos/service refuses what is there already, were it out of date.
	if err := clear(); err != nil {
		return err
	}
	if s.Platform() == systemd {
		if err := os.WriteFile(unitFolder+name+".socket", []byte(socketUnit), 0o644); err != nil {
			return err
		}
	}
	if err := s.Install(); err != nil {
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

// lasting refuses a file that the service could not rely on: its sandbox hides the homes, and the others are gone after a boot.
func lasting(path string) error {
	for _, folder := range []string{"/home/", "/root/", "/run/", "/tmp/"} {
		if strings.HasPrefix(path, folder) {
			return fmt.Errorf("a service can't rely on %s: move it out of %s first, say to /usr/local/bin or /etc/tvpassd", path, folder)
		}
	}
	return nil
}

func uninstall(s service.Service, o Options) error {
	if path := packagedUnit(); path != "" && ours() == "" {
		return fmt.Errorf("%s came with a package: remove the package", path)
	}
	path := ours()
	if path == "" {
		return service.ErrNotInstalled
	}
	if s.Platform() == systemd { // or the next player would start the service again
		_ = exec.Command("systemctl", "disable", "--now", name+".socket").Run() // it need not be enabled
	}
	// A service that does not run can't be stopped on every system.
	stopped := s.Stop()
	if err := s.Uninstall(); err != nil {
		return errors.Join(stopped, err)
	}
	if err := clear(); err != nil {
		return err
	}
	fmt.Fprintf(o.Stdout, "removed %s; the configuration and the state stay\n", path)
	return nil
}

const unitFolder = "/etc/systemd/system/"

// ours is the file that an installation by this package made; "" if there is none.
func ours() string {
	return firstOf(unitFolder+name+".service", "/etc/init.d/"+name, "/etc/init/"+name+".conf")
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

// clear removes all files of an installation, and the links that kardianos/service leaves behind for SysV.
func clear() error {
	var all error
	for _, pattern := range []string{
		unitFolder + name + ".service", unitFolder + name + ".socket", unitFolder + "*.wants/" + name + ".*",
		"/etc/init/" + name + ".conf", "/etc/init.d/" + name, "/etc/rc*.d/[SK][0-9][0-9]" + name,
	} {
		paths, _ := filepath.Glob(pattern) // only a malformed pattern is an error
		for _, path := range paths {
			if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
				all = errors.Join(all, err)
			}
		}
	}
	return all
}
