package storage

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	labEndpoint = "https://sp.auth.adobe.com"
	labApp      = "com.example.player"
)

// labTime stands in for every clock.
var labTime = time.Date(2026, 3, 1, 20, 15, 0, 0, time.UTC)

func labConfig(dir string) Config {
	return Config{Dir: dir, Now: func() time.Time { return labTime }}
}

// open opens a state directory until the test ends or closes it.
func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(labConfig(dir))
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { shut(t, s) })
	return s
}

// shut closes a store. It may be called twice.
func shut(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func labStamp(n int) Stamp {
	return Stamp{BootID: "5f0c2e3a", Boot: time.Duration(n) * time.Minute,
		Wall: labTime.Add(time.Duration(n) * time.Minute)}
}

// labState returns the n-th app, with every field set.
func labState(n int) App {
	stamp := labStamp(n)
	return App{
		Credentials: &Credentials{
			ClientID:     fmt.Sprintf("client-%d", n),
			ClientSecret: fmt.Sprintf("client secret %d", n),
			IssuedAt:     labTime,
			RegisteredAt: labTime.Add(time.Second),
			RedirectURIs: []string{"app://player"},
			GrantTypes:   []string{"client_credentials"},
			Scopes:       []string{"api:client:v2"},
		},
		History: History{
			Registrations: n + 1,
			Replaced:      &stamp,
			Aside:         []Credentials{{ClientID: "former", ClientSecret: "former secret", RegisteredAt: labTime}},
		},
		Token: labToken(n, 900),
		Retry: &Retry{
			Failures: 3, Slow: true, Noted: stamp, Wait: 15 * time.Minute, For: "configured so",
			Suspect: &stamp, Condemned: true, Code: "rejected", ServerCode: "invalid_client",
			Detail: "the server refuses this app", At: labTime,
		},
	}
}

// labToken returns the n-th access token, size bytes long.
func labToken(n, size int) *Token {
	text := fmt.Sprintf("token-%d.", n)
	return &Token{
		AccessToken:  text + strings.Repeat("x", size-len(text)),
		ID:           "tracking",
		Life:         6 * time.Hour,
		Sent:         labStamp(n),
		ServerSent:   labTime.Add(3 * time.Second),
		RefreshAfter: 4*time.Hour + 7*time.Minute,
		Refused:      true,
	}
}

var (
	labIdentifier = Identifier{Value: strings.Repeat("0123456789abcdef", 4),
		Source: "serial:/proc/device-tree/serial-number"}
	labHolders = Holders{labApp: {File: "/etc/tvpassd/apps.d/player.toml", UID: 1000}}
	labGate    = Gate{Noted: labStamp(1), Wait: time.Minute}
)

// fill stores what every device of these tests has: the identifier, the gate
// and two apps.
func fill(t testing.TB, s *Store) {
	t.Helper()
	save(t, s.SaveIdentifier(labIdentifier))
	save(t, s.SaveGate(labGate))
	save(t, s.SaveHolders(labHolders))
	save(t, s.SaveApp(labEndpoint, labApp, labState(1)))
	save(t, s.SaveApp(labEndpoint, "com.example.other", labState(2)))
}

func save(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("save: %v", err)
	}
}

func expectApp(t testing.TB, s *Store, app string, want App) {
	t.Helper()
	got, err := s.App(labEndpoint, app)
	if err != nil {
		t.Errorf("App: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", app, diff)
	}
}

func expectIdentifier(t testing.TB, s *Store, want Identifier) {
	t.Helper()
	if got, ok := s.Identifier(); !ok || got != want {
		t.Errorf("the identifier is %v, %v; want %v", got, ok, want)
	}
}

func expectHolders(t testing.TB, s *Store, want Holders) {
	t.Helper()
	if got := s.Holders(); !maps.Equal(got, want) {
		t.Errorf("the holders are %v, want %v", got, want)
	}
}

// expectFilled expects everything that fill stores.
func expectFilled(t testing.TB, s *Store) {
	t.Helper()
	expectIdentifier(t, s, labIdentifier)
	expectHolders(t, s, labHolders)
	expectApp(t, s, labApp, labState(1))
	expectApp(t, s, "com.example.other", labState(2))
	if gate, err := s.Gate(); err != nil || !cmp.Equal(gate, labGate) {
		t.Errorf("the gate is %v, %v; want %v", gate, err, labGate)
	}
}

// expectEmpty expects the store of a new device.
func expectEmpty(t testing.TB, s *Store) {
	t.Helper()
	if dev, ok := s.Identifier(); ok {
		t.Errorf("there is an identifier, %v", dev)
	}
	expectHolders(t, s, nil)
	expectApp(t, s, labApp, App{})
	if gate, err := s.Gate(); err != nil || gate != (Gate{}) {
		t.Errorf("the gate is %v, %v; want none", gate, err)
	}
}

func TestANewDirectoryIsEmptyAndWell(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "lib", "tvpassd"))
	expectEmpty(t, s)
	if s.Mended() != "" {
		t.Errorf("Mended on a new box: %s", s.Mended())
	}
}

func TestEverythingSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	expectFilled(t, s)
	shut(t, s)
	s = open(t, dir)
	expectFilled(t, s)
	expectApp(t, s, "com.example.third", App{})
	if got, err := s.App("https://elsewhere.example", labApp); err != nil || !got.Equal(App{}) {
		t.Errorf("another endpoint has the app too: %v, %v", got, err)
	}
	if s.Mended() != "" {
		t.Errorf("Mended: %s", s.Mended())
	}
}

func TestWhatIsNilIsForgotten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	want := App{History: labState(1).History}
	save(t, s.SaveApp(labEndpoint, labApp, want))
	save(t, s.SaveGate(Gate{}))
	shut(t, s)
	s = open(t, dir)
	expectApp(t, s, labApp, want)
	expectApp(t, s, "com.example.other", labState(2))
	if gate, err := s.Gate(); err != nil || gate != (Gate{}) {
		t.Errorf("the gate is %v, %v; want an open one", gate, err)
	}
	// Credentials that were reset on purpose must not come back from the copy.
	shut(t, s)
	remove(t, filepath.Join(dir, dbName))
	s = open(t, dir)
	expectApp(t, s, labApp, App{History: want.History})
}

// look is what a write to a file changes.
type look struct {
	Content  string
	Modified time.Time
}

func lookAt(t *testing.T, dir string) map[string]look {
	t.Helper()
	seen := map[string]look{}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, de := range names {
		fi, err := de.Info()
		if err != nil {
			t.Fatal(err)
		}
		seen[de.Name()] = look{string(read(t, filepath.Join(dir, de.Name()))), fi.ModTime()}
	}
	return seen
}

func TestAnUnchangedSaveWritesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	age(t, dir)
	before := lookAt(t, dir)
	fill(t, s)
	save(t, s.SaveGate(labGate))
	shut(t, s)
	s = open(t, dir)
	expectFilled(t, s)
	if diff := cmp.Diff(before, lookAt(t, dir)); diff != "" {
		t.Errorf("the files were written (-before +after):\n%s", diff)
	}
}

// age makes every file an hour older: then a write is visible on a file system
// with a coarse clock too.
func age(t *testing.T, dir string) {
	t.Helper()
	then := time.Now().Add(-time.Hour)
	for _, name := range []string{dbName, copyName} {
		if err := os.Chtimes(filepath.Join(dir, name), then, then); err != nil {
			t.Fatal(err)
		}
	}
}

func TestATokenLeavesTheCopyAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	age(t, dir)
	before := lookAt(t, dir)
	a := labState(1)
	a.Token, a.Retry = labToken(7, 900), nil
	save(t, s.SaveApp(labEndpoint, labApp, a))
	after := lookAt(t, dir)
	if !cmp.Equal(before[copyName], after[copyName]) {
		t.Error("the copy was written for a token")
	}
	if cmp.Equal(before[dbName], after[dbName]) {
		t.Error("the database was not written")
	}
}

// TestARefreshWearsTheFlashLittle counts what the kernel is asked to write for
// a token of 2 KiB: three pages of the database, one of them the meta page, and
// two syncs.
func TestARefreshWearsTheFlashLittle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, ops := record(t, dir, "refresh", []string{dir})
	acks := 0
	for start, o := range ops {
		if o.kind != opAck {
			continue
		}
		acks++
		length := 1 + slices.IndexFunc(ops[start+1:], func(o op) bool { return o.kind == opAck })
		if length == 0 {
			break
		}
		if bytes, syncs := spent(ops[start:][:length]); bytes > 12300 || syncs > 2 {
			t.Errorf("refresh %d wrote %d bytes with %d syncs, want 12300 and 2 at most: %v", acks, bytes, syncs,
				ops[start:][:length])
		}
	}
	if acks < 20 {
		t.Errorf("only %d refreshes seen", acks)
	}
}

// refreshAndSay is a child that replaces a token again and again, and prints a
// line each time.
func refreshAndSay() error {
	s, err := Open(labConfig(os.Args[1]))
	if err != nil {
		return err
	}
	a := labState(1)
	for n := range 25 {
		a.Token = labToken(n, 2048)
		if err := s.SaveApp(labEndpoint, labApp, a); err != nil {
			return err
		}
		if n > 2 { // the file has grown to its size
			fmt.Println(n)
		}
	}
	return s.Close()
}

func TestTheDatabaseStaysSmall(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	a := labState(1)
	for n := range 1000 {
		a.Token = labToken(n, 2048)
		save(t, s.SaveApp(labEndpoint, labApp, a))
	}
	if size := len(read(t, filepath.Join(dir, dbName))); size > 32<<10 {
		t.Errorf("the database has %d bytes after 1000 tokens, want 32 KiB at most", size)
	}
	expectApp(t, s, labApp, a)
}

func TestOnlyTheOwnerMayRead(t *testing.T) {
	for _, tc := range []struct {
		name string
		mode fs.FileMode // of an existing directory; 0: there is none
	}{
		{"made anew", 0},
		{"open to everyone before", 0o755},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if tc.mode != 0 {
				if err := os.Mkdir(dir, tc.mode); err != nil {
					t.Fatal(err)
				}
			}
			fill(t, open(t, dir))
			for name, want := range map[string]fs.FileMode{"": 0o700, dbName: 0o600, copyName: 0o600} {
				fi, err := os.Stat(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if got := fi.Mode().Perm(); got != want {
					t.Errorf("%s has mode %o, want %o", filepath.Join("state", name), got, want)
				}
			}
		})
	}
}

func TestEqualIsOfWhatIsStored(t *testing.T) {
	if a := labState(1); !a.Equal(labState(1)) {
		t.Error("the same state is not equal to itself")
	}
	for name, change := range map[string]func(*App){
		"credentials": func(a *App) { a.Credentials.ClientSecret = "another" },
		"no token":    func(a *App) { a.Token = nil },
		"token":       func(a *App) { a.Token.Refused = false },
		"history":     func(a *App) { a.History.Aside = nil },
		"retry":       func(a *App) { a.Retry.Wait++ },
	} {
		a := labState(1)
		change(&a)
		if a.Equal(labState(1)) {
			t.Errorf("%s: a change does not show", name)
		}
	}
}

func TestManyGoroutinesMaySave(t *testing.T) {
	s := open(t, t.TempDir())
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			app := fmt.Sprintf("app-%d", n)
			for i := range 5 {
				if err := s.SaveApp(labEndpoint, app, labState(i)); err != nil {
					t.Errorf("SaveApp: %v", err)
				}
				if got, err := s.App(labEndpoint, app); err != nil || !got.Equal(labState(i)) {
					t.Errorf("%s is not what was saved: %v", app, err)
				}
			}
		})
	}
	wg.Wait()
	for n := range 8 {
		expectApp(t, s, fmt.Sprintf("app-%d", n), labState(4))
	}
}

func TestTheStateDirectoryMustBeOne(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	write(t, file, nil)
	if _, err := Open(labConfig(file)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open of a file gives %v; want an error that names it", err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
