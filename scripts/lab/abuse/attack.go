package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// attack is what some users do at once.
type attack struct {
	name  string
	parts []part
}

// part is what one user does.
type part struct {
	uid         uint32
	role        string
	connections int
}

// users returns parts of several strangers, all in the same role.
func users(n int, role string, connections int) []part { return from(stranger, n, role, connections) }

// from does so of the users from a number on.
func from(uid uint32, n int, role string, connections int) (parts []part) {
	for i := range n {
		parts = append(parts, part{uid + uint32(i), role, connections})
	}
	return parts
}

var attacks = []attack{
	{"none", nil},
	{"requests without a pause, 250 connections", users(1, "pipeline", 250)},
	{"the same of a user with a right", []part{{entitled, "pipeline", 250}}},
	{"the same for the status", users(1, "status", 250)},
	{"connections without a pause", users(1, "connect", 250)},
	{"a request on each", users(1, "each", 250)},
	{"36 users hold 36 connections each", users(36, "idle", 36)},
	{"48 users hold 32 half headers of 15 KiB", users(48, "header", 32)},
	{"48 users hold 32 bodies of 64 KiB that nobody wants", users(48, "body", 32)},
	{"a user with a right holds 250 reports of 64 KiB", []part{{entitled, "report", 250}}},
	{"250 readers that do not read", []part{{entitled, "deaf", 250}}},
	{"48 users with 32 of them", users(48, "deaf", 32)},
	{"250 watchers that do not read", []part{{entitled, "watch", 250}}},
	{"48 users hold 32 API calls of 256 KiB that nobody wants", users(48, "call", 32)},
	{"8 users with a right hold 32 of them", from(entitled, 8, "call", 32)},
	{"API calls of a user with a right without a pause", []part{{entitled, "calls", 250}}},
	{"the same for 404 apps that do not exist", users(1, "strange", 250)},
	{"a user with a right leaves its API calls", []part{{entitled, "leave", 32}}},
}

// roleVariable names a role in the environment of a process that plays it.
const roleVariable = "ABUSE_ROLE"

// tally is what a role counted.
type tally struct {
	Answered, Refused int64
	Failed            int64 // requests of the victim without a token
	Connects          int64 // of the victim; Refused are of these
	Kept, Each        times // of the victim, on one connection and on one each
}

type times struct{ P50, P99 time.Duration }

// player plays a role.
type player struct {
	socket   string
	end      time.Time
	answered atomic.Int64
	refused  atomic.Int64
}

// play plays a role as the environment says, prints the tally and returns the
// exit status.
func play(role string) int {
	lasts, err := time.ParseDuration(os.Getenv("LASTS"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p := &player{socket: os.Getenv("SOCKET"), end: time.Now().Add(lasts)}
	var t tally
	switch role {
	case "victim":
		t = p.victim()
	case "caller":
		t = p.caller()
	case "storm", "queue", "hoard":
		t = p.storm(role)
	default:
		connections, _ := strconv.Atoi(os.Getenv("CONNECTIONS")) // 0 is nobody
		var all sync.WaitGroup
		for range connections {
			all.Go(func() {
				for time.Now().Before(p.end) {
					p.once(role)
				}
			})
		}
		all.Wait()
		t.Answered, t.Refused = p.answered.Load(), p.refused.Load()
	}
	if err := json.NewEncoder(os.Stdout).Encode(t); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// once connects and plays the role until the daemon closes the connection.
func (p *player) once(role string) {
	c, err := net.Dial("unix", p.socket)
	if err != nil {
		time.Sleep(time.Millisecond)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(p.end)
	switch role {
	case "connect":
	case "each":
		p.count(c, get("/v1/nothing"), 1)
	case "pipeline":
		p.count(c, strings.Repeat(get("/v1/nothing"), 50), 50)
	case "status":
		p.count(c, strings.Repeat(get("/v1/status"), 50), 50)
	case "deaf": // it reads nothing
		for {
			if _, err := io.WriteString(c, strings.Repeat(get("/v1/status"), 50)); err != nil {
				return
			}
		}
	case "idle":
		p.held(c, get("/v1/nothing"))
	case "header":
		p.held(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 15<<10))
	case "body":
		p.held(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n"+strings.Repeat("x", 65535))
	case "report":
		p.held(c, "POST /v1/apps/"+app+"/report HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n"+
			strings.Repeat("x", 65535))
	case "call":
		p.held(c, "POST /v1/apps/"+app+apiPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 262144\r\n\r\n"+
			strings.Repeat("x", 262143))
	case "calls":
		p.count(c, strings.Repeat(get("/v1/apps/"+app+apiPath), 50), 50)
	case "strange":
		requests := ""
		for i := range 404 {
			requests += get(fmt.Sprint("/v1/apps/app", i, apiPath))
		}
		p.count(c, requests, 404)
	case "leave":
		_, _ = io.WriteString(c, get("/v1/apps/"+app+apiPath))
		time.Sleep(time.Millisecond)
	case "watch":
		p.held(c, get("/v1/apps/"+app+"/watch"))
	}
}

// apiPath is one that the simulator does not know: its answer is short.
const apiPath = "/api/v2/REF30/nothing"

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }

// count sends requests over and over, and counts the answers.
func (p *player) count(c net.Conn, requests string, n int) {
	go func() {
		for {
			if _, err := io.WriteString(c, requests); err != nil || n == 1 {
				return
			}
		}
	}()
	r := bufio.NewReader(c)
	for {
		status, err := answer(r)
		switch {
		case err != nil:
			return
		case status == http.StatusTooManyRequests:
			p.refused.Add(1)
		default:
			p.answered.Add(1)
		}
		if n == 1 {
			return
		}
	}
}

// held sends something, and keeps the connection until the daemon closes it.
func (p *player) held(c net.Conn, text string) {
	_, _ = io.WriteString(c, text) // it may be refused meanwhile
	r := bufio.NewReader(c)
	for {
		status, err := answer(r)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			return
		}
		if status == http.StatusTooManyRequests {
			p.refused.Add(1)
		} else {
			p.answered.Add(1)
		}
	}
}

// victim asks for the token, as a player does.
func (p *player) victim() tally {
	var t tally
	half := time.Now().Add(time.Until(p.end) / 2)
	var kept, each []time.Duration
	var c net.Conn
	var r *bufio.Reader
	request := "GET /v1/apps/" + app + "/token?wait=0s"
	token := func(took *[]time.Duration, fresh bool) {
		began := time.Now()
		var err error
		if c == nil || fresh {
			if c, err = net.Dial("unix", p.socket); err == nil {
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				r = bufio.NewReader(c)
			}
		}
		status := 0
		if err == nil {
			status, _, err = ask(c, r, request)
		}
		*took = append(*took, time.Since(began))
		if err != nil || status != http.StatusOK {
			t.Failed++
		} else {
			t.Answered++
		}
		if c != nil && (fresh || err != nil) {
			c.Close()
			c = nil
		}
	}
	for time.Now().Before(half) {
		token(&kept, false)
		time.Sleep(time.Millisecond)
	}
	for time.Now().Before(p.end) {
		token(&each, true)
		time.Sleep(time.Millisecond)
	}
	t.Kept, t.Each = percentiles(kept), percentiles(each)
	return t
}

func percentiles(took []time.Duration) times {
	if len(took) == 0 {
		return times{}
	}
	slices.Sort(took)
	at := func(percent int) time.Duration { return took[(len(took)-1)*percent/100].Round(10 * time.Microsecond) }
	return times{at(50), at(99)}
}

// ask makes one request and returns the status and the body of its answer.
func ask(c net.Conn, r *bufio.Reader, request string) (status int, body []byte, err error) {
	if _, err := io.WriteString(c, request+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// answer reads an answer whose body is of no interest.
func answer(r *bufio.Reader) (status int, err error) {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
