// Command wear refreshes one app's token in a database a number of times, as
// the daemon does, and prints the size of the database file in bytes. Under
// strace it shows what one refresh writes. With -age it makes the tokens of
// apps older instead, as if they were of an earlier boot.
//
//	wear -dir DIR [-n N] [-size BYTES]
//	wear -dir DIR -age DURATION -endpoint URL APP...
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tvpassd/tvpassd/storage"
)

func main() {
	n := flag.Int("n", 1000, "refreshes")
	size := flag.Int("size", 2048, "bytes of an access token")
	dir := flag.String("dir", "", "state directory, kept")
	by := flag.Duration("age", 0, "how much older to make tokens")
	endpoint := flag.String("endpoint", "", "the server of these tokens")
	flag.Parse()
	if *dir == "" || flag.NArg() > 0 != (*by > 0) {
		flag.Usage()
		os.Exit(64)
	}
	if *by > 0 {
		if err := age(*dir, *by, *endpoint, flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "wear:", err)
			os.Exit(1)
		}
		return
	}
	bytes, err := wear(*dir, *n, *size)
	if err != nil {
		fmt.Fprintln(os.Stderr, "wear:", err)
		os.Exit(1)
	}
	fmt.Println(bytes)
}

// wear stores n tokens one after the other and returns how large the database
// is then.
func wear(dir string, n, size int) (int64, error) {
	// A six-hour token refreshed at two thirds of its life, in a made-up year: the
	// clock of this machine does not matter.
	now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	store, err := storage.Open(storage.Config{Dir: dir, Now: func() time.Time { return now }})
	if err != nil {
		return 0, err
	}
	app := storage.App{
		Credentials: &storage.Credentials{
			ClientID: strings.Repeat("i", 36), ClientSecret: strings.Repeat("s", 36), RegisteredAt: now,
		},
		History: storage.History{Registrations: 1},
	}
	for i := range n {
		at := time.Duration(i) * 4 * time.Hour
		app.Token = &storage.Token{
			AccessToken:  fmt.Sprintf("%0*d", size, i),
			ID:           fmt.Sprintf("%036d", i),
			Life:         6 * time.Hour,
			Sent:         storage.Stamp{BootID: strings.Repeat("b", 36), Boot: at, Wall: now.Add(at)},
			ServerSent:   now.Add(at),
			RefreshAfter: 4 * time.Hour,
		}
		if err := store.SaveApp("https://sp.auth.adobe.com", "ref30", app); err != nil {
			return 0, errors.Join(fmt.Errorf("refresh %d: %w", i+1, err), store.Close())
		}
	}
	if err := store.Close(); err != nil {
		return 0, err
	}
	info, err := os.Stat(filepath.Join(dir, "tvpassd.db"))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// age makes the tokens of apps older, as if they were of an earlier boot.
func age(dir string, by time.Duration, endpoint string, apps []string) (err error) {
	store, err := storage.Open(storage.Config{Dir: dir, Now: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for _, id := range apps {
		app, err := store.App(endpoint, id)
		if err != nil {
			return err
		}
		if app.Token == nil {
			return fmt.Errorf("%s has no token", id)
		}
		tok := *app.Token
		tok.Sent = storage.Stamp{BootID: "an earlier boot", Boot: tok.Sent.Boot, Wall: tok.Sent.Wall.Add(-by)}
		for _, at := range []*time.Time{&tok.ServerSent, &tok.WallSent} {
			if !at.IsZero() {
				*at = at.Add(-by)
			}
		}
		app.Token = &tok
		if err := store.SaveApp(endpoint, id, app); err != nil {
			return err
		}
	}
	return nil
}
