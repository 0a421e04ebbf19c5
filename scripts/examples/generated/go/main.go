// Command player signs a viewer in and asks for a decision, with a client that
// oapi-codegen generates from ipc/openapi.yaml.
//
//	player SOCKET APP
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

const provider, mvpd = "REF30", "Cablevision"

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: player SOCKET APP")
	}
	if err := play(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal("player: ", err)
	}
}

func play(ctx context.Context, socket, app string) error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	tvpassd, err := NewClientWithResponses("http://tvpassd",
		WithHTTPClient(&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}))
	if err != nil {
		return err
	}
	session, err := tvpassd.CreateSessionWithFormdataBodyWithResponse(ctx, app, provider,
		&CreateSessionParams{Prefer: new("wait=60")}, CreateSessionFormdataRequestBody{
			Mvpd: new(mvpd), DomainName: new("adobe.com"), RedirectUrl: new("https://tv.example/done"),
		})
	switch {
	case err != nil:
		return err
	case session.JSON200 == nil:
		return refusal(session.ApplicationproblemJSONDefault, session.HTTPResponse)
	case session.JSON200.Code != nil:
		fmt.Println("code", *session.JSON200.Code)
		if err := signIn(ctx, tvpassd, app, *session.JSON200.Code); err != nil {
			return err
		}
	}
	decisions, err := tvpassd.AuthorizeWithResponse(ctx, app, provider, mvpd, nil,
		AuthorizeJSONRequestBody{Resources: []string{provider}})
	if err != nil {
		return err
	}
	if decisions.JSON200 == nil {
		return refusal(decisions.ApplicationproblemJSONDefault, decisions.HTTPResponse)
	}
	for _, d := range decisions.JSON200.Decisions {
		fmt.Println(d.Resource, d.Authorized)
	}
	return nil
}

// signIn polls until the viewer has signed in.
func signIn(ctx context.Context, tvpassd *ClientWithResponses, app, code string) error {
	for {
		poll, err := tvpassd.PollProfileWithResponse(ctx, app, provider, code, nil)
		if err != nil {
			return err
		}
		if poll.JSON200 == nil {
			return refusal(poll.ApplicationproblemJSONDefault, poll.HTTPResponse)
		}
		if len(poll.JSON200.Profiles) > 0 {
			return nil
		}
		time.Sleep(3 * time.Second)
	}
}

// refusal returns the error of an answer: the daemon's problem, or the server's.
func refusal(problem *Problem, answer *http.Response) error {
	if problem != nil {
		return fmt.Errorf("%s: %s", problem.Code, problem.Detail)
	}
	return errors.New(answer.Status)
}
