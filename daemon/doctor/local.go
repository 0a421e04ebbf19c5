package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/storage"
	"github.com/tvpassd/tvpassd/storage/fserr"
)

// configAdvice returns what to do about faults of the configuration.
func (f *facts) configAdvice() string {
	const all = "tvpassd config check names every fault; mend it, then "
	if f.alive() {
		return all + "tvpassd reload"
	}
	return all + startCommand
}

// denied reports whether an error of package config means that this user may not
// read a file.
func (f *facts) denied(err error) bool {
	return f.cfg.UID != 0 && strings.Contains(err.Error(), "permission denied")
}

func judgeConfig(f *facts) *Check {
	if f.conf != nil {
		if f.conf.File == "" {
			return pass("%s does not exist, so the defaults apply; endpoint %s", config.DefaultFile, f.conf.Endpoint)
		}
		return pass("%s is good; endpoint %s", f.conf.File, f.conf.Endpoint)
	}
	if f.denied(f.confErr) {
		return skipForRoot("the configuration")
	}
	return fail(f.configAdvice(), "%s", list(config.Faults(f.confErr)...))
}

func judgeApps(f *facts) *Check {
	var faults, hidden []error
	for _, bad := range f.conf.Bad {
		if f.denied(bad) {
			hidden = append(hidden, bad)
		} else {
			faults = append(faults, bad)
		}
	}
	switch {
	case len(faults) > 0:
		return fail(f.configAdvice(), "%s", list(faults...))
	case len(hidden) > 0:
		return skipForRoot("a file of apps.d, or a statement that it names,")
	case len(f.conf.Apps) == 0:
		return warn("put a file with [[app]] into apps.d, and its software statement beside it, then tvpassd reload",
			"no app is configured")
	}
	if useless := f.conf.Useless(); len(useless) > 0 {
		return warn("set [gateway] enabled = true, or take hand_out_token = false out, then tvpassd reload",
			"players of %s get nothing: hand_out_token = false leaves them the gateway, which is disabled",
			strings.Join(useless, ", "))
	}
	var ids []string
	for _, app := range f.conf.Apps {
		ids = append(ids, app.ID)
	}
	return pass("%s", strings.Join(ids, ", "))
}

// judgePermissions warns of what other users may do to the configuration.
func judgePermissions(f *facts) *Check {
	var found, todo []string
	for _, risk := range f.conf.Risks() {
		found, todo = append(found, risk.Detail), append(todo, risk.Todo)
	}
	switch {
	case len(found) > 0:
		return warn(strings.Join(todo, "; "), "%s", strings.Join(found, "; "))
	case slices.ContainsFunc(f.conf.Bad, func(bad *config.Error) bool { return f.denied(bad) }):
		return skipForRoot("a file of apps.d, or a statement that it names,")
	}
	return pass("other users can't change the configuration or read its secrets")
}

// judgeStatement says what can be known of a statement without its issuer's key. A
// statement that is not a JWT disables its app.
func judgeStatement(app config.App) *Check {
	s, err := config.ParseStatement(app.SoftwareStatement)
	if err != nil {
		return fail("copy all of it from the TVE Dashboard", "it %v", err)
	}
	if s.Issuer == "" {
		return warn("see that it is the software statement of the TVE Dashboard, and not another token",
			"it is a JWT that names no issuer")
	}
	text := "issued by " + named(s.Issuer)
	if s.Name != "" {
		text += " for " + named(s.Name)
	}
	if !s.IssuedAt.IsZero() {
		text += " on " + s.IssuedAt.Format(time.DateOnly)
	}
	return pass("%s", text)
}

func judgeStateDir(f *facts) *Check {
	dir := f.conf.StateDir
	switch {
	case errors.Is(f.stateErr, fs.ErrNotExist):
		return f.judgeMissingState()
	case f.needsRoot(f.stateErr):
		return skipForRoot(dir)
	case fserr.MayPass(f.stateErr):
		return fail(remount, "%v", f.stateErr)
	case f.stateErr != nil:
		return fail("make it, or correct state_dir", "%v", f.stateErr)
	case !f.stateInfo.IsDir():
		return fail("move it away, or correct state_dir; then tvpassd restart", "%s is not a directory", dir)
	}
	owner := f.stateInfo.Sys().(*syscall.Stat_t).Uid
	if want, known := f.serviceUser(); known && want != owner {
		return fail(f.orMount(fmt.Sprintf("chown -R %s %s", userName(want), dir), want),
			"%s belongs to %s, and the service runs as %s", dir, userName(owner), userName(want))
	}
	if mode := f.stateInfo.Mode().Perm(); mode&0o077 != 0 {
		return warn(f.orMount("chmod 700 "+dir, owner), "%s has mode %04o: it holds secrets", dir, mode)
	}
	return pass("%s, of %s", dir, userName(owner))
}

// remount is what to do about a state whose file system fails.
const remount = "mount its file system again, or look for a failing disk (dmesg) and check it (fsck)"

// judgeMissingState says whether the next start can make the directory.
func (f *facts) judgeMissingState() *Check {
	const missing = "%s does not exist; if this device was registered before, its viewers must sign in again"
	dir := f.conf.StateDir
	if target, err := os.Readlink(dir); err == nil {
		return fail("mount what it leads to, or correct state_dir; then tvpassd restart",
			"%s is a link to %s, which does not exist", dir, target)
	}
	parent := filepath.Dir(dir)
	for parent != "/" {
		if _, err := os.Lstat(parent); err == nil {
			break
		}
		parent = filepath.Dir(parent)
	}
	var disk unix.Statfs_t
	switch err := unix.Statfs(parent, &disk); {
	case err != nil:
		return fail("correct state_dir", "%s can't be made in %s: %v", dir, parent, err)
	case disk.Flags&stRdonly != 0:
		return fail("mount "+parent+" writable, or set state_dir to a directory that is; then tvpassd restart",
			"%s does not exist and can't be made: the disk under %s is read-only", dir, parent)
	case f.status != nil:
		return fail("tvpassd restart makes it again; viewers must sign in again",
			"%s was deleted while the daemon runs", dir)
	case f.service.Manager == "systemd" && f.service.Installed && dir != "/var/lib/tvpassd":
		return warn("install -d -m 700 -o tvpass "+dir+"; and let the unit write there: systemctl edit tvpassd, "+
			"[Service] ReadWritePaths="+dir, missing, dir)
	}
	return warn("tvpassd start makes it", missing, dir)
}

// stRdonly is ST_RDONLY of statvfs(3).
const stRdonly = 1

// orMount returns the command that keeps others out of the state directory, or
// the mount options that do so if its file system has neither owners nor modes.
func (f *facts) orMount(command string, owner uint32) string {
	switch uint32(f.disk.Type) { // its Go type depends on the architecture
	case unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC:
		return fmt.Sprintf("mount its file system with uid=%s,umask=077: it has neither owners nor modes", userName(owner))
	}
	return command
}

// judgePersistence judges whether a boot, or a cleaner of old files, takes the
// state away.
func judgePersistence(f *facts) *Check {
	if f.conf.AcceptVolatileState {
		return pass("accept_volatile_state says that the state need not last")
	}
	if f.placeErr != nil {
		if f.needsRoot(f.placeErr) {
			return skipForRoot("what " + f.conf.StateDir + " is on")
		}
		return skip(fmt.Sprintf("it is unknown whether the state lasts: %v", f.placeErr))
	}
	if detail, advice := f.place.Loss(); detail != "" {
		return fail(advice, "%s", detail)
	}
	if detail, advice := f.place.Aging(); detail != "" {
		return warn(advice, "%s", detail)
	}
	if f.place.Unknown != "" {
		return warn("reboot, and look whether tvpassd status still shows the same client_id",
			"it is unknown whether the state lasts: %s", f.place.Unknown)
	}
	return pass("what is in %s outlasts a boot", f.conf.StateDir)
}

// serviceUser returns the user that the daemon runs as.
func (f *facts) serviceUser() (uint32, bool) {
	name := f.service.User
	if name == "" {
		return 0, false // by hand, or under a manager that does not say
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, false
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(id), err == nil
}

func userName(id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return number
}

func groupName(id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	if g, err := user.LookupGroupId(number); err == nil {
		return g.Name
	}
	return number
}

// Free space in kB: the most that a change of the state takes, and that with
// room to spare.
const (
	leastSpace = 128
	someSpace  = 1024
)

func judgeDisk(f *facts) *Check {
	if f.stateErr != nil {
		return behind("state_dir")
	}
	if f.diskErr != nil {
		return skip(fmt.Sprintf("the disk can't be asked: %v", f.diskErr))
	}
	free := f.disk.Bavail * uint64(f.disk.Bsize) / 1024 // the Go type of Bsize depends on the architecture
	switch {
	case f.disk.Flags&stRdonly != 0:
		return fail("mount it writable; a disk that became so by itself is failing: dmesg",
			"the disk under %s is read-only", f.conf.StateDir)
	case free < leastSpace:
		return fail("delete what fills the disk", "%d kB are free under %s", free, f.conf.StateDir)
	case f.disk.Files > 0 && f.disk.Ffree == 0:
		return fail("delete some files", "no more files can be made under %s (no inode is free)", f.conf.StateDir)
	case free < someSpace:
		return warn("delete what fills the disk", "only %d kB are free under %s", free, f.conf.StateDir)
	}
	return pass("%d MB are free", free*1024/1e6)
}

func judgeDatabase(f *facts) *Check {
	if f.status != nil {
		if s := f.status.Storage; !s.OK {
			if cause := f.blame(true, "disk"); cause != "" {
				return behind(cause)
			}
			if what, late := strings.CutSuffix(s.Detail, ": restart tvpassd to use it"); late {
				return fail("tvpassd restart, to use what is there", "it can't be written: %s", what)
			}
			return fail("check owner, mode and free space of "+f.conf.StateDir, "it can't be written: %s", s.Detail)
		}
		return pass("the daemon reads and writes it")
	}
	if f.stateErr != nil {
		return behind("state_dir")
	}
	err := f.keptErr
	if err == nil {
		err = errors.Join(kept(f.kept.Database), kept(f.kept.Copy))
	}
	const remake = "tvpassd start sets what is damaged aside and makes it anew from the other file"
	switch {
	case f.needsRoot(err):
		return skipForRoot("it")
	case errors.Is(err, storage.ErrInUse):
		return skip("a daemon that does not answer has it in use")
	case fserr.MayPass(f.kept.Refused):
		return fail(remount+"; tvpassd start changes neither file", "it can't be read, and may be sound: %s",
			list(f.kept.Refused))
	case f.kept.Refused != nil:
		return fail("check owner and mode", "it can't be read: %s", list(f.kept.Refused))
	case errors.Is(err, storage.ErrDamaged) && f.kept.Registered == 0:
		return fail(remake+"; there is none with credentials here, so viewers must sign in again", "%s", list(err))
	case errors.Is(err, storage.ErrDamaged):
		return warn(remake, "%s", list(err))
	case fserr.MayPass(err):
		return fail(remount, "it can't be read: %s", list(err))
	case err != nil:
		return fail("check owner and mode", "it can't be read: %s", list(err))
	case errors.Is(f.kept.Database, fs.ErrNotExist) && errors.Is(f.kept.Copy, fs.ErrNotExist):
		return pass("there is none yet: the first start makes it")
	}
	if f.kept.Registered == 1 {
		return pass("it holds the credentials of 1 app")
	}
	return pass("it holds the credentials of %d apps", f.kept.Registered)
}

// kept returns the error of a state file; nil if the file is missing.
func kept(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func judgeDevice(f *facts) *Check {
	if f.deviceErr != nil {
		return fail("run this as root; if that does not help, report it with the output of tvpassd bundle",
			"it can't be looked at: %v", f.deviceErr)
	}
	var faults []error
	for _, w := range f.device.Warnings {
		faults = append(faults, errors.New(w.Detail))
	}
	if len(faults) > 0 {
		return warn("tvpassd device shows every value; set the keys under [device] in config.toml, then tvpassd reload",
			"%s", list(faults...))
	}
	model, _ := f.device.Info.Get("model")
	return pass("%v, from %s", model, f.device.Sources["model"])
}

func judgeIdentifier(f *facts) *Check {
	var source, value string
	switch {
	case f.status != nil && f.status.Device.Identifier != nil:
		source, value = f.status.Device.Identifier.Source, f.status.Device.Identifier.Value
	case f.kept.Identifier != nil:
		source, value = f.kept.Identifier.Source, f.kept.Identifier.Value
	case f.cfg.UID != 0:
		return skipForRoot("what it comes from")
	case f.deviceErr != nil:
		return behind("device")
	case f.device.Identifier.Source != "":
		return pass("the first start takes it from %s", f.device.Identifier.Source)
	}
	if source == device.Generated || source == "" {
		return warn("keep "+f.conf.StateDir+" through upgrades: without it viewers must sign in again",
			"the hardware has no usable serial number, so it is a generated one")
	}
	if found := f.device; found != nil && found.Identifier.Source == source &&
		found.Identifier.Identifier().Value != value {
		return warn("if the state directory was copied from another device: tvpassd stop, empty "+
			f.conf.StateDir+", tvpassd start",
			"the stored one is from %s, which now yields another", source)
	}
	return pass("from %s", source)
}
