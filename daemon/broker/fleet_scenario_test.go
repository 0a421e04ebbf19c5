package broker

import "time"

// fleetScenario is an incident that strikes every device of a fleet. Times count
// from its beginning.
type fleetScenario struct {
	name, title string
	length      time.Duration
	from, over  time.Duration // of the incident, and of what directly follows from it

	start     time.Duration // devices boot within this time; 0: they run all the time
	off       time.Duration // how long they were off before; more than a token's life makes every token worthless
	registers bool          // the app is new: no device has credentials yet
	outage    bool          // the server can't be reached during the incident
	bad       bool          // the software statement is not valid during the incident
	push      time.Duration // how long a new configuration takes to reach every device
}

// fleetScenarios are those of docs/fleet.md. Each goes on for a day after its
// beginning.
func fleetScenarios() []fleetScenario {
	const h, m = time.Hour, time.Minute
	return []fleetScenario{
		{
			name: "quiet", title: "A quiet day", length: 24 * h,
		},
		{
			name:   "power-cut",
			title:  "A regional power cut of 10 minutes: every device boots within a minute, with a valid token",
			length: 24 * h, over: 15 * m, start: m, off: 10 * m,
		},
		{
			name:   "power-cut-long",
			title:  "A power cut of 8 hours: every device boots within a minute, with credentials and no token",
			length: 24 * h, over: 15 * m, start: m, off: 8 * h,
		},
		{
			name: "outage", title: "The server can't be reached for 6 hours",
			length: 25 * h, from: h, over: 7*h + 15*m, outage: true,
		},
		{
			name: "bad-statement",
			title: "A new app reaches every device within 10 minutes, with a bad statement; " +
				"3 hours later the good one does",
			length: 24*h + 10*m, from: 10 * m, over: 3*h + 35*m, registers: true, bad: true, push: 10 * m,
		},
		{
			name: "midnight", title: "Every device reboots at midnight",
			length: 24 * h, over: 15 * m, start: m, off: m,
		},
	}
}

// ends is when an outage ends or the good statement begins to arrive.
func (s fleetScenario) ends() time.Duration {
	switch {
	case s.outage:
		return s.from + 6*time.Hour
	case s.bad:
		return s.from + 3*time.Hour
	}
	return s.from
}
