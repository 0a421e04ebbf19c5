package dcr

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// proxyRefusal is the answer of a proxy that does not connect.
type proxyRefusal struct{ status int }

func (r *proxyRefusal) Error() string { return fmt.Sprintf("the proxy answers HTTP %d", r.status) }

// acceptTunnel judges a proxy's answer to CONNECT.
func acceptTunnel(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return &proxyRefusal{resp.StatusCode}
	}
	return nil
}
