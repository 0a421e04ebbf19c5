package daemon

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type silentAlarm struct{ at time.Duration }

func (a *silentAlarm) Set(at time.Duration) { a.at = at }
func (a *silentAlarm) C() <-chan struct{}   { return nil }

// A suspend is time that only one of the clocks counts. Time that both count is
// no suspend, and neither is a small difference between readings.
func TestAResumeIsNoticed(t *testing.T) {
	boot, awake, resumes := time.Hour, 10*time.Minute, 0
	alarm := new(silentAlarm)
	w := &wakeful{
		Alarm: alarm, boot: func() time.Duration { return boot }, awake: func() time.Duration { return awake },
		slept: boot - awake, resumed: func() { resumes++ },
	}
	for i, step := range []struct{ boot, awake, resumes time.Duration }{
		{0, 0, 0}, {time.Hour, time.Hour, 0}, {time.Second, time.Second + 900*time.Millisecond, 0},
		{time.Minute, 0, 1}, {time.Hour, time.Hour, 1}, {2 * time.Second, 100 * time.Millisecond, 2},
	} {
		boot += step.boot
		awake += step.awake
		w.Set(boot)
		if resumes != int(step.resumes) || alarm.at != boot {
			t.Errorf("step %d: %d resumes, the alarm is at %v; want %d, %v", i, resumes, alarm.at, step.resumes, boot)
		}
	}
}

// resume has the device sleep for a while, and resume: Go's clock knows nothing of
// it.
func (d *day) resume(after time.Duration) {
	d.time.mu.Lock()
	d.time.now.Boot += after
	d.time.now.Wall = d.time.now.Wall.Add(after)
	d.time.mu.Unlock()
	d.time.rings <- struct{}{}
	d.settle()
}

// What a player calls after a resume does not go into a connection that was kept
// over the sleep: it may lead nowhere.
func TestAResumeDropsConnections(t *testing.T) {
	came := make(chan string, 10)
	d := newDay(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			came <- r.RemoteAddr
			return
		}
		grant(w, r, 24*time.Hour)
	})
	defer d.stop()
	d.pass(time.Minute)
	d.expectState("ready")
	socket := filepath.Join(filepath.Dir(d.cfg.ConfigFile), "sock")
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	player := &http.Client{Transport: &http.Transport{DialContext: dial}}
	defer player.CloseIdleConnections()
	call := func() string {
		resp, err := player.Get("http://tvpassd/v1/apps/one/api/v2/x")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", resp.Status, text)
		}
		return <-came
	}
	first := call()
	if again := call(); again != first {
		t.Fatalf("a connection is not kept: %s, then %s", first, again)
	}
	d.resume(10 * time.Second)
	if after := call(); after == first {
		t.Error("the connection was kept over the sleep")
	}
}
