package daemon

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// box is the device that the daemon runs on, as the server is to be told of it. The identifier is chosen once; the rest
// is looked at again whenever the network or the configuration changes.
type box struct {
	root       string // file tree that is looked at; "" is this machine
	log        *slog.Logger
	identifier device.Identifier
	warnings   []item // about the identifier

	mu    sync.Mutex // one look at a time
	facts atomic.Pointer[facts]
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

// newBox looks at the device for the first time and settles its identifier: the stored one, whatever the hardware says now,
// for a viewer is signed in with that.
func newBox(cfg Config, overrides map[string]any, kept identifiers) (*box, error) {
	b := &box{root: cfg.Root, log: cfg.Log}
	if err := b.look(overrides); err != nil {
		return nil, err
	}
	found, err := privilegedCandidate(cfg.RuntimeDir)
	if err != nil {
		b.log.Warn("what the privileged step found out about the hardware can't be read", "err", err)
	}
	if found.Source == "" {
		found = b.facts.Load().report.Identifier
	}
	if stored, ok := kept.Identifier(); ok {
		b.identifier = device.Identifier{Value: stored.Value, Source: stored.Source}
		b.compare(found)
	} else if err := b.choose(found, kept); err != nil {
		return nil, err
	}
	if b.identifier.Source == sourceGenerated {
		b.warn("identifier_generated", "the hardware has no usable serial number, so the device identifier is a generated one: "+
			"the viewer must sign in again if the state directory is lost; see tvpassd device")
	}
	return b, nil
}

// sourceGenerated is the source of an identifier that comes from no hardware.
const sourceGenerated = "generated"

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

// choose settles the identifier of a device that has none yet.
func (b *box) choose(found device.Candidate, kept identifiers) error {
	if found.Source == "" {
		var err error
		if found, err = device.Generate(rand.Reader); err != nil {
			return err
		}
	}
	b.identifier = found.Identifier()
	err := kept.SaveIdentifier(storage.Identifier{Value: b.identifier.Value, Source: b.identifier.Source})
	if err != nil && b.identifier.Source == sourceGenerated { // the next start would generate another one
		return fmt.Errorf("keep the generated device identifier: %w", err)
	}
	if err != nil {
		b.log.Warn("the device identifier could not be kept; it is worked out again at the next start", "err", err)
	}
	return nil
}

func (b *box) warn(code, detail string) {
	b.warnings = append(b.warnings, item{code: code, detail: detail})
	b.log.Warn(detail, "code", code)
}

// look probes the device. Its error is that of a root that can't be read.
func (b *box) look(overrides map[string]any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	next, err := look(b.root, overrides)
	if err != nil {
		return err
	}
	old := b.facts.Swap(next)
	for _, w := range next.report.Warnings {
		if old == nil || !slices.Contains(old.report.Warnings, w) {
			b.log.Warn(w.Detail, "code", w.Code)
		}
	}
	return nil
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
	old := b.facts.Load()
	if err := b.look(old.overrides); err != nil {
		b.log.Warn("the device could not be looked at again", "err", err)
		return false
	}
	now := b.facts.Load()
	return now.address != old.address || now.report.Info != old.report.Info
}

// items are what is not as it should be about the device.
func (b *box) items() []item {
	list := b.warnings
	for _, w := range b.facts.Load().report.Warnings {
		list = append(list[:len(list):len(list)], item{code: w.Code, detail: w.Detail})
	}
	return list
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
	return b.facts.Load().infoFrom(applicationID, local).Header()
}

// describe is the device as the socket shows it.
func (b *box) describe() (ipc.Device, error) { return b.facts.Load().describe(b.identifier) }

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

// The service manager lets one privileged step read the serial numbers that only root may (DMI), and leave what it found in
// the daemon's runtime directory. That step never touches the database.

const candidateName = "identifier"

// candidateFile is what that step leaves.
type candidateFile struct {
	Source string `json:"source"`
	Raw    []byte `json:"raw"`
}

// WriteCandidate is that step: it writes the hardware's identifier to a file in the runtime directory, readable for the owner
// of that directory alone.
func WriteCandidate(dir string) error {
	report, err := device.Probe(device.Options{})
	if err != nil {
		return err
	}
	content, err := json.Marshal(candidateFile(report.Identifier))
	if err != nil {
		return fmt.Errorf("encode the identifier: %w", err)
	}
	owner, err := os.Stat(dir)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, candidateName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// Not through a link: the directory is an unprivileged user's.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if sys, ok := owner.Sys().(*syscall.Stat_t); ok && err == nil {
		err = f.Chown(int(sys.Uid), int(sys.Gid))
	}
	return errors.Join(err, f.Close())
}

// privilegedCandidate reads what that step left; a zero Candidate where it never ran.
func privilegedCandidate(dir string) (device.Candidate, error) {
	if dir == "" {
		return device.Candidate{}, nil
	}
	content, err := os.ReadFile(filepath.Join(dir, candidateName))
	if errors.Is(err, os.ErrNotExist) {
		return device.Candidate{}, nil
	}
	var found candidateFile
	if err == nil {
		err = json.Unmarshal(content, &found)
	}
	if err != nil {
		return device.Candidate{}, fmt.Errorf("read the hardware's identifier: %w", err)
	}
	return device.Candidate(found), nil
}
