package server

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
)

const (
	maxWait   = time.Minute
	maxMinTTL = 8760 * time.Hour
)

// parseQuery reads wait and min_ttl and ignores other parameters. Its error is a
// [*ipc.Problem].
func parseQuery(raw string) (ipc.Query, error) {
	q := ipc.Query{Wait: ipc.DefaultWait}
	if raw == "" {
		return q, nil
	}
	given, err := url.ParseQuery(raw)
	if err != nil {
		return q, ipc.NewProblem(ipc.CodeInvalidParameter, "the query can't be read: "+err.Error())
	}
	if err := readDuration(given, "wait", maxWait, &q.Wait); err != nil {
		return q, err
	}
	return q, readDuration(given, "min_ttl", maxMinTTL, &q.MinTTL)
}

// parseAccept reads accept, the id of an app, and ignores other parameters. Its
// error is a [*ipc.Problem].
func parseAccept(raw string) (string, error) {
	given, err := url.ParseQuery(raw)
	if err != nil {
		return "", ipc.NewProblem(ipc.CodeInvalidParameter, "the query can't be read: "+err.Error())
	}
	values := given["accept"]
	if len(values) > 1 || len(values) == 1 && values[0] == "" {
		return "", invalid("accept", "must name one app")
	}
	return given.Get("accept"), nil
}

// readDuration sets d to the parameter of that name if it is given.
func readDuration(given url.Values, name string, most time.Duration, d *time.Duration) error {
	values := given[name]
	if len(values) == 0 {
		return nil
	}
	const like = `must be a duration like "5s" or "750ms"`
	v, err := time.ParseDuration(values[0])
	switch {
	case len(values) > 1:
		return invalid(name, "is given twice")
	case err != nil, !strings.ContainsAny(values[0], "smh"): // Go accepts a bare 0
		return invalid(name, like)
	case strings.HasPrefix(values[0], "-"):
		return invalid(name, like+", not negative")
	case v > most:
		return invalid(name, like+", at most "+most.String())
	}
	*d = v
	return nil
}

func invalid(name, what string) *ipc.Problem {
	return ipc.NewProblem(ipc.CodeInvalidParameter, "the parameter "+strconv.Quote(name)+" "+what)
}
