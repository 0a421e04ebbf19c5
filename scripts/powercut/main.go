// Command powercut cuts the power under package storage, again and again, and
// checks that every acknowledged save is still there. It needs root, a loop
// device, mkfs.ext4 and strace, and touches nothing outside of a temporary
// directory.
//
//	CUTS=300 go run ./scripts/powercut
//
// A process saves state after state on an ext4 file system of its own and
// prints the number of each save that returned. At a random moment the file
// system is shut down as by a power cut: what was in memory only is lost. Then
// it is mounted again, and a second process prints what it finds. The control
// is the same program with every sync turned into a no-op: it must lose saves,
// or the cuts prove nothing.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const controls = 10 // cuts of the control

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "save":
		err = saveFrom(os.Args[2], os.Args[3])
	case len(os.Args) == 3 && os.Args[1] == "look":
		err = look(os.Args[2])
	case len(os.Args) == 1:
		err = run()
	default:
		err = errors.New("usage: CUTS=300 powercut")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		os.Exit(1)
	}
}

func run() error {
	cuts := 300
	if text := os.Getenv("CUTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("CUTS=%s is not a number of cuts", text)
		}
		cuts = n
	}
	if os.Geteuid() != 0 {
		return errors.New("mounting a file system needs root: run it as root")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount", "strace"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: apt-get install e2fsprogs mount strace", tool)
		}
	}
	begun := time.Now()
	with, err := series(cuts, false)
	if err != nil {
		return err
	}
	fmt.Printf("%d cuts in %.0f s under %d acknowledged saves: %d lost, %d times the database seemed damaged\n",
		cuts, time.Since(begun).Seconds(), with.saves, with.lost, with.mended)
	without, err := series(controls, true)
	if err != nil {
		return err
	}
	fmt.Printf("control without syncs: %d cuts under %d acknowledged saves: %d lost\n",
		controls, without.saves, without.lost)
	switch {
	case with.lost > 0 || with.mended > 0:
		return fmt.Errorf("%d of %d cuts lost what was acknowledged", with.lost, cuts)
	case without.lost == 0:
		return errors.New("the control lost nothing: these cuts prove nothing")
	}
	return nil
}

// tally sums up a series of cuts.
type tally struct{ saves, lost, mended int }

// series cuts the power a number of times. Each process goes on from what the
// cut before left.
func series(cuts int, unsynced bool) (sum tally, err error) {
	tmp, err := os.MkdirTemp("", "powercut-")
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	d := disk{image: filepath.Join(tmp, "disk"), dir: filepath.Join(tmp, "mnt")}
	if err := d.make(); err != nil {
		return sum, err
	}
	next := 1
	for cut := range cuts {
		said, err := d.cut(next, unsynced)
		if err != nil {
			return sum, fmt.Errorf("cut %d: %w", cut+1, err)
		}
		sum.saves += said.last - next + 1
		switch {
		case said.found != said.last && said.found != said.last+1:
			sum.lost++
			fmt.Printf("cut %d: save %d was acknowledged, %s\n", cut+1, said.last, said.text)
			if !unsynced {
				return sum, nil // the message is all there is: the disk goes with the temporary directory
			}
		case said.mended:
			sum.mended++
			fmt.Printf("cut %d: %s\n", cut+1, said.text)
		}
		next = max(said.found, 0) + 1
		if unsynced { // what is left is not a state to go on from
			if err := d.make(); err != nil {
				return sum, err
			}
			next = 1
		}
	}
	return sum, nil
}

// disk is an ext4 file system in a file.
type disk struct{ image, dir string }

func (d disk) make() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(d.image, 16<<20); err != nil {
		return err
	}
	return command("mkfs.ext4", "-q", "-F", d.image)
}

// mounted runs f with the state's directory while the file system is mounted.
func (d disk) mounted(f func(state string) error) (err error) {
	if err := command("mount", "-o", "loop", d.image, d.dir); err != nil {
		return fmt.Errorf("%w: are there loop devices (/dev/loop-control), and may they be mounted here?", err)
	}
	defer func() { err = errors.Join(err, command("umount", d.dir)) }()
	return f(filepath.Join(d.dir, "lib", "tvpassd"))
}

// command runs a tool. Its output goes into the error.
func command(name string, args ...string) error {
	if said, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return nil
}

// outcome is the result of one cut.
type outcome struct {
	last, found int // the last acknowledged save, and the one that was found; -1: none
	mended      bool
	text        string
}

// cut lets a process save for a while, cuts the power, and looks at the state.
func (d disk) cut(next int, unsynced bool) (out outcome, err error) {
	err = d.mounted(func(state string) (err error) {
		out.last, err = d.saveUntilCut(state, next, unsynced)
		return err
	})
	if err == nil {
		err = d.mounted(out.look)
	}
	return out, err
}

// look runs the process that looks at the state.
func (out *outcome) look(state string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	said, err := exec.Command(exe, "look", state).CombinedOutput()
	out.text = strings.TrimSpace(string(said))
	if err != nil {
		out.found = -1
		return nil
	}
	var mended string
	_, err = fmt.Sscanf(out.text, "found %d %s", &out.found, &mended)
	out.mended = mended != "sound"
	return err
}

// saveUntilCut runs the process that saves, cuts the power under it, and
// returns its last acknowledged save.
func (d disk) saveUntilCut(state string, next int, unsynced bool) (last int, err error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	args := []string{exe, "save", state, strconv.Itoa(next)}
	if unsynced {
		const syncs = "fsync,fdatasync"
		args = append([]string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + syncs,
			"-e", "inject=" + syncs + ":retval=0"}, args...)
	}
	saver := exec.Command(args[0], args[1:]...)
	lines, err := saver.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := saver.Start(); err != nil {
		return 0, err
	}
	last = next - 1
	said := bufio.NewScanner(lines)
	for range 1 + rand.IntN(5) { // until it has begun
		if said.Scan() {
			if last, err = strconv.Atoi(said.Text()); err != nil {
				break
			}
		}
	}
	time.Sleep(time.Duration(rand.Int64N(int64(30 * time.Millisecond))))
	err = errors.Join(err, shutdown(d.dir))
	// It ends by itself, because nothing can be saved any more. Read what it
	// had printed by then.
	for said.Scan() {
		n, convErr := strconv.Atoi(said.Text())
		err = errors.Join(err, convErr)
		last = n
	}
	waitErr := saver.Wait()
	if waitErr == nil {
		err = errors.Join(err, errors.New("the process that saves did not notice the cut"))
	} else if _, ok := errors.AsType[*exec.ExitError](waitErr); !ok {
		err = errors.Join(err, waitErr)
	}
	return last, errors.Join(err, said.Err())
}

// shutdown ends a file system as a power cut does: it writes nothing that was
// in memory only (EXT4_IOC_SHUTDOWN without a flush of the log).
func shutdown(dir string) error {
	const (
		ioctl      = 0x8004587d
		noLogFlush = 2
	)
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = unix.IoctlSetPointerInt(int(d.Fd()), ioctl, noLogFlush)
	if err != nil {
		err = fmt.Errorf("cut the power (EXT4_IOC_SHUTDOWN): %w", err)
	}
	return errors.Join(err, d.Close())
}
