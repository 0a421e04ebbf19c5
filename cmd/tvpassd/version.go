package main

import (
	"cmp"
	"flag"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Set by the linker, as scripts/buildflags says.
var (
	version   = ""
	commit    = ""
	buildDate = "" // seconds since 1970, as in SOURCE_DATE_EPOCH
)

// program is what there is to know about this binary.
type program struct {
	Version   string     `json:"version"`
	Commit    string     `json:"commit"`
	BuildDate *time.Time `json:"build_date"` // nil if nothing says it
	Go        string     `json:"go"`
	Target    string     `json:"target"`
}

// thisProgram prefers what the linker set, then what the source archive says,
// then what go build noted of the repository.
func thisProgram() program {
	module, noted := buildInfo()
	return program{
		Version:   cmp.Or(version, module, "0.0.0-unknown"),
		Commit:    cmp.Or(commit, archived(archiveCommit), noted["vcs.revision"], "unknown"),
		BuildDate: buildTime(buildDate, archived(archiveDate), noted["vcs.time"]),
		Go:        runtime.Version(),
		Target:    runtime.GOOS + "/" + runtime.GOARCH + armVersion,
	}
}

// archived returns "" for what git archive has not filled in.
func archived(text string) string {
	if strings.HasPrefix(text, "$") {
		return ""
	}
	return text
}

// oldest is before every build of tvpassd. Build systems that do not know the
// date of a source say 1970, 1980 or 2011.
func oldest() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// buildTime returns the first of dates, in seconds since 1970 or in RFC 3339, that
// can be the date of a build; nil if none can.
func buildTime(dates ...string) *time.Time {
	for _, date := range dates {
		at, err := time.Parse(time.RFC3339, date)
		if seconds, notSeconds := strconv.ParseInt(date, 10, 64); notSeconds == nil {
			at, err = time.Unix(seconds, 0), nil
		}
		if err == nil && !at.Before(oldest()) {
			at = at.UTC()
			return &at
		}
	}
	return nil
}

// builtAfter returns a time that a clock must have passed to be set.
func (p program) builtAfter() time.Time {
	if p.BuildDate != nil {
		return *p.BuildDate
	}
	return oldest()
}

func (p program) String() string {
	built := "build date unknown"
	if p.BuildDate != nil {
		built = "built " + p.BuildDate.Format(time.RFC3339)
	}
	return fmt.Sprintf("tvpassd %s (commit %.12s, %s, %s, %s)", p.Version, p.Commit, built, p.Go, p.Target)
}

func versionCommand(set *flag.FlagSet) func(*env, []string) error {
	asJSON := set.Bool("json", false, "print JSON")
	return alone(func(e *env) error {
		if *asJSON {
			return printJSON(e, thisProgram())
		}
		_, err := fmt.Fprintln(e.stdout, thisProgram())
		return err
	})
}
