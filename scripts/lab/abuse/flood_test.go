package main

import (
	"testing"
	"time"
)

// Whoever waits for a place in the queue gets one, and the token. How many of its
// connects the kernel refuses, and how long one takes, is the report's.
func TestAFloodOfConnectsKeepsNobodyOut(t *testing.T) {
	l := labFor(t)
	r, err := l.run(t.Context(), floods[2].attack(), "caller", 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if r.victim.Answered == 0 || r.victim.Failed > 0 {
		t.Errorf("of the victim's requests %d are answered, %d not\n%s", r.victim.Answered, r.victim.Failed, r.log)
	}
	if r.attackers.Answered == 0 || r.rss > barRSS {
		t.Errorf("%d connections of the attackers, %d bytes", r.attackers.Answered, r.rss)
	}
}
