package server

import (
	"maps"
	"slices"
)

// Peer is the process at the other end of a connection, as the kernel knew it
// when the connection was made.
type Peer struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	TooMany  bool     // more than count: Groups is empty
	PID      int32    // for logs only: it may be another process by now
}

func (p Peer) in(group uint32) bool { return p.GID == group || slices.Contains(p.Groups, group) }

// Policy says who may do what. It is the only place that does, and does not
// change once it is in use.
type Policy struct {
	Owner      uint32           // the daemon's own user: an admin, as root is
	AdminGroup *uint32          // its members are admins too
	Apps       map[string]Allow // the configured apps
	Replaced   chan struct{}    // closed once another policy is in force; nil if none follows
}

// Allow says who may ask for an app's token beside admins.
type Allow struct {
	Everyone      bool // whoever may open the socket
	Users, Groups []uint32
}

// Admin reports whether peer may see and do everything.
func (p *Policy) Admin(peer Peer) bool {
	return peer.UID == 0 || peer.UID == p.Owner || p.AdminGroup != nil && peer.in(*p.AdminGroup)
}

// MayUse reports whether app is configured and peer may ask for its token.
func (p *Policy) MayUse(peer Peer, app string) bool {
	allow, known := p.Apps[app]
	return known && (p.Admin(peer) || allow.Everyone || slices.Contains(allow.Users, peer.UID) ||
		slices.ContainsFunc(allow.Groups, peer.in))
}

// Usable returns the apps that peer may ask for, in order.
func (p *Policy) Usable(peer Peer) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(p.Apps)), func(app string) bool { return !p.MayUse(peer, app) })
}

// Viewer returns what peer may see.
func (p *Policy) Viewer(peer Peer) Viewer {
	return Viewer{Admin: p.Admin(peer), Apps: p.Usable(peer)}
}

// Viewer is whom a status or a metric is for. The zero value sees what concerns
// nobody in particular.
type Viewer struct {
	Admin bool     // sees everything
	Apps  []string // what others see
}

// Sees reports whether the state of app may be shown.
func (v Viewer) Sees(app string) bool { return v.Admin || slices.Contains(v.Apps, app) }

// HasRight reports whether v is an admin or may use an app. Others do not learn
// the device identifier, nor when exactly calls are made.
func (v Viewer) HasRight() bool { return v.Admin || len(v.Apps) > 0 }
