package config

import (
	"fmt"
	"maps"
	"slices"
)

// Holder is the file that has an id, and with it the client credentials of the
// app.
type Holder struct {
	File string // absolute
	UID  uint32 // the user who wrote it
}

// maxUserApps is how many apps one user may have in apps.d: each registers and
// fetches tokens, a call a second for all apps together. root may have any number.
const maxUserApps = 16

// Resolve decides which file has which id, given the files that had them last:
//
//   - config.toml has every id that it claims;
//   - otherwise the file that had the id keeps it while it claims it;
//   - once it does not, a file that root or the same user wrote takes over, and
//     any other one waits until an admin accepts it.
//
// An id that nobody had goes to the first file by name. accept is an id that the
// one file that waits for it takes over, or "". The error says why that is not
// possible.
func (c *Config) Resolve(held map[string]Holder, accept string) error {
	waiting := c.resolve(held)[accept]
	switch {
	case accept == "":
		return nil
	case len(waiting) == 1:
		held = maps.Clone(held)
		held[accept] = waiting[0]
		c.resolve(held)
		return nil
	case len(waiting) > 1:
		return fmt.Errorf("accept %s: %s and %s claim it: delete all files but one",
			quote(accept), waiting[0].File, waiting[1].File)
	case slices.ContainsFunc(c.Apps, func(a App) bool { return a.ID == accept }):
		return nil // an earlier call accepted it
	}
	return fmt.Errorf("accept %s: no file in apps.d waits for this id", quote(accept))
}

// resolve is Resolve without an id to accept. It returns the files that wait
// for each id.
func (c *Config) resolve(held map[string]Holder) (waiting map[string][]Holder) {
	c.Apps, c.Bad, c.Holders = nil, slices.Clone(c.unread), map[string]Holder{}
	maps.Copy(c.Holders, held)
	waiting = map[string][]Holder{}
	held = c.inherited(held)
	places, apps, count := map[string]*Error{}, map[string]App{}, map[uint32]int{}
	for _, s := range c.sources {
		fault := s.fault
		if fault == nil && !s.top && s.author != 0 && count[s.author]+len(s.claims) > maxUserApps {
			fault = &Error{File: s.file, Detail: fmt.Sprintf("has too many apps: user %d may have %d in apps.d, "+
				"and root any number", s.author, maxUserApps)}
		}
		for _, claim := range s.claims {
			why, waits := c.refusal(s, claim.ID, held, places)
			if waits {
				waiting[claim.ID] = append(waiting[claim.ID], Holder{s.file, s.author})
			}
			if why != "" && fault == nil {
				fault = &Error{File: s.file, Line: claim.line, Detail: why}
			}
		}
		if fault != nil {
			c.Bad = append(c.Bad, fault)
			continue
		}
		count[s.author] += len(s.claims)
		for _, claim := range s.claims {
			places[claim.ID] = &Error{File: s.file, Line: claim.line}
			if claim.disabled != nil {
				c.Bad = append(c.Bad, claim.disabled)
				continue
			}
			apps[claim.ID] = claim.App
			c.Holders[claim.ID] = Holder{s.file, s.author}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(apps)) {
		c.Apps = append(c.Apps, apps[id])
	}
	return waiting
}

// inherited returns the holders after files that are gone were replaced by others
// that root or the same user wrote: the first one that is not at fault.
func (c *Config) inherited(held map[string]Holder) map[string]Holder {
	now := maps.Clone(held)
	for id, holder := range held {
		if slices.ContainsFunc(c.sources, func(s *source) bool { return s.has(holder, id) }) {
			continue
		}
		var heirs []*source
		for _, s := range c.sources {
			if (s.author == 0 || s.author == holder.UID) && s.names(id) {
				heirs = append(heirs, s)
			}
		}
		i := slices.IndexFunc(heirs, func(s *source) bool { return s.fault == nil })
		if len(heirs) > 0 {
			heir := heirs[max(i, 0)]
			now[id] = Holder{heir.file, heir.author}
		}
	}
	return now
}

// refusal says why a file can't have an id, or "", and whether it waits for an
// admin to accept it. places has the ids of earlier files.
func (c *Config) refusal(
	s *source, id string, held map[string]Holder, places map[string]*Error,
) (why string, waits bool) {
	if first, ok := places[id]; ok {
		return taken(id, first), false
	}
	holder, known := held[id]
	switch {
	case s.top, !known, holder == Holder{s.file, s.author}:
		return "", false
	case slices.ContainsFunc(c.sources, func(other *source) bool { return other.has(holder, id) }):
		return taken(id, &Error{File: holder.File}), false
	}
	return fmt.Sprintf("[[app]] id %s belongs to user %d, who claimed it in %s, and user %d wrote this file: "+
		"to give it the app's credentials, run tvpassd reload --accept %s",
		quote(id), holder.UID, holder.File, s.author, id), true
}

// has reports whether the file is the one that has an id, and still claims it. A
// file that can't be read may claim it: an id must not move by accident.
func (s *source) has(holder Holder, id string) bool {
	if s.file != holder.File {
		return false
	}
	return s.partial || s.author == holder.UID && s.names(id)
}

// names reports whether the file claims an id.
func (s *source) names(id string) bool {
	return slices.ContainsFunc(s.claims, func(c claim) bool { return c.ID == id })
}
