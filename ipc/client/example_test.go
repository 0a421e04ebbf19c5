package client_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/client"
)

// A token that lives for at least five minutes, for a player that may use one app.
func ExampleClient() {
	var tvpassd client.Client
	tok, err := tvpassd.Token(context.Background(), "", &ipc.Query{Wait: 30 * time.Second, MinTTL: 5 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("Authorization: Bearer", tok.AccessToken)
}

// A player's calls of the REST API V2, through the daemon's gateway.
func ExampleGateway() {
	pass := http.Client{Transport: &client.Gateway{App: "ref30"}, Timeout: 2 * time.Minute}
	resp, err := pass.Get("https://sp.auth.adobe.com/api/v2/REF30/configuration")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}

// A player's calls of the REST API V2, over its own TLS connections.
func ExampleTransport() {
	pass := http.Client{Transport: &client.Transport{App: "ref30"}, Timeout: time.Minute}
	resp, err := pass.Get("https://sp.auth.adobe.com/api/v2/REF30/configuration")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}

// oauth2Token stands in for the Token of golang.org/x/oauth2.
type oauth2Token struct {
	AccessToken, TokenType, RefreshToken string
	Expiry                               time.Time
}

// source is what a player writes who uses that module: an oauth2.TokenSource.
type source struct{ client.TokenSource }

func (s *source) Token() (*oauth2Token, error) {
	tok, err := s.TokenSource.Token()
	return &oauth2Token{AccessToken: tok.AccessToken, TokenType: tok.TokenType, Expiry: tok.Expiry}, err
}

// A source for golang.org/x/oauth2 takes a type and three lines.
func ExampleTokenSource() {
	s := &source{client.TokenSource{App: "ref30"}}
	tok, err := s.Token()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tok.Expiry)
}
