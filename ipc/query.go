package ipc

import "time"

// Query is how long a caller waits for a token, and how long the token must
// live.
type Query struct {
	Wait   time.Duration // for a token, if none at hand will do; 0 is not at all
	MinTTL time.Duration // more than a third of the token's life counts as that third
}

// DefaultWait is the Wait of a caller who does not say.
const DefaultWait = 10 * time.Second
