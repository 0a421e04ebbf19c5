package daemon

import (
	"cmp"
	"context"
	"net/netip"
	"strings"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/dcr"
	"github.com/tvpassd/tvpassd/daemon/gateway"
	"github.com/tvpassd/tvpassd/daemon/localapi"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// Reload reads the configuration again. A configuration that can't be used is
// refused, and the old one stays in force. Tokens and connections are not
// touched. accept is the id of an app that another user's file may take over,
// with its client credentials, or "".
func (d *Daemon) Reload(ctx context.Context, accept string) error {
	d.disk.Again()
	return d.readAgain(ctx, accept)
}

func (d *Daemon) readAgain(ctx context.Context, accept string) error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	d.cfg.Notifier.Reloading()
	defer func() { d.cfg.Notifier.Ready(d.api.Summary()) }()
	// Finish even if the caller hangs up: never apply half a configuration.
	err := d.reload(context.WithoutCancel(ctx), accept)
	if err == nil {
		d.cfg.Log.Info("configuration read again", "file", d.cfg.ConfigFile)
		return nil
	}
	d.cfg.Log.Error("the configuration was refused, and the old one stays in force",
		"code", ipc.CodeInvalidConfiguration, "err", err)
	d.refuse(err)
	return ipc.NewProblem(ipc.CodeInvalidConfiguration,
		"the configuration was refused, and the old one stays in force: "+oneLine(err))
}

// refuse adds a refused configuration to the items of the one in force.
func (d *Daemon) refuse(err error) {
	s := d.api.Settings()
	var items []localapi.Item
	for _, it := range s.Items {
		if it.Code != ipc.CodeInvalidConfiguration {
			items = append(items, it)
		}
	}
	s.Items = append(items, localapi.Item{Code: ipc.CodeInvalidConfiguration, Admin: true,
		Detail: "the configuration on disk was refused, and an older one is in force: " + oneLine(err)})
	d.api.Adopt(s)
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func (d *Daemon) reload(ctx context.Context, accept string) error {
	conf, err := d.disk.Load(d.cfg.ConfigFile)
	if err != nil {
		return err
	}
	if err := d.resolve(conf, accept); err != nil {
		return err
	}
	// A start has no time for this, and nothing better to fall back on.
	if err := dcr.CheckRoots(conf.HTTP.CAFile, d.disk.ReadRoots); err != nil {
		return err
	}
	setup, up, err := d.setup(conf)
	if err != nil {
		return err
	}
	up.Inherit(d.upstream.Load())
	if conf.Endpoint != d.conf.Load().Endpoint {
		d.gateway.Pause() // until adopt: the tokens of one endpoint must not go to another
	}
	if err := d.broker.Configure(ctx, setup); err != nil {
		d.adoptGateway(d.conf.Load(), d.upstream.Load())
		return err
	}
	d.hardware.Configure(conf.Device)
	d.adopt(conf, up)
	if err := d.keepHolders(); err != nil {
		d.cfg.Log.Warn("the files that have the apps' ids could not be stored", "code", ipc.CodeStorage, "err", err)
	}
	return nil
}

// setup returns the broker's part of a configuration, and the client for its
// calls.
func (d *Daemon) setup(conf *config.Config) (broker.Setup, *dcr.Client, error) {
	up, err := dcr.New(dcr.Config{
		Endpoint: conf.Endpoint, CAFile: conf.HTTP.CAFile, ReadFile: d.disk.ReadRoots, Proxy: conf.HTTP.Proxy,
		Timeout: conf.HTTP.Timeout, UserAgent: "tvpassd/" + d.cfg.Version, Now: d.wall,
		DeviceInfo: func(applicationID string, local netip.AddrPort) string {
			d.janitor.busy()
			return d.hardware.Header(applicationID, local)
		},
		Done: func() { d.janitor.busy() },
	})
	if err != nil {
		return broker.Setup{}, nil, err
	}
	s := broker.Setup{Endpoint: conf.Endpoint, TLS: strings.HasPrefix(conf.Endpoint, "https:"),
		Upstream: careful{up, d.janitor, d.store}}
	for _, a := range conf.Apps {
		s.Apps = append(s.Apps, broker.App{
			ID: a.ID, SoftwareStatement: a.SoftwareStatement, RedirectURI: a.RedirectURI, ApplicationID: a.ApplicationID,
		})
	}
	return s, up, nil
}

// adopt puts the rest of a configuration in force.
func (d *Daemon) adopt(conf *config.Config, up *dcr.Client) {
	settings := localapi.Settings{Endpoint: conf.Endpoint, Config: configurationOf(conf),
		Policy: policyOf(conf, d.cfg.UID), Withheld: map[string]bool{}}
	for _, a := range conf.Apps {
		settings.Withheld[a.ID] = !a.HandOutToken
	}
	for _, bad := range conf.Bad {
		d.cfg.Log.Error("an app or a file in apps.d is disabled", "code", ipc.WarnAppDisabled, "err", bad)
		settings.Items = append(settings.Items, localapi.Item{Code: ipc.WarnAppDisabled, Detail: bad.Error(), Admin: true})
	}
	if what := needsRestart(d.first, conf); what != "" {
		settings.Items = append(settings.Items, localapi.Item{Code: ipc.WarnRestartNeeded, Admin: true,
			Detail: what + " changed in the configuration, which takes a restart: tvpassd restart"})
	}
	if usesGroups(settings.Policy) && !server.GroupsKnown() {
		const detail = "this kernel does not report the supplementary groups of a caller (it is older than 4.13): " +
			"for allow_groups and admin_group those in /etc/group count"
		d.cfg.Log.Warn(detail, "code", ipc.WarnGroupsUnknown)
		settings.Items = append(settings.Items, localapi.Item{Code: ipc.WarnGroupsUnknown, Admin: true, Detail: detail})
	}
	d.api.Adopt(settings)
	d.cfg.Level.Set(conf.LogLevel)
	d.adoptGateway(conf, up)
	if old := d.upstream.Swap(up); old != nil {
		old.Drop() // also, at their end, what calls under way use
		old.Forget()
	}
	if old := d.conf.Swap(conf); old != nil {
		d.logApps(old, conf)
	}
}

// adoptGateway puts the gateway's part of a configuration in force.
func (d *Daemon) adoptGateway(conf *config.Config, up *dcr.Client) {
	settings := &gateway.Settings{
		Enabled: conf.Gateway.Enabled, Endpoint: conf.Endpoint, Timeout: conf.Gateway.Timeout, Upstream: up,
		Apps: map[string]string{},
	}
	for _, a := range conf.Apps {
		settings.Apps[a.ID] = a.ApplicationID
	}
	d.gateway.Adopt(settings)
}

// needsRestart names a setting that changed and that only a restart can put in
// force; "" if there is none.
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

// logApps logs which apps were added and removed.
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
		d.cfg.Log.Info("an app was removed; its client credentials are kept", "app", id)
	}
}

// configurationOf returns what admins may know of a configuration.
func configurationOf(conf *config.Config) ipc.Configuration {
	shown := ipc.Configuration{File: cmp.Or(conf.File, config.DefaultFile), Holders: map[string]ipc.Holder{}}
	for id, h := range conf.Holders {
		shown.Holders[id] = ipc.Holder(h)
	}
	return shown
}

// policyOf returns who may do what.
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

// usesGroups reports whether a policy asks for the groups of callers.
func usesGroups(p *server.Policy) bool {
	if p.AdminGroup != nil {
		return true
	}
	for _, a := range p.Apps {
		if len(a.Groups) > 0 {
			return true
		}
	}
	return false
}
