// Package storage keeps what must survive a restart, a kill or a power cut: the
// client credentials, access token, retry state and latest transitions of every
// app, the device identifier, which file has the id of each app, and how long
// the throttle stays shut.
//
// It owns two files in the state directory. tvpassd.db (bbolt) holds
// everything; a change is one transaction. tvpassd.copy holds the credentials,
// the identifier and the files that have the ids a second time, because a
// viewer would be signed out without them; it is replaced as a whole. A damaged
// file is set aside under a dated name, never deleted, and made anew from the
// other one. docs/storage.md describes the order of writes, and what a power
// cut leaves at each point.
//
// The package decides nothing: when to write, what a stamp means and whether a
// token may be used is up to its callers.
package storage

import "time"

// Stamp is one moment on the clocks of a device. Two stamps of one boot are
// compared by Boot, which nothing can step. Across boots only Wall is left, and
// it is only as good as the clock was.
type Stamp struct {
	BootID string        `json:"boot_id"` // /proc/sys/kernel/random/boot_id
	Boot   time.Duration `json:"boot"`    // CLOCK_BOOTTIME
	Wall   time.Time     `json:"wall"`    // CLOCK_REALTIME
}

// App is everything that is kept for one app at one endpoint.
type App struct {
	Credentials *Credentials // nil: not registered
	History     History
	Token       *Token       // nil: there is none
	Retry       *Retry       // nil: nothing has failed
	Transitions *Transitions // nil: nothing has happened
}

// Credentials are the client credentials of a registration ("Retrieve client
// credentials").
type Credentials struct {
	ClientID     string    `json:"client_id"`
	ClientSecret string    `json:"client_secret"`
	IssuedAt     time.Time `json:"issued_at,omitzero"` // as the server gave it
	RegisteredAt time.Time `json:"registered_at"`      // by the wall clock of the device
	RedirectURIs []string  `json:"redirect_uris,omitempty"`
	GrantTypes   []string  `json:"grant_types,omitempty"`
	Scopes       []string  `json:"scopes,omitempty"`
}

// History describes earlier registrations. It outlives the credentials.
type History struct {
	Registrations int           `json:"registrations,omitempty"` // the number of answered ones, ever
	Replaced      *Stamp        `json:"replaced,omitempty"`      // when refused credentials were last replaced
	Aside         []Credentials `json:"aside,omitempty"`         // pairs that were replaced, newest first
	Restored      bool          `json:"restored,omitzero"`       // the present pair was aside: the server knows it again
}

// Token is an access token ("Retrieve access token") and what its expiry is
// computed from.
type Token struct {
	AccessToken  string        `json:"access_token"`
	ID           string        `json:"id,omitempty"`
	Life         time.Duration `json:"life"`             // from Sent
	Sent         Stamp         `json:"sent"`             // when the call was sent; the life begins here at the latest
	ServerSent   time.Time     `json:"server,omitzero"`  // the same moment by the server's clock, at the earliest
	WallSent     time.Time     `json:"wall,omitzero"`    // by the wall clock, if a time service vouched for it
	RefreshAfter time.Duration `json:"refresh_after"`    // from Sent; drawn once
	Refused      bool          `json:"refused,omitzero"` // a protected API refused it
}

// Retry is the state that keeps a restart from causing a call.
type Retry struct {
	Failures    int           `json:"failures"`              // since the last success
	Slow        bool          `json:"slow,omitempty"`        // a person must act
	Noted       Stamp         `json:"noted"`                 // when Wait began
	Wait        time.Duration `json:"wait"`                  // before the next attempt
	For         string        `json:"for,omitempty"`         // identifies the configuration of the app
	Suspect     *Stamp        `json:"suspect,omitempty"`     // the first invalid_client in a row
	Unexplained int           `json:"unexplained,omitempty"` // refusals in a row whose code is not documented
	Condemned   bool          `json:"condemned,omitempty"`   // invalid_client came again: replace the credentials
	Refused     int           `json:"refused,omitempty"`     // pairs of credentials that the server refused since
	RefusedAt   time.Duration `json:"refused_at,omitempty"`  // the last one, by the boot clock of Noted
	Code        string        `json:"code,omitempty"`        // the cause, as an error code of the socket
	ServerCode  string        `json:"server_code,omitempty"` // the server's own code
	Detail      string        `json:"detail,omitempty"`
	At          time.Time     `json:"at,omitzero"`
}

// Transitions are the latest changes of an app's state, oldest first. The
// caller limits their number.
type Transitions []Transition

// Transition is one change of an app's state.
type Transition struct {
	At         time.Time `json:"at"` // by the wall clock of the device
	State      string    `json:"state"`
	Code       string    `json:"code,omitempty"` // of the failure that caused it, as in Retry
	ServerCode string    `json:"server_code,omitempty"`
}

// Gate is how long the server's throttle keeps every app from calling.
type Gate struct {
	Noted Stamp         `json:"noted"`
	Wait  time.Duration `json:"wait"`
}

// Holders are the files that have the ids of the apps. Whoever has an id has
// the app's credentials, so they are kept as safely as those.
type Holders map[string]Holder // by app

// Holder is the file that has an app's id.
type Holder struct {
	File string `json:"file"`
	UID  uint32 `json:"uid"` // the user who wrote it
}

// Identifier is the device identifier: 64 hexadecimal characters, and the
// hardware value that they come from.
type Identifier struct {
	Value  string `json:"value"`
	Source string `json:"source"`
}
