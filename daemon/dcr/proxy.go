package dcr

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// ProxyRefusal is the answer of a proxy that does not connect.
type ProxyRefusal struct{ Status int }

func (r *ProxyRefusal) Error() string { return fmt.Sprintf("the proxy answers HTTP %d", r.Status) }

// AcceptTunnel judges a proxy's answer to CONNECT, for
// [http.Transport.OnProxyConnectResponse]. Its error is a *ProxyRefusal.
func AcceptTunnel(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return &ProxyRefusal{resp.StatusCode}
	}
	return nil
}
