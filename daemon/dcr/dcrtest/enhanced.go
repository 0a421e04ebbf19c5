package dcrtest

// enhanced is an entry of "Enhanced error codes".
type enhanced struct {
	status          int
	action, message string
}

// enhancedCode returns the entry of a code, with a message of the simulator's
// own. An unknown code is a 403 with the action none: the page says that the
// set of codes may grow.
func enhancedCode(code string) enhanced {
	const registration = "application-registration"
	known := map[string]enhanced{
		"invalid_access_token_service_provider":   {401, registration, "The access token is for other service providers."},
		"invalid_access_token_client_application": {401, registration, "The access token is unknown or has expired."},

		"invalid_header_device_info":         {400, "none", "The X-Device-Info header is missing or invalid."},
		"invalid_header_device_identifier":   {400, "none", "The AP-Device-Identifier header is missing or invalid."},
		"invalid_parameter_service_provider": {400, "none", "The service provider is missing or invalid."},
		"invalid_parameter_mvpd":             {400, "none", "The MVPD is missing or invalid."},
		"invalid_parameter_code":             {400, "none", "The authentication code is missing or invalid."},
		"invalid_parameter_redirect_url":     {400, "none", "The redirect URL is missing or invalid."},
		"invalid_parameter_resources":        {400, "none", "The list of resources is missing or invalid."},
		"invalid_parameter_partner":          {400, "none", "The partner is missing or invalid."},
		"invalid_parameter_saml_response":    {400, "none", "The SAML response is missing or invalid."},
		"malformed_authz_request":            {400, "none", "The request is malformed."},
		"too_many_resources":                 {403, "configuration", "The request has too many resources."},

		"authentication_session_expired":     {410, "authentication", "The authentication code has expired."},
		"authentication_session_invalidated": {410, "authentication", "A newer authentication code has replaced this one."},
		"authenticated_profile_missing":      {403, "authentication", "There is no authenticated profile for this request."},
		"authenticated_profile_expired":      {403, "authentication", "The authenticated profile has expired."},

		"preauthorization_denied_by_mvpd":           {403, "none", "The MVPD denies the resource."},
		"authorization_denied_by_mvpd":              {403, "none", "The MVPD denies the resource."},
		"authorization_denied_by_parental_controls": {403, "none", "Parental controls deny the resource."},
		"temporary_access_duration_limit_exceeded":  {403, "none", "The time of temporary access is over."},

		"network_received_error":          {403, "retry", "The partner service's answer could not be read."},
		"network_connection_timeout":      {403, "retry", "The connection to the partner service timed out."},
		"maximum_execution_time_exceeded": {403, "retry", "The request did not complete in the maximum allowed time."},
		"internal_server_error":           {500, "none", "The request failed."},

		"not_found":          {404, "none", "There is no such operation."},
		"method_not_allowed": {405, "none", "The operation does not allow this method."},
	}
	if e, ok := known[code]; ok {
		return e
	}
	return enhanced{403, "none", "The request was refused."}
}

// errorInformation returns an enhanced error, at top level or of an item.
func (s *Server) errorInformation(code string) (map[string]any, error) {
	e := enhancedCode(code)
	trace, err := uuid(s.cfg.Random)
	return map[string]any{
		"action": e.action, "status": e.status, "code": code, "message": e.message, "helpUrl": helpURL, "trace": trace,
	}, err
}

// refuseAPI returns an answer of the protected APIs with an enhanced error.
func (s *Server) refuseAPI(code, why string) answer {
	information, err := s.errorInformation(code)
	if err != nil {
		return broken(err)
	}
	a := apiAnswer(enhancedCode(code).status, information)
	a.code, a.why = code, why
	return a
}

// apiAnswer returns an answer of the protected APIs. No page shows a
// Cache-Control.
func apiAnswer(status int, v any) answer {
	a := jsonAnswer(status, v)
	a.header().Del("Cache-Control")
	return a
}
