package ipc

import "time"

// Query is how long a caller waits for a token, and how long that must live.
type Query struct {
	Wait   time.Duration // for a token, where none is at hand that will do; 0 is not at all
	MinTTL time.Duration // more than a third of the token's life counts as that third
}

// DefaultWait is how long a caller waits who doesn't say.
const DefaultWait = 10 * time.Second
