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
