// Package config turns TOML into validated settings: config.toml, and the files
// that players' packages drop into apps.d beside it.
//
// It owns the names of the keys, their meaning and defaults, and what a person
// reads about a fault: file, line, what is wrong and what to do. document.go
// hands out the keys of a file, tree.go decodes TOML, value.go parses single
// values, names.go looks up users and groups, app.go reads the apps and
// statement.go their software statements. source.go reads the files in apps.d, and
// holder.go decides which of them has an id. drift.go notices later changes.
//
// It opens these files, the statements that they name, and the system's lists of
// users and groups (files.go: other users may have written them). It does not
// check whether a certificate, a socket or a directory can be used.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/storage/fserr"
)

// DefaultFile is the configuration file unless another one is named.
const DefaultFile = "/etc/tvpassd/config.toml"

const defaultStateDir = "/var/lib/tvpassd"

// Config is the whole configuration, with the defaults for what the files leave
// out.
type Config struct {
	File     string // config.toml; "" if there is none
	Endpoint string // base URL without a slash at the end
	StateDir string // absolute
	LogLevel slog.Level
	Socket   Socket
	HTTP     HTTP
	Gateway  Gateway
	Device   map[string]any    // X-Device-Info keys as device.CheckOverride returned them
	Apps     []App             // those that can be used, by id
	Bad      []*Error          // why a file in apps.d or a single app is disabled, one each
	Late     bool              // a file could not be read for a reason that may pass: read again later
	Holders  map[string]Holder // the files that have the ids, to be remembered for Resolve

	// AcceptVolatileState suppresses the warning about a state directory that
	// does not survive a reboot.
	AcceptVolatileState bool

	risks   []Risk    // but those of the directory of config.toml
	unread  []*Error  // the part of Bad that does not depend on who has which id
	sources []*source // config.toml, then the files in apps.d by name
	seen    seen      // what was read
	disk    *Disk     // that read it
}

// Socket holds the settings of the socket that players connect to.
type Socket struct {
	Path       string // absolute, at most 107 bytes
	Mode       fs.FileMode
	Group      *uint32 // nil leaves the group alone
	AdminGroup *uint32 // nil if there is none
}

// HTTP holds the settings of the daemon's calls to the server.
type HTTP struct {
	CAFile  string   // absolute; "" if there is none
	Proxy   *url.URL // nil leaves it to the environment
	Timeout time.Duration
}

// Gateway holds the settings for players' API calls.
type Gateway struct {
	Enabled bool
	Timeout time.Duration // for the server's answer, and between two reads of its body
}

// Error is a fault in one file.
type Error struct {
	File   string
	Line   int    // 0 if no line is at fault
	Detail string // what is wrong, a colon, what to do
	Err    error  // why something can't be read; nil if the text is at fault
}

func (e *Error) Error() string { return e.place() + ": " + e.Detail }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) place() string {
	if e.Line == 0 {
		return e.File
	}
	return fmt.Sprintf("%s:%d", e.File, e.Line)
}

// Faults returns the faults that an error of Load joins.
func Faults(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// Load reads file, or DefaultFile if it is "", and every apps.d/*.toml beside it.
// If DefaultFile does not exist the defaults apply; any other file must exist. It
// takes at most seven seconds, whatever the files are.
//
// The error joins an *Error for each fault in config.toml, in the order of lines;
// a fault of the syntax hides the others. What disables only an app or a file in
// apps.d is in Config.Bad. If two files in apps.d claim an id the first one by
// name has it; Resolve decides that anew.
func Load(file string) (*Config, error) { return new(Disk).Load(file) }

func (disk *Disk) load(file, otherwise string, n names) (*Config, error) {
	d, missing, err := disk.open(file, otherwise)
	if err != nil {
		return nil, err
	}
	d.names = n
	c := d.config()
	if err := d.err(); err != nil {
		return nil, err
	}
	if !missing {
		c.File = d.file
		d.judge(c)
	}
	c.readApps(filepath.Join(filepath.Dir(d.file), "apps.d"), d)
	c.risks, c.seen, c.disk = d.files.risks, d.files.seen, disk
	disk.mu.Lock()
	disk.last = c.seen
	disk.mu.Unlock()
	c.resolve(nil)
	c.Late = d.files.late > 0 || slices.ContainsFunc(c.Bad, func(e *Error) bool { return fserr.MayPass(e) })
	return c, nil
}

// open reads and parses file, or otherwise if it is "". Only otherwise may be
// missing: the document is then empty. After an error the document holds what
// stands before the fault.
func (disk *Disk) open(file, otherwise string) (d *document, missing bool, err error) {
	path, err := filepath.Abs(cmp.Or(file, otherwise))
	if err != nil {
		return &document{}, false, &Error{File: file, Detail: reason(err), Err: err}
	}
	d = &document{file: path, files: disk.files()}
	d.files.vital = true
	err = d.read()
	d.files.vital = false
	if file == "" && errors.Is(err, fs.ErrNotExist) {
		d.faults = nil
		return d, true, nil
	}
	return d, false, d.err()
}

// config reads the tables of config.toml. The result is useless if d has faults
// afterwards.
func (d *document) config() *Config {
	top := d.top()
	c := &Config{}
	path := pathFrom(filepath.Dir(d.file))
	environment := readText(top, "environment", production, "release-production", parseEnvironment)
	c.Endpoint = cmp.Or(readText(top, "endpoint", "", production, parseEndpoint), environment)
	c.StateDir = readText(top, "state_dir", defaultStateDir, defaultStateDir, path)
	c.AcceptVolatileState = read(top, "accept_volatile_state", false, parseBool)
	c.LogLevel = readText(top, "log_level", slog.LevelInfo, "info", parseLevel)
	c.Socket = d.socket(top.table("socket"))
	http := top.table("http")
	c.HTTP.CAFile = readText(http, "ca_file", "", "roots.pem", optional(path))
	c.HTTP.Proxy = readText(http, "proxy", nil, "http://proxy:3128", optional(parseProxy))
	c.HTTP.Timeout = readText(http, "timeout", 15*time.Second, "15s", parseTimeout)
	gateway := top.table("gateway")
	c.Gateway.Enabled = read(gateway, "enabled", true, parseBool)
	c.Gateway.Timeout = readText(gateway, "timeout", 30*time.Second, "30s", parseTimeout)
	c.Device = overrides(top.table("device"))
	c.sources = []*source{{top: true, file: d.file, author: d.stat.Owner, claims: d.claims(top)}}
	d.unknownKeys()
	return c
}

func (d *document) socket(t *table) Socket {
	if !t.has("group") {
		t.keys["group"] = &entry{value: "tvpass"}
	}
	return Socket{
		Path:       readText(t, "path", ipc.DefaultSocket, ipc.DefaultSocket, socketPathFrom(filepath.Dir(d.file))),
		Mode:       readText(t, "mode", 0o660, "0660", parseMode),
		Group:      read(t, "group", nil, d.names.optionalGroup),
		AdminGroup: read(t, "admin_group", nil, d.names.optionalGroup),
	}
}

func overrides(t *table) map[string]any {
	values := map[string]any{}
	for _, key := range device.Keys() {
		if !t.has(key) {
			continue
		}
		value, err := device.CheckOverride(key, t.keys[key].value)
		if err != nil {
			t.fault(key, "%s", t.name(err.Error()))
			continue
		}
		values[key] = value
	}
	t.known = device.Keys()
	return values
}

// Part is the part of a configuration that commands use even if the rest is not
// valid.
type Part struct {
	SocketPath string         // ipc.DefaultSocket unless the file names one
	StateDir   string         // /var/lib/tvpassd unless the file names one
	Device     map[string]any // as in Config
}

// LoadPart reads [socket] path, state_dir and [device] from file, or from
// DefaultFile if it is "". Only DefaultFile may be missing. The error is about the
// syntax or about [device]; the paths can be used all the same.
func LoadPart(file string) (Part, error) {
	d, _, err := new(Disk).open(file, DefaultFile)
	path := pathFrom(filepath.Dir(d.file))
	part := Part{
		SocketPath: readText(d.top().table("socket"), "path", ipc.DefaultSocket, ipc.DefaultSocket, path),
		StateDir:   readText(d.top(), "state_dir", defaultStateDir, defaultStateDir, path),
	}
	if err != nil {
		return part, err
	}
	d.faults = nil // those of the paths
	part.Device = overrides(d.top().table("device"))
	return part, d.err()
}
