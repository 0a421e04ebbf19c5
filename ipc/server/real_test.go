package server

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/ipc"
)

// helperSocket is the environment variable with the socket that the helper
// process connects to.
const helperSocket = "TVPASSD_TEST_SOCKET"

// as runs one of this package's tests in another process, as another user.
func as(t *testing.T, uid uint32, groups []uint32, test string, env ...string) {
	t.Helper()
	exe, err := os.Open("/proc/self/exe") // which the other user may not find by its path
	if err != nil {
		t.Skip(err)
	}
	defer exe.Close()
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3", "-test.run=^"+test+"$", "-test.v")
	cmd.ExtraFiles = []*os.File{exe}
	cmd.Dir, cmd.Env = "/", append(os.Environ(), append(env, "GORACE=atexit_sleep_ms=0")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: groups}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+test) {
		t.Errorf("as user %d: %v\n%s", uid, err, out)
	}
}

// publicDir is a directory that every user may enter.
func publicDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/tmp", "tvpassd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The kernel reports who a caller is, with all groups, even more than the first
// buffer holds.
func TestPeers(t *testing.T) {
	if path := os.Getenv(helperSocket); path != "" {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return
	}
	path := filepath.Join(publicDir(t), "s")
	l, err := Listen(SocketOptions{Path: path, Mode: 0o666})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peers := make(chan Peer, 1)
	accept := func() {
		fd, err := l.accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		peer, err := peerOf(fd)
		if err != nil {
			t.Error(err)
		}
		peers <- peer
		unix.Write(fd, []byte("x"))
	}
	go accept()
	if err := dials(path); err != nil {
		t.Fatal(err)
	}
	if p := <-peers; p.UID != uint32(os.Getuid()) || p.GID != uint32(os.Getgid()) || p.PID != int32(os.Getpid()) {
		t.Errorf("this process is %+v", p)
	}
	if os.Getuid() != 0 {
		return
	}
	many := make([]uint32, 200)
	for i := range many {
		many[i] = uint32(70000 + i)
	}
	for _, groups := range [][]uint32{{}, {4711, 4712}, many} {
		go accept()
		as(t, 65534, groups, "TestPeers", helperSocket+"="+path)
		p := <-peers
		slices.Sort(p.Groups)
		if p.UID != 65534 || p.GID != 65534 || !slices.Equal(p.Groups, groups) {
			t.Errorf("65534 in %v is %+v", groups, p)
		}
	}
}

func TestPeerOfNoUnixSocket(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if p, err := peerOf(int(null.Fd())); err == nil {
		t.Errorf("%s is %+v", os.DevNull, p)
	}
}

// A real user, a real socket, a real curl.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip(err)
	}
	l := startLab(t, func(*Config) {})
	l.stop()
	l.path = filepath.Join(publicDir(t), "s")
	l.server.identify = peerOf
	l.run()
	l.policy.Store(&Policy{Owner: 900, Apps: map[string]Allow{"one": {Users: []uint32{uint32(os.Getuid())}}}})
	l.set("one", ipc.AppStatus{App: "one", State: ipc.StateReady}, new(labToken("one")))
	for _, test := range []struct {
		args, want string
	}{
		{"http://x/v1/token", `200 application/json {"app":"one","access_token":"s3cret-t0ken"`},
		{"-I http://x/v1/token", `200 application/json HTTP/1.1 200 OK`},
		{"http://x/v1/apps/one/token?wait=5",
			`400 application/problem+json {"title":"The request can't be read","status":400,` +
				`"detail":"the parameter \"wait\" must`},
		{"-d {} http://x/v1/apps/one/report", `400 application/problem+json {"title":`},
		{`-d {"access_token":"x","status":401} http://x/v1/apps/one/report`,
			`202 application/json {"action":"refresh"}`},
		{"-X DELETE http://x/v1/apps/one/report", `405 application/problem+json {"title":`},
		{"-N -m 10 http://x/v1/apps/one/watch", `200 text/event-stream event: state` + "\n" + `data: {"app":"one"`},
	} {
		args := append([]string{"-s", "--unix-socket", l.path, "-w", "\n%{http_code} %{content_type}"},
			strings.Fields(test.args)...)
		out, err := exec.CommandContext(t.Context(), curl, args...).Output()
		if err != nil && !strings.Contains(test.args, "watch") { // which goes on until curl has had enough
			t.Errorf("curl %s: %v", test.args, err)
		}
		i := strings.LastIndexByte(string(out), '\n')
		if got := string(out[i+1:]) + " " + string(out[:i]); !strings.HasPrefix(got, test.want) {
			t.Errorf("curl %s:\n got %s\nwant %s…", test.args, got, test.want)
		}
	}
}

// A user whom the policy does not know is refused, by the kernel's credentials.
func TestARealStranger(t *testing.T) {
	if path := os.Getenv(helperSocket); path != "" {
		l := &lab{t: t}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var codes []string
		for _, request := range []string{"GET /v1/token", "GET /v1/apps/mine/token", "GET /v1/apps/theirs/token",
			"POST /v1/reload"} {
			method, path, _ := strings.Cut(request, " ")
			codes = append(codes, l.askOn(c, method, path, "").code())
		}
		if got, want := fmt.Sprint(codes), "[200 200 forbidden forbidden]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root may be somebody else")
	}
	l := &lab{fakeBackend: newBackend(), t: t, path: filepath.Join(publicDir(t), "s")}
	l.policy.Store(&Policy{Apps: map[string]Allow{"mine": {Groups: []uint32{4711}},
		"theirs": {Groups: []uint32{4712}}}})
	l.server = New(configFor(l.fakeBackend))
	l.run()
	if err := os.Chmod(l.path, 0o666); err != nil {
		t.Fatal(err)
	}
	as(t, 65534, []uint32{4711}, "TestARealStranger", helperSocket+"="+l.path)
	var st ipc.Status
	if err := json.Unmarshal([]byte(l.askOn(mustDial(t, l.path), "GET", "/v1/status", "").body), &st); err != nil {
		t.Errorf("root: %v", err)
	}
}

func mustDial(t testing.TB, path string) net.Conn {
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// refuseSockopt makes the kernel refuse an option of getsockopt to this
// process, which must be root's.
func refuseSockopt(t *testing.T, option uint32) {
	t.Helper()
	const number, option32 = 0, 16 + 2*8 // in struct seccomp_data, on a little-endian machine
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_GETSOCKOPT, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: option32},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: option, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOPROTOOPT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		t.Fatal(errno)
	}
}

// A kernel before 4.13 does not report a caller's groups: those in /etc/group
// count.
func TestPeersOnAnOldKernel(t *testing.T) {
	const inside = "TVPASSD_TEST_OLD_KERNEL"
	if os.Getenv(inside) != "" {
		refuseSockopt(t, unix.SO_PEERGROUPS)
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		peer, err := peerOf(ends[0])
		slices.Sort(peer.Groups)
		if err != nil || peer.UID != 0 || !slices.Equal(peer.Groups, []uint32{0, 4711, 4712}) || GroupsKnown() {
			t.Errorf("%+v, %v", peer, err)
		}
		if got := listedGroups(4711); len(got) != 0 {
			t.Errorf("a user who is not listed is in %v", got)
		}
		return
	}
	if !GroupsKnown() {
		t.Error("this kernel does not tell groups")
	}
	if os.Getuid() != 0 {
		t.Skip("only root may mount another /etc/group")
	}
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("no private mounts: %v: %s: in a plain chroot, mount --bind its directory on itself first", err, out)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\nother:x:1:1::/:/bin/sh\n",
		"group":  "root:x:0:\nfirst:x:4711:root\nsecond:x:4712:other,root\nthird:x:4713:other\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c",
		`mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && exec "$2" -test.run="^$3\$" -test.v`,
		"sh", dir, os.Args[0], t.Name())
	cmd.Env = append(os.Environ(), inside+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}
