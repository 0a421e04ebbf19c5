// Package storage keeps what must survive a restart, a kill or a power cut: the client credentials, access token, retry
// state and story of every app, the device identifier, and how long the throttle stays shut.
//
// It owns two files in the state directory. tvpassd.db (bbolt) holds everything; a change is one transaction.
// tvpassd.copy holds what a viewer would be signed out without, the credentials and the identifier, a second time, and is
// replaced as a whole. Whichever of the two is damaged is set aside under a dated name, never deleted, and made anew from
// the other. docs/storage.md tells in which order they are written, and what a power cut leaves at each point.
//
// It decides nothing: when to write, what a stamp means and whether a token may be used is the broker's.
package storage

import "time"

// Stamp is one moment on the clocks of a box. Two stamps of one boot are compared by Boot, which nothing can step;
// across boots only Wall is left, and only as far as it can be trusted.
type Stamp struct {
	BootID string        `json:"boot_id"` // /proc/sys/kernel/random/boot_id
	Boot   time.Duration `json:"boot"`    // CLOCK_BOOTTIME
	Wall   time.Time     `json:"wall"`    // CLOCK_REALTIME
}

// App is all that is kept for one app at one endpoint.
type App struct {
	Credentials *Credentials // nil: not registered
	History     History
	Token       *Token // nil: none
	Retry       *Retry // nil: nothing has failed
	Story       *Story // nil: nothing has happened
}

// Credentials are the client credentials of a registration ("Retrieve client credentials").
type Credentials struct {
	ClientID     string    `json:"client_id"`
	ClientSecret string    `json:"client_secret"`
	IssuedAt     time.Time `json:"issued_at,omitzero"` // as the server gave it
	RegisteredAt time.Time `json:"registered_at"`      // by the box's wall clock
	RedirectURIs []string  `json:"redirect_uris,omitempty"`
	GrantTypes   []string  `json:"grant_types,omitempty"`
	Scopes       []string  `json:"scopes,omitempty"`
}

// History outlives the credentials it tells of.
type History struct {
	Registrations int           `json:"registrations,omitempty"` // answered ones, ever
	Replaced      *Stamp        `json:"replaced,omitempty"`      // when refused credentials were last replaced
	Aside         []Credentials `json:"aside,omitempty"`         // pairs that were replaced, newest first
}

// Token is an access token ("Retrieve access token") with what its expiry is reckoned from.
type Token struct {
	AccessToken  string        `json:"access_token"`
	ID           string        `json:"id,omitempty"`
	Life         time.Duration `json:"life"`             // expires_in
	Sent         Stamp         `json:"sent"`             // when it was asked for: it lives from here at the latest
	ServerSent   time.Time     `json:"server,omitzero"`  // the same moment by the server's clock, at the earliest
	RefreshAfter time.Duration `json:"refresh_after"`    // from Sent; drawn once
	Refused      bool          `json:"refused,omitzero"` // a protected API refused it
}

// Retry is what keeps a restart from becoming a request.
type Retry struct {
	Failures   int           `json:"failures"`              // since the last success
	Slow       bool          `json:"slow,omitempty"`        // a person must act
	Noted      Stamp         `json:"noted"`                 // when Wait began
	Wait       time.Duration `json:"wait"`                  // before the next attempt
	For        string        `json:"for,omitempty"`         // marks what the app was configured with
	Suspect    *Stamp        `json:"suspect,omitempty"`     // first invalid_client of a row
	Condemned  bool          `json:"condemned,omitempty"`   // invalid_client came again: the pair is to be replaced
	Code       string        `json:"code,omitempty"`        // why, in the words of the socket's errors
	ServerCode string        `json:"server_code,omitempty"` // the server's own
	Detail     string        `json:"detail,omitempty"`
	At         time.Time     `json:"at,omitzero"`
}

// Story is what happened to an app lately, oldest first: its owner keeps it short.
type Story []Transition

// Transition is one change of an app's state.
type Transition struct {
	At         time.Time `json:"at"` // by the box's wall clock
	State      string    `json:"state"`
	Code       string    `json:"code,omitempty"` // of the failure that led there, as in Retry
	ServerCode string    `json:"server_code,omitempty"`
}

// Gate is how long the server's throttle keeps every app from calling.
type Gate struct {
	Noted Stamp         `json:"noted"`
	Wait  time.Duration `json:"wait"`
}

// Identifier is the device identifier: 64 hexadecimal characters, and the hardware value they come from.
type Identifier struct {
	Value  string `json:"value"`
	Source string `json:"source"`
}
