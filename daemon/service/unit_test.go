package service

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool fails a test if a program that it needs is missing.
func tool(t *testing.T, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install %s", program, debianPackage)
	}
	return path
}

// units writes what is shipped to a folder, with a program that exists.
func units(t *testing.T) (serviceFile, socketFile string) {
	t.Helper()
	folder := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	serviceFile, socketFile = filepath.Join(folder, name+".service"), filepath.Join(folder, name+".socket")
	for path, text := range map[string]string{
		serviceFile: strings.ReplaceAll(shipped("tvpassd.service"), packagedExecutable, program),
		socketFile:  shipped("tvpassd.socket"),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return serviceFile, socketFile
}

func TestSystemdUnderstandsTheUnits(t *testing.T) {
	analyze := tool(t, "systemd-analyze", "systemd")
	serviceFile, socketFile := units(t)
	// It exits with 0 even if it does not know a key, but prints the key.
	out, err := exec.Command(analyze, "verify", "--man=no", serviceFile, socketFile).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func TestSandboxIsTight(t *testing.T) {
	analyze := tool(t, "systemd-analyze", "systemd")
	serviceFile, _ := units(t)
	out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", "--threshold=17",
		serviceFile).CombinedOutput()
	if err != nil {
		t.Errorf("more exposed than 1.7: %v\n%s", err, out)
	}
}

// TestSandboxLeavesTheJobPossible names options that a later tightening might
// bring back: each was seen to break the daemon.
func TestSandboxLeavesTheJobPossible(t *testing.T) {
	for _, option := range []string{"PrivateUsers=", "ProcSubset=pid", "PrivateTmp=", "ProtectClock=",
		"network-online.target", "time-sync.target"} {
		for line := range strings.Lines(shipped("tvpassd.service")) {
			if !strings.HasPrefix(line, "#") && strings.Contains(line, option) {
				t.Errorf("tvpassd.service has %s", strings.TrimSpace(line))
			}
		}
	}
}

func TestInstalledUnitIsTheShippedOne(t *testing.T) {
	got := strings.NewReplacer(
		"{{Path | cmdEscape}}{{range Arguments}} {{. | cmd}}{{end}}", packagedExecutable+" run",
		"{{Path | cmdEscape}}", packagedExecutable,
	).Replace(unitTemplate())
	if got != shipped("tvpassd.service") {
		t.Errorf("the template of the unit is not the unit:\n%s", got)
	}
	if strings.Contains(unitTemplate(), packagedExecutable) {
		t.Errorf("the template of the unit still runs %s", packagedExecutable)
	}
}

func TestControlRefusesWhatItDoesNotKnow(t *testing.T) {
	if err := Control("reload", Options{}); err == nil {
		t.Error("no error for an action that a service does not have")
	}
}

func TestServiceFilesMustOutliveABoot(t *testing.T) {
	for path, ok := range map[string]bool{
		"/usr/bin/tvpassd": true, "/opt/home/tvpassd": true, "/homely/tvpassd": true,
		"/home/me/tvpassd": false, "/root/tvpassd": false, "/run/tvpassd.toml": false, "/tmp/tvpassd": false,
	} {
		if err := lasting(path); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestServiceFilesMustBeThere(t *testing.T) {
	if err := (&Options{Executable: "/bin/sh"}).check(); err != nil {
		t.Error(err)
	}
	if err := (&Options{Executable: "/bin/sh", ConfigFile: "/etc/none.toml"}).check(); err == nil {
		t.Error("no error for a configuration that is missing")
	}
}

// What install writes is what the packages ship.
func TestThePackedFilesAreThoseOfThePackages(t *testing.T) {
	files, err := filepath.Glob("tvpassd.*")
	if err != nil || len(files) < 5 {
		t.Fatalf("found only %q: %v", files, err)
	}
	for _, file := range append(files, "prepare.sh") {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if shipped(file) != string(content) {
			t.Errorf("%s has changed: run `go generate ./daemon/service`", file)
		}
	}
}

// Nobody but root may write to the configuration's directory, and everybody may
// read it, whatever the umask of the person who installs.
func TestPrepareUnderAnyUmask(t *testing.T) {
	for _, umask := range []string{"000", "077"} {
		dir := t.TempDir()
		script := strings.NewReplacer("/etc/tvpassd", dir+"/etc", "/var/lib", dir+"/lib").Replace(shipped("prepare.sh"))
		const users = "getent() { :; }; groupadd() { :; }; useradd() { :; }; chown() { :; }; umask " // it changes none
		if out, err := exec.Command("sh", "-c", users+umask+"\n"+script).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, folder := range []string{"etc", "etc/apps.d", "lib"} {
			fi, err := os.Stat(filepath.Join(dir, folder))
			if err != nil {
				t.Fatal(err)
			}
			if fi.Mode().Perm() != 0o755 {
				t.Errorf("umask %s: %s has mode %o", umask, folder, fi.Mode().Perm())
			}
		}
	}
}
