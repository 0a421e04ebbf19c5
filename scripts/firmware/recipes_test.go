package firmware

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A recipe's step that compiles, run with as much of its build system as it uses.
// Each leaves the program in $program; $tree is the source, $recipes the recipes.
var compileSteps = []struct{ system, script string }{
	{"yocto", `
		B=$tree S=$tree GO=go
		eval "$(sed -n '/^do_compile() {/,/^}/p' "$recipes"/yocto/meta-tvpassd/recipes-core/tvpassd/tvpassd_9.9.9.bb)"
		do_compile
		mv "$tree/tvpassd" "$program"`},
	{"buildroot", `
		printf '%s\n' 'HOST_GO_TARGET_ENV = GOOS=linux' 'GO_BIN = go' \
			"include $recipes/buildroot/package/tvpassd/tvpassd.mk" \
			"$tree/.stamp_built: ; \$(TVPASSD_BUILD_CMDS)" | make -s -f - "$tree/.stamp_built"
		mv "$tree/tvpassd" "$program"`},
	{"openwrt", `
		mkdir -p "$work/feeds/packages/lang/golang"
		: >"$work/rules.mk"
		: >"$work/package.mk"
		echo 'GO_PKG_VARS = GOOS=linux' >"$work/feeds/packages/lang/golang/golang-package.mk"
		printf '%s\n' "include $recipes/openwrt/tvpassd/Makefile" 'compile: ; $(Build/Compile)' |
			make -s -f - compile TOPDIR="$work" INCLUDE_DIR="$work" PKG_BUILD_DIR="$tree"
		mv "$tree/tvpassd" "$program"`},
	{"libreelec", `
		go_configure() { export GOOS=linux; }
		GOLANG=go PKG_BUILD=$tree
		. "$recipes/libreelec/tvpassd/package.mk"
		make_target
		mv "$tree/tvpassd" "$program"`},
	{"android", `
		ARCHES=armv7 scripts/firmware/android/build "$work/module"
		mv "$work/module/tvpassd-armv7" "$program"`},
}

// vendored copies the checkout as a release's source is: with its dependencies.
func vendored(t *testing.T) string {
	t.Helper()
	need(t, "git")
	if out, err := run(t, nil, "git", "rev-parse", "HEAD"); err != nil {
		t.Skipf("only a clone of the repository knows its files: %v: %s", err, out)
	}
	tree := filepath.Join(t.TempDir(), "tvpassd-9.9.9")
	must(t, nil, "sh", "-euc", `mkdir "$1"; git ls-files -z | xargs -0 cp --parents -t "$1"
		cd "$1"; echo 9.9.9 >.tarball-version; go mod vendor`, "sh", tree)
	return tree
}

// pinned has the recipes of a release of that tree whose files have made-up sums.
func pinned(t *testing.T) string {
	t.Helper()
	release := t.TempDir()
	out := filepath.Join(release, "recipes")
	sums := fmt.Sprintf("%064d  NOTICES.txt\n", 99)
	for i, file := range []string{"vendored.tar.gz", "linux-armv5", "linux-armv6", "linux-armv7", "linux-arm64",
		"linux-amd64", "linux-mipsle", "linux-riscv64"} {
		sums += fmt.Sprintf("%064d  tvpassd-9.9.9-%s\n", i, file)
	}
	if err := os.WriteFile(filepath.Join(release, "SHA256SUMS"), []byte(sums), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, nil, "sh", "-euc", `here=$PWD; cd "$1"; "$here/scripts/firmware/pin" . ./recipes`, "sh", release)
	if marks, err := run(t, nil, "grep", "-rn", "@VERSION@\\|@SHA256\\|not-in-this", out); err == nil {
		t.Errorf("not filled in:\n%s", marks)
	}
	return out
}

// recorder stands in for Go, and records how it is called.
const recorder = `#!/bin/sh
[ "$1" != env ] || { echo go1.26.0; exit; }
out=
for word; do
	[ "$last" != -o ] || { out=$word; word=PROGRAM; }
	last=$word
	echo "$word"
done >"$record"
env | grep -E '^(CGO_ENABLED|GOEXPERIMENT|GOFLAGS|GOTOOLCHAIN|GOPROXY|GO111MODULE)=' | sort >>"$record"
: >"$out"
`

// Every recipe from source calls Go as scripts/buildflags says: with its tags, its
// flags for compiler and linker, and version, commit and build date.
func TestRecipesHaveTheFlags(t *testing.T) {
	t.Parallel()
	tree, recipes, work := vendored(t), pinned(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(work, "go"), []byte(recorder), 0o755); err != nil {
		t.Fatal(err)
	}
	called := func(name, script string) string {
		t.Helper()
		record := filepath.Join(work, name+".record")
		cmd := exec.Command("bash", "-euc", script)
		cmd.Dir = tree
		cmd.Env = append(os.Environ(), "PATH="+work+":"+os.Getenv("PATH"), "record="+record, "tree="+tree,
			"recipes="+recipes, "work="+work, "program="+filepath.Join(work, name), "VERSION=", "COMMIT=0123456789ab",
			"SOURCE_DATE_EPOCH=1800000000", "GOARCH=arm", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		text, err := os.ReadFile(record)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	want := called("want", `export CGO_ENABLED=0 GO111MODULE=on GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-mod=vendor
		export GOEXPERIMENT=$(scripts/buildflags goexperiment)
		eval "go build $(scripts/buildflags) -o $program ./cmd/tvpassd"`)
	for _, flag := range []string{
		"-X main.version=9.9.9 -X main.commit=0123456789ab -X main.buildDate=1800000000", "-R 16384",
		must(t, nil, "scripts/buildflags", "tags"), "-gcflags=fmt=-l -d=variablemakethreshold=0\n",
		"GOEXPERIMENT=nogreenteagc\n"} {
		if !strings.Contains(want, flag) {
			t.Errorf("scripts/buildflags does not say %s:\n%s", flag, want)
		}
	}
	for _, step := range compileSteps {
		if got := called(step.system, step.script); got != want {
			t.Errorf("%s calls Go otherwise than scripts/buildflags says:\n%s\nand not\n%s", step.system, got, want)
		}
	}
}

// A program that a recipe has built treats a clock before its build date as not
// set, such as the 1970 of a device without a battery.
func TestBootInThePast(t *testing.T) {
	t.Parallel()
	tree, program := vendored(t), filepath.Join(t.TempDir(), "tvpassd")
	// A program of 2100 takes today for a time before its build date.
	env := []string{"VERSION=", "COMMIT=0123456789ab", "SOURCE_DATE_EPOCH=4102444800"}
	must(t, env, filepath.Join(tree, "scripts/firmware/compile"), program)
	bootsUnset(t, program)
}

// bootsUnset starts a program that was built in 2100.
func bootsUnset(t *testing.T, program string) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	text := "endpoint = \"http://127.0.0.1:9\"\nstate_dir = \"state\"\naccept_volatile_state = true\n" +
		"[socket]\npath = \"sock\"\ngroup = \"\"\n" +
		"[[app]]\nid = \"ref30\"\nsoftware_statement = \"e30.e30.e30\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "run", "--config", config)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	}()
	status := ""
	for end := time.Now().Add(5 * time.Minute); !strings.Contains(status, `"clock"`) && time.Now().Before(end); {
		out, _ := exec.Command(program, "status", "--json", "--config", config).Output() // ends with more than 0
		status = string(out)
		time.Sleep(50 * time.Millisecond)
	}
	status = strings.Join(strings.Fields(status), "")
	if !strings.Contains(status, `"version":"9.9.9"`) || !strings.Contains(status, `"clock":{"set":false`) {
		t.Errorf("a clock before the build date is not noticed: %s\n%s", status, &log)
	}
}

// An image holds what a device needs, and nothing that the device makes itself.
func TestInstall(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ init, script string }{
		{"systemd", "/usr/lib/systemd/system/tvpassd.service"}, {"sysv", "/etc/init.d/tvpassd"},
		{"busybox", "/etc/init.d/S90tvpassd"}, {"openrc", "/etc/init.d/tvpassd"}, {"procd", "/etc/init.d/tvpassd"},
	} {
		image := t.TempDir()
		must(t, []string{"STATE_DIR=/data/tvpassd"}, "sh", "-euc", `here=$PWD; umask 077; cp scripts/version "$1/../program"
			cd "$1/.."; "$here/scripts/firmware/install" "./${1##*/}" "$2" program`, "sh", image, test.init)
		for file, mode := range map[string]os.FileMode{
			"/usr/bin/tvpassd": 0o755, "/etc/tvpassd/config.toml": 0o644, test.script: 0,
			"/etc/tvpassd/apps.d": os.ModeDir | 0o755, "/usr/share/licenses/tvpassd/NOTICES.txt": 0o644,
		} {
			if info, err := os.Stat(image + file); err != nil {
				t.Errorf("%s: %v", test.init, err)
			} else if mode != 0 && info.Mode() != mode {
				t.Errorf("%s: %s has mode %v", test.init, file, info.Mode())
			}
		}
		notices, err := os.ReadFile(image + "/usr/share/licenses/tvpassd/NOTICES.txt")
		if err != nil || !strings.Contains(string(notices), "go.etcd.io/bbolt") {
			t.Errorf("%s: the licences of what is linked are missing: %v", test.init, err)
		}
		config, err := os.ReadFile(image + "/etc/tvpassd/config.toml")
		if err != nil || !strings.Contains(string(config), "\nstate_dir = \"/data/tvpassd\"\n") {
			t.Errorf("%s: the state is not where it lasts: %v", test.init, err)
		}
		for _, made := range []string{"/var/lib/tvpassd", "/data", "/run"} {
			if _, err := os.Stat(image + made); err == nil {
				t.Errorf("%s: the image has %s", test.init, made)
			}
		}
	}
	if out, err := run(t, nil, "scripts/firmware/install", t.TempDir(), "launchd", "scripts/version"); err == nil {
		t.Errorf("an unknown init system is installed: %s", out)
	}
}

// A Go that is too old is refused with what to do.
func TestCompileRefusesAnOldGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, nil, "sh", "-euc", `mkdir -p "$1/vendor" "$1/scripts/firmware"
		cp scripts/firmware/compile "$1/scripts/firmware/"
		cp go.mod "$1/"; printf '#!/bin/sh\necho go1.22.5\n' >"$1/go"; chmod 755 "$1/go"`, "sh", dir)
	compile := filepath.Join(dir, "scripts/firmware/compile")
	out, err := run(t, []string{"GO=" + dir + "/go"}, compile, filepath.Join(dir, "out"))
	if err == nil || !strings.Contains(out, "needs Go 1.26, and this build system has go1.22.5") ||
		!strings.Contains(out, "prebuilt") {
		t.Errorf("%v: %s", err, out)
	}
}

// The shell scripts of the recipes are portable.
func TestShellcheck(t *testing.T) {
	t.Parallel()
	need(t, "shellcheck")
	must(t, nil, "shellcheck", "scripts/firmware/compile", "scripts/firmware/install", "scripts/firmware/pin",
		"scripts/firmware/android/build", "scripts/release")
}
