package main

import (
	"testing"
	"time"

	"github.com/tvpassd/tvpassd/storage"
)

func TestWearLeavesTheLastToken(t *testing.T) {
	dir := t.TempDir()
	size, err := wear(dir, 3, 2048)
	if err != nil || size < 4096 {
		t.Fatalf("a database of %d bytes, %v", size, err)
	}
	store, err := storage.Open(storage.Config{Dir: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	app, err := store.App("https://sp.auth.adobe.com", "ref30")
	if err != nil || app.Token == nil {
		t.Fatalf("no token: %v", err)
	}
	if got := app.Token.AccessToken; len(got) != 2048 || got[2047] != '2' {
		t.Errorf("a token of %d bytes that ends in %q", len(got), got[len(got)-1:])
	}
}

func TestAge(t *testing.T) {
	dir := t.TempDir()
	if _, err := wear(dir, 1, 10); err != nil {
		t.Fatal(err)
	}
	const endpoint = "https://sp.auth.adobe.com"
	if err := age(dir, time.Hour, endpoint, []string{"other"}); err == nil {
		t.Error("an app without a token can be aged")
	}
	if err := age(dir, time.Hour, endpoint, []string{"ref30"}); err != nil {
		t.Fatal(err)
	}
	store, err := storage.Open(storage.Config{Dir: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	app, err := store.App(endpoint, "ref30")
	if err != nil {
		t.Fatal(err)
	}
	want := time.Date(2025, time.December, 31, 23, 0, 0, 0, time.UTC)
	if tok := app.Token; !tok.Sent.Wall.Equal(want) || !tok.ServerSent.Equal(want) || !tok.WallSent.IsZero() {
		t.Errorf("%+v, want all at %v", tok, want)
	}
}
