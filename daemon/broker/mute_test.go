package broker

import (
	"context"
	"testing"
	"time"
)

// An alarm that does not ring must not keep a player who waits from a token.
func TestAPlayerWhoWaitsNeedsNoAlarm(t *testing.T) {
	b := running(t)
	b.ready()
	b.clock.step(labLife + time.Hour)
	got := make(chan string, 1)
	go func() {
		tok, err := b.Token(context.Background(), "ref30", time.Minute, 0)
		if err != nil {
			t.Error(err)
		}
		got <- tok.AccessToken
	}()
	select {
	case kind := <-b.up.began:
		if kind != callToken {
			t.Fatalf("the call is %q", kind)
		}
	case tok := <-got:
		t.Fatalf("no call leaves, the player gets %q", tok)
	}
	b.up.release <- nil
	if tok := <-got; tok != "token-2" {
		t.Errorf("the player gets %q", tok)
	}
}
