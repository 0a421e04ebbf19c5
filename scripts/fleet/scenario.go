package main

import "time"

// scenario is what happens to every box of a fleet. Times are from its beginning.
type scenario struct {
	name, title string
	length      time.Duration
	from, over  time.Duration // of the incident, and of what directly follows from it

	start     time.Duration // boxes start within this time; 0: they run all the time
	off       time.Duration // how long they were off before; more than a token's life makes all tokens worthless
	registers bool          // the app is a new one: no box has credentials yet
	outage    bool          // the server can't be reached during the incident
	bad       bool          // the statement is not valid during the incident
	push      time.Duration // how long a new configuration takes to reach every box
}

// scenarios are those that the page in docs/ tells of.
func scenarios() []scenario {
	const h, m = time.Hour, time.Minute
	return []scenario{
		{
			name: "power-cut", title: "A regional power cut of 10 minutes: every box boots within a minute, with a valid token",
			length: 9 * h, over: 15 * m, start: m, off: 10 * m,
		},
		{
			name: "power-cut-long", title: "A power cut of 8 hours: every box boots within a minute, with credentials and without a token",
			length: 9 * h, over: 15 * m, start: m, off: 8 * h,
		},
		{
			name: "outage", title: "The server can't be reached for 6 hours",
			length: 18 * h, from: h, over: 7*h + 15*m, outage: true,
		},
		{
			name: "bad-statement", title: "A new app reaches every box within 10 minutes, with a bad statement; 3 hours later the good one does",
			length: 13 * h, from: 10 * m, over: 3*h + 35*m, registers: true, bad: true, push: 10 * m,
		},
		{
			name: "midnight", title: "Every box reboots at midnight",
			length: 9 * h, over: 15 * m, start: m, off: m,
		},
	}
}

// ends is when an outage ends or the good statement begins to arrive.
func (s scenario) ends() time.Duration {
	switch {
	case s.outage:
		return s.from + 6*time.Hour
	case s.bad:
		return s.from + 3*time.Hour
	}
	return s.from
}
