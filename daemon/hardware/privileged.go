package hardware

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tvpassd/tvpassd/device"
)

// The service manager runs one privileged step that reads the serial numbers
// that only root may read (DMI), and leaves them in the daemon's runtime
// directory. That step never touches the database.

const candidateName = "identifier"

// candidateFile is what the privileged step leaves.
type candidateFile struct {
	Source string `json:"source"`
	Raw    []byte `json:"raw"`
}

// WriteCandidate is the privileged step: it writes the hardware's identifier to
// a file in the runtime directory that only the owner of that directory may read.
func WriteCandidate(dir string) error {
	report, err := device.Probe(device.Options{})
	if err != nil {
		return err
	}
	content, err := json.Marshal(candidateFile{report.Identifier.Source, report.Identifier.Raw})
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
	// O_EXCL follows no link: the directory belongs to an unprivileged user.
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

// privilegedCandidate reads what the privileged step left. It returns a zero
// Candidate if that step never ran.
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
	return device.Candidate{Source: found.Source, Raw: found.Raw}, nil
}
