package daemon

import (
	"maps"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/storage"
)

// resolve decides which file has the id of which app: the one that had it in
// force keeps it. accept is an id that another user's file may take over, or
// "".
func (d *Daemon) resolve(conf *config.Config, accept string) error {
	if inForce := d.conf.Load(); inForce != nil {
		return conf.Resolve(inForce.Holders, accept)
	}
	held := map[string]config.Holder{}
	for id, h := range d.store.Holders() {
		held[id] = config.Holder(h)
	}
	return conf.Resolve(held, accept)
}

// keepHolders stores which files have the ids, if that changed.
func (d *Daemon) keepHolders() error {
	now := storage.Holders{}
	for id, h := range d.conf.Load().Holders {
		now[id] = storage.Holder(h)
	}
	if maps.Equal(now, d.store.Holders()) {
		return nil
	}
	return d.store.SaveHolders(now)
}
