package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tvpassd/tvpassd/device"
)

// The service manager lets one privileged step read the serial numbers that only root may (DMI), and leave what it found in
// the daemon's runtime directory. That step never touches the database.

const candidateName = "identifier"

// candidateFile is what that step leaves.
type candidateFile struct {
	Source string `json:"source"`
	Raw    []byte `json:"raw"`
}

// WriteCandidate is that step: it writes the hardware's identifier to a file in the runtime directory, readable for the owner
// of that directory alone.
func WriteCandidate(dir string) error {
	report, err := device.Probe(device.Options{})
	if err != nil {
		return err
	}
	content, err := json.Marshal(candidateFile(report.Identifier))
	if err != nil {
		return fmt.Errorf("encode the identifier: %w", err)
	}
	owner, err := os.Stat(dir)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, candidateName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// Not through a link: the directory is an unprivileged user's.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if sys, ok := owner.Sys().(*syscall.Stat_t); ok && err == nil {
		err = f.Chown(int(sys.Uid), int(sys.Gid))
	}
	return errors.Join(err, f.Close())
}

// privilegedCandidate reads what that step left; a zero Candidate where it never ran.
func privilegedCandidate(dir string) (device.Candidate, error) {
	if dir == "" {
		return device.Candidate{}, nil
	}
	content, err := os.ReadFile(filepath.Join(dir, candidateName))
	if errors.Is(err, os.ErrNotExist) {
		return device.Candidate{}, nil
	}
	var found candidateFile
	if err == nil {
		err = json.Unmarshal(content, &found)
	}
	if err != nil {
		return device.Candidate{}, fmt.Errorf("read the hardware's identifier: %w", err)
	}
	return device.Candidate(found), nil
}
