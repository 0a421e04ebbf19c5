package daemon

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// box is the device that the daemon runs on, as the server is to be told of it. It is first looked at once players are
// served: a cached token needs none of this. The identifier is chosen then, for ever; the rest is looked at again whenever
// the network or the configuration changes.
type box struct {
	cfg   Config
	kept  identifiers
	first func() // settles what follows; every method begins with it

	identifier device.Identifier
	warnings   []item      // about the identifier
	unkept     atomic.Bool // it could not be stored yet

	mu        sync.Mutex // guards what follows, and has one look at a time
	overrides map[string]any
	told      map[string]bool       // the warnings that were logged: one may come and go with the network
	facts     atomic.Pointer[facts] // read without the mutex
}

// facts are one look at the device. They don't change; the next look takes their place.
type facts struct {
	report    *device.Report
	overrides map[string]any
	address   string // public address in use, for players' headers; "" where there is none
}

// identifiers keeps the device identifier; *storage.Store does.
type identifiers interface {
	Identifier() (storage.Identifier, bool)
	SaveIdentifier(storage.Identifier) error
}

func newBox(cfg Config, overrides map[string]any, kept identifiers) *box {
	b := &box{cfg: cfg, kept: kept, overrides: overrides, told: map[string]bool{}}
	b.first = sync.OnceFunc(b.settle)
	return b
}

// settle looks at the device for the first time and settles its identifier: the stored one, whatever the hardware says now,
// for a viewer is signed in with that.
func (b *box) settle() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.look()
	found, err := privilegedCandidate(b.cfg.RuntimeDir)
	if err != nil {
		b.cfg.Log.Warn("what the privileged step found out about the hardware can't be read", "code", "identifier_unread", "err", err)
	}
	if found.Source == "" {
		found = b.facts.Load().report.Identifier
	}
	if stored, ok := b.kept.Identifier(); ok {
		b.identifier = device.Identifier{Value: stored.Value, Source: stored.Source}
		b.compare(found)
	} else {
		b.choose(found)
	}
	if b.identifier.Source == device.Generated {
		b.warn("identifier_generated", "the hardware has no usable serial number, so the device identifier is a generated one: "+
			"viewers must sign in again if the state directory is lost; see tvpassd device")
	}
}

// compare warns where the hardware yields another identifier than the stored one: an image cloned with its state, or a new board.
func (b *box) compare(found device.Candidate) {
	if found.Source == "" || found.Identifier() == b.identifier {
		return
	}
	if found.Source != b.identifier.Source && device.RootOnly(b.identifier.Source) && os.Geteuid() != 0 {
		return // the hardware may well be the same: this user can't read the better source
	}
	b.warn("identifier_mismatch", fmt.Sprintf("the hardware (%s) now yields another device identifier than the stored one (%s), which is kept: "+
		"if this is another device with a copied state directory, stop tvpassd and empty that directory", found.Source, b.identifier.Source))
}

// choose settles the identifier of a device that has none yet. Where it can't be kept the daemon goes on all the same: with
// the state as it is nothing is registered under it either.
func (b *box) choose(found device.Candidate) {
	if found.Source == "" {
		var err error
		if found, err = device.Generate(rand.Reader); err != nil {
			b.warn("identifier_missing", fmt.Sprintf("the device has no identifier (%v): tvpassd restart", err))
			return
		}
	}
	b.identifier = found.Identifier()
	if err := b.keep(); err != nil {
		b.cfg.Log.Error("the device identifier could not be stored", "code", codeNotKept, "err", err)
	}
}

const codeNotKept = "identifier_not_kept"

// keep stores the identifier, which writes nothing where it is stored already.
func (b *box) keep() error {
	if b.identifier.Source == "" {
		return nil
	}
	err := b.kept.SaveIdentifier(storage.Identifier{Value: b.identifier.Value, Source: b.identifier.Source})
	b.unkept.Store(err != nil)
	return err
}

func (b *box) warn(code, detail string) {
	b.warnings = append(b.warnings, item{code: code, detail: detail})
	b.cfg.Log.Warn(detail, "code", code)
}

// look probes the device, and keeps the former facts where that fails.
func (b *box) look() {
	next, err := look(b.cfg.Root, b.overrides)
	if err != nil {
		b.cfg.Log.Error("the device can't be looked at", "code", ipc.CodeInternal, "err", err)
		if b.facts.Load() != nil {
			return
		}
		next = &facts{report: &device.Report{}, overrides: b.overrides}
	}
	b.facts.Store(next)
	for _, w := range next.report.Warnings {
		if !b.told[w.Detail] {
			b.told[w.Detail] = true
			b.cfg.Log.Warn(w.Detail, "code", w.Code)
		}
	}
}

func look(root string, overrides map[string]any) (*facts, error) {
	report, err := device.Probe(device.Options{Root: root, Overrides: overrides})
	if err != nil {
		return nil, err
	}
	f := &facts{report: report, overrides: overrides}
	if root != "" {
		return f, nil // this machine's address is none of its
	}
	if addr, ok := device.AddressInUse(report.Interface); ok {
		f.address, _ = device.ConnectionIP(addr)
	}
	return f, nil
}

// lookAgain follows a change of the network, and tells whether anything that is told of the device changed.
func (b *box) lookAgain() (changed bool) {
	b.first()
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.facts.Load()
	b.look()
	now := b.facts.Load()
	return now.address != old.address || now.report.Info != old.report.Info
}

// configure takes over other overrides.
func (b *box) configure(overrides map[string]any) {
	b.first()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.overrides = overrides
	b.look()
}

// now is what is known of the device.
func (b *box) now() *facts {
	b.first()
	return b.facts.Load()
}

// items are what is not as it should be about the device.
func (b *box) items() []item {
	report := b.now().report
	list := slices.Clone(b.warnings)
	if b.unkept.Load() {
		list = append(list, item{code: codeNotKept, detail: "the device identifier could not be stored, which is tried again: check free space and mode of the state directory"})
	}
	for _, w := range report.Warnings {
		list = append(list, item{code: w.Code, detail: w.Detail})
	}
	return list
}

// identity is the device identifier.
func (b *box) identity() device.Identifier {
	b.first()
	return b.identifier
}

// info is what players send, and what status shows: without a port, for each of their calls has its own.
func (f *facts) info(applicationID string) device.Info {
	info := f.report.Info
	if _, given := f.overrides["connectionIp"]; !given && f.address != "" {
		info = info.With("connectionIp", f.address)
	}
	return withApplication(info, applicationID)
}

// infoFrom is what a request of the daemon's own sends that leaves from a local address.
func (f *facts) infoFrom(applicationID string, local netip.AddrPort) device.Info {
	info := withApplication(f.report.Info, applicationID)
	if _, given := f.overrides["connectionIp"]; given {
		return info
	}
	if ip, public := device.ConnectionIP(local.Addr()); public {
		info = info.With("connectionIp", ip)
		if _, given := f.overrides["connectionPort"]; !given {
			info = info.With("connectionPort", int64(local.Port()))
		}
	}
	return info
}

func withApplication(info device.Info, id string) device.Info {
	if id == "" {
		return info
	}
	return info.With("applicationId", id)
}

// requestHeader is the X-Device-Info of a request of the daemon's own.
func (b *box) requestHeader(applicationID string, local netip.AddrPort) string {
	return b.now().infoFrom(applicationID, local).Header()
}

// describe is the device as the socket shows it.
func (b *box) describe() (ipc.Device, error) { return b.now().describe(b.identity()) }

func (f *facts) describe(id device.Identifier) (ipc.Device, error) {
	info := f.info("")
	object, err := info.MarshalJSON()
	if err != nil {
		return ipc.Device{}, err
	}
	d := ipc.Device{Info: object, Header: info.Header(), Sources: maps.Clone(f.report.Sources)}
	if _, ok := info.Get("connectionIp"); ok && d.Sources["connectionIp"] == "" {
		d.Sources["connectionIp"] = "address in use"
	}
	if id.Source != "" {
		d.Identifier = &ipc.Identifier{Value: id.Value, Source: id.Source, Header: id.Header()}
	}
	return d, nil
}

// Look describes a device without a daemon: this machine, or another one's file tree. Its identifier is the one that a first
// start would choose; there is none where that would generate one.
func Look(root string, overrides map[string]any) (ipc.Device, error) {
	f, err := look(root, overrides)
	if err != nil {
		return ipc.Device{}, err
	}
	var id device.Identifier
	if found := f.report.Identifier; found.Source != "" {
		id = found.Identifier()
	}
	return f.describe(id)
}
