package main

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/storage"
)

const (
	endpoint = "https://sp.auth.adobe.com"
	app      = "ref30"
)

// pause is between two saves: the power must also be cut while nothing is
// written.
const pause = 5 * time.Millisecond

var identifier = storage.Identifier{Value: strings.Repeat("0123456789abcdef", 4), Source: "serial"}

func open(dir string) (*storage.Store, error) {
	return storage.Open(storage.Config{Dir: dir, Now: time.Now})
}

// state returns the n-th state that is saved. Every fifth has new credentials,
// so that the copy is written too; between them only the token changes.
func state(n int) storage.App {
	now := time.Date(2026, time.January, 1, 0, 0, n, 0, time.UTC)
	return storage.App{
		Credentials: &storage.Credentials{ClientID: fmt.Sprint("client-", n/5), ClientSecret: fmt.Sprint("secret-", n/5)},
		History:     storage.History{Registrations: 1 + n/5},
		Token: &storage.Token{
			AccessToken: fmt.Sprintf("%0*d", 500+n*37%2500, n), ID: strconv.Itoa(n), Life: 6 * time.Hour,
			Sent: storage.Stamp{Wall: now}, RefreshAfter: 4 * time.Hour,
		},
	}
}

// saveFrom saves state after state and prints the number of each save that
// returned, until one fails.
func saveFrom(dir, from string) error {
	n, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	s, err := open(dir)
	if err != nil {
		return err
	}
	if err := s.SaveIdentifier(identifier); err != nil {
		return err
	}
	for ; ; n++ {
		if err := s.SaveApp(endpoint, app, state(n)); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			os.Exit(2) // nobody reads the output any more
		}
		time.Sleep(pause)
	}
}

// look prints which state it finds.
func look(dir string) error {
	s, err := open(dir)
	if err != nil {
		return err
	}
	got, err := s.App(endpoint, app)
	if err != nil {
		return err
	}
	if dev, ok := s.Identifier(); !ok || dev != identifier {
		return fmt.Errorf("the identifier is gone; %s", s.Mended())
	}
	n := 0
	if got.Token != nil {
		if n, err = strconv.Atoi(got.Token.ID); err != nil {
			return err
		}
		if !reflect.DeepEqual(got, state(n)) {
			return fmt.Errorf("state %d is not as it was saved", n)
		}
	}
	mended := "sound"
	if s.Mended() != "" {
		mended = "mended: " + s.Mended()
	}
	fmt.Printf("found %d %s\n", n, mended)
	return s.Close()
}
