package main

import (
	"os"
	"testing"
	"time"
)

// Whoever waits for a place in the queue gets one, and the token. How many of its
// connects the kernel refuses, and how long one takes, is the report's.
func TestAFloodOfConnectsKeepsNobodyOut(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be several users")
	}
	l, err := newLab(t.Context(), built(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	r, err := l.runAs(t.Context(), floods[2].attack(), "caller", 3*time.Second)
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
