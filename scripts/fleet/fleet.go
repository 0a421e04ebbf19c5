package main

import (
	"container/heap"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

// fleet is what all scenarios share.
type fleet struct {
	boxes    int
	seed     uint64
	life     time.Duration
	capacity int // for a million boxes
	starts   time.Duration
}

// shards is how many parts a fleet has. The server is as many machines behind a balancer, and each box always comes to the
// same one: so the parts have nothing to do with one another, and only those that are being worked on need memory.
func (f fleet) shards() int { return min(max(f.boxes/2000, 1), 32) }

// calm is how many requests a second there are when all is well: a token's refresh is drawn between 0.6 and 2/3 of its life.
func (f fleet) calm() float64 {
	return float64(f.boxes) / ((0.6 + 2.0/3) / 2 * f.life.Seconds())
}

// taken is how many requests the server takes in a second, of so many boxes.
func (f fleet) taken(boxes int) float64 { return float64(f.capacity) * float64(boxes) / 1e6 }

// result is what the server saw.
type result struct {
	scenario
	tvpassd, naive []uint32 // requests of each second
	first          []uint32 // boxes of tvpassd that had a token again, by the second since the end of the incident
	boxes          int
}

func (f fleet) run(s scenario) (*result, error) {
	r := &result{scenario: s, tvpassd: make([]uint32, seconds(s.length)), first: make([]uint32, seconds(s.length)), boxes: f.boxes}
	todo := make(chan int, f.shards())
	for n := range f.shards() {
		todo <- n
	}
	close(todo)
	var mu sync.Mutex // guards r and failed
	var failed error
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for n := range todo {
				part, err := f.shard(s, n)
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					add(r.tvpassd, part.requests)
					add(r.first, part.first)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	r.naive = f.naive(s)
	return r, failed
}

func add(to, more []uint32) {
	for i, v := range more {
		to[i] += v
	}
}

// served is how long after the end of the incident a part of all boxes had a token; -1 s where they never did.
func (r *result) served(part float64) time.Duration {
	want := uint32(part * float64(r.boxes))
	var n uint32
	for i, v := range r.first {
		if n += v; n >= want {
			return time.Duration(i) * time.Second
		}
	}
	return -time.Second
}

// shard is one part of a fleet, with the machine of the server that it comes to.
type shard struct {
	scenario
	life     time.Duration
	capacity float64
	random   *rand.Rand
	boxes    []*box // a heap, by when something happens to them
	now      time.Duration
	second   int     // of what follows
	left     float64 // requests that the server still takes in it

	requests, first []uint32
}

// shard runs part n of a fleet.
func (f fleet) shard(s scenario, n int) (*shard, error) {
	count := f.boxes / f.shards()
	if n < f.boxes%f.shards() {
		count++
	}
	h := &shard{
		scenario: s, life: f.life, capacity: f.taken(count), random: rand.New(rand.NewPCG(f.seed, uint64(n))),
		requests: make([]uint32, seconds(s.length)), first: make([]uint32, seconds(s.length)), second: -1,
	}
	for range count {
		b, err := h.newBox()
		if err != nil {
			return nil, err
		}
		h.boxes = append(h.boxes, b)
	}
	heap.Init(h)
	for len(h.boxes) > 0 && h.boxes[0].next < s.length {
		h.now = h.boxes[0].next
		if err := h.boxes[0].happen(h); err != nil {
			return nil, err
		}
		heap.Fix(h, 0)
	}
	return h, nil
}

// accepts counts a request, and tells whether the server has room for it.
func (h *shard) accepts() bool {
	if now := seconds(h.now); now != h.second {
		h.second, h.left = now, min(max(h.left, 0)+h.capacity, h.capacity+1) // a part of a request is taken over
	}
	h.requests[h.second]++
	if h.left < 1 {
		return false
	}
	h.left--
	return true
}

// down tells whether the server can't be reached.
func (h *shard) down() bool { return h.outage && h.now >= h.from && h.now < h.ends() }

func (h *shard) between(low, high time.Duration) time.Duration {
	return low + time.Duration(h.random.Int64N(int64(high-low)+1))
}

// These are heap.Interface. No box ever comes or goes.
func (h *shard) Len() int           { return len(h.boxes) }
func (h *shard) Less(i, j int) bool { return h.boxes[i].next < h.boxes[j].next }
func (h *shard) Swap(i, j int)      { h.boxes[i], h.boxes[j] = h.boxes[j], h.boxes[i] }
func (h *shard) Push(any)           { panic("no box comes") }
func (h *shard) Pop() any           { panic("no box goes") }
