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

// parseQuery reads `wait` and `min_ttl`, and ignores whatever else stands in a query. The error is a *Problem.
func parseQuery(raw string) (ipc.Query, error) {
	q := ipc.Query{Wait: ipc.DefaultWait}
	var waitGiven, ttlGiven bool
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, err := parsePair(pair)
		if err != nil {
			return ipc.Query{}, err
		}
		switch name {
		case "wait":
			q.Wait, err = parseDuration(name, value, maxWait, waitGiven)
			waitGiven = true
		case "min_ttl":
			q.MinTTL, err = parseDuration(name, value, maxMinTTL, ttlGiven)
			ttlGiven = true
		}
		if err != nil {
			return ipc.Query{}, err
		}
	}
	return q, nil
}

// parseAccept reads `accept`, the id of an app, and ignores all other parameters.
// The error is a *Problem.
func parseAccept(raw string) (string, error) {
	accept := ""
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, err := parsePair(pair)
		switch {
		case err != nil:
			return "", err
		case name != "accept":
			continue
		case value == "" || accept != "":
			return "", invalid(name, "must name one app")
		}
		accept = value
	}
	return accept, nil
}

func parsePair(pair string) (name, value string, err error) {
	rawName, rawValue, _ := strings.Cut(pair, "=")
	name, err = url.QueryUnescape(rawName)
	if err != nil {
		return "", "", invalid(rawName, "has a bad escape in its name")
	}
	if strings.Contains(pair, ";") {
		return "", "", invalid(name, "has a semicolon: parameters are joined by &")
	}
	value, err = url.QueryUnescape(rawValue)
	if err != nil {
		return "", "", invalid(name, "has a bad escape")
	}
	return name, value, nil
}

func parseDuration(name, value string, most time.Duration, again bool) (time.Duration, error) {
	const like = `must be a duration like "5s" or "750ms"`
	d, err := time.ParseDuration(value)
	switch {
	case again:
		return 0, invalid(name, "stands twice")
	case err != nil, !strings.ContainsAny(value, "smh"): // Go takes a bare 0
		return 0, invalid(name, like)
	case strings.HasPrefix(value, "-"):
		return 0, invalid(name, like+", not negative")
	case d > most:
		return 0, invalid(name, like+", at most "+most.String())
	}
	return d, nil
}

func invalid(name, what string) *ipc.Problem {
	return ipc.NewProblem(ipc.CodeInvalidParameter, "the parameter "+strconv.Quote(name)+" "+what)
}
