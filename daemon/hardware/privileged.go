package hardware

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/device/hostfile"
)

// Findings are what the hardware shows to root alone, such as the serial
// numbers of DMI. A privileged step finds them before the daemon gives up root,
// or before the service manager starts it. That step never touches the
// database.
type Findings struct {
	device.Candidate // the best; zero if nothing can be used

	// All is what every source said, for the comparison with a stored identifier.
	All []device.Candidate `json:"all"`
}

// Find is the privileged step.
func Find() (Findings, error) {
	report, err := device.Probe(device.Options{})
	if err != nil {
		return Findings{}, err
	}
	return Findings{report.Identifier, report.Identifiers}, nil
}

const findingsName = "identifier"

// Write leaves the findings in the daemon's runtime directory, in a file that only
// the owner of that directory may read.
func (f Findings) Write(dir string) error {
	content, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode the findings: %w", err)
	}
	owner, err := os.Stat(dir)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, findingsName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// O_EXCL follows no link: the directory belongs to an unprivileged user.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if sys, ok := owner.Sys().(*syscall.Stat_t); ok && err == nil {
		err = file.Chown(int(sys.Uid), int(sys.Gid))
	}
	return errors.Join(err, file.Close())
}

// maxFindings is the longest file of findings, in bytes. Each of the dozen
// sources takes some 50.
const maxFindings = 64 << 10

// readFindings reads what the privileged step left. It returns zero Findings if
// that step never ran.
func readFindings(dir string) (Findings, error) {
	if dir == "" {
		return Findings{}, nil
	}
	file, err := hostfile.Read(filepath.Join(dir, findingsName), maxFindings, hostfile.Rule{Trusted: true})
	if errors.Is(err, os.ErrNotExist) {
		return Findings{}, nil
	}
	var f Findings
	if err == nil {
		err = json.Unmarshal(file.Data, &f)
	}
	if err != nil {
		return Findings{}, fmt.Errorf("read the findings: %w", err)
	}
	return f, nil
}
