package service

import (
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Listener returns the socket that the service manager passed, or nil if it
// passed none. Mode and group of the socket are the manager's, and closing it
// leaves its file alone. A second call finds nothing.
func Listener() (net.Listener, error) {
	files := activation.Files(true)
	for _, f := range files {
		defer f.Close() // FileListener has a copy
	}
	switch len(files) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, fmt.Errorf("the service manager passed %d sockets: tvpassd.socket may have one ListenStream", len(files))
	}
	l, err := net.FileListener(files[0])
	if err == nil && l.Addr().Network() != "unix" {
		err = fmt.Errorf("%s is not a Unix socket: correct ListenStream in tvpassd.socket", l.Addr())
		l.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("the socket that the service manager passed: %w", err)
	}
	return l, nil
}

// Journal returns a function that sends systemd's journal an entry, if standard
// error goes to the journal; otherwise it returns nil. An entry is lines of
// FIELD=value (systemd.journal-fields(7)). (go-systemd's journal package does the
// same, but adds 48 kB to the binary.)
func Journal() func(entry string) error {
	var stat unix.Stat_t
	err := unix.Fstat(unix.Stderr, &stat)
	if err != nil || os.Getenv("JOURNAL_STREAM") != fmt.Sprintf("%d:%d", stat.Dev, stat.Ino) { // systemd.exec(5)
		return nil
	}
	return func(entry string) error { return deliver("/run/systemd/journal/socket", entry) }
}
