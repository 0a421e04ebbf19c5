// Package doctor finds out why tvpassd does not work on this device, for a
// technician without a manual.
//
// A look (look.go, reach.go) collects facts about files, the service manager, the
// daemon's socket, and one request to the server. The checks (below; local.go,
// network.go, running.go) judge the facts in the order of dependency. One cause is
// one failure: a check that can only fail because of another one is skipped, and
// names that one. So is a check that can't be made, and it says why.
//
// It changes nothing, registers nothing, uses no credentials, and shows no
// secret. It works for any user, and without a daemon too. The command prints
// its report.
package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/daemon/clock"
	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/service"
)

// Status is the outcome of a check.
type Status string

// The outcomes, the best first.
const (
	Pass    Status = "pass"
	Skipped Status = "skipped"
	Warning Status = "warning"
	Failed  Status = "failed"
)

// Check is one check with its outcome.
type Check struct {
	ID     string `json:"id"` // stable; one of an app has it behind a colon
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Todo   string `json:"todo"` // what to do, in a line; "" if there is nothing to do
}

// Report is all checks.
type Report struct {
	Checks []Check `json:"checks"`
	Worst  Status  `json:"worst"` // pass, warning or failed
}

// Config says what to look at.
type Config struct {
	ConfigFile string    // "" is config.DefaultFile
	Socket     string    // in place of the configuration's; "" leaves it
	Version    string    // of this program
	BuildDate  time.Time // of this program; a clock before it is not set
	Undated    bool      // this program does not know when it was built: BuildDate is a guess
	UID        int
	Clock      clock.Clock
	Getenv     func(string) string                   // has the proxy variables
	EnvOf      string                                // whose variables these are
	Proxy      func(*http.Request) (*url.URL, error) // what comes of them; nil: no proxy
	Service    func(context.Context) (service.State, error)
	Load       func() (*config.Config, error) // reads ConfigFile as the daemon would
	Portal     string                         // a captive portal would answer this URL; "": http://ENDPOINT's host
}

// check is one check to make.
type check struct {
	id    string
	needs string // checks that must have come out well for this one to say anything of its own
	judge func(*facts) *Check
}

// checks returns the checks in the order in which they are shown.
func (f *facts) checks() []check {
	list := []check{
		{"config", "", judgeConfig},
		{"apps", "config", judgeApps},
		{"permissions", "config", judgePermissions},
	}
	for _, app := range f.apps() {
		list = append(list, check{"statement:" + app.ID, "", func(*facts) *Check { return judgeStatement(app) }})
	}
	list = append(list, []check{
		{"state_dir", "config", judgeStateDir},
		{"persistence", "config", judgePersistence},
		{"disk", "state_dir", judgeDisk},
		{"database", "state_dir", judgeDatabase},
		{"service", "", judgeService},
		{"socket", "", judgeSocket},
		{"daemon", "socket", judgeDaemon},
		{"build", "", judgeBuild},
		{"clock", "", judgeClock},
		{"route", "config", judgeRoute},
		{"proxy", "config", judgeProxy},
		{"dns", "route proxy", judgeDNS},
		{"captive_portal", "dns", judgePortal},
		{"tcp", "captive_portal", judgeTCP},
		{"tls", "tcp clock", judgeTLS},
		{"endpoint", "tls", judgeEndpoint},
		{"throttle", "", judgeThrottle},
		{"device", "config", judgeDevice},
		{"identifier", "config", judgeIdentifier},
	}...)
	if f.status != nil {
		for _, app := range f.status.Apps {
			list = append(list, check{"token:" + app.App, "", func(f *facts) *Check { return judgeToken(f, app) }})
		}
		return list
	}
	for _, app := range f.apps() {
		list = append(list, check{"token:" + app.ID, "daemon", nil})
	}
	return list
}

// Run collects the facts and judges them. It takes less than 25 s even if nothing
// answers.
func Run(ctx context.Context, cfg Config) Report {
	f := look(ctx, cfg)
	r := Report{Worst: Pass}
	for _, c := range f.checks() {
		var done *Check
		if cause := f.hidden(c); cause != "" {
			done = behind(cause)
		} else {
			done = c.judge(f)
		}
		done.ID, done.Detail, done.Todo = c.id, clean(done.Detail), clean(done.Todo)
		f.done = append(f.done, *done)
	}
	for _, done := range f.done {
		if done.Status == Failed || done.Status == Warning && r.Worst == Pass {
			r.Worst = done.Status
		}
	}
	r.Checks = f.done
	return r
}

// hidden names the check whose failure explains the failure of this one; "" if
// there is none. A check that could not be made hides nothing, unless without
// it there is no configuration.
func (f *facts) hidden(c check) string {
	if c.id == "tls" && f.server.rootsErr != nil {
		return "" // it is about a file
	}
	for _, done := range f.done {
		if !among(c.needs, done.ID) {
			continue
		}
		if cause, ok := strings.CutPrefix(done.Detail, behindWords); ok && done.Status == Skipped {
			return cause
		}
		if done.Status == Failed || done.ID == "config" && f.conf == nil {
			return done.ID
		}
	}
	return ""
}

const behindWords = "see "

// behind is the outcome of a check whose failure would be a consequence of
// another one's.
func behind(cause string) *Check { return skip(behindWords + cause) }

// among reports whether a word is one of some words.
func among(words, word string) bool { return slices.Contains(strings.Fields(words), word) }

// blame returns the first of some checks that found the cause of a failure; ""
// if none did. A total failure turns the warning of that check into a failure.
func (f *facts) blame(total bool, ids string) string {
	for i := range f.done {
		c := &f.done[i]
		if !among(ids, c.ID) || c.Status != Failed && c.Status != Warning {
			continue
		}
		if total {
			c.Status = Failed
		}
		return c.ID
	}
	return ""
}

// firstFailed returns the first of some earlier checks that failed; "" if none did.
func (f *facts) firstFailed(ids string) string {
	for _, id := range strings.Fields(ids) {
		if f.failed(id) {
			return id
		}
	}
	return ""
}

// failed reports whether an earlier check failed.
func (f *facts) failed(id string) bool {
	return slices.ContainsFunc(f.done, func(c Check) bool { return c.ID == id && c.Status == Failed })
}

func pass(format string, args ...any) *Check {
	return &Check{Status: Pass, Detail: fmt.Sprintf(format, args...)}
}

func skip(why string) *Check { return &Check{Status: Skipped, Detail: why} }

func warn(todo, format string, args ...any) *Check {
	return &Check{Status: Warning, Detail: fmt.Sprintf(format, args...), Todo: todo}
}

func fail(todo, format string, args ...any) *Check {
	return &Check{Status: Failed, Detail: fmt.Sprintf(format, args...), Todo: todo}
}

// clean removes control characters: some texts come from others, such as the
// names in a certificate.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
