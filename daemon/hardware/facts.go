package hardware

import (
	"maps"
	"net/netip"
	"sync"

	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
)

// facts are the outcome of one probe. The next probe replaces them.
type facts struct {
	report    *device.Report
	overrides map[string]any
	address   string // public address in use, for players' headers; "" if there is none

	mu            sync.Mutex // guards what follows: the latest header, which the next call mostly has, too
	header        string     // "" if there was none
	applicationID string
	local         netip.AddrPort
}

func look(root string, overrides map[string]any) (*facts, error) {
	report, err := device.Probe(device.Options{Root: root, Overrides: overrides})
	if err != nil {
		return nil, err
	}
	f := &facts{report: report, overrides: overrides}
	if root != "" {
		return f, nil // the tree describes another device: this one's address does not apply
	}
	if addr, ok := device.AddressInUse(report.Interface); ok {
		f.address, _ = device.ConnectionIP(addr)
	}
	return f, nil
}

// info is what players send. It has no port: each of their calls has its own.
func (f *facts) info(applicationID string) device.Info {
	info := f.report.Info
	if _, given := f.overrides["connectionIp"]; !given && f.address != "" {
		info = info.With("connectionIp", f.address)
	}
	return withApplication(info, applicationID)
}

// infoFrom is what a call of the daemon's own sends from a local address.
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

// headerFrom is the header of a call that leaves from a local address.
func (f *facts) headerFrom(applicationID string, local netip.AddrPort) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.header == "" || f.applicationID != applicationID || f.local != local {
		f.header = f.infoFrom(applicationID, local).Header()
		f.applicationID, f.local = applicationID, local
	}
	return f.header
}

func withApplication(info device.Info, id string) device.Info {
	if id == "" {
		return info
	}
	return info.With("applicationId", id)
}

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

// Look describes a device without a daemon: this one, or the file tree of
// another. Its identifier is the one that a first start would choose; it has none
// if that start would generate one.
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
