package broker

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A simulation of many lives of devices, each from one seed: the real Broker
// against a server, clocks, a disk, a network, people and players of its own,
// without a goroutine or a moment of real time. simulate_rules_test.go has what
// must never happen, simulate_incident_test.go what does happen.
//
//	make simulate YEARS=1000 SEED=7
//
// A life that breaks a rule is made as short as possible and printed. Its seed
// alone, with YEARS=0, runs it again.

// simTally counts what happened.
type simTally struct {
	lives, incidents, starts, turns, registrations, asked, writes int
	requests                                                      map[callKind]int
	players                                                       simPlayersTally
}

func (t *simTally) add(o simTally) {
	t.lives += o.lives
	t.incidents += o.incidents
	t.starts += o.starts
	t.turns += o.turns
	t.registrations += o.registrations
	t.asked += o.asked
	t.writes += o.writes
	t.players.add(o.players)
	for k, n := range o.requests {
		t.requests[k] += n
	}
}

func TestSimulate(t *testing.T) {
	years, seed := setting(t, "SIMULATE_YEARS", 2), setting(t, "SIMULATE_SEED", 1)
	lives := max(int(math.Round(years*float64(simYear)/float64(simLength))), 1)
	s := simulation{t: t, next: uint64(seed), end: uint64(seed) + uint64(lives)}
	s.tally.requests = map[callKind]int{}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // most of what a short life makes is thrown away at once
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(s.work)
	}
	workers.Wait()
	c := s.tally
	t.Logf("seeds %d to %d: %d lives of %v days, %d incidents, %d starts, %d turns of the loop, %d writes, "+
		"%d token and %d register requests, %d answers to players",
		uint64(seed), s.next-1, c.lives, simLength.Hours()/24, c.incidents, c.starts, c.turns, c.writes,
		c.requests[callToken], c.requests[callRegister], c.asked)
	t.Log(&c.players)
	c.players.check(t)
}

// setting reads a number from the environment.
func setting(t *testing.T, name string, fallback float64) float64 {
	value := os.Getenv(name)
	if value == "" {
		return fallback
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || n < 0 {
		t.Fatalf("%s is %q, want a number", name, value)
	}
	return n
}

// simulation hands lives out to its workers.
type simulation struct {
	t *testing.T

	mu        sync.Mutex // guards what follows
	next, end uint64     // seeds
	failed    bool
	tally     simTally
}

func (s *simulation) take() (seed uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed || s.next >= s.end {
		return 0, false
	}
	s.next++
	return s.next - 1, true
}

func (s *simulation) work() {
	for {
		seed, ok := s.take()
		if !ok {
			return
		}
		life := drawLife(seed)
		broken, tally := s.run(life, nil)
		s.mu.Lock()
		s.tally.add(tally)
		first := broken != nil && !s.failed
		s.failed = s.failed || broken != nil
		s.mu.Unlock()
		if first {
			s.t.Error(s.explain(life, *broken))
		}
	}
}

func (s *simulation) run(life simLife, story *simStory) (*simBroken, simTally) {
	var medium simMedium = newSimMemory()
	if life.files {
		dir, err := os.MkdirTemp(memoryDir(), "simulate")
		if err != nil {
			s.t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		files, err := newSimFiles(dir)
		if err != nil {
			s.t.Fatal(err)
		}
		defer files.close()
		medium = files
	}
	d := newSimDevice(life, medium, story)
	broken := d.live()
	d.tally.lives, d.tally.writes, d.tally.players = 1, d.disk.writes, d.players.tally
	return broken, d.tally
}

// memoryDir returns a directory in which a sync costs nothing, "" if there is
// none.
func memoryDir() string {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// explain describes the shortest life that breaks the same rule.
func (s *simulation) explain(life simLife, broken simBroken) string {
	short := shrink(life, broken, func(l simLife) *simBroken { b, _ := s.run(l, nil); return b })
	var story simStory
	again, _ := s.run(short, &story)
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d breaks rule %s\nagain: make simulate SEED=%d YEARS=0\n\n", life.seed, broken, life.seed)
	fmt.Fprintf(&b, "The shortest story that breaks rule (%s), of %d incidents in place of %d:\n%s\n",
		broken.rule, len(short.incidents), len(life.incidents), short)
	if again != nil {
		fmt.Fprintf(&b, "Its end:\n%s\n%s", story.String(), again)
	}
	return b.String()
}

func TestSimulationReplays(t *testing.T) {
	s := simulation{t: t}
	for seed := range uint64(3) {
		var first, second simStory
		s.run(drawLife(seed), &first)
		s.run(drawLife(seed), &second)
		if first.String() != second.String() {
			t.Errorf("seed %d runs another way the second time", seed)
		}
	}
}
