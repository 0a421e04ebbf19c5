package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/doctor"
)

const (
	// logLines is how many lines of the service's log go into a bundle, logBytes how much of a log file.
	logLines = 500
	logBytes = 256 << 10
	// toolPatience is how long a tool of the system may take.
	toolPatience = 5 * time.Second
)

func bundleCommand(set *flag.FlagSet) func(*env, []string) error {
	output := set.String("output", "", "write this `file`, which must not exist yet (tvpassd-bundle-TIME.tar.gz)")
	return func(e *env, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		now := time.Now().UTC()
		name := "tvpassd-bundle-" + now.Format("20060102T150405Z")
		return e.bundle(cmp.Or(*output, name+".tar.gz"), name, now)
	}
}

// bundle writes all that a support ticket wants into one file, which only its owner may read.
func (e *env) bundle(path, folder string, now time.Time) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists: name another file with --output", path)
	}
	if err != nil {
		return fmt.Errorf("%w: name a file with --output", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(path) // a half is of no use
		}
	}()
	conf, confErr := e.loadConfig()
	if confErr != nil {
		conf = &config.Config{}
	}
	b := &bundle{env: e, conf: conf, out: newTarGz(f, now), folder: folder, secrets: secretsOf(conf)}
	b.collect()
	if err := b.out.close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = fmt.Fprintf(e.stdout, "%s: %s, secrets masked\n", path, plural(b.files, "file"))
	return err
}

// bundle is one in the making. What can't be had is said in the file where it would be.
type bundle struct {
	*env
	conf    *config.Config // of zeros where it is not usable
	out     *tarGz
	folder  string
	secrets []string // that are known
	files   int
}

// secretsOf are those that the configuration holds.
func secretsOf(conf *config.Config) []string {
	var secrets []string
	for _, app := range conf.Apps {
		secrets = append(secrets, app.SoftwareStatement)
		secrets = append(secrets, strings.Split(app.SoftwareStatement, ".")...)
	}
	if proxy := conf.HTTP.Proxy; proxy != nil {
		if password, ok := proxy.User.Password(); ok {
			secrets = append(secrets, password)
		}
	}
	return secrets
}

// add masks every byte, wherever it comes from.
func (b *bundle) add(name, content string) {
	b.out.add(b.folder+"/"+name, []byte(doctor.Mask(content, b.secrets...)))
	b.files++
}

func (b *bundle) collect() {
	b.add("version.txt", b.own("version")+kernel()+"\n"+b.content("/etc/os-release"))
	b.add("status.json", b.own("status", "--json"))
	b.add("status.txt", b.own("status"))
	b.add("device.json", b.own("device", "--json"))
	b.examined()
	b.configuration()
	b.disk()
	b.add("log.txt", b.log())
}

// own is what one of tvpassd's commands says.
func (b *bundle) own(args ...string) string {
	var said bytes.Buffer
	e := *b.env
	e.stdout, e.stderr = &said, &said
	if err := e.dispatch(args); err != nil && !errors.As(err, new(exitStatus)) {
		e.complain(err)
	}
	return said.String()
}

// examined adds the doctor's report in both forms: it is made once, for it costs a request.
func (b *bundle) examined() {
	r, err := b.examine()
	if err != nil {
		b.add("doctor.txt", err.Error()+"\n")
		return
	}
	var object bytes.Buffer
	e := *b.env
	e.stdout = &object
	if err := printJSON(&e, r); err != nil {
		fmt.Fprintln(&object, err)
	}
	b.add("doctor.json", object.String())
	b.add("doctor.txt", doctorText(r))
}

// configuration adds the files as they stand, but for their secrets, and a list of what is there.
func (b *bundle) configuration() {
	path := cmp.Or(b.configFile, config.DefaultFile)
	apps := filepath.Join(filepath.Dir(path), "apps.d")
	b.add("config/check.txt", b.own("config", "check")+"\n"+folderList(filepath.Dir(path))+"\n"+folderList(apps))
	b.add("config/config.toml", b.content(path))
	files, _ := filepath.Glob(filepath.Join(apps, "*.toml")) // the pattern is sound
	for _, file := range files {
		name := filepath.Base(file)
		b.add("config/apps.d/"+name[max(len(name)-40, 0):], b.content(file)) // an archive's names are short
	}
}

// disk adds where the state is, and how much room it has.
func (b *bundle) disk() {
	dir := b.conf.StateDir
	if dir == "" {
		b.add("disk.txt", "the configuration is not usable: no state directory is known\n")
		return
	}
	text := folderList(dir) + "\n" + b.tool("df", "-k", dir) + "\n" + b.tool("df", "-i", dir) + "\n"
	for line := range strings.Lines(b.content("/proc/self/mounts")) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(dir+"/", strings.TrimSuffix(f[1], "/")+"/") {
			text += line
		}
	}
	b.add("disk.txt", text)
}

// log is the end of the service's log, from where there is one.
func (b *bundle) log() string {
	const about = "tvpassd"
	for _, call := range [][]string{{"journalctl", "-u", "tvpassd", "-n", fmt.Sprint(logLines), "--no-pager", "-o", "short-iso"}, {"logread", "-e", "tvpassd"}} {
		if text := b.tool(call...); strings.Contains(text, about) {
			return lastLines(text, logLines)
		}
	}
	var found strings.Builder
	for _, path := range []string{"/var/log/tvpassd.log", "/var/log/tvpassd.err"} {
		if text, err := os.ReadFile(path); err == nil {
			fmt.Fprintf(&found, "== %s\n%s\n", path, lastLines(string(text[max(len(text)-logBytes, 0):]), logLines))
		}
	}
	if found.Len() == 0 {
		return "no log was found: neither journalctl nor logread has one, nor is there /var/log/tvpassd.log\n"
	}
	return found.String()
}

// tool is what a program of the system prints; its error where it can't be run.
func (b *bundle) tool(call ...string) string {
	ctx, cancel := context.WithTimeout(b.ctx, toolPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, call[0], call[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s%s: %v\n", out, call[0], err)
	}
	return string(out)
}

func (b *bundle) content(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error() + "\n"
	}
	return string(text)
}

// folderList is what ls -ln shows, in the words of Go.
func folderList(dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:\n", dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return b.String() + err.Error() + "\n"
	}
	for _, entry := range entries {
		var st unix.Stat_t
		info, err := entry.Info()
		if err != nil || unix.Lstat(filepath.Join(dir, entry.Name()), &st) != nil {
			continue // it has just gone
		}
		fmt.Fprintf(&b, "%v %d:%d %d %s %s\n", info.Mode(), st.Uid, st.Gid, info.Size(), stamp(info.ModTime()), entry.Name())
	}
	return b.String()
}

func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err.Error() + "\n"
	}
	return fmt.Sprintf("%s %s %s %s\n", unix.ByteSliceToString(name.Sysname[:]), unix.ByteSliceToString(name.Release[:]),
		unix.ByteSliceToString(name.Version[:]), unix.ByteSliceToString(name.Machine[:]))
}

func lastLines(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(len(lines)-n-1, 0):], "")
}
