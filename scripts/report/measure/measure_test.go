package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	var out strings.Builder
	err := writeTable(&out, []row{
		{what: "over", unit: "%.2f MB", value: 8.001, budget: 8, stretch: 7},
		{what: "at the budget", unit: "%.0f", value: 8, budget: 8, stretch: 7, note: "twice"},
		{what: "at the stretch", unit: "%.0f", value: 7, budget: 8, stretch: 7},
		{what: "no stretch", unit: "%.0f", value: 0, budget: 8},
		{what: "no budget", unit: "%.1f", value: 2},
		{what: "no tool", unit: "%.1f k", budget: 80, stretch: 30, note: "hidden", missing: "install gcc"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `what           | tvpassd      | budget  | stretch | ok
over           | 8.00 MB      | 8.00 MB | 7.00 MB | OVER
at the budget  | 8            | 8       | 7       | ok
at the stretch | 7            | 8       | 7       | ok, stretch
no stretch     | 0            | 8       | -       | ok
no budget      | 2.0          | -       | -       | -
no tool        | not measured | 80.0 k  | 30.0 k  | -

at the budget: twice
no tool: not measured: install gcc
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestParseWrites(t *testing.T) {
	const trace = `123 write(2</tmp/x/log>, ""..., 99) = 99
123 pwrite64(5</tmp/x/state/tvpassd.db>, ""..., 4096, 8192) = 4096
124 pwrite64(5</tmp/x/state/tvpassd.db>, ""..., 8192, 16384 <unfinished ...>
123 write(7<socket:[4711]>, ""..., 500) = 500
123 writev(7<socket:[4711]>, [{iov_base=""..., iov_len=10}], 1) = 10
124 <... pwrite64 resumed>)             = 8192
124 fdatasync(5</tmp/x/state/tvpassd.db> <unfinished ...>
124 <... fdatasync resumed>)            = 0
124 write(6</tmp/x/state/tvpassd.copy.new>, ""..., 700) = 700
124 fsync(6</tmp/x/state/tvpassd.copy.new>) = 0
124 fsync(8</tmp/x/state>)              = 0
124 fsync(9</tmp/x/state-of-another>)   = 0
`
	got, err := parseWrites(strings.NewReader(trace), "/tmp/x/state")
	if want := (writes{bytes: 4096 + 8192 + 700, syncs: 3}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	const pwritev = "124 pwritev(5</tmp/x/state/tvpassd.db>, [{iov_base=\"\"..., iov_len=10}], 1, 0) = 10\n"
	_, err = parseWrites(strings.NewReader(pwritev), "/tmp/x/state")
	if err == nil {
		t.Error("a write of unknown size was left out")
	}
	if got := countCalls([]byte(trace)); got != 10 {
		t.Errorf("counted %d calls, want 10", got)
	}
}

// A real strace must write what parseWrites reads.
func TestTraceOfARealWrite(t *testing.T) {
	if !installed("strace") || !installed("dd") {
		t.Skip("needs strace and dd")
	}
	dir := t.TempDir()
	trace, target := filepath.Join(dir, "trace"), filepath.Join(dir, "state", "file")
	if err := os.Mkdir(filepath.Dir(target), 0o700); err != nil {
		t.Fatal(err)
	}
	args := append(tracing(trace, writing), "dd", "if=/dev/zero", "of="+target, "bs=4096", "count=3", "conv=fsync")
	if out, err := exec.CommandContext(t.Context(), "strace", args...).CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v\n%s", err, out)
	}
	got, err := writesUnder(trace, 0, filepath.Dir(target))
	if want := (writes{bytes: 3 * 4096, syncs: 1}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestWakeUpsOfAThreadThatCame(t *testing.T) {
	before := map[string]int64{"1": 10, "2": 5, "gone": 3}
	after := map[string]int64{"1": 12, "2": 5, "new": 4}
	if got := added(before, after); got != 6 {
		t.Errorf("counted %v wake-ups, want 6", got)
	}
}

// What the kernel reports of a real process: cat has memory, sleeps, and holds
// no timer.
func TestProc(t *testing.T) {
	stdin, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cat := exec.CommandContext(t.Context(), "cat")
	cat.Stdin = stdin
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cat.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cat.Wait() // killed
	}()
	bytes, err := anonymous(cat.Process.Pid)
	if err != nil || bytes < 4096 || bytes > 1<<28 {
		t.Errorf("memory: %v bytes, %v", bytes, err)
	}
	threads, err := wakeUps(cat.Process.Pid)
	if err != nil || len(threads) != 1 {
		t.Errorf("wake-ups: %v, %v", threads, err)
	}
	armed, err := timers(cat.Process.Pid)
	if err != nil || armed != "0 timerfd armed, 0 repeating" {
		t.Errorf("timers: %q, %v", armed, err)
	}
	if _, err := anonymous(1 << 30); err == nil {
		t.Error("a process that does not exist has memory")
	}
}

func TestProcessThatFails(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := start(t.Context(), log, -1, "sh", "-c", "echo no such statement >&2; exit 78")
	if err != nil {
		t.Fatal(err)
	}
	err = p.until("it is ready", func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), "no such statement") {
		t.Errorf("the report would say %v, not what the program said", err)
	}
	if err := p.stop(); err == nil {
		t.Error("exit status 78 went unnoticed")
	}
}

// A process runs where it was told to, and its parent stays where it was.
func TestOnProcessor(t *testing.T) {
	cpu, err := lastProcessor()
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	p, err := start(t.Context(), log, cpu, "sed", "-n", "s/^Cpus_allowed_list:[[:space:]]*//p", "/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	var got int
	if err := json.Unmarshal([]byte(p.lastWords()), &got); err != nil || got != cpu {
		t.Errorf("ran on %q, want %d", p.lastWords(), cpu)
	}
}

func TestCallTellsWhatTheServerSaid(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"code":"offline"}`))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"secret"}`))
	})
	got, err := getToken(t.Context(), socket, "?wait=0s")
	if err != nil || got.AccessToken != "secret" {
		t.Errorf("got %v, %v", got, err)
	}
	if err := refresh(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "offline") {
		t.Errorf("a refused refresh: %v", err)
	}
}

// renewed returns the new token, not the one before it.
func TestRenewed(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	current := "old"
	asked := 0
	serve(t, socket, func(w http.ResponseWriter, r *http.Request) {
		switch asked++; {
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusAccepted)
			return
		case asked > 3: // the refresh takes a while
			current = "new"
		}
		_, _ = w.Write([]byte(`{"access_token":"` + current + `"}`))
	})
	daemon := &process{cmd: exec.Command("tvpassd"), done: make(chan struct{})}
	got, err := (&lab{socket: socket}).renewed(t.Context(), daemon, token{"old"})
	if err != nil || got.AccessToken != "new" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	if err := sleep(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
}

// A trace without a write is an error, not a figure within its budget.
func TestNoWritesAreNoFigure(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(trace, []byte("123 write(2</tmp/x/log>, \"\"..., 99) = 99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := writesUnder(trace, 0, "/tmp/x/state"); err == nil {
		t.Errorf("got %+v without an error", got)
	}
}
