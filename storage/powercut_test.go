package storage

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// moment is the content of a store at one moment of a life.
type moment struct {
	Identifier Identifier
	Gate       Gate
	Apps       map[string]App
}

const otherApp = "com.example.other"

// life is the life of a device, in steps that each save one thing. "reopen"
// changes nothing.
var life = []struct {
	name string
	step func(m *moment)
}{
	{"find the device identifier", func(m *moment) { m.Identifier = labIdentifier }},
	{"note a registration before it is sent",
		edit(func(a *App) { a.History.Registrations, a.Retry = 1, &Retry{Failures: 1, Noted: labStamp(1)} })},
	{"register", edit(func(a *App) { a.Credentials, a.Retry = labState(1).Credentials, nil })},
	{"get a token", edit(func(a *App) { a.Token = labToken(1, 900) })},
	{"refresh it", edit(func(a *App) { a.Token = labToken(2, 900) })},
	{"find the throttle shut", func(m *moment) { m.Gate = labGate }},
	{"a second app", func(m *moment) { m.Apps[otherApp] = labState(2) }},
	{"a larger token", edit(func(a *App) { a.Token = labToken(3, 5000) })},
	{"reopen", func(*moment) {}},
	{"fail", edit(func(a *App) { a.Retry = labState(4).Retry })},
	{"replace the credentials", edit(func(a *App) { *a = labState(5) })},
	{"find the throttle open", func(m *moment) { m.Gate = Gate{} }},
	{"forget the app", edit(func(a *App) { *a = App{History: a.History} })},
	{"register anew", edit(func(a *App) { a.Credentials = labState(6).Credentials })},
	{"reopen", func(*moment) {}},
	{"get a token", edit(func(a *App) { a.Token = labToken(4, 2048) })},
	{"refresh it", edit(func(a *App) { a.Token = labToken(5, 2048) })},
}

// edit returns a step that changes labApp.
func edit(change func(a *App)) func(*moment) {
	return func(m *moment) {
		a := m.Apps[labApp]
		change(&a)
		m.Apps[labApp] = a
	}
}

func (m moment) clone() moment {
	m.Apps = maps.Clone(m.Apps)
	return m
}

// moments returns the content of a store before the first step and after each.
func moments(first moment) []moment {
	all := []moment{first.clone()}
	for _, step := range life {
		first = first.clone()
		step.step(&first)
		all = append(all, first)
	}
	return all
}

// live is a child that goes through the life, or its last steps, and prints the
// number of each step whose save was acknowledged. It repeats what fails, as
// the daemon does.
func live() error {
	runtime.LockOSThread() // strace counts calls by thread
	from, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	s, err := Open(labConfig(os.Args[1]))
	if err != nil {
		if s, err = Open(labConfig(os.Args[1])); err != nil {
			return err
		}
	}
	v := judgeStore(s)
	m := moment{v.Identifier, v.Gate, v.Apps}
	fmt.Println(from)
	for n, step := range life[from:] {
		before := m.clone()
		step.step(&m)
		if step.name == "reopen" {
			if err := s.Close(); err != nil {
				return err
			}
			if s, err = Open(labConfig(os.Args[1])); err != nil {
				return err
			}
		}
		for tries := 1; ; tries++ {
			err := saveChanges(s, before, m)
			if err == nil {
				break
			}
			if tries == 3 {
				return fmt.Errorf("%s: %w", step.name, err)
			}
		}
		fmt.Println(from + n + 1)
	}
	return s.Close()
}

func saveChanges(s *Store, before, after moment) error {
	var errs []error
	if after.Identifier != before.Identifier {
		errs = append(errs, s.SaveIdentifier(after.Identifier))
	}
	if after.Gate != before.Gate {
		errs = append(errs, s.SaveGate(after.Gate))
	}
	for app, a := range after.Apps {
		if !a.Equal(before.Apps[app]) {
			errs = append(errs, s.SaveApp(labEndpoint, app, a))
		}
	}
	return errors.Join(errs...)
}

// uncertain returns the operations that a power cut after the last one may
// undo, each by itself and in any order. A sync settles those of its file, or
// of the directory. If it fails, they are doomed: no later sync settles them.
func uncertain(ops []op) (doomed, pending []int) {
	for i, o := range ops {
		if o.kind != opSync && o.kind != opSyncDir {
			if o.kind != opAck {
				pending = append(pending, i)
			}
			continue
		}
		pending = slices.DeleteFunc(pending, func(j int) bool {
			settled := ops[j].ofDir() == (o.kind == opSyncDir) && (ops[j].ofDir() || ops[j].file == o.file)
			if o.failed && ops[j].ofDir() {
				return false // a file system that loses its journal becomes read-only
			}
			if settled && o.failed {
				doomed = append(doomed, j)
			}
			return settled
		})
	}
	return doomed, pending
}

func (o op) ofDir() bool { return o.kind == opCreate || o.kind == opRename || o.kind == opRemove }

// replay applies operations to an image, except the lost ones. The last one may
// be torn: then only some of its sectors reach the disk.
func (im image) replay(ops []op, lost map[int]bool, torn func(sector int) bool) image {
	disk := image{map[int][]byte{}, maps.Clone(im.names)}
	for file, content := range im.files {
		disk.files[file] = bytes.Clone(content)
	}
	for i, o := range ops {
		if lost[i] {
			continue
		}
		switch o.kind {
		case opWrite:
			part := torn
			if i < len(ops)-1 {
				part = nil
			}
			disk.files[o.file] = patch(disk.files[o.file], o, part)
		case opTruncate:
			disk.files[o.file] = grow(disk.files[o.file], int(o.at))[:o.at]
		case opCreate:
			disk.names[o.name] = o.file
		case opRename:
			delete(disk.names, o.name)
			disk.names[o.to] = o.file
		case opRemove:
			delete(disk.names, o.name)
		}
	}
	return disk
}

const sector = 512

// grow makes a file at least that long, with zeros.
func grow(file []byte, size int) []byte { return append(file, make([]byte, max(0, size-len(file)))...) }

func patch(file []byte, o op, part func(sector int) bool) []byte {
	file = grow(file, int(o.at)+len(o.data))
	for n, chunk := 0, o.data; len(chunk) > 0; n++ {
		now := chunk[:min(sector, len(chunk))]
		if part == nil || part(n) {
			copy(file[int(o.at)+n*sector:], now)
		}
		chunk = chunk[len(now):]
	}
	return file
}

// tears returns ways in which a write may reach the disk in part: its first
// sectors, its last ones, every other one, all but one page, one page alone.
func tears(o op) (ways []func(sector int) bool) {
	if o.kind != opWrite {
		return nil
	}
	sectors := (len(o.data) + sector - 1) / sector
	for s := 1; s < sectors; s++ {
		ways = append(ways, func(n int) bool { return n < s }, func(n int) bool { return n >= s })
	}
	if sectors > 2 {
		ways = append(ways, func(n int) bool { return n%2 == 0 }, func(n int) bool { return n%2 == 1 })
	}
	const perPage = pageSize / sector
	for p := 1; p < sectors/perPage-1; p++ {
		ways = append(ways, func(n int) bool { return n/perPage == p }, func(n int) bool { return n/perPage != p })
	}
	return ways
}

// losses returns sets of operations that may be lost: every set if there are
// few, otherwise all, none, each alone, and all but each.
func losses(of []int) (sets []map[int]bool) {
	if len(of) <= 5 {
		for bits := range 1 << len(of) {
			set := map[int]bool{}
			for i, index := range of {
				set[index] = bits>>i&1 == 1
			}
			sets = append(sets, set)
		}
		return sets
	}
	all := setOf(of)
	sets = append(sets, nil, all)
	for _, index := range of {
		but := maps.Clone(all)
		delete(but, index)
		sets = append(sets, map[int]bool{index: true}, but)
	}
	return sets
}

func setOf(indexes []int) map[int]bool {
	set := map[int]bool{}
	for _, index := range indexes {
		set[index] = true
	}
	return set
}

// cuts looks at the disks that a power cut after these operations may leave.
func (im image) cuts(ops []op, look func(disk image)) {
	_, pending := uncertain(ops)
	for _, lost := range losses(pending) {
		look(im.replay(ops, lost, nil))
	}
	last := len(ops) - 1
	if !slices.Contains(pending, last) {
		return
	}
	others := setOf(pending)
	delete(others, last)
	for _, way := range tears(ops[last]) {
		look(im.replay(ops, nil, way))
		look(im.replay(ops, others, way))
	}
}

// cutsAfterFailure looks at some of them after a sync has failed: its data is
// lost, or what came later, or both.
func (im image) cutsAfterFailure(ops []op, look func(disk image)) {
	doomed, pending := uncertain(ops)
	for _, lost := range [][]int{doomed, pending, slices.Concat(doomed, pending)} {
		look(im.replay(ops, setOf(lost), nil))
	}
}

// hash is the same for images that look the same to a program.
func (im image) hash() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(im.names)) {
		fmt.Fprintf(h, "%s %d\n", name, len(im.files[im.names[name]]))
		h.Write(im.files[im.names[name]])
	}
	h.Sum(sum[:0])
	return sum
}

// judges opens every different image once.
type judges struct {
	opener
	dir   string
	known map[[sha256.Size]byte]verdict
}

func newJudges(t *testing.T) *judges {
	return &judges{opener{t: t}, memoryDir(t), map[[sha256.Size]byte]verdict{}}
}

// memoryDir returns a temporary directory in memory if possible: thousands of
// syncs take long on a disk.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "tvpassd-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (j *judges) verdict(t *testing.T, disk image) verdict {
	t.Helper()
	sum := disk.hash()
	v, ok := j.known[sum]
	if !ok {
		dir := filepath.Join(j.dir, "disk")
		disk.write(t, dir)
		v = j.judge(t, dir)
		j.known[sum] = v
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
	return v
}

// everyCut judges every disk that a power cut after any of the operations may
// leave. reached is the last acknowledged step, -1 for none.
func (j *judges) everyCut(t *testing.T, ops []op, cuts func([]op, func(image)),
	check func(reached int, v verdict) error) {
	t.Helper()
	reached, seen := -1, 0
	for n := range len(ops) + 1 {
		if n > 0 && ops[n-1].kind == opAck {
			step, err := strconv.Atoi(ops[n-1].name)
			if err != nil {
				t.Fatal(err)
			}
			reached = step
		}
		cuts(ops[:n], func(disk image) {
			seen++
			if err := check(reached, j.verdict(t, disk)); err != nil {
				t.Fatalf("a cut behind operation %d, %v, after step %d: %v", n, ops[max(0, n-1)], reached, err)
			}
		})
	}
	t.Logf("%d operations, %d disks, %d of them different", len(ops), seen, len(j.known))
}

func (o op) String() string {
	what := [...]string{"write", "truncate", "sync", "create", "rename", "remove", "sync the directory", "say"}[o.kind]
	return fmt.Sprintf("%s %s %s at %d, %d bytes", what, o.name, o.to, o.at, len(o.data))
}

// expectMoment expects the last acknowledged content, or the one that was being
// saved.
func expectMoment(want []moment, reached int, v verdict) error {
	if v.Err != "" {
		return errors.New(v.Err)
	}
	if v.Mended != "" {
		return fmt.Errorf("a power cut is taken for damage: %s", v.Mended)
	}
	may := want[max(0, reached):min(len(want), reached+2)]
	for _, m := range may {
		if m.equal(v.moment) {
			return nil
		}
	}
	return fmt.Errorf("(-acknowledged +found)\n%s", cmp.Diff(may[0], v.moment))
}

func (m moment) equal(other moment) bool {
	for _, app := range []string{labApp, otherApp} {
		if !m.Apps[app].Equal(other.Apps[app]) {
			return false
		}
	}
	return m.Identifier == other.Identifier && m.Gate == other.Gate
}

func nothing() moment { return moment{Apps: map[string]App{labApp: {}, otherApp: {}}} }

func TestAPowerCutLosesNothingThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		faults []string
		leaves string // among its last operations
	}{
		{"changed in place", nil, "sync " + dbName},
		{"written as a whole", []string{"-e", "inject=flock:error=ENOSYS"}, "rename " + dbName + ".new " + dbName},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			start, ops := record(t, dir, "live", []string{dir, "0"}, tc.faults...)
			if last := fmt.Sprint(ops[len(ops)-4:]); !strings.Contains(last, tc.leaves) {
				t.Errorf("the life ends with %s, want %q in it", last, tc.leaves)
			}
			want := moments(nothing())
			newJudges(t).everyCut(t, ops, start.cuts,
				func(reached int, v verdict) error { return expectMoment(want, reached, v) })
			withoutDB := func(ops []op, look func(image)) {
				start.cuts(ops, func(disk image) {
					delete(disk.names, dbName)
					look(disk)
				})
			}
			newJudges(t).everyCut(t, ops, withoutDB,
				func(reached int, v verdict) error { return expectIdentity(want, reached, v) })
		})
	}
}

// expectIdentity expects the copy's part of what was acknowledged last, or of
// what was being saved.
func expectIdentity(want []moment, reached int, v verdict) error {
	if v.Err != "" {
		return errors.New(v.Err)
	}
	may := want[max(0, reached):min(len(want), reached+2)]
	if !slices.ContainsFunc(may, v.sameIdentity) {
		return fmt.Errorf("and the database lost (-acknowledged +found)\n%s", cmp.Diff(may[0], v.moment))
	}
	return nil
}

// TestAPowerCutDuringMending starts from a directory that must be mended. A
// power cut on top of that may cost the token, the retry state and the gate,
// which are stored once.
func TestAPowerCutDuringMending(t *testing.T) {
	t.Parallel()
	const from = 15 // the last steps are two tokens
	prepared := lived(t, from)
	behind := lived(t, from-2)
	leaf := func(file []byte) { noise(file[leafPageOf(t, file)*pageSize:][:pageSize]) }
	for _, tc := range []struct {
		name     string
		db, kept []byte
	}{
		{"nothing is wrong", prepared.db, prepared.copy},
		{"no copy", prepared.db, nil},
		{"a damaged copy", prepared.db, hurt(prepared.copy, noise)},
		{"a copy that is behind", prepared.db, behind.copy},
		{"a database that is behind", behind.db, prepared.copy},
		{"no database", nil, prepared.copy},
		{"an empty database", []byte{}, prepared.copy},
		{"a page of noise in the database", hurt(prepared.db, leaf), prepared.copy},
		{"a page of noise in the database, and no copy", hurt(prepared.db, leaf), nil},
		{"a page of noise in the database, and a damaged copy", hurt(prepared.db, leaf), hurt(prepared.copy, noise)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := put(t, tc.db, tc.kept)
			start, ops := record(t, dir, "live", []string{dir, strconv.Itoa(from)})
			j := newJudges(t)
			whole := j.verdict(t, start)
			j.everyCut(t, ops, start.cuts, func(reached int, v verdict) error {
				got := v.moment
				if v.Err != "" || !got.sameIdentity(whole.moment) {
					return fmt.Errorf("%s (-before +after)\n%s", v.Err, cmp.Diff(whole.moment, got))
				}
				return nil
			})
		})
	}
}

// lived returns what a life leaves after a number of steps.
func lived(t *testing.T, steps int) sample {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	all := moments(nothing())
	for n := range steps {
		save(t, saveChanges(s, all[n], all[n+1]))
	}
	shut(t, s)
	return sample{read(t, filepath.Join(dir, dbName)), read(t, filepath.Join(dir, copyName))}
}

// leafPageOf returns the number of the page that holds the entries of a
// database.
func leafPageOf(t *testing.T, file []byte) uint64 {
	t.Helper()
	w := &walker{size: pageSize, pages: uint64(len(file)) / pageSize, found: entries{}, seen: map[uint64]bool{}}
	w.page(file, metaPages(file)[0].root, nil)
	delete(w.seen, metaPages(file)[0].root)
	return slices.Min(slices.Collect(maps.Keys(w.seen)))
}

// sameIdentity reports whether viewers stay signed in from one moment to the
// other.
func (m moment) sameIdentity(other moment) bool {
	for _, app := range []string{labApp, otherApp} {
		a, b := m.Apps[app], other.Apps[app]
		if !sameJSON(account{a.Credentials, a.History}, account{b.Credentials, b.History}) {
			return false
		}
	}
	return m.Identifier == other.Identifier
}

// TestASyncThatFailsIsNotTakenForDone makes each sync of a life fail once and
// cuts the power later: the kernel forgets what it could not write, and reports
// it only once.
func TestASyncThatFailsIsNotTakenForDone(t *testing.T) {
	t.Parallel()
	const from = 9
	prepared, all := lived(t, from), moments(nothing())
	j := newJudges(t)
	for _, call := range []string{"fdatasync", "fsync"} {
		for n := 1; ; n++ {
			dir := put(t, prepared.db, prepared.copy)
			start, ops := record(t, dir, "live", []string{dir, strconv.Itoa(from)}, "-e",
				fmt.Sprintf("inject=%s:error=EIO:when=%d", call, n))
			if !slices.ContainsFunc(ops, func(o op) bool { return o.failed }) {
				t.Logf("each of %d calls of %s failed once", n-1, call)
				break
			}
			j.everyCut(t, ops, start.cutsAfterFailure, func(reached int, v verdict) error {
				return expectMoment(all, max(from, reached), v)
			})
		}
	}
}
