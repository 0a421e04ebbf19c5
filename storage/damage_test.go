package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// The name of a database that is set aside at labTime.
const (
	damagedAt   = ".damaged-20260301T201500Z"
	damagedName = dbName + damagedAt
)

// sample is a state directory as fill leaves it, in memory.
type sample struct{ db, copy []byte }

func newSample(t testing.TB) sample {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	shut(t, s)
	return sample{read(t, filepath.Join(dir, dbName)), read(t, filepath.Join(dir, copyName))}
}

// put makes a state directory. A nil file is missing from it.
func put(t testing.TB, db, kept []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	lay(t, dir, db, kept)
	return dir
}

func lay(t testing.TB, dir string, db, kept []byte) {
	t.Helper()
	if db != nil {
		write(t, filepath.Join(dir, dbName), db)
	}
	if kept != nil {
		write(t, filepath.Join(dir, copyName), kept)
	}
}

// hurt returns a changed copy of a file.
func hurt(file []byte, happen func(file []byte)) []byte {
	file = bytes.Clone(file)
	happen(file)
	return file
}

// noise fills a page with random bytes, as a worn flash might return.
func noise(page []byte) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range page {
		page[i] = byte(random.Uint32())
	}
}

func TestTheTwoFilesAgreeAgain(t *testing.T) {
	old := newSample(t)
	newer := advance(t, old)
	for _, tc := range []struct {
		name     string
		db, kept []byte
		state    int    // of labApp, 0 for none
		token    bool   // whether its token is there too
		mended   string // part of Mended
	}{
		{"nothing is wrong", old.db, old.copy, 1, true, ""},
		{"no copy", old.db, nil, 1, true, ""},
		{"an empty copy", old.db, []byte{}, 1, true, copyName + damagedAt},
		{"a copy cut short", old.db, old.copy[:len(old.copy)/2], 1, true, copyName + damagedAt},
		{"a copy of noise", old.db, hurt(old.copy, noise), 1, true, copyName + damagedAt},
		{"a copy with a flipped bit", old.db, hurt(old.copy, func(f []byte) { f[40] ^= 1 }), 1, true, copyName + damagedAt},
		{"a copy that is behind", newer.db, old.copy, 3, true, ""},
		{"a database that is behind", old.db, newer.copy, 3, true, ""},
		{"no database", nil, old.copy, 1, false, "restored from their copy"},
		{"an empty database", []byte{}, old.copy, 1, false, damagedName},
		{"neither", nil, nil, 0, false, ""},
		{"a damaged copy and no database", nil, hurt(old.copy, noise), 0, false, "nothing could be restored"},
		{"both empty", []byte{}, []byte{}, 0, false, "nothing could be restored"},
		{"noise for a database", hurt(old.db, noise), old.copy, 1, false, damagedName},
		{"noise for a database, and no copy", hurt(old.db, noise), nil, 0, false, "nothing could be restored"},
		{"noise for both", hurt(old.db, noise), hurt(old.copy, noise), 0, false, damagedName},
		{"both meta pages lost", hurt(old.db, func(f []byte) { clear(f[:2*4096]) }), old.copy, 1, false, damagedName},
		{"one byte of a database", old.db[:1], old.copy, 1, false, damagedName},
		{"a page of a database", old.db[:4096], old.copy, 1, false, damagedName},
		{"text for a database", []byte("nothing to see here"), old.copy, 1, false, damagedName},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := put(t, tc.db, tc.kept)
			s := open(t, dir)
			expectState(t, s, tc.state, tc.token)
			if got := s.Mended(); (got == "") != (tc.mended == "") || !strings.Contains(got, tc.mended) {
				t.Errorf("Mended says %q, want %q in it", got, tc.mended)
			}
			shut(t, s)
			if tc.mended == damagedName && !bytes.Equal(read(t, filepath.Join(dir, damagedName)), tc.db) {
				t.Error("what was set aside is not the damaged file")
			}
			s = open(t, dir)
			if s.Mended() != "" {
				t.Errorf("a second start mends again: %s", s.Mended())
			}
			shut(t, s)
			remove(t, filepath.Join(dir, dbName)) // each file has what the other has
			expectState(t, open(t, dir), tc.state, false)
		})
	}
}

// advance returns the state of the same device after new credentials.
func advance(t *testing.T, from sample) sample {
	t.Helper()
	dir := put(t, from.db, from.copy)
	s := open(t, dir)
	save(t, s.SaveApp(labEndpoint, labApp, labState(3)))
	shut(t, s)
	return sample{read(t, filepath.Join(dir, dbName)), read(t, filepath.Join(dir, copyName))}
}

// expectState expects the n-th state of labApp beside the other app, or nothing
// at all.
func expectState(t *testing.T, s *Store, n int, token bool) {
	t.Helper()
	if n == 0 {
		expectEmpty(t, s)
		return
	}
	expectIdentifier(t, s, labIdentifier)
	expectHolders(t, s, labHolders)
	for app, want := range map[string]App{labApp: labState(n), "com.example.other": labState(2)} {
		got, err := s.App(labEndpoint, app)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(account{want.Credentials, want.History}, account{got.Credentials, got.History}); diff != "" {
			t.Errorf("the credentials of %s (-want +got):\n%s", app, diff)
		}
		if token && got.Token == nil {
			t.Errorf("the token of %s is gone", app)
		}
	}
}

// spoil makes the value of one entry unreadable, as one flipped bit in it does,
// for a number of transactions.
func spoil(t *testing.T, dir, key string, transactions int) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, dbName), 0o600, nil)
	save(t, err)
	for n := range transactions {
		save(t, db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucket))
			return b.Put([]byte(key), hurt(b.Get([]byte(key)), func(value []byte) { value[len(value)-1-n] ^= 1 }))
		}))
	}
	save(t, db.Close())
}

func TestTheTransactionBeforeHasWhatTheLastOneLost(t *testing.T) {
	whole := newSample(t)
	for _, kind := range []string{kindCredentials, kindToken, kindRetry} {
		dir := put(t, whole.db, nil)
		spoil(t, dir, appKey(labEndpoint, labApp)+"\x00"+kind, 1)
		s := open(t, dir)
		if !strings.Contains(s.Mended(), damagedName) {
			t.Errorf("Mended says %q", s.Mended())
		}
		expectFilled(t, s)
	}
}

func TestOneSpoiltEntryTakesNoOtherAlong(t *testing.T) {
	whole := newSample(t)
	app := appKey(labEndpoint, labApp) + "\x00"
	for _, tc := range []struct {
		key   string
		loses func(a *App, g *Gate) // what exists only once
	}{
		{keyMeta, func(*App, *Gate) {}},
		{keyIdentifier, func(*App, *Gate) {}},
		{app + kindCredentials, func(*App, *Gate) {}},
		{app + kindToken, func(a *App, _ *Gate) { a.Token = nil }},
		{app + kindRetry, func(a *App, _ *Gate) { a.Retry = nil }},
		{keyGate, func(_ *App, g *Gate) { *g = Gate{} }},
	} {
		t.Run(strings.ReplaceAll(tc.key, "\x00", " "), func(t *testing.T) {
			dir := put(t, whole.db, whole.copy)
			spoil(t, dir, tc.key, 2)
			want, wantGate := labState(1), labGate
			tc.loses(&want, &wantGate)
			s := open(t, dir)
			if !strings.Contains(s.Mended(), damagedName) {
				t.Errorf("Mended says %q", s.Mended())
			}
			for range 2 { // mended, and then opened again
				expectIdentifier(t, s, labIdentifier)
				expectApp(t, s, labApp, want)
				expectApp(t, s, "com.example.other", labState(2))
				if got, err := s.Gate(); err != nil || !cmp.Equal(got, wantGate) {
					t.Errorf("the gate is %v, %v; want %v", got, err, wantGate)
				}
				shut(t, s)
				s = open(t, dir)
			}
		})
	}
}

func TestDamagedFilesOfOneSecondAreAllKept(t *testing.T) {
	whole := newSample(t)
	dir := put(t, whole.db, whole.copy)
	for n, name := range []string{damagedName, damagedName + "-2", damagedName + "-3"} {
		damaged := fmt.Appendf(nil, "damage %d", n)
		write(t, filepath.Join(dir, dbName), damaged)
		s := open(t, dir)
		expectState(t, s, 1, false)
		if !strings.HasSuffix(s.Mended(), name) {
			t.Errorf("Mended says %q, want %s", s.Mended(), name)
		}
		shut(t, s)
		if got := read(t, filepath.Join(dir, name)); !bytes.Equal(got, damaged) {
			t.Errorf("%s holds %q, want %q", name, got, damaged)
		}
	}
}

func TestADatabaseOfANewerVersionIsSetAside(t *testing.T) {
	whole := newSample(t)
	dir := put(t, whole.db, whole.copy)
	s := open(t, dir)
	meta := map[string]any{"version": version + 1, "generation": 100, "more": "than we know"}
	newer, err := values{keyMeta: meta}.encode()
	save(t, err)
	save(t, s.commit(newer))
	shut(t, s)
	raw := read(t, filepath.Join(dir, dbName))
	s = open(t, dir)
	expectFilled(t, s)
	for _, part := range []string{damagedName, "a newer tvpassd wrote it"} {
		if !strings.Contains(s.Mended(), part) {
			t.Errorf("Mended says %q, want %q in it", s.Mended(), part)
		}
	}
	shut(t, s)
	if !bytes.Equal(raw, read(t, filepath.Join(dir, damagedName))) {
		t.Error("what was set aside is not the newer database")
	}
	expectFilled(t, open(t, dir))
}

func TestAFieldThatOnlyALaterVersionKnowsIsNoDamage(t *testing.T) {
	whole := newSample(t)
	dir := put(t, whole.db, whole.copy)
	key := appKey(labEndpoint, labApp) + "\x00" + kindCredentials
	more := []byte(`{"client_id":"client-1","client_secret":"client secret 1",` +
		`"registered_at":"2026-03-01T20:15:01Z","since":7}`)
	save(t, new(Written).update(filepath.Join(dir, dbName), []entry{{key, more}}))
	s := open(t, dir)
	save(t, s.SaveApp(labEndpoint, otherApp, labState(7)))
	shut(t, s)
	s = open(t, dir)
	if s.Mended() != "" || s.Unwritten() != nil {
		t.Errorf("Mended: %q, %v", s.Mended(), s.Unwritten())
	}
	if !bytes.Equal(s.held[key], more) {
		t.Errorf("the entry is now %s", s.held[key])
	}
	if a, err := s.App(labEndpoint, labApp); err != nil || a.Credentials.ClientID != "client-1" {
		t.Errorf("the credentials are %v, %v", a.Credentials, err)
	}
}

func TestMendedTellsNoSecret(t *testing.T) {
	whole := newSample(t)
	dir := put(t, whole.db, whole.copy)
	spoil(t, dir, appKey(labEndpoint, labApp)+"\x00"+kindCredentials, 2)
	mended := open(t, dir).Mended()
	for _, secret := range []string{"secret", "token-", "client-"} {
		if strings.Contains(mended, secret) {
			t.Errorf("Mended holds a secret: %s", mended)
		}
	}
}

func TestWhatIsNoFileIsSetAside(t *testing.T) {
	whole := newSample(t)
	for name, lay := range map[string]func(path string) error{
		"a directory": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "kept"), nil, 0o600))
		},
		"a pipe":            func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a link to nothing": func(path string) error { return os.Symlink("nowhere", path) },
		"a link to itself":  func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"a huge file": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, file := range []string{dbName, copyName} {
				dir := put(t, whole.db, whole.copy)
				path := filepath.Join(dir, file)
				remove(t, path)
				save(t, lay(path))
				before, err := os.Lstat(path)
				save(t, err)
				s := open(t, dir)
				expectState(t, s, 1, file == copyName)
				if !strings.Contains(s.Mended(), file+damagedAt) {
					t.Errorf("Mended says %q", s.Mended())
				}
				save(t, s.SaveApp(labEndpoint, labApp, labState(4)))
				shut(t, s)
				after, err := os.Lstat(path + damagedAt)
				if err != nil || !os.SameFile(before, after) {
					t.Errorf("%s is not what was set aside: %v", file+damagedAt, err)
				}
				s = open(t, dir)
				expectState(t, s, 4, file == copyName)
				if s.Mended() != "" {
					t.Errorf("a second start mends again: %s", s.Mended())
				}
			}
		})
	}
}

func TestAStateMayBeSomewhereElse(t *testing.T) {
	whole := newSample(t)
	elsewhere := put(t, whole.db, whole.copy)
	dir := t.TempDir()
	save(t, os.Symlink(filepath.Join(elsewhere, dbName), filepath.Join(dir, dbName)))
	s := open(t, dir)
	expectFilled(t, s)
	save(t, s.SaveApp(labEndpoint, labApp, labState(4)))
	shut(t, s)
	expectState(t, open(t, elsewhere), 4, true)
}

// TestADaemonOutlivesItsFiles changes the files of a running daemon, as people
// and worn flash do.
func TestADaemonOutlivesItsFiles(t *testing.T) {
	other := newSample(t)
	db := func(dir string) string { return filepath.Join(dir, dbName) }
	for _, tc := range []struct {
		name   string
		happen func(dir string) error
		mended string
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"the database is emptied", func(dir string) error { return os.Truncate(db(dir), 0) }, damagedName},
		{"the database is cut short", func(dir string) error { return os.Truncate(db(dir), 2*pageSize) }, damagedName},
		{"the database is overwritten", func(dir string) error {
			return os.WriteFile(db(dir), make([]byte, 1<<15), 0o600)
		}, damagedName},
		{"the database is removed", func(dir string) error { return os.Remove(db(dir)) }, ""},
		{"all is removed", func(dir string) error {
			return errors.Join(os.Remove(db(dir)), os.Remove(filepath.Join(dir, copyName)))
		}, ""},
		{"another database takes its place", func(dir string) error { return os.WriteFile(db(dir), other.db, 0o600) },
			damagedName},
		{"a directory takes its place", func(dir string) error {
			return errors.Join(os.Remove(db(dir)), os.Mkdir(db(dir), 0o700))
		}, damagedName},
		{"a leftover is in the way", func(dir string) error {
			return errors.Join(syscall.Mkfifo(db(dir)+".new", 0o600), os.Remove(db(dir)),
				os.Symlink("/", filepath.Join(dir, copyName+".new")))
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			fill(t, s)
			save(t, s.SaveApp(labEndpoint, labApp, labState(3)))
			save(t, tc.happen(dir))
			expectState(t, s, 3, true)
			want := labState(4)
			save(t, s.SaveApp(labEndpoint, labApp, want))
			if got := s.Mended(); (got == "") != (tc.mended == "") || !strings.Contains(got, tc.mended) {
				t.Errorf("Mended says %q, want %q in it", got, tc.mended)
			}
			shut(t, s)
			s = open(t, dir)
			expectApp(t, s, labApp, want)
			expectState(t, s, 4, true)
			if s.Mended() != "" {
				t.Errorf("the next start mends again: %s", s.Mended())
			}
			shut(t, s)
			remove(t, db(dir))
			expectState(t, open(t, dir), 4, false)
		})
	}
}

// TestWhatOnlyBboltMinds damages a list of free pages, which this program
// neither writes nor reads: bbolt panics.
func TestWhatOnlyBboltMinds(t *testing.T) {
	whole := newSample(t)
	dir := put(t, whole.db, whole.copy)
	path := filepath.Join(dir, dbName)
	db, err := bbolt.Open(path, 0o600, nil) // as other programs open it, with the list
	save(t, errors.Join(err, db.Close()))
	file := read(t, path)
	list := u64(file[metaPages(file)[0].tx%2*pageSize+pageHeader:], 32)
	noise(file[list*pageSize:][:pageSize])
	write(t, path, file)
	s := open(t, dir)
	expectFilled(t, s)
	save(t, s.SaveApp(labEndpoint, labApp, labState(3)))
	if !strings.Contains(s.Mended(), damagedName) {
		t.Errorf("Mended says %q", s.Mended())
	}
	if !bytes.Equal(read(t, filepath.Join(dir, damagedName)), file) {
		t.Error("what was set aside is not the damaged file")
	}
	shut(t, s)
	expectState(t, open(t, dir), 3, true)
}

func TestAnotherProgramMayLookAtTheDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	db, err := bbolt.Open(filepath.Join(dir, dbName), 0o600, &bbolt.Options{ReadOnly: true})
	save(t, err)
	err = s.SaveApp(labEndpoint, labApp, labState(3))
	if err == nil || !strings.Contains(err.Error(), "another program has it open") {
		t.Errorf("the save gives %v", err)
	}
	save(t, db.Close())
	save(t, s.SaveApp(labEndpoint, labApp, labState(3)))
	if s.Mended() != "" || s.Unwritten() != nil {
		t.Errorf("Mended: %q, %v", s.Mended(), s.Unwritten())
	}
}

func TestAClosedStoreRefuses(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	shut(t, s)
	_, appErr := s.App(labEndpoint, labApp)
	_, gateErr := s.Gate()
	for _, err := range []error{appErr, gateErr, s.SaveGate(Gate{}), s.SaveIdentifier(Identifier{}),
		s.SaveApp(labEndpoint, labApp, App{})} {
		if !errors.Is(err, errClosed) {
			t.Errorf("the error is %v", err)
		}
	}
}

// If a length is wrong, a key may hold a part of a secret. No flipped bit in a
// page's elements may disclose it.
func TestNoDamageTellsASecret(t *testing.T) {
	t.Parallel()
	file := newSample(t).db
	if !bytes.Contains(file, []byte("secret")) {
		t.Fatal("there is no secret to tell")
	}
	damages := 0
	for page := 0; page < len(file); page += os.Getpagesize() {
		for at := page; at < page+512; at++ {
			for bit := range 8 {
				file[at] ^= 1 << bit
				if _, err := parse(file); err != nil {
					damages++
					for _, secret := range []string{"secret", "token-", "client"} {
						if strings.Contains(err.Error(), secret) {
							t.Fatalf("bit %d of byte %d: %v", bit, at, err)
						}
					}
				}
				file[at] ^= 1 << bit
			}
		}
	}
	if damages < 1000 {
		t.Errorf("only %d of these damages were seen", damages)
	}
}
