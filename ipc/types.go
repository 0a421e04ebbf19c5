package ipc

import (
	"encoding/json"
	"slices"
	"time"
)

// DefaultSocket is where the daemon listens unless it is configured otherwise.
const DefaultSocket = "/run/tvpassd/tvpassd.sock"

// Values of Status.Health.
const (
	Healthy    = "healthy"
	Degraded   = "degraded"    // a token is stale, there is a warning, or there is no app
	Failed     = "failed"      // an app in sight has no usable token
	NotRunning = "not_running" // said by clients alone: there is no daemon to ask
)

// Values of AppStatus.State.
const (
	StateReady       = "ready"       // a valid token
	StateStale       = "stale"       // a valid token, but refreshing it fails, or a player had it refused
	StateRegistering = "registering" // no token; the registration is under way
	StateRefreshing  = "refreshing"  // no token; the first call for one is under way
	StateWaiting     = "waiting"     // no token; between retries, or the gate to the server is shut
	StateRejected    = "rejected"    // no token; a person must act
)

// What a player's report leads to.
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
	ID          string    `json:"id,omitempty"` // the server's name of the token, if it gave one
	IssuedAt    time.Time `json:"issued_at"`
	ExpiresAt   time.Time `json:"expires_at"` // by the clock of the box
	ExpiresIn   int64     `json:"expires_in"` // whole seconds left, rounded down
}

// Headers are what a call of the REST API V2 needs, ready to send.
type Headers struct {
	App       string            `json:"app"`
	ExpiresIn int64             `json:"expires_in"` // whole seconds
	Headers   map[string]string `json:"headers"`
}

// Report is a player's word that a protected API refused a token.
type Report struct {
	AccessToken string `json:"access_token"`
	Status      int    `json:"status"`         // the HTTP status that the API answered with
	Code        string `json:"code,omitempty"` // the code of Adobe's page "Enhanced error codes", if there was one
}

// ReportAnswer is the body that answers a report.
type ReportAnswer struct {
	Action string `json:"action"`
}

// Device is what the server is told about this box.
type Device struct {
	Info       json.RawMessage   `json:"info"`              // the keys of Adobe's page "Header - X-Device-Info"
	Sources    map[string]string `json:"sources,omitempty"` // where each of these keys comes from
	Header     string            `json:"x_device_info"`     // Info as the header X-Device-Info carries it
	Identifier *Identifier       `json:"device_identifier,omitempty"`
}

// Identifier tells this box from others; Adobe's page "Header - AP-Device-Identifier".
type Identifier struct {
	Value  string `json:"value"`
	Source string `json:"source"`
	Header string `json:"header"`
}

// Status is the object behind `tvpassd status --json`, as one caller may see it.
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

// Warning is something that is not as it should be.
type Warning struct {
	Code   string    `json:"code"`
	Detail string    `json:"detail"`
	Since  time.Time `json:"since"`
}

// Clock tells whether the box knows the time, and how far its clock is behind the server's.
type Clock struct {
	Set    bool  `json:"set"`
	SkewMS int64 `json:"skew_ms"`
}

// Throttle tells whether calls to the server may leave.
type Throttle struct {
	Open      bool  `json:"open"`
	OpensInMS int64 `json:"opens_in_ms"`
}

// Storage tells whether state can be kept.
type Storage struct {
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// AppStatus tells how one app stands. What is unknown is nil, and null in JSON.
type AppStatus struct {
	App            string     `json:"app"`
	State          string     `json:"state"`
	ClientID       string     `json:"client_id"` // masked
	RegisteredAt   *time.Time `json:"registered_at"`
	Registrations  int        `json:"registrations"` // in the life of this app, endpoint and device
	TokenExpiresAt *time.Time `json:"token_expires_at"`
	TokenExpiresIn *int64     `json:"token_expires_in"` // seconds
	NextRefreshIn  *int64     `json:"next_refresh_in"`  // seconds
	LastContactAt  *time.Time `json:"last_contact_at"`
	LastError      *LastError `json:"last_error"`

	Transitions []Transition `json:"transitions"` // the last ones, oldest first, kept through restarts
}

// Transition is one change of an app's state.
type Transition struct {
	At         time.Time `json:"at"`
	State      string    `json:"state"`
	Code       string    `json:"code,omitempty"` // of the failure that led there, as in LastError
	ServerCode string    `json:"server_code,omitempty"`
}

// LastError is why an app has no token, or no new one.
type LastError struct {
	Code       string    `json:"code"`
	ServerCode string    `json:"server_code"` // as in Problem; "" where there is none
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

// Event is one change told by a watch: exactly one of its fields is set.
type Event struct {
	State *AppStatus
	Token *Token
}

// MarshalJSON writes instants as UTC in whole seconds, and empty lists as lists.
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
