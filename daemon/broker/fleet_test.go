package broker

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// The fleet shows the load on the server when something strikes many devices at
// once. The real engine runs for each device in one event-driven process,
// without a goroutine or a moment of real time, and a naive player runs beside
// it. A seed always gives the same figures.
//
//	FLEET_DEVICES=1000000 go test -timeout 2h -run '^TestFleet$' -v ./daemon/broker
//
// FLEET_DEVICES replaces the few thousand devices of a normal run: the shapes do
// not depend on their number. FLEET_OUT is a directory for the requests of each
// second, which scripts/fleet/plot draws.

func TestFleet(t *testing.T) {
	devices, seed := setting(t, "FLEET_DEVICES", 0), setting(t, "FLEET_SEED", 1)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // most of what a call makes is thrown away at once
	for _, tc := range []struct {
		name    string
		devices int
		day     float64       // requests a device in the day from the beginning on, at most
		below   float64       // the highest ten seconds are so many times lower than the naive player's
		fewer   float64       // and there are so many times fewer requests
		wave    float64       // the highest ten minutes after the incident, in quiet ones
		served  time.Duration // every device has a token again so soon
	}{
		{"quiet", 2000, 6.4, 1, 1.2, 1.5, 0},
		{"power-cut", 4000, 6.5, 20, 3, 1.5, 2 * time.Minute},
		{"power-cut-long", 4000, 9.2, 3, 2, 2, 10 * time.Minute},
		{"outage", 1000, 58, 50, 60, 2, 15 * time.Minute},
		{"bad-statement", 4000, 11.5, 80, 300, 2, 11 * time.Minute},
		{"midnight", 4000, 6.5, 20, 3, 1.5, 2 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := fleet{devices: tc.devices, seed: uint64(seed)}
			if devices > 0 {
				f.devices = int(devices)
			}
			r, err := f.run(fleetScenarioOf(tc.name))
			if err != nil {
				t.Fatal(err)
			}
			later := r.tvpassd[seconds(r.over):]
			t.Logf("%d devices: highest second %.0f (naive %.0f), %d requests (naive %d), %.2f a device and day, "+
				"highest minute later %.1f times a quiet one; served: half %v, 99 %% %v, all %v",
				f.devices, peak(r.tvpassd, 1), peak(r.naive, 1), sumSeries(r.tvpassd), sumSeries(r.naive), r.day(),
				peak(later, 60)/f.calm(), r.served(0.5), r.served(0.99), r.served(1))
			if out := os.Getenv("FLEET_OUT"); out != "" {
				if err := r.write(filepath.Join(out, tc.name+".csv"), f.calm()); err != nil {
					t.Error(err)
				}
			}
			if quiet := f.calm() * simDay.Seconds() / float64(f.devices); r.day() < 0.9*quiet || r.day() > tc.day {
				t.Errorf("%.2f requests a device in a day, want %.2f in a quiet one and %.2f at most", r.day(), quiet, tc.day)
			}
			if ours, naive := peak(r.tvpassd, 10), peak(r.naive, 10); naive < tc.below*ours {
				t.Errorf("%.0f requests a second in the highest ten seconds, and %.0f by the naive player", ours, naive)
			}
			if ours, naive := float64(sumSeries(r.tvpassd)), float64(sumSeries(r.naive)); naive < tc.fewer*ours {
				t.Errorf("%.0f requests, and %.0f by the naive player", ours, naive)
			}
			if wave := peak(later, 600) / f.calm(); wave > tc.wave {
				t.Errorf("the highest ten minutes later are %.1f times quiet ones, want %.1f at most", wave, tc.wave)
			}
			if wave := peak(later, 60) / f.calm(); wave > 2 && f.devices >= 20_000 { // fewer have few requests in a minute
				t.Errorf("the highest minute later is %.1f times a quiet one, want 2 at most", wave)
			}
			if d := r.served(1); d < 0 || d > tc.served {
				t.Errorf("the last device has a token %v after the end, want %v at most", d, tc.served)
			}
		})
	}
}

func TestFleetReplays(t *testing.T) {
	s := fleetScenarioOf("power-cut-long")
	s.length = 15 * time.Minute
	run := func(seed uint64) *fleetResult {
		r, err := fleet{devices: 4500, seed: seed}.run(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, second, other := run(7), run(7), run(8)
	if !slices.Equal(first.tvpassd, second.tvpassd) || !slices.Equal(first.naive, second.naive) {
		t.Error("the same seed gives other figures the second time")
	}
	if slices.Equal(first.tvpassd, other.tvpassd) || slices.Equal(first.naive, other.naive) {
		t.Error("another seed gives the same figures")
	}
}

func fleetScenarioOf(name string) fleetScenario {
	all := fleetScenarios()
	return all[slices.IndexFunc(all, func(s fleetScenario) bool { return s.name == name })]
}

// write puts the requests of each second below a line that says what they are.
func (r *fleetResult) write(path string, calm float64) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriter(file)
	fmt.Fprintf(w, "%q,%.1f,%d,%d\n", r.title, calm, seconds(r.from), seconds(r.ends()+max(r.start, r.push)))
	for i := range r.tvpassd {
		fmt.Fprintf(w, "%d,%d\n", r.tvpassd[i], r.naive[i])
	}
	return w.Flush()
}
