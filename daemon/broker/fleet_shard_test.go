package broker

import (
	"container/heap"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

// fleet is what all scenarios share.
type fleet struct {
	devices int
	seed    uint64
}

const (
	fleetLife     = 6 * time.Hour // of a token
	fleetCapacity = 10_000        // requests a second that the server takes of a million devices
)

// shards is the number of parts of a fleet. The server has as many machines
// behind a balancer, and a device always reaches the same one. The parts are
// independent, so only those in progress need memory.
func (f fleet) shards() int { return min(max(f.devices/2000, 1), 32) }

// calm is the number of requests a second in a quiet time: a refresh is drawn
// between 0.6 and 2/3 of the token's life.
func (f fleet) calm() float64 {
	return float64(f.devices) / ((refreshFrom + refreshTo) / 2 * fleetLife.Seconds())
}

// taken is how many requests a second the server takes of so many devices.
func (f fleet) taken(devices int) float64 { return fleetCapacity * float64(devices) / 1e6 }

// fleetResult is what the server saw.
type fleetResult struct {
	fleetScenario
	devices        int
	tvpassd, naive []uint32 // requests of each second
	first          []uint32 // devices with tvpassd that had a token again, by the second since the incident's end
}

func (f fleet) run(s fleetScenario) (*fleetResult, error) {
	r := &fleetResult{
		fleetScenario: s, devices: f.devices,
		tvpassd: make([]uint32, seconds(s.length)), first: make([]uint32, seconds(s.length)),
	}
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
					addSeries(r.tvpassd, part.requests)
					addSeries(r.first, part.first)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	r.naive = f.naive(s)
	return r, failed
}

// served is how long after the end of the incident a part of all devices had a
// token; -1 s if they never did.
func (r *fleetResult) served(part float64) time.Duration {
	want := uint32(part * float64(r.devices))
	var n uint32
	for i, v := range r.first {
		if n += v; n >= want {
			return time.Duration(i) * time.Second
		}
	}
	return -time.Second
}

// day is the number of requests for each device in the day from the incident's
// beginning on.
func (r *fleetResult) day() float64 {
	from := seconds(r.from)
	return float64(sumSeries(r.tvpassd[from:from+seconds(simDay)])) / float64(r.devices)
}

func seconds(d time.Duration) int { return int(d / time.Second) }

func addSeries(to, more []uint32) {
	for i, v := range more {
		to[i] += v
	}
}

func sumSeries(series []uint32) (n uint64) {
	for _, v := range series {
		n += uint64(v)
	}
	return n
}

// peak is the highest mean of so many seconds in a row.
func peak(series []uint32, width int) float64 {
	var window, most uint64
	for i, v := range series {
		window += uint64(v)
		if i >= width {
			window -= uint64(series[i-width])
		}
		most = max(most, window)
	}
	return float64(most) / float64(width)
}

// fleetShard is one part of a fleet, with the machine of the server that it
// reaches.
type fleetShard struct {
	fleetScenario
	capacity float64
	random   *rand.Rand
	devices  []*fleetDevice // a heap, by when something happens to them
	now      time.Duration
	second   int     // the one that left counts for
	left     float64 // requests that the server still takes in it

	requests, first []uint32
}

// shard runs part n of a fleet.
func (f fleet) shard(s fleetScenario, n int) (*fleetShard, error) {
	count := f.devices / f.shards()
	if n < f.devices%f.shards() {
		count++
	}
	h := &fleetShard{
		fleetScenario: s, capacity: f.taken(count), random: rand.New(rand.NewPCG(f.seed, uint64(n))),
		requests: make([]uint32, seconds(s.length)), first: make([]uint32, seconds(s.length)), second: -1,
	}
	for range count {
		d, err := h.newDevice()
		if err != nil {
			return nil, err
		}
		h.devices = append(h.devices, d)
	}
	heap.Init(h)
	for len(h.devices) > 0 && h.devices[0].next < s.length {
		h.now = h.devices[0].next
		if err := h.devices[0].happen(); err != nil {
			return nil, err
		}
		heap.Fix(h, 0)
	}
	return h, nil
}

// accepts counts a request and reports whether the server has room for it.
func (h *fleetShard) accepts() bool {
	if now := seconds(h.now); now != h.second {
		// A part of a request is kept for the next second.
		h.second, h.left = now, min(max(h.left, 0)+h.capacity, h.capacity+1)
	}
	h.requests[h.second]++
	if h.left < 1 {
		return false
	}
	h.left--
	return true
}

// down reports whether the server can't be reached.
func (h *fleetShard) down() bool { return h.outage && h.now >= h.from && h.now < h.ends() }

func (h *fleetShard) between(low, high time.Duration) time.Duration {
	return between(low, high, h.random)
}

// These are heap.Interface. Devices neither come nor go.

func (h *fleetShard) Len() int           { return len(h.devices) }
func (h *fleetShard) Less(i, j int) bool { return h.devices[i].next < h.devices[j].next }
func (h *fleetShard) Swap(i, j int)      { h.devices[i], h.devices[j] = h.devices[j], h.devices[i] }
func (h *fleetShard) Push(any)           { panic("a device comes") }
func (h *fleetShard) Pop() any           { panic("a device goes") }
