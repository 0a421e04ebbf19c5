package server

import (
	"net/http"

	"github.com/tvpassd/tvpassd/ipc"
)

const (
	gatewayName    = "api/v2/"
	maxGatewayBody = 256 << 10
)

// gateway sends a call on to the server.
func (c *call) gateway() error {
	return c.cfg.Gateway.Serve(c.w, c.r, c.app, c.rest, c.body, func() error { return c.admitAgain(nil) })
}

func (c *call) isGateway() bool { return c.route != nil && c.route.name == gatewayName }

// proxyStatus completes a problem of the gateway's paths: each has a header
// Proxy-Status (RFC 9209), and says whether the request may have left.
func proxyStatus(h http.Header, p *ipc.Problem) *ipc.Problem {
	whole := *p
	if p.Sent == nil {
		whole.Sent = new(false)
	}
	if h["Proxy-Status"] == nil {
		kind := "http_request_error"
		switch {
		case p.Code == ipc.CodeForbidden, p.Code == ipc.CodeUnknownApp, p.Code == ipc.CodeAmbiguousApp:
			kind = "http_request_denied"
		case p.Status >= http.StatusInternalServerError && p.Code != ipc.CodeInvalidParameter: // 501 and 505
			kind = "proxy_internal_error"
		}
		h["Proxy-Status"] = []string{"tvpassd; error=" + kind}
	}
	return &whole
}
