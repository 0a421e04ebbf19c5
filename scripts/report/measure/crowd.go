package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// What many calls at once cost others.

// offered are calls of players to a server that hangs.
type offered struct {
	leave func() // ends all that are not answered, and waits for it
	told  func() int
}

// offer makes calls of apps at once.
func (l *lab) offer(ctx context.Context, calls int, apps ...string) offered {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	var mu sync.Mutex // guards told
	told := 0
	client := onSocketClient(l.socket)
	for i := range calls {
		all.Go(func() {
			_, err := took(ctx, client, "http://tvpassd/v1/apps/"+apps[i%len(apps)]+"/api/v2/REF30/profiles")
			if err != nil && ctx.Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				told++
			}
		})
	}
	return offered{
		leave: func() {
			cancel()
			all.Wait()
			client.CloseIdleConnections()
		},
		told: func() int {
			mu.Lock()
			defer mu.Unlock()
			return told
		},
	}
}

// gatewayLoad is how many calls wait and are in flight.
func (l *lab) gatewayLoad(ctx context.Context) (waiting, flying int, err error) {
	var st struct {
		Throttle struct{ Waiting int }
		Apps     []struct {
			Gateway struct {
				InFlight int `json:"in_flight"`
			}
		}
	}
	err = onSocket(ctx, l.socket, http.MethodGet, "/v1/status", &st)
	for _, a := range st.Apps {
		flying += a.Gateway.InFlight
	}
	return st.Throttle.Waiting, flying, err
}

// untilLoad waits until so many calls wait and are in flight.
func (l *lab) untilLoad(ctx context.Context, g *guest, waiting, flying int) error {
	var failed error
	err := g.daemon.until(fmt.Sprintf("%d calls wait and %d are in flight", waiting, flying), func() bool {
		// Each look costs the daemon memory.
		w, f, err := 0, 0, sleep(ctx, 100*time.Millisecond)
		if err == nil {
			w, f, err = l.gatewayLoad(ctx)
		}
		failed = err
		return err != nil || w == waiting && f == flying
	})
	return errors.Join(err, failed)
}

// hangingCalls measures what calls cost while the server does not answer:
// memory, and the time of a player that asks for its token.
func (l *lab) hangingCalls(ctx context.Context, g *guest) ([]row, error) {
	held := row{what: "memory over idle, 64 calls to a hanging server", unit: "%.2f MB", budget: 2}
	after := row{what: "memory over idle, 75 s after them", unit: "%.2f MB", budget: 0.5}
	token := row{what: "cached token p50 beside 8 hanging calls, over alone", unit: "%.2f", budget: 1.1}
	if err := errors.Join(l.fault(ctx, `{"path":"api","kind":"hang"}`), sleep(ctx, settle)); err != nil {
		return nil, err
	}
	idle, err := anonymous(g.daemon.pid())
	if err != nil {
		return nil, err
	}
	over := func(r *row) error {
		bytes, err := anonymous(g.daemon.pid())
		r.value = (bytes - idle) / 1e6
		return err
	}
	calls := l.offer(ctx, 64, app, "b", "c", "d")
	defer func() { calls.leave() }()
	if err := errors.Join(l.untilLoad(ctx, g, 32, 8), sleep(ctx, settle), over(&held)); err != nil {
		return nil, err
	}
	held.note = fmt.Sprintf("idle is %.2f MB; 40 are held, %d were told at once", idle/1e6, calls.told())
	calls.leave()
	if err := errors.Join(l.untilLoad(ctx, g, 0, 0), sleep(ctx, 75*time.Second), over(&after)); err != nil {
		return nil, err
	}
	var ratios []float64
	for range 3 {
		alone, err := l.tokenP50(ctx)
		if err != nil {
			return nil, err
		}
		calls = l.offer(ctx, 8, app, "b")
		if err := l.untilLoad(ctx, g, 0, 8); err != nil {
			return nil, err
		}
		beside, err := l.tokenP50(ctx)
		if err != nil {
			return nil, err
		}
		calls.leave()
		ratios = append(ratios, beside/alone)
	}
	slices.Sort(ratios)
	token.value, token.note = ratios[1], fmt.Sprintf("in three turns from %.2f to %.2f", ratios[0], ratios[2])
	return []row{held, after, token}, call(ctx, http.DefaultClient, http.MethodDelete, l.admin+"/fault", "", nil)
}

func (l *lab) tokenP50(ctx context.Context) (float64, error) {
	got, err := l.load(ctx, "-rounds", "5", "-for", "400ms", l.target("http"))
	if err != nil {
		return 0, err
	}
	return got[0].P50, nil
}

// floodLasts is how long one app floods.
const floodLasts = time.Minute

// floodAndPolls has an app flood, another one poll, and an admin refresh.
func (l *lab) floodAndPolls(ctx context.Context, _ *guest) ([]row, error) {
	longest := row{what: "the longest of polls beside a flood and refreshes", unit: "%.2f s", budget: 3}
	refused := row{what: "answers 429 of the server to them", unit: "%.0f", budget: 0.5} // none
	before, err := l.counts(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, floodLasts)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	every := func(d time.Duration, f func()) {
		all.Go(func() {
			for sleep(ctx, d) == nil {
				f()
			}
		})
	}
	client, floods := onSocketClient(l.socket), 0
	every(100*time.Millisecond, func() {
		floods++
		all.Go(func() {
			// Most are told that there is no room.
			_, _ = took(ctx, client, "http://tvpassd/v1/apps/b/api/v2/REF30/profiles?"+strconv.Itoa(floods))
		})
	})
	var failed error
	every(5*time.Second, func() { failed = errors.Join(failed, refresh(context.WithoutCancel(ctx), l.socket)) })
	polls := 0
	for ; sleep(ctx, 3*time.Second) == nil; polls++ {
		waited, err := took(context.WithoutCancel(ctx), onSocketClient(l.socket), "http://tvpassd"+gatewayPath)
		if err != nil {
			return nil, err
		}
		longest.value = max(longest.value, waited.Seconds())
	}
	all.Wait()
	after, err := l.counts(context.WithoutCancel(ctx))
	refused.value = float64(after.Throttled - before.Throttled)
	longest.note = fmt.Sprintf("%d polls, %d calls of the other app", polls, floods)
	return []row{longest, refused}, errors.Join(err, failed)
}

// compared is a line of the program calls.
type compared struct {
	Direct, Gateway         float64
	Ratio, RatioQ1, RatioQ3 float64
	Calls                   int
}

// memoryDir makes a directory that is in memory, as /run is on a device: each call
// is noted beside the socket.
func memoryDir() (string, error) {
	dir, err := os.MkdirTemp("/dev/shm", "tvpassd-report.")
	if err != nil {
		return "", fmt.Errorf("a directory in memory is needed: %w", err)
	}
	return dir, nil
}

// gatewayLatency compares a call through the gateway with a direct one. Server,
// daemon and player share one processor.
func gatewayLatency(ctx context.Context, l *lab) (r row, err error) {
	r = row{what: "a call through the gateway, p50 over a direct one", unit: "%.2f", budget: 2}
	cpu, err := lastProcessor()
	if err != nil {
		return r, err
	}
	run, err := memoryDir()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(run)) }()
	own := *l
	own.ca, own.state, own.socket = l.files.own("calls.pem"), l.files.own("calls-state"), filepath.Join(run, "sock")
	addr := l.files.own("calls.addr")
	server, err := start(ctx, l.files.own("calls.log"), cpu, l.files.own("calls"), "-serve", l.endpoint,
		"-addr-out", addr, "-ca-out", own.ca)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	err = server.until("its address is known", func() bool { own.endpoint = readOr(addr, ""); return own.endpoint != "" })
	if err != nil {
		return r, err
	}
	if own.args, err = own.configure("calls.toml", own.state); err != nil {
		return r, err
	}
	daemon, err := own.daemon(ctx, cpu)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }()
	if _, err := getToken(ctx, own.socket, "?wait=60s"); err != nil {
		return r, err
	}
	out := l.files.own("calls.out")
	player, err := start(ctx, out, cpu, l.files.own("calls"), "-direct", own.endpoint, "-socket", own.socket)
	if err != nil {
		return r, err
	}
	<-player.done
	var c compared
	if err := errors.Join(player.err, json.Unmarshal([]byte(player.lastWords()), &c)); err != nil {
		return r, fmt.Errorf("%w: %s", err, player.lastWords())
	}
	r.value = c.Ratio
	r.note = fmt.Sprintf("half of the rounds from %.2f to %.2f; here %.0f us over %.0f us, %d calls",
		c.RatioQ1, c.RatioQ3, c.Gateway, c.Direct, c.Calls)
	return r, nil
}
