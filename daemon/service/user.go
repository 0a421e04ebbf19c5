package service

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Account is the unprivileged user that a daemon started by root becomes.
type Account struct {
	Name     string
	UID, GID int
	Groups   []int // supplementary
}

// FindAccount looks up a user by name or number. Root is refused: a daemon that
// stays root needs no account.
func FindAccount(name string) (Account, error) {
	u, err := user.Lookup(name)
	if _, unknown := err.(user.UnknownUserError); unknown {
		if _, number := strconv.Atoi(name); number == nil {
			u, err = user.LookupId(name)
		}
	}
	if err != nil {
		return Account{}, fmt.Errorf("unknown user %s: `tvpassd install` makes the user tvpass (%w)", name, err)
	}
	a := Account{Name: u.Username}
	if a.UID, err = strconv.Atoi(u.Uid); err != nil {
		return Account{}, fmt.Errorf("user %s: the user number %q can't be read: correct /etc/passwd", name, u.Uid)
	}
	if a.GID, err = strconv.Atoi(u.Gid); err != nil {
		return Account{}, fmt.Errorf("user %s: the group number %q can't be read: correct /etc/passwd", name, u.Gid)
	}
	if a.UID == 0 {
		return Account{}, fmt.Errorf("user %s is root: name an unprivileged user, such as tvpass", name)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return Account{}, fmt.Errorf("groups of user %s: %w", name, err)
	}
	for _, g := range groups {
		if number, err := strconv.Atoi(g); err == nil {
			a.Groups = append(a.Groups, number)
		}
	}
	return a, nil
}

// Become makes this process the account's for good, in every thread: the groups,
// the group, the user, and no way back through a set-user-ID program.
func (a Account) Become() error {
	if err := syscall.Setgroups(a.Groups); err != nil {
		return fmt.Errorf("take the groups of %s: %w", a.Name, err)
	}
	if err := syscall.Setgid(a.GID); err != nil {
		return fmt.Errorf("become group %d: %w", a.GID, err)
	}
	if err := syscall.Setuid(a.UID); err != nil {
		return fmt.Errorf("become user %s: %w", a.Name, err)
	}
	// Kernels before 3.5 lack it; the daemon runs no other program there either.
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno != 0 && errno != unix.EINVAL {
		return fmt.Errorf("give up new privileges: %w", errno)
	}
	if os.Getuid() != a.UID || os.Geteuid() != a.UID || syscall.Setuid(0) == nil {
		return fmt.Errorf("become user %s: the kernel kept root", a.Name)
	}
	return nil
}

// niceness is that of tvpassd.service, too. Without it a user who floods the
// socket from several processes has the shares of the processor of all of
// these, and all other players only that of the daemon. Without a flood the
// daemon needs milliseconds a day; it takes one processor at most.
const niceness = -5

// Prefer gives this process its niceness, unless it was started with another
// one, and its session, if it was started as a service. Only root may do so; other
// users go without.
func Prefer(session bool) {
	const normal = 20 // as the system calls have it
	// The unit has it, and does not allow these calls.
	if now, _ := unix.Getpriority(unix.PRIO_PROCESS, 0); Managed() || now != normal { // 0 after an error
		return
	}
	if session && ownSession() { // Linux may share the processor by sessions (sched_autogroup), and weigh these
		_ = os.WriteFile("/proc/self/autogroup", []byte("-5"), 0)
	}
	// Niceness belongs to a thread, and a new one has that of its maker. So all of
	// them have it once a look at all finds none without, which the second does
	// unless a thread starts in between. (AllThreadsSyscall stops the program and
	// signals each thread: that takes a tenth of a start.)
	for range 10 {
		threads, _ := os.ReadDir("/proc/self/task") // without /proc it goes without
		changed := false
		for _, t := range threads {
			id, _ := strconv.Atoi(t.Name())
			now, _ := unix.Getpriority(unix.PRIO_PROCESS, id)
			if now == normal && unix.Setpriority(unix.PRIO_PROCESS, id, niceness) == nil {
				changed = true
			}
		}
		if !changed {
			return
		}
	}
}

// ownSession reports whether the session of this process is a service's: its leader
// is this process, or the loop that started it. A login shell leads its session,
// too, but from a terminal.
func ownSession() bool {
	leader, _ := unix.Getsid(0)
	if leader == os.Getpid() {
		return true
	}
	if leader <= 0 || leader != os.Getppid() { // 0 is outside of our namespace
		return false
	}
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(tty)
	}
	return err != nil
}

// Managed reports whether a service manager started this process and listens to
// it.
func Managed() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Seal keeps other processes of the daemon's user from reading its memory, and
// its secrets out of core files.
func Seal() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("protect the memory from other processes: %w", err)
	}
	return nil
}
