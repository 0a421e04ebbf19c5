package dcrtest

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	profileLife    = 30 * 24 * time.Hour
	decisionLife   = 24 * time.Hour
	mediaTokenLife = 7 * time.Minute
	temporaryLife  = 10 * time.Minute // of a temporary pass, from the first authorization on
	maxResources   = 100
	regularMVPD    = "Cablevision"
	temporaryMVPD  = "TempPass_SIM" // needs no sign-in
	moreMVPDs      = 40             // so that the configuration is as long as a real one
)

// profile says that a viewer is signed in with an MVPD.
type profile struct {
	mvpd, kind string
	from       time.Time
}

func (p *profile) valid(now time.Time) bool {
	return p != nil && !now.Before(p.from) && now.Before(p.from.Add(profileLife))
}

func (s *Server) addProfile(v viewer, mvpd, kind string, now time.Time) {
	if s.profiles[v] == nil {
		s.profiles[v] = map[string]*profile{}
	}
	s.profiles[v][mvpd] = &profile{mvpd, kind, now}
}

// mvpds are the TV providers of the simulator.
func mvpds() []string {
	list := []string{regularMVPD, temporaryMVPD}
	for i := range moreMVPDs {
		list = append(list, fmt.Sprintf("SimTV_%02d", i+1))
	}
	return list
}

func knownMVPD(id string) bool { return slices.Contains(mvpds(), id) }

// configuration answers GET {provider}/configuration.
func (s *Server) configuration(c *call) answer {
	list := []map[string]any{}
	for _, id := range mvpds() {
		list = append(list, map[string]any{
			"id": id, "displayName": strings.ReplaceAll(id, "_", " "),
			"logoUrl":    "https://entitlement.example/mvpd/pic/" + id + ".png",
			"isTempPass": id == temporaryMVPD, "isProxy": false, "authPerAggregator": false, "passiveAuthnEnabled": false,
			"enablePlatformServices": id == regularMVPD, "displayInPlatformPicker": true, "boardingStatus": "SUPPORTED",
			"platformMappingId": id,
		})
	}
	provider := c.params["provider"]
	return apiAnswer(200, map[string]any{
		"requestor": map[string]any{
			"id": provider, "name": provider + " of the lab", "mvpds": list,
			"domains": []map[string]any{{"name": "adobe.com", "mvpdInitiated": false}},
		},
	})
}

// showProfiles answers GET {provider}/profiles and GET
// {provider}/profiles/{mvpd}.
func (s *Server) showProfiles(c *call) answer {
	if c.params["mvpd"] == temporaryMVPD {
		return s.refuseAPI("authenticated_profile_missing", "a temporary pass has no profile")
	}
	return s.profilesAnswer(200, c.viewer(), c.params["mvpd"], c.now)
}

// codeProfile answers GET {provider}/profiles/code/{code}, which a device polls
// until the person has signed in.
func (s *Server) codeProfile(c *call) answer {
	n, refusal := s.session(c)
	if n == nil {
		return refusal
	}
	if !n.SignedIn {
		return apiAnswer(200, map[string]any{"profiles": map[string]any{}})
	}
	return s.profilesAnswer(200, n.viewer, n.MVPD, c.now)
}

// profilesAnswer is a ProfilesResponse with the valid profiles of a viewer;
// mvpd is "" for all.
func (s *Server) profilesAnswer(status int, v viewer, mvpd string, now time.Time) answer {
	list := map[string]any{}
	for id, p := range s.profiles[v] {
		if p.valid(now) && (mvpd == "" || mvpd == id) {
			list[id] = map[string]any{
				"notBefore": p.from.UnixMilli(), "notAfter": p.from.Add(profileLife).UnixMilli(), "issuer": id, "type": p.kind,
				"attributes": map[string]any{
					"userID":      map[string]any{"value": "sim-user", "state": "plain"},
					"householdID": map[string]any{"value": "sim-household", "state": "plain"},
					"zip":         map[string]any{"value": []string{"10001"}, "state": "plain"},
				},
			}
		}
	}
	return apiAnswer(status, map[string]any{"profiles": list})
}

// partnerProfile answers POST {provider}/profiles/sso/{partner}.
func (s *Server) partnerProfile(c *call) answer {
	if c.params["partner"] != partner {
		return s.refuseAPI("invalid_parameter_partner", "the partner is not "+partner)
	}
	form, err := url.ParseQuery(string(c.body))
	saml, err64 := base64.StdEncoding.DecodeString(form.Get("SAMLResponse"))
	why := wrongContentType(c.Header, "application/x-www-form-urlencoded")
	if err != nil || err64 != nil || len(saml) == 0 || why != "" {
		return s.refuseAPI("invalid_parameter_saml_response", "there is no SAMLResponse of base64 in a form")
	}
	s.addProfile(c.viewer(), regularMVPD, "appleSSO", c.now)
	return s.profilesAnswer(201, c.viewer(), regularMVPD, c.now)
}

// logout answers GET {provider}/logout/{mvpd}. It acts: the answer to a repeat
// has no url.
func (s *Server) logout(c *call) answer {
	mvpd := c.params["mvpd"]
	out := map[string]any{"actionName": "invalid", "actionType": "none", "mvpd": mvpd}
	if p := s.profiles[c.viewer()][mvpd]; p.valid(c.now) {
		delete(s.profiles[c.viewer()], mvpd)
		out["actionName"], out["actionType"] = "logout", "interactive"
		query := url.Values{"mvpd": {mvpd}, "redirectUrl": {c.URL.Query().Get("redirectUrl")}}
		out["url"] = logoutPath + "?" + query.Encode()
	}
	return apiAnswer(200, map[string]any{"logouts": map[string]any{mvpd: out}})
}

// preauthorize answers POST {provider}/decisions/preauthorize/{mvpd}.
func (s *Server) preauthorize(c *call) answer {
	return s.decide(c, "preauthorization_denied_by_mvpd", func(map[string]any) error { return nil })
}

// authorize answers POST {provider}/decisions/authorize/{mvpd}: decisions with
// media tokens.
func (s *Server) authorize(c *call) answer {
	return s.decide(c, "authorization_denied_by_mvpd", func(decision map[string]any) error {
		signature := make([]byte, 128)
		if _, err := io.ReadFull(s.cfg.Random, signature); err != nil {
			return fmt.Errorf("draw a media token: %w", err)
		}
		text := fmt.Sprintf("<signatureInfo>%s</signatureInfo><authToken><resourceID>%s</resourceID></authToken>",
			base64.StdEncoding.EncodeToString(signature), decision["resource"])
		decision["notBefore"], decision["notAfter"] = c.now.UnixMilli(), c.now.Add(decisionLife).UnixMilli()
		decision["token"] = map[string]any{
			"notBefore": c.now.UnixMilli(), "notAfter": c.now.Add(mediaTokenLife).UnixMilli(),
			"serializedToken": base64.StdEncoding.EncodeToString([]byte(text)),
		}
		return nil
	})
}

// decide returns a decision on each resource. A resource whose name holds
// "denied" or "parental" is denied.
func (s *Server) decide(c *call, denied string, permit func(decision map[string]any) error) answer {
	resources, refusal := s.resources(c)
	if resources == nil {
		return refusal
	}
	mvpd := c.params["mvpd"]
	p := s.profiles[c.viewer()][mvpd]
	switch {
	case mvpd == temporaryMVPD: // judged below
	case p == nil:
		return s.refuseAPI("authenticated_profile_missing", "the viewer is not signed in with "+mvpd)
	case !p.valid(c.now):
		return s.refuseAPI("authenticated_profile_expired", "the viewer's profile has expired")
	}
	decisions := []map[string]any{}
	for _, resource := range resources {
		d := map[string]any{
			"resource": resource, "serviceProvider": c.params["provider"], "mvpd": mvpd, "source": "mvpd", "authorized": true,
		}
		code := ""
		switch {
		case strings.Contains(resource, "parental"):
			code = "authorization_denied_by_parental_controls"
		case strings.Contains(resource, "denied"):
			code = denied
		case mvpd == temporaryMVPD:
			d["source"] = "temppass"
			if s.temporaryOver(c, denied == "authorization_denied_by_mvpd") {
				code = "temporary_access_duration_limit_exceeded"
			}
		}
		var err error
		if code == "" {
			err = permit(d)
		} else {
			d["authorized"] = false
			d["error"], err = s.errorInformation(code)
		}
		if err != nil {
			return broken(err)
		}
		decisions = append(decisions, d)
	}
	return apiAnswer(200, map[string]any{"decisions": decisions})
}

// temporaryOver reports whether the viewer's temporary pass is over. The first
// authorization starts its clock.
func (s *Server) temporaryOver(c *call, start bool) bool {
	v := c.viewer()
	from, started := s.temporary[v]
	if !started && start {
		s.temporary[v] = c.now
	}
	return started && !c.now.Before(from.Add(temporaryLife))
}

// resources reads the body of a decision, or refuses it.
func (s *Server) resources(c *call) ([]string, answer) {
	if why := wrongContentType(c.Header, "application/json"); why != "" {
		return nil, s.refuseAPI("invalid_parameter_resources", why)
	}
	body, err := decodeObject(c.body)
	list, _ := body["resources"].([]any)
	if err != nil || len(list) == 0 {
		return nil, s.refuseAPI("invalid_parameter_resources", "the body has no list of resources")
	}
	if len(list) > maxResources {
		return nil, s.refuseAPI("too_many_resources", fmt.Sprintf("there are more than %d resources", maxResources))
	}
	var resources []string
	for _, item := range list {
		resource, ok := item.(string)
		if !ok || resource == "" {
			return nil, s.refuseAPI("invalid_parameter_resources", "a resource is not a string")
		}
		resources = append(resources, resource)
	}
	return resources, answer{}
}
