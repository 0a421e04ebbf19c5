package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/ipc"
)

// closed waits until the server has closed a connection, and returns what it
// wrote before.
func closed(t testing.TB, c net.Conn) string {
	t.Helper()
	text, err := io.ReadAll(c)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Fatalf("the connection stays open: %v", err)
	}
	return string(text)
}

// accepted waits until the server has taken a connection in: it answers on it.
func (l *lab) accepted(c net.Conn) {
	l.t.Helper()
	if a := l.askOn(c, "GET", "/v1/status", ""); a.StatusCode != 200 {
		l.t.Fatalf("not accepted: %s", a.Status)
	}
}

// One user opens connections and sends nothing; others don't notice.
func TestAFloodOfOneUserStarvesNobodyElse(t *testing.T) {
	t.Parallel()
	l := startLab(t, func(cfg *Config) { cfg.PerUID, cfg.Total = 5, 100 })
	for range 5 {
		l.dial(stranger)
	}
	for range 20 {
		// These come after the five, because a listener hands out connections in
		// order.
		a := l.read(l.dial(stranger), "GET")
		if p := a.problem(t); p.Code != ipc.CodeTooManyRequests || a.StatusCode != 429 ||
			a.Header.Get("Retry-After") != "1" {
			t.Fatalf("a connection too many: %s %v %+v", a.Status, a.Header, p)
		}
	}
	if a := l.ask(alice, "GET", "/v1/token", ""); a.StatusCode != 200 {
		t.Errorf("alice: %s", a.Status)
	}
	if n := strings.Count(l.log.String(), "too many connections"); n != 1 ||
		!strings.Contains(l.log.String(), "uid=1003") {
		t.Errorf("%d lines: %s", n, l.log)
	}
}

func TestAClosedConnectionMakesRoom(t *testing.T) {
	t.Parallel()
	l := startLab(t, func(cfg *Config) { cfg.PerUID, cfg.Total = 2, 2 })
	for range 20 {
		a, b := l.enter(alice), l.enter(bob)
		a.Close()
		b.Close()
	}
}

// A connection that its user has closed does not count, even while the server
// answers a request on it and has more to read.
func TestADeadConnectionDoesNotCount(t *testing.T) {
	t.Parallel()
	const most = 3
	l := startLab(t, func(cfg *Config) { cfg.PerUID = most })
	l.blocks(make(chan struct{}))
	var conns []net.Conn
	for range most {
		c := l.dial(alice)
		fmt.Fprint(c, strings.Repeat("GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n", 2))
		conns = append(conns, c)
	}
	l.until("waiters", func() bool { return l.waiters() == most })
	for _, c := range conns {
		c.Close()
	}
	l.enter(alice)
	l.until("end of the waiting", func() bool { return l.waiters() == 0 })
}

// enter connects as somebody as soon as there is room.
func (l *lab) enter(uid uint32) (c net.Conn) {
	l.t.Helper()
	l.until("room", func() bool {
		c = l.dial(uid)
		a := l.askOn(c, "GET", "/v1/status", "")
		return a.StatusCode == 200
	})
	return c
}

// until waits for what the server does in its own time.
func (l *lab) until(what string, done func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("no %s", what)
		}
	}
}

// Many users together can keep out neither an admin nor a user who has few
// connections; the user who has most loses one.
func TestTheTotalLeavesRoom(t *testing.T) {
	t.Parallel()
	l := startLab(t, func(cfg *Config) { cfg.PerUID, cfg.Total = 10, 16 })
	holders := map[uint32][]net.Conn{}
	for _, uid := range []uint32{5000, 5000, 5000, 5001, 5000, 5001, 5000, 5001, 5000, 5001, 5000, 5001, 5000, 5000,
		5001, 5000} {
		c := l.dial(uid)
		l.accepted(c)
		holders[uid] = append(holders[uid], c)
	}
	for range entitled {
		l.accepted(l.dial(alice))
	}
	for _, uid := range []uint32{alice, 5000, 5001} {
		if a := l.read(l.dial(uid), "GET"); a.StatusCode != 429 {
			t.Errorf("%d gets in: %s", uid, a.Status)
		}
	}
	for uid, want := range map[uint32]int{5000: 10 - entitled, 5001: 6} {
		open := 0
		for _, c := range holders[uid] {
			fmt.Fprint(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if strings.HasPrefix(closed(t, c), "HTTP/1.1 200 OK") {
				open++
			}
		}
		if open != want {
			t.Errorf("%d keeps %d connections, want %d", uid, open, want)
		}
	}
	if text := l.log.String(); strings.Count(text, "closed to make room") != 1 ||
		!strings.Contains(text, "uid=5000 pid=1 for=1000") {
		t.Errorf("the log: %s", text)
	}
	for _, uid := range []uint32{root, owner, carol} {
		for range 20 {
			l.accepted(l.dial(uid))
		}
	}
}

// An idle connection is closed before a stream, a stream before a request.
func TestWhatCanBeDoneWithout(t *testing.T) {
	d := newDoor(nil, nil, New(configFor(newBackend())))
	enter := func(uid uint32, s state) *conn {
		c, _, _ := d.admit(person(uid), labTime)
		c.become(s)
		return c
	}
	enter(bob, idle)
	first, second := enter(alice, busy), enter(alice, busy)
	oldStream, newStream := enter(alice, stream), enter(alice, stream)
	older, newer := enter(alice, idle), enter(alice, idle)
	enter(root, idle)
	older.become(busy)
	older.become(idle) // it has been idle for the shorter time
	for i, want := range []*conn{newer, older, oldStream, newStream, first} {
		got := d.dispensable()
		if got != want {
			t.Fatalf("%d: state %v, since %d", i, got.state, got.since)
		}
		d.remove(got)
		d.remove(got) // counts once
	}
	d.remove(second)
	if u := d.users[alice]; len(u.conns) != 0 || u.busy != 0 || d.others != 1 {
		t.Errorf("%+v, %d connections in all", u, d.others)
	}
}

// A user who connects too often waits; nobody else does.
func TestConnectionsHaveARate(t *testing.T) {
	d := newDoor(nil, nil, New(configFor(newBackend())))
	d.limits.user, d.limits.admin = 1000, 1000
	enter := func(uid uint32, now time.Time) net.Conn {
		t.Helper()
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(ends[1])
		c := d.enter(ends[0], person(uid), now)
		if c != nil {
			t.Cleanup(func() { c.Close() })
		}
		return c
	}
	for range burst {
		if enter(stranger, labTime) == nil {
			t.Fatal("waits within the burst")
		}
	}
	if enter(stranger, labTime) != nil {
		t.Error("does not wait beyond the burst")
	}
	if c, err := d.late.Accept(); err != nil || c.(*conn).peer.UID != stranger {
		t.Errorf("%v, %v", c, err)
	}
	if enter(alice, labTime) == nil {
		t.Error("another user waits")
	}
	for range 2 * burst {
		if enter(root, labTime) == nil {
			t.Fatal("root waits")
		}
	}
	if enter(stranger, labTime.Add(time.Second)) == nil {
		t.Error("waits after a pause")
	}
}

func TestBodiesAreCounted(t *testing.T) {
	d := newDoor(nil, nil, New(configFor(newBackend())))
	var conns []*conn
	for uid := range uint32(5) {
		c, _, _ := d.admit(person(uid), labTime)
		conns = append(conns, c)
	}
	for _, c := range conns[:4] {
		if !c.hold(maxBodies) || c.hold(1) {
			t.Error("a user's limit does not hold")
		}
	}
	if conns[4].hold(1) {
		t.Error("the limit of all does not hold")
	}
	conns[0].letGo(maxBodies)
	if !conns[4].hold(maxBodies) || conns[0].hold(1) {
		t.Error("room is not given back")
	}
	for _, c := range conns[1:] {
		c.letGo(maxBodies)
	}
	if d.bodies != 0 {
		t.Errorf("%d bytes are left", d.bodies)
	}
}

// A user with many ids does not fill the memory with accounts.
func TestAccountsAreForgotten(t *testing.T) {
	d := newDoor(nil, nil, New(configFor(newBackend())))
	for uid := range uint32(100_000) {
		c, _, _ := d.admit(person(10_000+uid), labTime.Add(time.Duration(uid)*time.Millisecond))
		d.remove(c)
		d.news(notice{10_000 + uid, "full"}, labTime)
	}
	if len(d.users) > 1000 || len(d.told) > 1000 {
		t.Errorf("%d accounts, %d told", len(d.users), len(d.told))
	}
}

// Bodies are kept in memory up to a limit for each user and for all; unwanted
// ones are not kept at all.
func TestBodiesInMemoryAreLimited(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	start := func(uid uint32, request string) net.Conn {
		c := l.dial(uid)
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{", request, maxBody)
		return c
	}
	const report = "POST /v1/apps/one/report"
	for range 20 {
		start(alice, "GET /v1/status")
		start(stranger, report)
	}
	var conns []net.Conn
	for range maxBodies / maxBody {
		conns = append(conns, start(bob, report))
	}
	code := func(uid uint32) string {
		return l.ask(uid, "POST", "/v1/apps/one/report", `{"access_token":"x","status":401}`).code()
	}
	l.until("limit", func() bool { return code(bob) == ipc.CodeTooManyRequests })
	if got := code(alice); got != "202" {
		t.Errorf("another user: %s", got)
	}
	conns[0].Close()
	l.until("room", func() bool { return code(bob) == "202" })
	fmt.Fprintf(conns[1], `"access_token":"x","status":401%s}`,
		strings.Repeat(" ", maxBody-len(`{"access_token":"x","status":401}`)))
	if a := l.read(conns[1], "POST"); a.StatusCode != 202 {
		t.Errorf("a whole body: %s %s", a.Status, a.body)
	}
}

// However few files an init system lets the daemon open, its users can't take
// the last one.
func TestTheTotalFitsTheOpenFiles(t *testing.T) {
	for files, want := range map[uint64]int{0: 16, 16: 16, 64: 32, 256: 128, 600: 300, 1022: 511, 4096: 512,
		math.MaxUint64: 512} {
		if got := totalFor(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
	for total, want := range map[int]int{16: 4, 100: 25, 1024: 32, 5000: 32} {
		if s := New(Config{Total: total}); s.cfg.PerUID != want {
			t.Errorf("%d connections: %d for a user, want %d", total, s.cfg.PerUID, want)
		}
	}
}

func TestATurnedAwayUserIsLoggedOnceAMinute(t *testing.T) {
	d := newDoor(nil, nil, New(Config{}))
	for _, test := range []struct {
		uid  uint32
		at   time.Duration
		want bool
	}{{1, 0, true}, {1, 59 * time.Second, false}, {2, 59 * time.Second, true}, {1, time.Minute, true},
		{2, time.Minute, false}, {1, 119 * time.Second, false}} {
		if got := d.news(notice{test.uid, "full"}, labTime.Add(test.at)); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
	if len(d.told) > 1 {
		t.Errorf("it remembers for ever: %v", d.told)
	}
}

func TestAnUnknownCallerIsShownOut(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	c, err := net.Dial("unix", l.path) // from no address
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
	if text := closed(t, c); text != "" {
		t.Errorf("it is answered: %s", text)
	}
}

func TestSlowCallersAreCut(t *testing.T) {
	t.Parallel()
	const limit = 3 * time.Second // enough for what the server must read in time
	l := startLab(t, func(cfg *Config) { cfg.HeaderTimeout = limit })
	var all sync.WaitGroup // at once, because each takes the limit
	for name, text := range map[string]string{
		"nothing":       "",
		"half a header": "GET /v1/token HTTP/1.1\r\nHost: x\r\n",
	} {
		c := l.dial(alice)
		io.WriteString(c, text)
		all.Go(func() {
			if text, err := io.ReadAll(c); err != nil || strings.Contains(string(text), " 200 ") {
				t.Errorf("%s: %s, %v", name, text, err)
			}
		})
	}
	// Half a body gets an answer, whether it was wanted or not.
	for request, want := range map[string]string{
		"POST /v1/apps/one/report": ipc.CodeInvalidParameter, "GET /v1/token": ipc.CodeInvalidParameter,
		"GET /nothing": ipc.CodeNotFound, "POST /v1/apps/two/report": ipc.CodeForbidden,
	} {
		c := l.dial(alice)
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", request)
		all.Go(func() {
			if text, err := io.ReadAll(c); err != nil || !strings.Contains(string(text), `"code":"`+want+`"`) {
				t.Errorf("%s: %s, %v", request, text, err)
			}
		})
	}
	all.Wait()
	// The time limit of a header does not limit the answer or the next request;
	// the body's deadline ends with the body.
	release := make(chan struct{})
	l.blocks(release)
	time.AfterFunc(limit+limit/2, func() { close(release) })
	c := l.dial(alice)
	if a := l.askOn(c, "GET", "/v1/token", "a body nobody wants"); a.StatusCode != 200 {
		t.Errorf("a long wait: %s", a.Status)
	}
	l.accepted(c)
}

func TestSizes(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	report := `{"access_token":"x","status":401,"pad":"` + strings.Repeat("x", maxBody) // too long by this
	fits := report[:maxBody-2] + `"}`
	if a := l.ask(alice, "POST", "/v1/apps/one/report", fits); a.StatusCode != 202 {
		t.Errorf("64 KiB: %s %s", a.Status, a.body)
	}
	a := l.ask(alice, "POST", "/v1/apps/one/report", fits+" ")
	if p := a.problem(t); a.StatusCode != 413 || p.Code != ipc.CodeTooLarge {
		t.Errorf("64 KiB + 1: %s %+v", a.Status, p)
	}
	c := l.dial(alice)
	fmt.Fprint(c, "POST /v1/apps/one/report HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	go func() { // without end; it fails once the server has had enough
		for chunk := "1000\r\n" + strings.Repeat("x", 0x1000) + "\r\n"; ; {
			if _, err := io.WriteString(c, chunk); err != nil {
				return
			}
		}
	}()
	if a := l.read(c, "POST"); a.code() != ipc.CodeTooLarge {
		t.Errorf("an endless body: %s", a.Status)
	}
	for size, want := range map[int]int{15 << 10: 200, 17 << 10: 431} {
		c := l.dial(alice)
		fmt.Fprintf(c, "GET /v1/token HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", size))
		if a := l.read(c, "GET"); a.StatusCode != want {
			t.Errorf("%d bytes of header: %s", size, a.Status)
		}
	}
}

func TestTheEnd(t *testing.T) {
	t.Parallel()
	l := startLab(t, nil)
	l.set("one", ipc.AppStatus{App: "one"}, nil)
	l.blocks(make(chan struct{}))
	watcher, waiter, idle := l.dial(alice), l.dial(alice), l.dial(alice)
	l.accepted(idle)
	fmt.Fprint(watcher, "GET /v1/apps/one/watch HTTP/1.1\r\nHost: x\r\n\r\n")
	events := bufio.NewReader(watcher)
	if _, err := http.ReadResponse(events, nil); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(waiter, "GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n")
	l.until("waiter", func() bool { return l.waiters() == 1 })

	began := time.Now()
	stopped := make(chan struct{})
	go func() { l.stop(); close(stopped) }()
	closed(t, watcher)
	closed(t, idle)
	if a := l.read(waiter, "GET"); a.code() != ipc.CodeNotReady || a.Header.Get("Retry-After") != "1" {
		t.Errorf("who waited is told %s %s", a.Status, a.body)
	}
	<-stopped
	if took := time.Since(began); took < grace {
		t.Errorf("who waited was given %v, want %v", took, grace)
	}
	if _, err := net.Dial("unix", l.path); !strings.Contains(fmt.Sprint(err), "no such file") {
		t.Errorf("after the end: %v", err)
	}
	l.run() // and again
	l.blocks(nil)
	if a := l.ask(alice, "GET", "/v1/token", ""); a.StatusCode != 200 {
		t.Errorf("after a restart: %s", a.Status)
	}
}

func TestABrokenListenerEndsRun(t *testing.T) {
	l, err := Listen(SocketOptions{Path: t.TempDir() + "/s"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := New(configFor(newBackend()))
	if err := s.Run(t.Context(), l); err == nil {
		t.Error("no error")
	}
}

// A bug in one request is logged and ends no other.
func TestAPanicIsLogged(t *testing.T) {
	t.Parallel()
	l := startLab(t, func(cfg *Config) { cfg.Now = func() time.Time { panic("bug") } })
	c := l.dial(root)
	fmt.Fprint(c, "POST /v1/apps/one/refresh HTTP/1.1\r\nHost: x\r\nX: s3cret-t0ken\r\n\r\n")
	closed(t, c)
	if text := l.log.String(); !strings.Contains(text, "bug") || strings.Contains(text, secretToken) {
		t.Errorf("the log: %s", text)
	}
	l.accepted(l.dial(root))
}
