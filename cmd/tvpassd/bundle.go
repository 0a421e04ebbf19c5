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
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/doctor"
	"github.com/tvpassd/tvpassd/device/hostfile"
)

const (
	logLines = 500       // of the service's log
	maxText  = 256 << 10 // of each file, in bytes
	maxNames = 500       // of each user but root, in each folder
	toolTime = 5 * time.Second
)

func bundleCommand(set *flag.FlagSet) func(*env, []string) error {
	output := set.String("output", "", "write this `file`, which must not exist yet (tvpassd-bundle-TIME.tar.gz)")
	return alone(func(e *env) error {
		now := time.Now().UTC()
		name := "tvpassd-bundle-" + now.Format("20060102T150405Z")
		return e.bundle(cmp.Or(*output, name+".tar.gz"), name, now)
	})
}

// bundle writes everything that a support ticket needs into one file that only
// its owner may read.
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
			os.Remove(path) // half a bundle is useless
		}
	}()
	b := &bundle{env: e, out: newTarGz(f, now), folder: folder}
	b.collect()
	if err := b.out.close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = fmt.Fprintf(e.stdout, "%s: %s, secrets masked\n", path, plural(b.files, "file"))
	return err
}

// bundle is a bundle in the making. An error is written into the file that it
// concerns.
type bundle struct {
	*env
	out    *tarGz
	folder string
	masker *doctor.Masker
	files  int
}

// add masks a text and adds it to the archive.
func (b *bundle) add(name, text string) {
	b.out.add(b.folder+"/"+name, []byte(b.masker.Mask(text)))
	b.files++
}

func (b *bundle) collect() {
	conf, err := b.loadConfig()
	if err != nil {
		conf = &config.Config{} // config check says what is wrong
	}
	shown, secrets := b.configuration()
	for _, app := range conf.Apps {
		secrets = append(secrets, app.SoftwareStatement)
		secrets = append(secrets, strings.Split(app.SoftwareStatement, ".")...)
	}
	b.masker = doctor.NewMasker(secrets...)
	b.add("version.txt", b.own("version")+kernel()+"\n"+content("/etc/os-release", hostfile.Rule{}))
	b.add("status.json", b.own("status", "--json"))
	b.add("status.txt", b.own("status", "--all"))
	b.add("device.json", b.own("device", "--json"))
	b.examined()
	path := cmp.Or(b.configFile, config.DefaultFile)
	b.add("config/check.txt", b.own("config", "check")+"\n"+list(filepath.Dir(path))+"\n"+list(appsDir(path)))
	for _, file := range shown {
		b.add("config/"+file.name, file.text)
	}
	b.add("disk.txt", b.disk(conf.StateDir))
	b.add("log.txt", b.log())
}

// own returns what a command of tvpassd prints.
func (b *bundle) own(args ...string) string {
	var said bytes.Buffer
	e := *b.env
	e.screen, e.stdout, e.stderr = &said, &said, &said
	if err := e.dispatch(args); err != nil {
		if _, silent := errors.AsType[*exitStatus](err); !silent {
			e.complain(err)
		}
	}
	return said.String()
}

// examined adds the doctor's report in both forms. The report is made once, as it
// costs a request.
func (b *bundle) examined() {
	r := b.examine()
	var object bytes.Buffer
	e := *b.env
	e.stdout = &object
	if err := printJSON(&e, r); err != nil {
		fmt.Fprintln(&object, err)
	}
	b.add("doctor.json", object.String())
	b.add("doctor.txt", doctorText(r, false))
}

// textFile is a file of the bundle.
type textFile struct{ name, text string }

// configuration returns the files of the configuration without anything that may
// be a secret, and the secrets that they hold. Of apps.d it reads regular files
// only: a link could lead to a file that only root may read.
func (b *bundle) configuration() (files []textFile, secrets []string) {
	path := cmp.Or(b.configFile, config.DefaultFile)
	show := func(name string, file *hostfile.File, err error, inApps bool) {
		if err != nil {
			files = append(files, textFile{name, err.Error() + "\n"})
			return
		}
		shown := config.Show(file.Data, inApps)
		secrets = append(secrets, shown.Secrets...)
		files = append(files, textFile{name, shown.Text})
	}
	file, err := hostfile.Read(path, maxText, hostfile.Rule{})
	show("config.toml", file, err, false)
	dir, err := hostfile.Open(appsDir(path), hostfile.Rule{NoLinks: true})
	if err != nil {
		return files, secrets // the list of the folder says why
	}
	defer dir.Close()
	folder, err := dir.List(".", maxNames)
	if err != nil {
		return files, secrets
	}
	for _, entry := range folder.Entries {
		if strings.HasSuffix(entry.Name, ".toml") {
			file, err := dir.Read(entry.Name, maxText)
			show("apps.d/"+entry.Name[max(len(entry.Name)-40, 0):], file, err, true) // an archive's names are short
		}
	}
	return files, secrets
}

func appsDir(configFile string) string { return filepath.Join(filepath.Dir(configFile), "apps.d") }

// disk returns what the state directory holds, and how much room is left.
func (b *bundle) disk(dir string) string {
	if dir == "" {
		return "the configuration can't be used: no state directory is known\n"
	}
	text := list(dir) + "\n"
	if !strings.HasSuffix(text, os.ErrDeadlineExceeded.Error()+"\n\n") { // df would hang, too
		text += b.tool("df", "-k", dir) + "\n" + b.tool("df", "-i", dir) + "\n"
	}
	for _, line := range strings.SplitAfter(content("/proc/self/mounts", hostfile.Rule{}), "\n") {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(dir+"/", strings.TrimSuffix(f[1], "/")+"/") {
			text += line
		}
	}
	return text
}

// log returns the end of the service's log.
func (b *bundle) log() string {
	for _, call := range [][]string{
		{"journalctl", "-u", "tvpassd", "-n", strconv.Itoa(logLines), "--no-pager", "-o", "short-iso"},
		{"logread", "-e", "tvpassd"},
	} {
		if text := b.tool(call...); strings.Contains(text, "tvpassd") {
			return lastLines(text, logLines)
		}
	}
	var found strings.Builder
	for _, path := range []string{"/var/log/tvpassd.log", "/var/log/tvpassd.err"} {
		if file, err := hostfile.Read(path, maxText, hostfile.Rule{Tail: true}); !errors.Is(err, os.ErrNotExist) {
			fmt.Fprintf(&found, "== %s\n%s\n", path, lastLines(textOf(file, err), logLines))
		}
	}
	if found.Len() == 0 {
		return "no log was found: journalctl and logread have none, and /var/log/tvpassd.log does not exist\n"
	}
	return found.String()
}

// tool returns what a program of the system prints, with its error if it fails.
func (b *bundle) tool(call ...string) string {
	ctx, cancel := context.WithTimeout(b.ctx, toolTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, call[0], call[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s%s: %v\n", out, call[0], err)
	}
	return string(out)
}

// content returns the text of a file, or why it can't be read.
func content(path string, rule hostfile.Rule) string {
	return textOf(hostfile.Read(path, maxText, rule))
}

func textOf(file *hostfile.File, err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	return string(file.Data)
}

// list returns what `ls -ln` prints of a folder, in Go's form.
func list(dir string) string {
	text := dir + ":\n"
	root, err := hostfile.Open(dir, hostfile.Rule{})
	if err != nil {
		return text + err.Error() + "\n"
	}
	defer root.Close()
	folder, err := root.List(".", maxNames)
	if err != nil {
		return text + err.Error() + "\n"
	}
	folder.Name = "."
	for _, e := range append([]hostfile.Entry{folder.Entry}, folder.Entries...) {
		name := e.Name
		if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
			name = quoted
		}
		text += fmt.Sprintf("%v %d:%d %d %s %s\n", e.Mode, e.Owner, e.Group, e.Size, stamp(e.Changed), name)
	}
	if folder.Cut || len(folder.Crowd) > 0 {
		text += fmt.Sprintf("... and more, which is not listed: there are too many entries, of users %v\n", folder.Crowd)
	}
	return text
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
