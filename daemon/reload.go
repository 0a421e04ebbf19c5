package daemon

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// Reload is part of server.Orders: it reads the configuration again. One that can't be used is refused, and the old one stays
// in force. Tokens and connections are not touched.
func (d *Daemon) Reload(ctx context.Context) error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	d.cfg.Notifier.Reloading()
	defer func() { d.cfg.Notifier.Ready(summary(d.Status(server.Viewer{Admin: true}))) }()
	err := d.reload(context.WithoutCancel(ctx)) // who asked may go: half of a configuration is none
	if err == nil {
		d.cfg.Log.Info("configuration read again", "file", d.cfg.ConfigFile)
		return nil
	}
	d.cfg.Log.Error("the configuration was refused, and the old one stays in force", "code", ipc.CodeInvalidConfiguration, "err", err)
	// What was to be said of the configuration in force still is.
	items := slices.DeleteFunc(slices.Clone(*d.reloaded.Load()), func(it item) bool { return it.code == ipc.CodeInvalidConfiguration })
	items = append(items, item{code: ipc.CodeInvalidConfiguration, admin: true, detail: "the configuration on disk was refused, and an older one is in force: " + oneLine(err)})
	d.reloaded.Store(&items)
	return ipc.NewProblem(ipc.CodeInvalidConfiguration, "the configuration was refused, and the old one stays in force: "+oneLine(err))
}

// codeAppDisabled is the code of a disabled app or file in apps.d.
const codeAppDisabled = "app_disabled"

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func (d *Daemon) reload(ctx context.Context) error {
	conf, err := config.Load(d.cfg.ConfigFile)
	if err != nil {
		return err
	}
	setup, up, err := d.setup(conf)
	if err != nil {
		return err
	}
	if err := d.broker.Configure(ctx, setup); err != nil {
		return err
	}
	d.box.configure(conf.Device)
	d.adopt(conf, up)
	return nil
}

// setup is the broker's part of a configuration, with the client that makes its calls.
func (d *Daemon) setup(conf *config.Config) (broker.Setup, *dcr.Client, error) {
	up, err := dcr.New(dcr.Config{
		Endpoint: conf.Endpoint, CAFile: conf.HTTP.CAFile, Proxy: conf.HTTP.Proxy, Timeout: conf.HTTP.Timeout,
		UserAgent: "tvpassd/" + d.cfg.Version, Now: d.wall,
		DeviceInfo: func(applicationID string, local netip.AddrPort) string {
			d.cleaner.busy()
			return d.box.requestHeader(applicationID, local)
		},
	})
	if err != nil {
		return broker.Setup{}, nil, err
	}
	s := broker.Setup{Endpoint: conf.Endpoint, TLS: strings.HasPrefix(conf.Endpoint, "https:"), Upstream: up}
	for _, a := range conf.Apps {
		s.Apps = append(s.Apps, broker.App{
			ID: a.ID, SoftwareStatement: a.SoftwareStatement, RedirectURI: a.RedirectURI, ApplicationID: a.ApplicationID,
		})
	}
	return s, up, nil
}

// adopt puts the rest of a configuration in force.
func (d *Daemon) adopt(conf *config.Config, up *dcr.Client) {
	if old := d.policy.Swap(policyOf(conf, d.cfg.UID)); old != nil {
		close(old.Replaced)
	}
	d.cfg.Level.Set(conf.LogLevel)
	if old := d.upstream.Swap(up); old != nil {
		old.Forget()
	}
	var items []item
	for _, bad := range conf.Bad {
		d.cfg.Log.Error("an app or a file in apps.d is disabled", "code", codeAppDisabled, "err", bad)
		items = append(items, item{code: codeAppDisabled, detail: bad.Error(), admin: true})
	}
	old := d.conf.Swap(conf)
	if what := needsRestart(d.first, conf); what != "" {
		items = append(items, item{code: "restart_needed", detail: what + " changed in the configuration, which takes a restart: tvpassd restart", admin: true})
	}
	d.reloaded.Store(&items)
	if old != nil {
		d.logApps(old, conf)
	}
}

// needsRestart names what was changed that a running daemon can't change.
func needsRestart(was, is *config.Config) string {
	switch {
	case was.StateDir != is.StateDir:
		return "state_dir"
	case was.Socket.Path != is.Socket.Path:
		return "[socket] path"
	case was.Socket.Mode != is.Socket.Mode:
		return "[socket] mode"
	case !same(was.Socket.Group, is.Socket.Group):
		return "[socket] group"
	}
	return ""
}

func same(a, b *uint32) bool { return a == b || a != nil && b != nil && *a == *b }

// logApps says which apps came and went.
func (d *Daemon) logApps(old, now *config.Config) {
	had := map[string]bool{}
	for _, a := range old.Apps {
		had[a.ID] = true
	}
	for _, a := range now.Apps {
		if !had[a.ID] {
			d.cfg.Log.Info("an app was added", "app", a.ID, "file", a.File)
		}
		delete(had, a.ID)
	}
	for id := range had {
		d.cfg.Log.Info("an app was taken out; its client credentials are kept", "app", id)
	}
}

// policyOf is who may do what.
func policyOf(conf *config.Config, owner uint32) *server.Policy {
	p := &server.Policy{
		Owner: owner, AdminGroup: conf.Socket.AdminGroup, Apps: make(map[string]server.Allow, len(conf.Apps)),
		Replaced: make(chan struct{}),
	}
	for _, a := range conf.Apps {
		p.Apps[a.ID] = server.Allow{Everyone: a.Everyone, Users: a.Users, Groups: a.Groups}
	}
	return p
}
