package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	os.Exit(m.Run())
}

// built builds the programs under attack as they are shipped.
func built(t *testing.T) programs {
	t.Helper()
	dir := t.TempDir()
	p := programs{filepath.Join(dir, "tvpassd"), filepath.Join(dir, "passsim")}
	for out, from := range map[string]string{p.tvpassd: "tvpassd", p.passsim: "passsim"} {
		build := exec.Command("go", "build", "-tags", "nethttpomithttp2,osusergo,netgo", "-o", out, "./cmd/"+from)
		build.Dir, build.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	return p
}

// labFor returns a lab of the programs as they are shipped.
func labFor(t *testing.T) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can be several users")
	}
	l, err := newLab(t.Context(), built(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// The cost of an attack to a player, in counts. Times depend on the machine:
// the report shows them.
func TestNobodyTakesWhatOthersNeed(t *testing.T) {
	l := labFor(t)
	for name, check := range checks() {
		t.Run(name, func(t *testing.T) {
			r, err := l.run(t.Context(), find(t, name), "victim", 3*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if r.victim.Answered == 0 || r.victim.Failed > 0 {
				t.Errorf("of the victim's requests %d are answered, %d not\n%s", r.victim.Answered, r.victim.Failed,
					r.log)
			}
			if r.rss == 0 || r.rss > barRSS {
				t.Errorf("the daemon takes %d bytes", r.rss)
			}
			if check != nil {
				if wrong := check(r); wrong != "" {
					t.Error(wrong)
				}
			}
		})
	}
}

// checks are the attacks of this test, and what says what is wrong with a result.
func checks() map[string]func(result) string {
	// The attackers get about one player's share of the processor. Without that
	// they got 90,000 answers for each of the victim's.
	fair := func(r result) string {
		if got := r.attackers.Answered / max(r.victim.Answered, 1); got > 5000 {
			return fmt.Sprintf("the attackers got %d answers for each of the victim's", got)
		}
		return ""
	}
	return map[string]func(result) string{
		"requests without a pause, 250 connections": fair,
		"the same for the status":                   fair,
		"36 users hold 36 connections each": func(r result) string {
			if !strings.Contains(r.log, "closed to make room") || !strings.Contains(r.log, " uid=200") ||
				strings.Contains(r.log, fmt.Sprint(" uid=", victim)) {
				return "the log does not name the user who holds most: " + r.log
			}
			return ""
		},
		"48 users hold 32 half headers of 15 KiB":             nil,
		"48 users hold 32 bodies of 64 KiB that nobody wants": nil,
		"a user with a right holds 250 reports of 64 KiB":     nil,
		"48 users with 32 of them":                            nil,
		"8 users with a right hold 32 of them": func(r result) string {
			if r.attackers.Refused == 0 { // 429: there is room for 16 of 256
				return "no body is refused"
			}
			return ""
		},
		"the same for 404 apps that do not exist":  fair,
		"a user with a right leaves its API calls": nil,
	}
}

func find(t *testing.T, name string) attack {
	for _, a := range attacks {
		if a.name == name {
			return a
		}
	}
	t.Fatalf("no attack %q", name)
	return attack{}
}

func TestPercentiles(t *testing.T) {
	var took []time.Duration
	for i := range 101 {
		took = append(took, time.Duration(100-i)*time.Millisecond)
	}
	if got := percentiles(took); got != (times{50 * time.Millisecond, 99 * time.Millisecond}) {
		t.Errorf("%+v", got)
	}
	if got := percentiles(nil); got != (times{}) {
		t.Errorf("of nothing: %+v", got)
	}
}
