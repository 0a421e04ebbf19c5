// Package hardware is the device as the server is told of it: the facts behind
// X-Device-Info, and the device identifier that is chosen once and kept.
//
// It owns when the device is probed, and what happens when the hardware and the
// stored identifier disagree. Which file of the device says what is package
// device's; where the identifier is kept is package storage's.
package hardware

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage"
)

// Store keeps the device identifier; a *storage.Store is one.
type Store interface {
	Identifier() (storage.Identifier, bool)
	SaveIdentifier(storage.Identifier) error
}

// Config is what a Hardware needs.
type Config struct {
	Root       string         // file tree of the device; "" is the one the daemon runs on
	Findings   *Findings      // of the privileged step, if this process ran it
	RuntimeDir string         // otherwise, where that step left them; "" if there is none
	Overrides  map[string]any // the configuration's [device]
	Store      Store
	Log        *slog.Logger
}

// Hardware is the device that the daemon runs on. It is probed for the first
// time when players are being served already: a cached token needs none of this.
// The identifier is chosen then, for ever; the rest is probed again whenever the
// network or the configuration changes.
type Hardware struct {
	cfg    Config
	settle func() // probes once; every method begins with it

	identifier device.Identifier
	missing    string      // why there is none; "" if there is one
	findings   Findings    // of the privileged step
	unkept     atomic.Bool // the identifier could not be stored yet

	mu        sync.Mutex // guards what follows, and lets one probe run at a time
	overrides map[string]any
	logged    map[string]bool                  // the warnings that were logged: one may come and go with the network
	facts     atomic.Pointer[facts]            // read without the mutex
	warnings  atomic.Pointer[[]device.Warning] // about the identifier; likewise
}

// New returns the device. It probes nothing yet.
func New(cfg Config) *Hardware {
	h := &Hardware{cfg: cfg, overrides: cfg.Overrides, logged: map[string]bool{}}
	h.settle = sync.OnceFunc(h.probeFirst)
	return h
}

// Settle probes the device unless that has been done, and settles its identifier.
func (h *Hardware) Settle() { h.settle() }

// probeFirst probes the device and settles its identifier. A stored identifier
// always wins: viewers are signed in under it.
func (h *Hardware) probeFirst() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.findings = h.privileged()
	h.probe()
	found := h.findings.Candidate
	if found.Source == "" {
		found = h.facts.Load().report.Identifier
	}
	if stored, ok := h.cfg.Store.Identifier(); ok {
		h.identifier = device.Identifier{Value: stored.Value, Source: stored.Source}
	} else {
		h.choose(found)
	}
	h.compare()
}

// privileged returns what the privileged step found.
func (h *Hardware) privileged() Findings {
	if h.cfg.Findings != nil {
		return *h.cfg.Findings
	}
	f, err := readFindings(h.cfg.RuntimeDir)
	if err != nil {
		h.cfg.Log.Warn("the findings of the privileged step can't be read", "code", "identifier_unread", "err", err)
	}
	return f
}

// compare compares the identifier with what its own source says now, and sets
// the warnings about it. A better source that has become readable causes no
// warning.
func (h *Hardware) compare() {
	id := h.identifier
	candidates := append([]device.Candidate{h.findings.Candidate}, h.findings.All...)
	candidates = append(candidates, h.facts.Load().report.Identifiers...)
	var list []device.Warning
	warn := func(code, detail string) {
		list = append(list, device.Warning{Code: code, Detail: detail})
		h.log(code, detail)
	}
	switch device.Compare(candidates, id) {
	case device.Different:
		warn(ipc.WarnIdentifierMismatch, fmt.Sprintf(differs, id.Source))
	case device.Unreadable:
		if id.Source == "" || device.RootOnly(id.Source) && h.findings.Source == "" && os.Geteuid() != 0 {
			break // there is none, or this user can't read its source
		}
		warn(ipc.WarnIdentifierGone, fmt.Sprintf(gone, id.Source))
	}
	if h.missing != "" {
		warn(ipc.WarnIdentifierMissing, h.missing)
	}
	if id.Source == device.Generated {
		warn(ipc.WarnIdentifierGenerated,
			"the hardware has no usable serial number, so the device identifier is a generated one: "+
				"viewers must sign in again if the state directory is lost; see tvpassd device")
	}
	h.warnings.Store(&list)
}

const (
	differs = "the hardware (%s) no longer says what the stored device identifier was made of, and the stored one " +
		"is kept. If the board was replaced, nothing needs doing: viewers stay signed in. If this is another " +
		"device with a copied state directory, stop tvpassd, empty that directory and start it again, or both " +
		"devices are one to the server"
	gone = "the device identifier was made of %s, which can't be read any more; the stored one is kept, and " +
		"viewers stay signed in. If the state directory is ever lost, the device gets another identifier: " +
		"`tvpassd device --all` shows what can be read"
)

// choose settles the identifier of a device that has none yet. If it can't be
// stored the daemon goes on: with such a state nothing is registered under it.
func (h *Hardware) choose(found device.Candidate) {
	if found.Source == "" {
		var err error
		if found, err = device.Generate(rand.Reader); err != nil {
			h.missing = fmt.Sprintf("the device has no identifier (%v): tvpassd restart", err)
			return
		}
	}
	h.identifier = found.Identifier()
	if err := h.Keep(); err != nil {
		h.cfg.Log.Error("the device identifier could not be stored", "code", ipc.WarnIdentifierNotKept, "err", err)
	}
}

// Keep stores the identifier. It writes nothing if it is stored already.
func (h *Hardware) Keep() error {
	if h.identifier.Source == "" {
		return nil
	}
	err := h.cfg.Store.SaveIdentifier(storage.Identifier{Value: h.identifier.Value, Source: h.identifier.Source})
	h.unkept.Store(err != nil)
	return err
}

// Unkept reports whether the identifier could not be stored yet.
func (h *Hardware) Unkept() bool { return h.unkept.Load() }

// log logs a warning the first time: one may come and go with the network.
func (h *Hardware) log(code, detail string) {
	if !h.logged[detail] {
		h.logged[detail] = true
		h.cfg.Log.Warn(detail, "code", code)
	}
}

// probe looks at the device. If that fails, the former facts stay.
func (h *Hardware) probe() {
	next, err := look(h.cfg.Root, h.overrides)
	if err != nil {
		h.cfg.Log.Error("the device can't be probed", "code", ipc.CodeInternal, "err", err)
		if h.facts.Load() != nil {
			return
		}
		next = &facts{report: &device.Report{}, overrides: h.overrides}
	}
	h.facts.Store(next)
	for _, w := range next.report.Warnings {
		h.log(w.Code, w.Detail)
	}
}

// Probe looks at the device again, after a change of the network. It reports
// whether anything changed that the server is told.
func (h *Hardware) Probe() (changed bool) {
	h.settle()
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.facts.Load()
	h.probe()
	h.compare() // some serial numbers appear late in the boot
	now := h.facts.Load()
	return now.address != old.address || now.report.Info != old.report.Info
}

// Configure puts other overrides in force.
func (h *Hardware) Configure(overrides map[string]any) {
	h.settle()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.overrides = overrides
	h.probe()
}

// now returns the latest facts.
func (h *Hardware) now() *facts {
	h.settle()
	return h.facts.Load()
}

// Connected reports whether the device has a way to the network.
func (h *Hardware) Connected() bool { return h.now().report.Interface != "" }

// Warnings returns what is wrong with the device.
func (h *Hardware) Warnings() []device.Warning {
	report := h.now().report
	list := slices.Clone(*h.warnings.Load())
	if h.unkept.Load() {
		list = append(list, device.Warning{Code: ipc.WarnIdentifierNotKept,
			Detail: "the device identifier could not be stored and will be tried again: " +
				"check free space and mode of the state directory"})
	}
	return append(list, report.Warnings...)
}

// Identifier is the device identifier.
func (h *Hardware) Identifier() device.Identifier {
	h.settle()
	return h.identifier
}

// Info is what players send, and what status shows. It has no port: each of
// their calls has its own.
func (h *Hardware) Info(applicationID string) device.Info { return h.now().info(applicationID) }

// Header is the X-Device-Info of a call that the daemon sends from local.
func (h *Hardware) Header(applicationID string, local netip.AddrPort) string {
	return h.now().headerFrom(applicationID, local)
}

// Describe returns the device as the socket shows it.
func (h *Hardware) Describe() (ipc.Device, error) { return h.now().describe(h.Identifier()) }
