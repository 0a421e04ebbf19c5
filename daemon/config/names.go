package config

import (
	"fmt"
	"math"
	"os/user"
	"strconv"
	"strings"
)

// names looks up users and groups by their names.
type names struct {
	user, group func(name string) (uint32, error)
}

// systemNames reads the system's lists of users and groups.
func systemNames() names { return names{user: lookupUser, group: lookupGroup} }

// missingError means that a user or group can't be looked up.
type missingError struct {
	what, name string
	err        error // nil: it does not exist
}

func (e *missingError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("names the %s %s, which does not exist: create it or correct the name", e.what, quote(e.name))
	}
	return fmt.Sprintf("names the %s %s, which can't be looked up: %v", e.what, quote(e.name), e.err)
}

func (e *missingError) Unwrap() error { return e.err }

func lookupUser(name string) (uint32, error) {
	u, err := user.Lookup(name)
	if _, unknown := err.(user.UnknownUserError); unknown {
		return 0, &missingError{what: "user", name: name}
	}
	if err != nil {
		return 0, &missingError{what: "user", name: name, err: err}
	}
	return parseNumber(u.Uid)
}

func lookupGroup(name string) (uint32, error) {
	g, err := user.LookupGroup(name)
	if _, unknown := err.(user.UnknownGroupError); unknown {
		return 0, &missingError{what: "group", name: name}
	}
	if err != nil {
		return 0, &missingError{what: "group", name: name, err: err}
	}
	return parseNumber(g.Gid)
}

// users and groups parse a list of names or numbers. The error is a
// *missingError if a name can't be looked up.
func (n names) users(value any) ([]uint32, error)  { return numbers(value, n.user) }
func (n names) groups(value any) ([]uint32, error) { return numbers(value, n.group) }

func numbers(value any, lookup func(string) (uint32, error)) ([]uint32, error) {
	elements, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf(`must be a list such as ["player"], not %s`, kind(value))
	}
	ids := make([]uint32, 0, len(elements))
	for _, element := range elements {
		name, ok := nameOrNumber(element)
		if !ok {
			return nil, fmt.Errorf(`must contain names or numbers, such as ["player"], not %s`, kind(element))
		}
		id, err := parseID(name, lookup)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// optionalGroup parses the name or number of a group; "" is nil.
func (n names) optionalGroup(value any) (*uint32, error) {
	name, ok := nameOrNumber(value)
	switch {
	case !ok:
		return nil, fmt.Errorf(`must be a name or a number such as "tvpass", not %s`, kind(value))
	case name == "":
		return nil, nil
	}
	id, err := parseID(name, n.group)
	if err != nil {
		return nil, fmt.Errorf(`%w, or write ""`, err)
	}
	return &id, nil
}

func nameOrNumber(value any) (string, bool) {
	if n, ok := value.(int64); ok {
		return strconv.FormatInt(n, 10), true
	}
	name, ok := value.(string)
	return name, ok
}

// parseID returns the number of a user or group. A number that s gives itself
// need not be in use.
func parseID(s string, lookup func(string) (uint32, error)) (uint32, error) {
	if strings.Trim(s, "-0123456789") != "" || s == "" {
		return lookup(s)
	}
	id, err := parseNumber(s)
	if err != nil || id == math.MaxUint32 { // which the kernel takes for "none"
		return 0, fmt.Errorf("names the number %s: write 0 to %d", quote(s), uint32(math.MaxUint32-1))
	}
	return id, nil
}

func parseNumber(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	return uint32(id), err
}
