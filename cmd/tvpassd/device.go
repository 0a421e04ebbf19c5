package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/daemon/hardware"
	"github.com/tvpassd/tvpassd/device"
	"github.com/tvpassd/tvpassd/ipc"
	"github.com/tvpassd/tvpassd/ipc/client"
)

// deviceView is what `tvpassd device --json` prints: the socket's object, and how
// far it can be relied on.
type deviceView struct {
	ipc.Device
	Provisional bool          `json:"provisional,omitempty"` // the daemon may see more, or has another identifier stored
	Places      *devicePlaces `json:"places,omitempty"`      // with --all
}

func deviceCommand(set *flag.FlagSet) func(*env, []string) error {
	asJSON := set.Bool("json", false, "print JSON")
	root := set.String("root", "", "read the file tree in this `directory`, and nothing of this device")
	all := set.Bool("all", false, "show every place that was looked at, and why it was passed over")
	return alone(func(e *env) error {
		view, err := e.device(*root, *all)
		switch {
		case err != nil:
			return err
		case *asJSON:
			return printJSON(e, view)
		case *all:
			return e.printPlaces(view)
		}
		return e.printDevice(view)
	})
}

// device asks the daemon. It probes the device itself if no daemon runs, for
// another tree, and for every place: the daemon knows only what it uses.
func (e *env) device(root string, all bool) (deviceView, error) {
	if root == "" && !all {
		var dev ipc.Device
		err := e.ask(answerWithin, func(ctx context.Context, c *client.Client) (err error) {
			dev, err = c.Device(ctx)
			return err
		})
		if err == nil || !errors.Is(err, client.ErrNotRunning) && !errors.Is(err, client.ErrPermission) {
			return deviceView{Device: dev}, err
		}
	}
	var part config.Part
	if root == "" || e.configFile != "" {
		var err error
		if part, err = config.LoadPart(e.configFile); err != nil {
			return deviceView{}, err
		}
	}
	view := deviceView{Provisional: root == "" && os.Geteuid() != 0}
	var err error
	if view.Device, err = hardware.Look(root, part.Device); err != nil || !all {
		return view, err
	}
	report, err := device.Probe(device.Options{Root: root, Overrides: part.Device, All: true})
	if err != nil {
		return view, err
	}
	view.Places = placesOf(report)
	return view, nil
}

func printJSON(e *env, v any) error {
	out := json.NewEncoder(e.stdout)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(v)
}

// printDevice prints a table of what is known, then what is missing and how to
// set it. What people copy has a line of its own.
func (e *env) printDevice(view deviceView) error {
	var info map[string]any
	if err := json.Unmarshal(view.Info, &info); err != nil {
		return fmt.Errorf("read the device info: %w", err)
	}
	rows := [][3]string{{"KEY", "VALUE", "FROM"}}
	var missing []string
	for _, key := range device.Keys() {
		value, known := info[key]
		switch {
		case known:
			rows = append(rows, [3]string{key, fmt.Sprint(value), view.Sources[key]})
		case !slices.Contains(elsewhere, key):
			missing = append(missing, key)
		}
	}
	var widths [2]int
	for _, row := range rows {
		for i := range widths {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range rows {
		fmt.Fprintf(e.stdout, "%-*s  %-*s  %s\n", widths[0], row[0], widths[1], row[1], row[2])
	}
	e.printIdentifier(view)
	fmt.Fprintf(e.stdout, "\nX-Device-Info:\n%s\n", view.Header)
	if len(missing) > 0 {
		fmt.Fprintf(e.stdout, "\n%s", wrap("Not known: "+strings.Join(missing, ", ")+".", ""))
		fmt.Fprint(e.stdout, wrap(fmt.Sprintf("To set a key: a line such as `%s = ...` under [device] in %s, "+
			"then tvpassd reload.", missing[0], cmp.Or(e.configFile, config.DefaultFile)), ""))
	}
	return nil
}

// elsewhere are keys that are not reported as missing: the browser's, and those
// that differ between apps or connections.
var elsewhere = []string{
	"browserName", "browserVendor", "browserVersion", "userAgent", "connectionIp", "connectionPort", "applicationId",
}

func (e *env) printIdentifier(view deviceView) {
	id := view.Identifier
	switch {
	case id == nil && view.Provisional:
		fmt.Fprint(e.stdout, "\nDevice identifier: not known without root\n")
	case id == nil:
		fmt.Fprint(e.stdout, "\n"+wrap("Device identifier: the hardware has no usable serial number, "+
			"so the first start generates one.", ""))
	default:
		fmt.Fprintf(e.stdout, "\nDevice identifier, from %s:\n%s\n", id.Source, id.Value)
		if id.Source == device.Generated {
			fmt.Fprint(e.stdout, wrap("Warning: it does not come from the hardware. If the state directory is lost, "+
				"viewers must sign in again.", "  "))
		}
	}
	if view.Provisional {
		fmt.Fprint(e.stdout, wrap("Provisional: the daemon does not answer and this was read without root, "+
			"so it may see more, and may have another identifier stored.", "  "))
	}
}

// identify is the privileged step before the daemon starts. It is for the service
// manager, and the help does not show it.
func identify() command {
	flags := func(*flag.FlagSet) func(*env, []string) error { return alone(leaveIdentifier) }
	return command{"identify", "", "leave the hardware's identifier in $RUNTIME_DIRECTORY for the daemon", flags,
		"RUNTIME_DIRECTORY=/run/tvpassd tvpassd identify", ""}
}

func leaveIdentifier(*env) error {
	dir := os.Getenv("RUNTIME_DIRECTORY")
	if dir == "" {
		return errors.New("RUNTIME_DIRECTORY is not set: only the service manager starts this")
	}
	found, err := hardware.Find()
	if err != nil {
		return err
	}
	return found.Write(dir)
}
