package main

import (
	"slices"
	"testing"
	"time"
)

// What the page in docs/ says of a million boxes, asserted of a few thousand: the shape does not depend on their number.
func TestAFleetIsNoStorm(t *testing.T) {
	for _, tc := range []struct {
		name    string
		boxes   int
		belowBy float64       // the highest ten seconds are so many times lower than the naive player's
		fewer   float64       // and there are so many times fewer requests
		wave    float64       // the highest ten minutes afterwards, in terms of a quiet time
		served  time.Duration // every box has a token again so soon
	}{
		{"power-cut", 4000, 20, 5, 8, 2 * time.Minute},
		{"power-cut-long", 4000, 3, 2.5, 12, 15 * time.Minute},
		{"outage", 1000, 50, 60, 12, 16 * time.Minute},
		{"bad-statement", 4000, 80, 500, 12, 11 * time.Minute},
		{"midnight", 4000, 20, 5, 8, 2 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := fleet{boxes: tc.boxes, seed: 1, life: 6 * time.Hour, capacity: 10_000, starts: 3 * time.Hour}
			s := scenarios()[slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == tc.name })]
			r, err := f.run(s)
			if err != nil {
				t.Fatal(err)
			}
			ours, naive := peak(r.tvpassd, 10), peak(r.naive, 10)
			if naive < tc.belowBy*ours {
				t.Errorf("%.0f requests a second in the highest ten seconds, and %.0f by the naive player", ours, naive)
			}
			if ours, naive := float64(sum(r.tvpassd)), float64(sum(r.naive)); naive < tc.fewer*ours {
				t.Errorf("%.0f requests, and %.0f by the naive player", ours, naive)
			}
			if wave := peak(r.tvpassd[seconds(s.over):], 600) / f.calm(); wave > tc.wave {
				t.Errorf("the highest ten minutes afterwards are %.1f times quiet ones, want %.1f at most", wave, tc.wave)
			}
			if d := r.served(1); d < 0 || d > tc.served {
				t.Errorf("the last box has a token %v after the end, want %v at most", d, tc.served)
			}
		})
	}
}

// When all is well the server sees what the life of a token says, and no waves.
func TestAFleetInAQuietTime(t *testing.T) {
	f := fleet{boxes: 2000, seed: 1, life: 6 * time.Hour, capacity: 10_000, starts: 3 * time.Hour}
	s := scenario{length: 24 * time.Hour}
	r, err := f.run(s)
	if err != nil {
		t.Fatal(err)
	}
	if mean := float64(sum(r.tvpassd)) / s.length.Seconds(); mean < 0.9*f.calm() || mean > 1.1*f.calm() {
		t.Errorf("%.3f requests a second, want %.3f", mean, f.calm())
	}
	if most := peak(r.tvpassd, 600); most > 1.6*f.calm() {
		t.Errorf("%.3f requests a second in the highest ten minutes, want about %.3f", most, f.calm())
	}
}

func TestAFleetReplays(t *testing.T) {
	f := fleet{boxes: 4500, seed: 7, life: 6 * time.Hour, capacity: 10_000, starts: 3 * time.Hour}
	s := scenarios()[1]
	s.length = 15 * time.Minute
	first, err := f.run(s)
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.run(s)
	if err != nil {
		t.Fatal(err)
	}
	f.seed++
	other, err := f.run(s)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(first.tvpassd, second.tvpassd) || !slices.Equal(first.naive, second.naive) {
		t.Error("the same seed gives other figures the second time")
	}
	if slices.Equal(first.tvpassd, other.tvpassd) || slices.Equal(first.naive, other.naive) {
		t.Error("another seed gives the same figures")
	}
}
