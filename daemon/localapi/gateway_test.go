package localapi

import (
	"bufio"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/gateway"
	"github.com/tvpassd/tvpassd/daemon/throttle"
)

// loads is a line with these calls, by app.
type loads map[string]throttle.Load

func (l loads) Load(app string) throttle.Load { return l[app] }

// What the gateway did for an app is shown with that app alone.
func TestGatewayMetrics(t *testing.T) {
	var c gatewayCounts
	c.ended(&gateway.Outcome{App: "one", Operation: "profiles_code", Result: "2xx",
		Waited: 2 * time.Second, Took: 200 * time.Millisecond, Renewed: 1, Throttled: 3, Ignored: gateway.OwnHeaders[:1]})
	c.ended(&gateway.Outcome{App: "one", Operation: "sso", Result: "left", Waited: 5 * time.Second, Took: time.Minute})
	c.ended(&gateway.Outcome{App: "other", Operation: "logout", Result: "5xx"})
	line := loads{"one": {Waiting: 7, Flying: 2}, "two": {Waiting: 1, Flying: 4}, "other": {Waiting: 8, Flying: 1}}

	var text strings.Builder
	m := &metrics{w: bufio.NewWriter(&text)}
	c.write(m, []*broker.AppView{{App: broker.App{ID: "one"}}, {App: broker.App{ID: "two"}}}, line)
	if err := m.w.Flush(); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(text.String(), "\n")
	for _, want := range []string{
		`tvpassd_gateway_requests_total{app="one",operation="profiles_code",result="2xx"} 1`,
		`tvpassd_gateway_requests_total{app="one",operation="sso",result="left"} 1`,
		`tvpassd_gateway_request_duration_seconds_sum{app="one"} 60.2`,
		`tvpassd_gateway_request_duration_seconds_count{app="one"} 2`,
		`tvpassd_gateway_wait_seconds_sum{app="one"} 7`,
		`tvpassd_gateway_wait_seconds_bucket{app="one",le="3"} 1`,
		`tvpassd_gateway_retries_total{app="one",reason="401"} 1`,
		`tvpassd_gateway_retries_total{app="one",reason="429"} 3`,
		`tvpassd_gateway_ignored_headers_total{app="one",header="Authorization"} 1`,
		`tvpassd_gateway_ignored_headers_total{app="one",header="X-Device-Info"} 0`,
		`tvpassd_gateway_waiting{app="one"} 7`,
		`tvpassd_gateway_waiting{app="two"} 1`,
		`tvpassd_gateway_in_flight 6`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(text.String(), "other\"") || t.Failed() {
		t.Errorf("the metrics are\n%s", &text)
	}
}
