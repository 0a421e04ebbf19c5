package service

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the tests start this program as a service that greets the first
// caller on a socket it was given.
func TestMain(m *testing.M) {
	if os.Getenv("SERVICE_TEST_GREET") != "" {
		fmt.Println(greet())
		return
	}
	os.Exit(m.Run())
}

func greet() string {
	l, err := Listener()
	if err != nil {
		return err.Error()
	}
	if again, err := Listener(); again != nil || err != nil {
		return "a second call finds something"
	}
	if l == nil {
		return "no socket"
	}
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_, err = io.WriteString(c, "hello")
	return fmt.Sprint("greeted ", err)
}

// serviceWith runs this program as a manager would, with these sockets.
func serviceWith(t *testing.T, sockets ...*os.File) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sh", "-c", fmt.Sprintf(`LISTEN_PID=$$ LISTEN_FDS=%d exec "$0"`, len(sockets)), self)
	c.Env = append(os.Environ(), "SERVICE_TEST_GREET=1")
	c.ExtraFiles = sockets
	return c
}

// socketFile is a listening socket as a manager holds it.
func socketFile(t *testing.T, network, address string) *os.File {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestPassedSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	held := socketFile(t, "unix", path)
	// The caller is there before the service.
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out, err := serviceWith(t, held).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "greeted <nil>" {
		t.Fatalf("%v: %s", err, got)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the service removed the manager's socket: %v", err)
	}
}

func TestSocketsThatAreNone(t *testing.T) {
	unixSocket := socketFile(t, "unix", filepath.Join(t.TempDir(), "s"))
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	connection, peer := os.NewFile(uintptr(pair[0]), "connection"), os.NewFile(uintptr(pair[1]), "peer")
	defer connection.Close()
	defer peer.Close()
	for _, c := range []struct {
		sockets []*os.File
		want    string
	}{
		{nil, "no socket"},
		{[]*os.File{connection}, "set Accept=no in tvpassd.socket"},
		{[]*os.File{unixSocket, unixSocket}, "passed 2 sockets"},
		{[]*os.File{socketFile(t, "tcp", "127.0.0.1:0")}, "is not a Unix socket"},
		{[]*os.File{null}, "the socket that the service manager passed"},
	} {
		out, err := serviceWith(t, c.sockets...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: %s, not %s", err, out, c.want)
		}
	}
}

// A count that makes no sense does not keep the service busy.
func TestTooManySockets(t *testing.T) {
	cmd := serviceWith(t)
	cmd.Args[2] = `LISTEN_PID=$$ LISTEN_FDS=2000000000 exec "$0"`
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "passed 2000000000 sockets") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestJournal(t *testing.T) {
	var s syscall.Stat_t
	if err := syscall.Fstat(2, &s); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		"": false, "nonsense": false, "1:1": false, fmt.Sprintf("%d:%d", s.Dev, s.Ino): true,
	} {
		t.Setenv("JOURNAL_STREAM", stream)
		if got := Journal() != nil; got != want {
			t.Errorf("JOURNAL_STREAM=%q: %v", stream, got)
		}
	}
}
