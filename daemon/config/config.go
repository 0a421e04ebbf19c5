// Package config turns TOML into validated values: config.toml, and what players' packages drop into apps.d beside it.
//
// It owns what the keys are called and mean, their defaults, and what a person is told about a fault: file, line, what is
// wrong, what to do. document.go reads a file of TOML, tree.go makes tables of it, table.go asks for keys, value.go checks
// values, app.go joins the files, statement.go looks into software statements. It opens nothing but these files, the
// statements they name, and the lists of users and groups; whether a certificate, a socket or a directory is usable,
// others find out when they use it.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
)

// DefaultFile is read where no other file is named.
const DefaultFile = "/etc/tvpassd/config.toml"

// Config is what the files say, with defaults for what they don't.
type Config struct {
	File     string // config.toml; "" where there is none
	Endpoint string // base URL without a slash at the end
	StateDir string // absolute
	LogLevel slog.Level
	Socket   Socket
	HTTP     HTTP
	Gateway  Gateway
	Device   map[string]any // X-Device-Info keys as device.CheckOverride returned them
	Apps     []App          // usable ones, by id
	Bad      []*Error       // why files in apps.d disabled themselves, one each

	// AcceptVolatileState suppresses the warning about a state directory that
	// does not survive a reboot.
	AcceptVolatileState bool
}

// Socket says where the daemon listens, and who may connect.
type Socket struct {
	Path       string // absolute, at most 107 bytes
	Mode       fs.FileMode
	Group      *uint32 // nil leaves the group alone
	AdminGroup *uint32 // nil: none
}

// HTTP says how the daemon calls the server.
type HTTP struct {
	CAFile  string   // absolute; "" none
	Proxy   *url.URL // nil: as the environment says
	Timeout time.Duration
}

// Gateway holds the settings for players' API calls.
type Gateway struct {
	Enabled bool
	Timeout time.Duration // for the server's answer, and between two reads of its body
}

// Error is a fault of one file, for a person.
type Error struct {
	File   string
	Line   int    // 0: no line
	Detail string // what is wrong: what to do
}

func (e *Error) Error() string { return e.place() + ": " + e.Detail }

func (e *Error) place() string {
	if e.Line == 0 {
		return e.File
	}
	return fmt.Sprintf("%s:%d", e.File, e.Line)
}

// Load reads file, "" for DefaultFile, and every apps.d/*.toml beside it. Where DefaultFile is missing the defaults hold; a
// named file must exist. The error joins an *Error for each fault in config.toml, in the order of lines; a fault of the
// syntax hides the others. Faults of files in apps.d are in Config.Bad.
func Load(file string) (*Config, error) {
	return load(file, DefaultFile, names{user: lookupUser, group: lookupGroup})
}

func load(file, otherwise string, n names) (*Config, error) {
	path, err := filepath.Abs(cmp.Or(file, otherwise))
	if err != nil {
		return nil, &Error{File: file, Detail: reason(err)}
	}
	d := &document{file: path, names: n}
	err = d.read()
	missing := file == "" && errors.Is(err, fs.ErrNotExist)
	if missing {
		d.faults = nil
	}
	if len(d.faults) > 0 {
		return nil, d.err()
	}
	taken := map[string]string{}
	c := d.config(taken)
	if err := d.err(); err != nil {
		return nil, err
	}
	if !missing {
		c.File = path
	}
	c.addApps(filepath.Join(filepath.Dir(path), "apps.d"), taken, n)
	sort.Slice(c.Apps, func(i, j int) bool { return c.Apps[i].ID < c.Apps[j].ID })
	return c, nil
}

// config reads the tables of config.toml. What it returns is worth nothing if d has faults.
func (d *document) config(taken map[string]string) *Config {
	top := d.top()
	c := &Config{}
	environment := readText(top, "environment", production, "release-production", parseEnvironment)
	c.Endpoint = cmp.Or(readText(top, "endpoint", "", production, parseEndpoint), environment)
	c.StateDir = readText(top, "state_dir", "/var/lib/tvpassd", "/var/lib/tvpassd", d.path)
	c.AcceptVolatileState = read(top, "accept_volatile_state", false, parseBool)
	c.LogLevel = readText(top, "log_level", slog.LevelInfo, "info", parseLevel)
	c.Socket = d.socket(top.table("socket"))
	http := top.table("http")
	c.HTTP.CAFile = readText(http, "ca_file", "", "roots.pem", optional(d.path))
	c.HTTP.Proxy = readText(http, "proxy", nil, "http://proxy:3128", optional(parseProxy))
	c.HTTP.Timeout = readText(http, "timeout", 15*time.Second, "15s", parseTimeout)
	gateway := top.table("gateway")
	c.Gateway.Enabled = read(gateway, "enabled", true, parseBool)
	c.Gateway.Timeout = readText(gateway, "timeout", 30*time.Second, "30s", parseTimeout)
	c.Device = overrides(top.table("device"))
	c.Apps = d.apps(top, taken)
	d.unknownKeys()
	return c
}

func (d *document) socket(t *table) Socket {
	if !t.has("group") {
		t.keys["group"] = &entry{value: "tvpass"}
	}
	return Socket{
		Path:       readText(t, "path", ipc.DefaultSocket, ipc.DefaultSocket, d.socketPath),
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

// SocketPath is [socket] path of a configuration file as far as it can be read ("" for DefaultFile), else ipc.DefaultSocket:
// for commands that only talk to the daemon. The rest of the file need not be valid.
func SocketPath(file string) string {
	path, err := filepath.Abs(cmp.Or(file, DefaultFile))
	if err != nil {
		return ipc.DefaultSocket
	}
	data, err := readFile(path, maxFile)
	if err != nil {
		return ipc.DefaultSocket
	}
	d := document{file: path}
	_ = d.parse(data) // what stands before a fault is there
	socket := d.top().table("socket")
	return readText(socket, "path", ipc.DefaultSocket, ipc.DefaultSocket, d.path)
}

// Device is [device] of a configuration file ("" is DefaultFile, which may be missing), whatever else stands in it: for a look
// at a device without its daemon.
func Device(file string) (map[string]any, error) {
	path, err := filepath.Abs(cmp.Or(file, DefaultFile))
	if err != nil {
		return nil, &Error{File: file, Detail: reason(err)}
	}
	d := &document{file: path}
	if err := d.read(); file == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if len(d.faults) > 0 {
		return nil, d.err()
	}
	values := overrides(d.top().table("device"))
	return values, d.err()
}

// names looks up users and groups.
type names struct {
	user, group func(name string) (uint32, error)
}

// reason tells why a file can't be read, without its name.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Sprintf("can't be read: permission denied for user %d: let this user read it", os.Geteuid())
	}
	return fmt.Sprintf("can't be read: %v", err)
}
