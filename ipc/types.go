package ipc

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// DefaultSocket is the path of the socket unless the configuration has another.
const DefaultSocket = "/run/tvpassd/tvpassd.sock"

// Values of [Status.Health].
const (
	Healthy    = "healthy"
	Degraded   = "degraded"    // a token is stale, there is a warning, or there is no app
	Failed     = "failed"      // an app in sight has no usable token
	NotRunning = "not_running" // there is no daemon to ask: only clients say so
)

// Values of [AppStatus.State].
const (
	StateReady       = "ready"       // a valid token
	StateStale       = "stale"       // a valid token, but refreshing it fails, or a player had it refused
	StateRegistering = "registering" // no token; the registration is under way
	StateRefreshing  = "refreshing"  // no token; the first call for one is under way
	StateWaiting     = "waiting"     // no token; between retries, or the gate to the server is shut
	StateRejected    = "rejected"    // no token; a person must act
)

// States returns the values of [AppStatus.State].
func States() []string {
	return []string{StateReady, StateStale, StateRegistering, StateRefreshing, StateWaiting, StateRejected}
}

// Values of [ReportAnswer.Action]: what a player's report leads to.
const (
	ActionNone     = "none"
	ActionRefresh  = "refresh"
	ActionRegister = "register"
)

// Token is an access token as players get it.
type Token struct {
	App         string    `json:"app"`
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ID          string    `json:"id,omitempty"` // the server's name for the token, if it gave one
	IssuedAt    time.Time `json:"issued_at"`
	ExpiresAt   time.Time `json:"expires_at"` // by the clock of the device
	ExpiresIn   int64     `json:"expires_in"` // whole seconds left, rounded down
}

// Headers are the headers of a REST API V2 call, ready to send.
type Headers struct {
	App       string            `json:"app"`
	ExpiresIn int64             `json:"expires_in"` // whole seconds
	Headers   map[string]string `json:"headers"`
}

// Report tells the daemon that a protected API refused a token.
type Report struct {
	AccessToken string `json:"access_token"`
	Status      int    `json:"status"`         // the HTTP status of the API's answer
	Code        string `json:"code,omitempty"` // the answer's code, of Adobe's page "Enhanced error codes", if it had one
}

// ReportAnswer is the body that answers a report.
type ReportAnswer struct {
	Action string `json:"action"`
}

// Device is what the server is told about the device.
type Device struct {
	Info       json.RawMessage   `json:"info"`              // the keys of Adobe's page "Header - X-Device-Info"
	Sources    map[string]string `json:"sources,omitempty"` // where each of these keys comes from
	Header     string            `json:"x_device_info"`     // Info as the header X-Device-Info carries it
	Identifier *Identifier       `json:"device_identifier,omitempty"`
}

// Identifier is the device identifier; see Adobe's page "Header -
// AP-Device-Identifier".
type Identifier struct {
	Value  string `json:"value"`
	Source string `json:"source"`
	Header string `json:"header"`
}

// Status is what `tvpassd status --json` prints, as far as the caller may see
// it.
type Status struct {
	Version   string      `json:"version"`
	StartedAt time.Time   `json:"started_at"`
	UptimeS   int64       `json:"uptime_s"`
	Health    string      `json:"health"`
	Warnings  []Warning   `json:"warnings"`
	Endpoint  string      `json:"endpoint"`
	Device    Device      `json:"device"`
	Clock     Clock       `json:"clock"`
	Throttle  Throttle    `json:"throttle"`
	Storage   Storage     `json:"storage"`
	Apps      []AppStatus `json:"apps"`
}

// Warning is something that is wrong, with what to do about it in Detail.
type Warning struct {
	Code   string    `json:"code"`
	Detail string    `json:"detail"`
	Since  time.Time `json:"since"`
}

// Clock says whether the clock of the device is set, and how far it is behind
// the server's.
type Clock struct {
	Set    bool  `json:"set"`
	SkewMS int64 `json:"skew_ms"`
}

// Throttle says whether calls to the server may leave.
type Throttle struct {
	Open      bool  `json:"open"`
	OpensInMS int64 `json:"opens_in_ms"`
	Waiting   int   `json:"waiting"` // players' calls of the apps in sight that wait
}

// Storage says whether the state can be written.
type Storage struct {
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// AppStatus is the state of one app. What is unknown is nil, and null in JSON.
type AppStatus struct {
	App            string     `json:"app"`
	State          string     `json:"state"`
	ClientID       string     `json:"client_id"` // masked
	RegisteredAt   *time.Time `json:"registered_at"`
	Registrations  int        `json:"registrations"` // of this app at this endpoint, since the device's first start
	TokenExpiresAt *time.Time `json:"token_expires_at"`
	TokenExpiresIn *int64     `json:"token_expires_in"` // seconds
	NextRefreshIn  *int64     `json:"next_refresh_in"`  // seconds
	LastContactAt  *time.Time `json:"last_contact_at"`
	LastError      *LastError `json:"last_error"`

	Transitions []Transition `json:"transitions"` // the last ones, oldest first; they survive restarts

	Gateway *GatewayCalls `json:"gateway,omitempty"` // nil in a watch
}

// Usable reports whether the app has a valid token.
func (a AppStatus) Usable() bool { return a.State == StateReady || a.State == StateStale }

// GatewayCalls are the calls of an app's players that the gateway has taken on
// and not yet answered.
type GatewayCalls struct {
	InFlight int `json:"in_flight"`
	Waiting  int `json:"waiting"` // for the throttle or a token
}

// Transition is one change of an app's state.
type Transition struct {
	At         time.Time `json:"at"`
	State      string    `json:"state"`
	Code       string    `json:"code,omitempty"` // of the failure that caused it, as in LastError
	ServerCode string    `json:"server_code,omitempty"`
}

// LastError is the reason that an app has no token, or no new one.
type LastError struct {
	Code       string    `json:"code"`
	ServerCode string    `json:"server_code"` // as in Problem; "" if there is none
	Detail     string    `json:"detail"`
	At         time.Time `json:"at"`
}

// Configuration is what admins may know of the configuration in force.
type Configuration struct {
	File    string            `json:"file"`    // config.toml, which need not exist
	Holders map[string]Holder `json:"holders"` // by app
}

// Holder is the file that has an app's id, and with it the client credentials.
type Holder struct {
	File string `json:"file"`
	UID  uint32 `json:"uid"` // the user who wrote it
}

// Event is one event of a watch: exactly one of its fields is set.
type Event struct {
	State *AppStatus
	Token *Token
}

// MarshalJSON writes instants as UTC in whole seconds, and empty lists as
// lists.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	s.StartedAt = wholeSeconds(s.StartedAt)
	if s.Warnings = slices.Clone(s.Warnings); s.Warnings == nil {
		s.Warnings = []Warning{}
	}
	for i := range s.Warnings {
		s.Warnings[i].Since = wholeSeconds(s.Warnings[i].Since)
	}
	if s.Apps == nil {
		s.Apps = []AppStatus{}
	}
	return json.Marshal(plain(s))
}

// MarshalJSON writes instants as UTC in whole seconds.
func (a AppStatus) MarshalJSON() ([]byte, error) {
	type plain AppStatus
	for _, at := range []**time.Time{&a.RegisteredAt, &a.TokenExpiresAt, &a.LastContactAt} {
		if *at != nil {
			*at = new(wholeSeconds(**at))
		}
	}
	if a.LastError != nil {
		e := *a.LastError
		e.At = wholeSeconds(e.At)
		a.LastError = &e
	}
	if a.Transitions == nil {
		a.Transitions = []Transition{}
	}
	return json.Marshal(plain(a))
}

func wholeSeconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// slack is how many seconds may lie between two computations of one instant
// from rounded values.
const slack = 2

// Same reports whether later, the state some time after a, differs from a only
// by the seconds that have passed.
func (a AppStatus) Same(later AppStatus, passed time.Duration) bool {
	if near(a.TokenExpiresAt, later.TokenExpiresAt) {
		later.TokenExpiresAt, later.TokenExpiresIn = a.TokenExpiresAt, a.TokenExpiresIn
	}
	if n, m := a.NextRefreshIn, later.NextRefreshIn; n != nil && m != nil {
		if off := *n - *m - int64(passed/time.Second); -slack <= off && off <= slack {
			later.NextRefreshIn = n
		}
	}
	was, err := json.Marshal(a)
	if err != nil {
		return false
	}
	is, err := json.Marshal(later)
	return err == nil && bytes.Equal(was, is)
}

// Same reports whether later is t, read at another time.
func (t Token) Same(later Token) bool {
	if near(&t.ExpiresAt, &later.ExpiresAt) {
		later.IssuedAt, later.ExpiresAt, later.ExpiresIn = t.IssuedAt, t.ExpiresAt, t.ExpiresIn
	}
	return t == later
}

func near(a, b *time.Time) bool {
	return a != nil && b != nil && a.Sub(*b).Abs() <= slack*time.Second
}
