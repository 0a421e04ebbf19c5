package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// unpack reads a bundle with tools of others, and returns what is in it, by the name behind the folder's.
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

// What a ticket needs is in the bundle, whether the daemon runs or not, and of the secrets not a byte, wherever they stood.
func TestBundle(t *testing.T) {
	l := healthyLab(t)
	l.up()
	token := l.token()
	id := field(t, l.curl("/v1/token").stdout, "id")
	statement := strings.TrimSpace(l.read("apps.d/ref30.jwt"))
	secrets := []string{token, token[len(token)/2:], id, statement, "pr0xy-pass/word", "short-secret"}
	secrets = append(secrets, strings.Split(statement, ".")...)
	secrets = append(secrets, strings.Split(token, ".")...)
	var credentials []string
	for _, name := range []string{"client_id", "client_secret"} {
		_, after, _ := strings.Cut(l.read("state/tvpassd.copy"), `"`+name+`":"`)
		secret, _, _ := strings.Cut(after, `"`)
		if len(secret) < 8 {
			t.Fatalf("the copy of the credentials holds no %s", name)
		}
		credentials = append(credentials, secret)
	}
	secrets = append(secrets, credentials...)
	// All of it also where it has no business to be: in comments, in a file that can't be parsed, in the log.
	folded := statement[:40] + "\n  " + statement[40:]
	l.write("apps.d/inline.toml", "# keep this line\n[[app]]\nid = \"inline\"\nsoftware_statement = \"\"\"\n"+folded+"\"\"\"\n# once: "+statement+"\n")
	l.write("apps.d/broken.toml", "[[app]\nid = \"broken\"\nsoftware_statement = \"short-secret\nproxy = \"http://me:pr0xy-pass/word@proxy\"\n")
	l.write("journal", "tvpassd["+"1]: level=INFO msg=\"a line of the log\"\n"+
		"tvpassd[1]: msg=\"Authorization: Bearer "+token+"\" id="+"\n"+
		"tvpassd[1]: "+token[len(token)/2:]+" "+statement+"\n"+
		`tvpassd[1]: body="{\"access_token\":\"`+token+`\"}"`+"\n"+
		"tvpassd[1]: client_id="+credentials[0]+"&client_secret="+credentials[1]+"&grant_type=client_credentials\n"+
		"tvpassd[1]: proxy http://me:pr0xy-pass/word@proxy:3128 refuses\n")
	l.fakeSystem(map[string]string{"journalctl": "cat " + l.path("journal") + "\n"})

	check := func(files map[string]string, status string) {
		t.Helper()
		for name, want := range map[string]string{
			"version.txt": "tvpassd 1.2.3 (commit ", "status.json": status, "status.txt": "", "doctor.json": `"worst"`, "doctor.txt": "checks: ",
			"device.json": `"model"`, "config/config.toml": "state_dir = \"state\"", "config/apps.d/ref30.toml": "software_statement_file = \"ref30.jwt\"",
			"config/apps.d/inline.toml": "# keep this line\n[[app]]\nid = \"inline\"\nsoftware_statement = \"\"\"[masked]\"\"\"\n# once: [masked]\n",
			"config/apps.d/broken.toml": "id = \"broken\"", "config/check.txt": "broken.toml", "disk.txt": "tvpassd.db", "log.txt": "a line of the log",
		} {
			content, there := files[name]
			if !there || !strings.Contains(content, want) {
				t.Errorf("%s lacks %q:\n%s", name, want, content)
			}
			delete(files, name)
			for _, secret := range secrets {
				if strings.Contains(content, secret) {
					t.Errorf("%.10s... is in %s:\n%s", secret, name, content)
				}
			}
		}
		if len(files) > 0 {
			t.Errorf("there is more: %q", files)
		}
	}
	l.runFaked(nil, nil, "bundle", "--output", l.path("up.tar.gz")).expect(t, 0, "up.tar.gz: 13 files, secrets masked\n")
	check(l.unpack(l.path("up.tar.gz")), `"state": "ready"`)
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
	check(l.unpack(l.path(name)), `"health":"not_running"`)
	l.expectCalls(1, 3) // the daemon's, and the doctor's two
}
