package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/tvpassd/tvpassd/ipc"
)

// unpack reads a bundle with the system's tools, and returns its files by their
// names in the folder.
func (l *lab) unpack(path string) map[string]string {
	l.t.Helper()
	f, err := os.Open(path)
	l.must(err)
	defer f.Close()
	gz, err := gzip.NewReader(f)
	l.must(err)
	files := map[string]string{}
	for archive := tar.NewReader(gz); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		l.must(err)
		content, err := io.ReadAll(archive)
		l.must(err)
		_, name, _ := strings.Cut(h.Name, "/")
		files[name] = string(content)
		if h.Mode != 0o600 || h.Typeflag != tar.TypeReg || !strings.HasPrefix(h.Name, "tvpassd-bundle-") {
			l.t.Errorf("%+v", h)
		}
	}
	_, err = io.Copy(io.Discard, gz) // to the checksum
	l.must(err)
	return files
}

// secrets returns what no bundle may hold, and the client credentials, which are
// among it.
func (l *lab) secrets() (all, credentials []string) {
	l.t.Helper()
	token, statement := l.token(), strings.TrimSpace(l.read("apps.d/ref30.jwt"))
	all = []string{token, token[len(token)/2:], field(l.t, l.curl("/v1/token").stdout, "id"), statement,
		"pr0xy-pass/word", "short-secret"}
	all = append(all, strings.Split(statement, ".")...)
	all = append(all, strings.Split(token, ".")...)
	for _, name := range []string{"client_id", "client_secret"} {
		_, after, _ := strings.Cut(l.read("state/tvpassd.copy"), `"`+name+`":"`)
		secret, _, _ := strings.Cut(after, `"`)
		if len(secret) < 8 {
			l.t.Fatalf("the copy of the credentials holds no %s", name)
		}
		credentials = append(credentials, secret)
	}
	device := l.run("device", "--json").stdout
	var shown ipc.Device
	l.must(json.Unmarshal([]byte(device), &shown))
	all = append(all, field(l.t, device, "x_device_info"), shown.Identifier.Value,
		strings.TrimPrefix(shown.Identifier.Header, "fingerprint "))
	return append(all, credentials...), credentials
}

// plant writes secrets where they do not belong: into comments, files that can't
// be parsed, and the log.
func (l *lab) plant(credentials []string) {
	l.t.Helper()
	token, statement := l.token(), strings.TrimSpace(l.read("apps.d/ref30.jwt"))
	folded := statement[:40] + "\n  " + statement[40:]
	l.write("apps.d/inline.toml", "# my pr0xy-pass/word\n[[app]]\nid = \"inline\"\nsoftware_statement = \"\"\"\n"+
		folded+"\"\"\"\n# once: "+statement+"\n")
	l.write("apps.d/broken.toml", "[[app]]\nid = \"broken\"\nsoftware_statement = \"short-secret\n"+
		"proxy = \"http://me:pr0xy-pass/word@proxy\"\n")
	l.write("journal", "tvpassd["+"1]: level=INFO msg=\"a line of the log\"\n"+
		"tvpassd[1]: msg=\"Authorization: Bearer "+token+"\" id="+"\n"+
		"tvpassd[1]: "+token[len(token)/2:]+" "+statement+"\n"+
		`tvpassd[1]: body="{\"access_token\":\"`+token+`\"}"`+"\n"+
		"tvpassd[1]: client_id="+credentials[0]+"&client_secret="+credentials[1]+"&grant_type=client_credentials\n"+
		"tvpassd[1]: proxy http://me:pr0xy-pass/word@proxy:3128 refuses\n")
	l.fakeSystem(map[string]string{"journalctl": "cat " + l.path("journal") + "\n"})
}

// expectBundle expects all that a ticket needs in a bundle, and no secret.
func (l *lab) expectBundle(path, status string, secrets []string) {
	l.t.Helper()
	files := l.unpack(path)
	for name, want := range map[string]string{
		"version.txt": "tvpassd 1.2.3 (commit ", "status.json": status, "status.txt": "", "doctor.json": `"worst"`,
		"doctor.txt": "checks: ", "device.json": `"model"`, "config/config.toml": "state_dir = \"state\"",
		"config/apps.d/ref30.toml":  "software_statement_file = \"ref30.jwt\"",
		"config/apps.d/inline.toml": "[[app]]\nid = \"inline\"\nsoftware_statement = \"[masked]\"\n",
		"config/apps.d/broken.toml": "id = \"broken\"\n# line 3: not valid TOML; the rest is left out\n",
		"config/check.txt":          "broken.toml", "disk.txt": "tvpassd.db", "log.txt": "a line of the log",
	} {
		content, there := files[name]
		if !there || !strings.Contains(content, want) {
			l.t.Errorf("%s lacks %q:\n%s", name, want, content)
		}
		delete(files, name)
		for _, secret := range secrets {
			if strings.Contains(content, secret) {
				l.t.Errorf("%.10s... is in %s:\n%s", secret, name, content)
			}
		}
	}
	if len(files) > 0 {
		l.t.Errorf("there is more: %q", files)
	}
}

// The bundle has what a ticket needs, whether or not the daemon runs. It has no
// secret, wherever the secret stood.
func TestBundle(t *testing.T) {
	l := healthyLab(t)
	l.up()
	secrets, credentials := l.secrets()
	l.plant(credentials)
	l.runFaked(nil, nil, "bundle", "--output", l.path("up.tar.gz")).expect(t, 0, "up.tar.gz: 13 files, secrets masked\n")
	l.expectBundle(l.path("up.tar.gz"), `"state": "ready"`, secrets)
	info, err := os.Stat(l.path("up.tar.gz"))
	l.must(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("it has mode %v", info.Mode())
	}
	l.runFaked(nil, nil, "bundle", "--output", l.path("up.tar.gz")).expect(t, 1, "exists: name another file")
	l.runFaked(nil, nil, "bundle", "--output", l.path("none/b.tar.gz")).expect(t, 1, "--output")

	l.daemon.stop()
	r := l.runFaked(nil, nil, "bundle")
	r.expect(t, 0, "tvpassd-bundle-20")
	name, _, _ := strings.Cut(r.stdout, ":")
	l.expectBundle(l.path(name), `"health":"not_running"`, secrets)
	l.expectCalls(1, 3) // the daemon's, and the doctor's two
}

// TestBundleOfABadConfiguration makes bundles when they are made: something is
// wrong with the configuration, and secrets are where nobody expects them.
// Files that lead out of apps.d, or that never end, are left out.
func TestBundleOfABadConfiguration(t *testing.T) {
	l := newLab(t)
	good := l.read("config.toml")
	for name, config := range map[string]string{
		"a proxy without scheme":  strings.Replace(good, "[http]", "[http]\nproxy = \"me:hunter2@proxy:3128\"", 1),
		"a proxy with a quote":    strings.Replace(good, "[http]", "[http]\nproxy = \"http://me:pa\"hunter2@proxy\"", 1),
		"a proxy with a blank":    strings.Replace(good, "[http]", "[http]\nproxy = \"http://me:pa hunter2@proxy\"", 1),
		"a proxy with a slash":    strings.Replace(good, "[http]", "[http]\nproxy = \"http://me:pa/hunter2@proxy\"", 1),
		"a proxy without quotes":  strings.Replace(good, "[http]", "[http]\nproxy = http://me:hunter2@proxy", 1),
		"a proxy of another name": strings.Replace(good, "[http]", "[http]\nprox = \"http://me:hunter2@proxy\"", 1),
		"unknown keys": good + "psk = \"hunter2\"\nsecret = 'hunter2'\ntoken = \"hunter2\"\n" +
			"[wifi]\npsk = \"hunter2\"\n",
		"a comment":              "# it is hunter2\n" + good + "# hunter2\n",
		"an endpoint with a key": strings.Replace(good, l.endpoint, "https://me:hunter2@sp.example", 1),
		"a statement":            good + "[[app]]\nid = \"x\"\nsoftware_statement = \"hunter2\"\n",
	} {
		l.write("config.toml", config)
		out := l.path("bundle.tar.gz")
		l.run("bundle", "--output", out).expect(t, 0)
		for file, content := range l.unpack(out) {
			if strings.Contains(content, "hunter2") {
				t.Errorf("%s: %s holds the secret:\n%s", name, file, content)
			}
		}
		l.must(os.Remove(out))
	}

	l.write("config.toml", good)
	l.write("outside", "[[app]]\nid = \"hunter2\"\n")
	l.must(os.Symlink(l.path("outside"), l.path("apps.d/link.toml")))
	l.must(os.Symlink("/dev/zero", l.path("apps.d/zero.toml")))
	l.must(os.Mkdir(l.path("apps.d/folder.toml"), 0o755))
	l.must(syscall.Mkfifo(l.path("apps.d/fifo.toml"), 0o644))
	l.run("bundle", "--output", l.path("bundle.tar.gz")).expect(t, 0)
	files := l.unpack(l.path("bundle.tar.gz"))
	for _, name := range []string{"link", "zero", "folder", "fifo"} {
		if text := files["config/apps.d/"+name+".toml"]; !strings.Contains(text, "a symbolic link") &&
			!strings.Contains(text, "not a regular file") {
			t.Errorf("%s.toml: %q", name, text)
		}
	}
	if !strings.Contains(files["config/check.txt"], "prw-r--r--") ||
		!strings.Contains(files["config/apps.d/ref30.toml"], "ref30.jwt") {
		t.Errorf("%q", files["config/check.txt"])
	}
}
