package broker

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// simStory is the end of what happened in a life: enough to see why a rule was
// broken.
type simStory struct{ lines []string }

// simStoryLines is how many lines a person reads.
const simStoryLines = 40

func (s *simStory) add(at time.Duration, text string) {
	s.lines = append(s.lines, simTime(at)+"  "+text)
	if len(s.lines) > 2*simStoryLines {
		s.lines = append(s.lines[:0], s.lines[len(s.lines)-simStoryLines:]...)
	}
}

func (s *simStory) String() string {
	return strings.Join(s.lines[max(len(s.lines)-simStoryLines, 0):], "\n")
}

// simTime is a moment of a life in a form that reads well.
func simTime(at time.Duration) string {
	day := at / simDay
	return fmt.Sprintf("day %d %s", day, simBirth.Truncate(simDay).Add(at%simDay).Format("15:04:05.000"))
}

func (l simLife) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "a device with %d apps and tokens of %v, that boots with %s", l.apps, l.tokenLife, l.bootClock)
	if l.timeService > 0 {
		fmt.Fprintf(&b, " and has the right one after some %v", roundly(l.timeService))
	}
	for _, trait := range []struct {
		has   bool
		words string
	}{
		{l.plain, "without TLS"},
		{l.noDates, "with a proxy that strips Date"},
		{l.noBootID, "without a boot id"},
		{l.standsStill, "without a clock that runs in a suspend"},
		{l.caches > 0, "whose server hands out a token again for " + roundly(l.caches)},
		{l.skew != 0, "whose server is ahead of time by " + roundly(l.skew)},
		{l.files, "with its state in real files"},
	} {
		if trait.has {
			b.WriteString(", " + trait.words)
		}
	}
	for _, i := range l.incidents {
		fmt.Fprintf(&b, "\n  %s  %s", simTime(i.at), i)
	}
	return b.String()
}

// shrink looks for the shortest life that breaks the same rule.
func shrink(life simLife, broken simBroken, run func(simLife) *simBroken) simLife {
	tries := 2000
	breaks := func(l simLife) bool {
		tries--
		b := run(l)
		return b != nil && b.rule == broken.rule
	}
	try := func(l simLife) {
		if tries > 0 && breaks(l) {
			life = l
		}
	}
	for size := max(len(life.incidents)/2, 1); ; size /= 2 {
		for at := 0; at < len(life.incidents); {
			less := life
			less.incidents = slices.Delete(slices.Clone(life.incidents), at, min(at+size, len(life.incidents)))
			before := len(life.incidents)
			if try(less); len(life.incidents) == before {
				at += size
			}
		}
		if size <= 1 {
			break
		}
	}
	for _, simpler := range []func(*simLife){
		func(l *simLife) { l.files = false }, func(l *simLife) { l.noBootID = false },
		func(l *simLife) { l.noDates = false },
		func(l *simLife) { l.standsStill = false }, func(l *simLife) { l.caches = 0 },
		func(l *simLife) { l.skew = 0 }, func(l *simLife) { l.plain = false }, func(l *simLife) { l.bootClock = bootsRight },
		func(l *simLife) { l.timeService = time.Minute }, func(l *simLife) { l.tokenLife = 6 * time.Hour },
		func(l *simLife) { l.apps = 1 + l.lastApp() },
		(*simLife).hasten,
	} {
		l := life
		l.incidents = slices.Clone(life.incidents)
		simpler(&l)
		try(l)
	}
	return life
}

// lastApp is the number of the last app that anything happens to.
func (l *simLife) lastApp() int {
	last := 0
	for _, i := range l.incidents {
		last = max(last, i.app)
	}
	return last
}

// hasten moves everything as many days earlier as possible.
func (l *simLife) hasten() {
	if len(l.incidents) == 0 {
		return
	}
	days := l.incidents[0].at.Truncate(simDay)
	for n := range l.incidents {
		l.incidents[n].at -= days
	}
}
