package service

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Listener returns the socket that the service manager passed, or nil if it
// passed none. Mode and group of the socket are the manager's, and closing it
// leaves its file alone. A second call finds nothing.
func Listener() (net.Listener, error) {
	if n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS")); n > 1 && os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		// go-systemd would look at each, however many there are.
		return nil, fmt.Errorf("the service manager passed %d sockets: tvpassd.socket may have one ListenStream", n)
	}
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, nil
	}
	defer files[0].Close() // FileListener has a copy
	// x/sys/unix would bring all kinds of addresses, 20 kB of them.
	if _, err := syscall.Getpeername(int(files[0].Fd())); err == nil {
		return nil, errors.New("the service manager passed a connection, not a socket: set Accept=no in tvpassd.socket")
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
