package service

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

// A log that nobody reads must not stop the daemon, and what was lost is said
// once somebody reads on.
func TestLogThatNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	log := NewLogWriter(w, int(w.Fd()), false)
	line := strings.Repeat("é", 3000) + "\n" // longer than a piece
	const lines = 100                        // more than a pipe holds
	for range lines {
		if n, err := log.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	lost := log.lost
	if lost == 0 || lost == lines {
		t.Fatalf("%d lines of %d are lost", lost, lines)
	}
	read := make(chan []string)
	go func() {
		var got []string
		for s := bufio.NewScanner(r); s.Scan() && s.Text() != "last"; {
			got = append(got, s.Text())
		}
		read <- got
	}()
	for log.lost > 0 { // until there is room
		if _, err := log.Write([]byte("again\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := log.Write([]byte("last\n")); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(<-read, "\n")
	if n := strings.Count(got, strings.TrimSuffix(line, "\n")+"\n"); n != lines-lost {
		t.Errorf("%d whole lines arrive, want %d", n, lines-lost)
	}
	if strings.Count(got, "code=log_lost lines=") != 1 || !strings.Contains(got, "again") {
		t.Errorf("the end: %q", got[max(0, len(got)-300):])
	}
}

func TestLogOfTheJournal(t *testing.T) {
	var text strings.Builder
	log := NewLogWriter(&text, int(os.Stderr.Fd()), true)
	log.lost = 3
	if _, err := log.Write([]byte("<6>msg=x\n")); err != nil {
		t.Fatal(err)
	}
	want := "\n<4> msg=\"lines of the log were lost: nobody read it\" code=log_lost lines=3\n<6>msg=x\n"
	if text.String() != want {
		t.Errorf("got %q", text.String())
	}
}
