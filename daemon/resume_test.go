package daemon

import (
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
