package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/tvpassd/tvpassd/storage"
)

// simDisk is what the broker writes to. It fails and loses power as it is told
// to, and keeps what storage would keep: one write is there as a whole or not
// at all; of one that failed either may be true.
type simDisk struct {
	medium simMedium
	stuck  func() simStuck
	cut    simWriteCut // how the next write ends
	writes int

	// Callbacks: a rule is broken, an app is written, a write of the gate begins,
	// it is written.
	breaks    func(rule, format string, args ...any)
	saved     func(key simKey, a storage.App)
	savesGate func()
	savedGate func(storage.Gate)

	acknowledged map[simKey]storage.App
}

type simStuck int

const (
	diskWorks    simStuck = iota
	diskFull              // nothing is written
	diskHalfFull          // the database is written, the copy is not
)

type simWriteCut int

const (
	noCut simWriteCut = iota
	cutBeforeWrite
	cutAfterWrite // before anybody was told that it succeeded
)

// simPowerCut is the panic of a device that loses power in the middle of a write.
type simPowerCut struct{}

var errSimDisk = errors.New("write /var/lib/tvpassd/tvpassd.db: no space left on device")

// simMedium is what is left after a power cut.
type simMedium interface {
	Store
	reopen() error
	damage() // before the next reopen: the database, but not the copy of what viewers would be signed out without
	close() error
}

func newSimDisk(d *simDevice, medium simMedium) simDisk {
	return simDisk{
		medium: medium, acknowledged: map[simKey]storage.App{},
		stuck: func() simStuck {
			switch {
			case d.is(simDiskFull, 0):
				return diskFull
			case d.is(simDiskHalfFull, 0):
				return diskHalfFull
			}
			return diskWorks
		},
		savesGate: d.rules.savesGate,
		saved:     func(key simKey, a storage.App) { d.rules.saves(d, key, a) },
		savedGate: d.rules.savedGate,
		breaks:    d.breaks,
	}
}

// reopen is what a start of the daemon does.
func (d *simDisk) reopen() error { return d.medium.reopen() }

// damage spoils the database while the power is off.
func (d *simDisk) damage() {
	d.medium.damage()
	clear(d.acknowledged)
}

func (d *simDisk) App(endpoint, app string) (storage.App, error) { return d.medium.App(endpoint, app) }
func (d *simDisk) Gate() (storage.Gate, error)                   { return d.medium.Gate() }

func (d *simDisk) SaveApp(endpoint, app string, a storage.App) error {
	key := simKey{endpoint, app}
	a = copyOf(a) // whatever the broker does to its own
	before, was := d.acknowledged[key]
	if was && a.Credentials != nil && d.stuck() == diskWorks && sameRecord(before, a) {
		d.breaks("h", "%s is written again though nothing changed", app)
	}
	delete(d.acknowledged, key) // after a write that fails either may be stored
	err := d.write(func() error { return d.medium.SaveApp(endpoint, app, a) })
	if err == nil {
		d.acknowledged[key] = a
		d.saved(key, a)
	}
	return err
}

// Flush is part of Store. It writes nothing.
func (d *simDisk) Flush() error {
	if d.stuck() == diskWorks {
		return nil
	}
	return errSimDisk
}

func (d *simDisk) SaveGate(g storage.Gate) error {
	d.savesGate()
	err := d.write(func() error { return d.medium.SaveGate(g) })
	if err == nil {
		d.savedGate(g)
	}
	return err
}

func (d *simDisk) write(f func() error) error {
	d.writes++
	cut := d.cut
	d.cut = noCut
	if cut == cutBeforeWrite {
		panic(simPowerCut{})
	}
	if d.stuck() == diskFull {
		return errSimDisk
	}
	if err := f(); err != nil {
		return err
	}
	if cut == cutAfterWrite {
		panic(simPowerCut{})
	}
	if d.stuck() == diskHalfFull {
		return errSimDisk
	}
	return nil
}

// sameRecord reports whether two records are the same. Most differ in a token or
// a failure, which is cheap to see.
func sameRecord(a, b storage.App) bool {
	if a.Token != nil && b.Token != nil && *a.Token != *b.Token {
		return false
	}
	if a.Retry != nil && b.Retry != nil && a.Retry.Noted != b.Retry.Noted {
		return false
	}
	return reflect.DeepEqual(a, b)
}

// simMemory is a medium with storage's semantics and none of its cost.
type simMemory struct {
	apps map[simKey]storage.App
	gate storage.Gate
}

func newSimMemory() *simMemory { return &simMemory{apps: map[simKey]storage.App{}} }

func (m *simMemory) App(endpoint, app string) (storage.App, error) {
	return copyOf(m.apps[simKey{endpoint, app}]), nil
}
func (m *simMemory) Gate() (storage.Gate, error) { return m.gate, nil }
func (m *simMemory) SaveApp(endpoint, app string, a storage.App) error {
	m.apps[simKey{endpoint, app}] = a
	return nil
}
func (m *simMemory) SaveGate(g storage.Gate) error { m.gate = g; return nil }
func (m *simMemory) Flush() error                  { return nil }
func (m *simMemory) reopen() error                 { return nil }
func (m *simMemory) close() error                  { return nil }

func (m *simMemory) damage() {
	for key, a := range m.apps {
		m.apps[key] = storage.App{Credentials: a.Credentials, History: a.History}
	}
	m.gate = storage.Gate{}
}

// copyOf shares nothing with the original that could be changed in place.
func copyOf(a storage.App) storage.App {
	a.Credentials, a.Token, a.Retry = clone(a.Credentials), clone(a.Token), clone(a.Retry)
	a.History.Replaced = clone(a.History.Replaced)
	a.History.Aside = append([]storage.Credentials(nil), a.History.Aside...)
	if a.Retry != nil {
		a.Retry.Suspect = clone(a.Retry.Suspect)
	}
	return a
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// simFiles is the real storage package, in a directory.
type simFiles struct {
	*storage.Store
	dir   string
	dev   storage.Identifier
	spoil bool
}

func newSimFiles(dir string) (*simFiles, error) {
	m := &simFiles{dir: dir, dev: storage.Identifier{Value: fmt.Sprintf("%064x", 7), Source: "simulation"}}
	if err := m.open(); err != nil {
		return nil, err
	}
	return m, m.SaveIdentifier(m.dev)
}

func (m *simFiles) open() (err error) {
	m.Store, err = storage.Open(storage.Config{Dir: m.dir, Now: func() time.Time { return simBirth }})
	return err
}

func (m *simFiles) reopen() error {
	if err := m.Close(); err != nil {
		return err
	}
	if m.spoil {
		m.spoil = false
		if err := os.WriteFile(filepath.Join(m.dir, "tvpassd.db"), []byte("garbage"), 0o600); err != nil {
			return err
		}
	}
	if err := m.open(); err != nil {
		return err
	}
	if dev, ok := m.Identifier(); !ok || dev != m.dev {
		return fmt.Errorf("the device identifier is %v, it was %v", dev, m.dev)
	}
	return nil
}

func (m *simFiles) damage()      { m.spoil = true }
func (m *simFiles) close() error { return m.Close() }
