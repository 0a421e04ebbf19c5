package daemon

import (
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
)

// leastSleep is the shortest suspend that counts: two clocks can't be read at
// the same moment.
const leastSleep = time.Second

// wakeful is an Alarm that notices when the device has been suspended: a resume
// rings, and the broker sets its alarm after every ring.
type wakeful struct {
	broker.Alarm
	boot    func() time.Duration // goes on in a suspend
	awake   func() time.Duration // stands still in one
	resumed func()

	slept time.Duration // in all, up to the last Set; calls of Set do not overlap
}

// Set is part of broker.Alarm.
func (w *wakeful) Set(at time.Duration) {
	slept := w.boot() - w.awake()
	if slept-w.slept >= leastSleep {
		w.resumed()
	}
	w.slept = slept
	w.Alarm.Set(at)
}
