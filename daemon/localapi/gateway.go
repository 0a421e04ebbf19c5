package localapi

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tvpassd/tvpassd/daemon/broker"
	"github.com/tvpassd/tvpassd/daemon/gateway"
)

// GatewayTokens are the access tokens of a broker, for the gateway.
type GatewayTokens struct{ Broker Broker }

// Token is part of gateway.Tokens.
func (t *GatewayTokens) Token(ctx context.Context, app string, wait time.Duration) (string, error) {
	tok, err := t.Broker.Token(ctx, app, wait, 0)
	return tok.AccessToken, problem(err)
}

// Report is part of gateway.Tokens.
func (t *GatewayTokens) Report(ctx context.Context, app, accessToken string) error {
	_, err := t.Broker.Report(ctx, app, accessToken)
	return err
}

// Ended counts a call that the gateway had taken on.
func (a *API) Ended(o *gateway.Outcome) { a.gateway.ended(o) }

// gatewayCounts count what the gateway did since the start.
type gatewayCounts struct {
	mu   sync.Mutex // guards what follows
	apps map[string]*appCalls
}

// appCalls are the calls of one app.
type appCalls struct {
	ended        [len(gateway.Operations)][len(gateway.Results)]int64
	took, waited broker.Durations
	repeated     [2]int64 // after a 401, after a 429
	ignored      [len(gateway.OwnHeaders)]int64
}

func (c *gatewayCounts) ended(o *gateway.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	app := c.apps[o.App]
	if app == nil {
		app = &appCalls{}
		if c.apps == nil {
			c.apps = map[string]*appCalls{}
		}
		c.apps[o.App] = app
	}
	app.ended[slices.Index(gateway.Operations[:], o.Operation)][slices.Index(gateway.Results[:], o.Result)]++
	app.took.Add(o.Took)
	app.waited.Add(o.Waited)
	app.repeated[0] += int64(o.Renewed)
	app.repeated[1] += int64(o.Throttled)
	for _, name := range o.Ignored {
		app.ignored[slices.Index(gateway.OwnHeaders[:], name)]++
	}
}

// gatewayFamilies are the metrics of the gateway that each app has.
var gatewayFamilies = [...]struct {
	name, kind, help string
	write            func(*metrics, *appCalls, string)
}{
	{"tvpassd_gateway_requests_total", "counter", "Players' API calls since the start, by how they ended.",
		(*metrics).gatewayRequests},
	{"tvpassd_gateway_request_duration_seconds", "histogram", "How long players' API calls took, without their wait.",
		func(m *metrics, app *appCalls, id string) { m.histogram(app.took, "app", id) }},
	{"tvpassd_gateway_wait_seconds", "histogram", "How long players' API calls waited for their turn and a token.",
		func(m *metrics, app *appCalls, id string) { m.histogram(app.waited, "app", id) }},
	{"tvpassd_gateway_retries_total", "counter", "Requests that were sent once more, by the status that caused it.",
		func(m *metrics, app *appCalls, id string) {
			for i, reason := range [...]string{"401", "429"} {
				m.sample(float64(app.repeated[i]), "app", id, "reason", reason)
			}
		}},
	{"tvpassd_gateway_ignored_headers_total", "counter", "Headers of players that are always the daemon's own.",
		func(m *metrics, app *appCalls, id string) {
			for i, name := range gateway.OwnHeaders {
				m.sample(float64(app.ignored[i]), "app", id, "header", name)
			}
		}},
}

func (m *metrics) gatewayRequests(app *appCalls, id string) {
	for i, results := range app.ended {
		for j, n := range results {
			if n > 0 {
				m.sample(float64(n), "app", id, "operation", gateway.Operations[i], "result", gateway.Results[j])
			}
		}
	}
}

// write writes the metrics of the apps in sight.
func (c *gatewayCounts) write(m *metrics, views []*broker.AppView, line Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range gatewayFamilies {
		m.family(f.name, f.kind, f.help)
		for _, v := range views {
			if app := c.apps[v.App.ID]; app != nil {
				f.write(m, app, v.App.ID)
			}
		}
	}
	flying := 0
	m.family("tvpassd_gateway_waiting", "gauge", "Players' API calls that wait for their turn.")
	for _, v := range views {
		load := line.Load(v.App.ID)
		flying += load.Flying
		m.sample(float64(load.Waiting), "app", v.App.ID)
	}
	m.family("tvpassd_gateway_in_flight", "gauge", "Players' API calls to which the server has not answered yet.")
	m.sample(float64(flying))
}
