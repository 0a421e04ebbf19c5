package dcrtest

import (
	"net/http"
	"strings"
)

// helpURL is the page that the errors lead to.
const helpURL = "https://experienceleague.adobe.com/docs/pass/authentication/auth-features/error-reportn/" +
	"enhanced-error-codes.html"

// enhanced is an entry of "Enhanced error codes".
type enhanced struct {
	status          int
	action, message string
}

// enhancedCodes are those that concern a token, with messages of the simulator's own.
var enhancedCodes = map[string]enhanced{
	"invalid_access_token_service_provider": {401, "application-registration",
		"The access token is not good for this service provider."},
	"invalid_access_token_client_application": {401, "application-registration",
		"The access token is unknown, expired or of an invalid client application."},
	"invalid_header_device_info":       {400, "none", "The X-Device-Info header is missing or invalid."},
	"invalid_header_device_identifier": {400, "none", "The AP-Device-Identifier header is missing or invalid."},
	"network_received_error":           {403, "retry", "The partner service's answer could not be read."},
	"network_connection_timeout":       {403, "retry", "The connection to the partner service timed out."},
	"maximum_execution_time_exceeded":  {403, "retry", "The request did not complete in the maximum allowed time."},
}

// api answers everything under /api/v2/: it judges the headers that "REST API V2" asks of nearly every request, and
// answers a good one with a little JSON.
func (s *Server) api(c *call) answer {
	if why := s.checkBearer(c); why != "" {
		return s.refuseAPI("invalid_access_token_client_application", why)
	}
	if err := checkIdentifier(c.Header); err != nil {
		return s.refuseAPI("invalid_header_device_identifier", err.Error())
	}
	if _, err := deviceInfo(c.Header); err != nil {
		return s.refuseAPI("invalid_header_device_info", err.Error())
	}
	provider, _, _ := strings.Cut(strings.TrimPrefix(c.URL.Path, "/api/v2/"), "/")
	return jsonAnswer(http.StatusOK, map[string]any{
		"requestor": map[string]any{"id": provider, "name": provider, "mvpds": []string{}},
	})
}

// checkBearer says what is wrong with the access token, "" if nothing is.
func (s *Server) checkBearer(c *call) string {
	access, ok := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "there is no Authorization: Bearer header"
	}
	t, ok := s.tokens[access]
	if !ok {
		return "the access token is unknown"
	}
	c.log.ClientID = t.clientID
	if !t.expires.After(c.now) {
		return "the access token has expired"
	}
	return ""
}

// refuseAPI is an answer of the protected APIs: an enhanced error code. One that the simulator does not know is taken for
// a 403 that nothing can be done about: the page says that the set of codes may grow.
func (s *Server) refuseAPI(code, why string) answer {
	e, ok := enhancedCodes[code]
	if !ok {
		e = enhanced{http.StatusForbidden, "none", "The request was refused."}
	}
	trace, err := uuid(s.cfg.Random)
	if err != nil {
		return broken(err)
	}
	a := jsonAnswer(e.status, map[string]any{
		"action":  e.action,
		"status":  e.status,
		"code":    code,
		"message": e.message,
		"helpUrl": helpURL,
		"trace":   trace,
	})
	a.code, a.why = code, why
	return a
}
