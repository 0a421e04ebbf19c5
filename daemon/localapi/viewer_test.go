package localapi

import (
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/server"
)

// busyBroker is a broker whose gate is shut, and whose clock differs from the
// server's.
type busyBroker struct{ Broker }

func (b busyBroker) Overview() broker.Overview {
	o := b.Broker.Overview()
	o.GateOpens, o.Skew = 1234*time.Millisecond, -10_001*time.Millisecond
	return o
}

// Those who may use no app do not see when exactly calls are made.
func TestStrangersSeeNoExactTimes(t *testing.T) {
	a := newAPI(t)
	a.cfg.Broker = busyBroker{a.cfg.Broker}
	for _, test := range []struct {
		viewer       server.Viewer
		opens, skews int64
	}{
		{server.Viewer{}, 10_000, -20_000},
		{server.Viewer{Apps: []string{"ref30"}}, 1234, -10_001},
		{server.Viewer{Admin: true}, 1234, -10_001},
	} {
		st := a.Status(test.viewer)
		if st.Throttle != (ipc.Throttle{OpensInMS: test.opens}) || st.Clock.SkewMS != test.skews {
			t.Errorf("%+v sees %+v, %+v", test.viewer, st.Throttle, st.Clock)
		}
	}
	for ms, want := range map[int64]int64{0: 0, 1: 10_000, 9_999: 10_000, 10_000: 10_000, -1: -10_000} {
		if got := coarse(ms); got != want {
			t.Errorf("%d ms becomes %d, want %d", ms, got, want)
		}
	}
}
