package hostfile

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Place is how far a path leads.
type Place struct {
	FD      int      // the last folder that is there, opened for its path alone; the caller closes it
	Shared  bool     // others may write there, as in /tmp
	Missing []string // what would come behind it
}

// Reach follows a path to a folder of this device as far as it exists. Its
// error is [ErrUntrusted] if anybody but root and the user of this process can
// change where the path leads.
func Reach(name string) (*Place, error) {
	d, err := Open("/", Rule{Trusted: true})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var place *Place
	err = d.within("reach", name, func(w *worker) (err error) {
		place, err = w.reach(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return place, nil
}

func (w *worker) reach(name string) (*Place, error) {
	if w.dir.topErr != nil {
		return nil, w.dir.topErr
	}
	s := &w.stack
	end, err := s.follow(name)
	place := new(Place)
	for element, rest := nextElement(s.left); element != ""; element, rest = nextElement(rest) {
		place.Missing = append(place.Missing, element)
		if element == ".." {
			return nil, err
		}
	}
	switch {
	case len(place.Missing) > 0 && errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case end != ".":
		return nil, unix.ENOTDIR
	}
	place.Shared = s.here().shared
	place.FD, err = unix.FcntlInt(uintptr(s.fd()), unix.F_DUPFD_CLOEXEC, 0)
	return place, err
}
