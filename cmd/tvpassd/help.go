package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/tvpassd/tvpassd/daemon/config"
	"github.com/tvpassd/tvpassd/device"
)

// command is one of the words behind tvpassd. Its function flags defines its flags
// and returns the function that runs it.
type command struct {
	name, usage, does string
	flags             func(*flag.FlagSet) func(*env, []string) error
	example           string
	exits             string // exit statuses, one a line; "" is plainExits
}

// alone returns a command that takes no words behind its flags.
func alone(do func(*env) error) func(*env, []string) error {
	return func(e *env, words []string) error {
		if len(words) > 0 {
			return misused("unexpected argument %q", words[0])
		}
		return do(e)
	}
}

const plainExits = "0   done\n1   failed: standard error says why\n64  wrong usage"

// commands returns the commands in the order of the help.
func commands() []command {
	return []command{
		{"run", "[--user NAME]", "the daemon, in the foreground; logs to stderr", runCommand,
			"tvpassd run --user tvpass",
			"0   ended by SIGTERM or SIGINT\n1   failed: a restart may help\n64  wrong usage\n" +
				"78  configuration or state unusable: a person must act"},
		{"status", "[--json] [--watch]", "health of daemon, device and every app", statusCommand,
			"tvpassd status --watch",
			"0   healthy\n1   degraded\n2   an app has no usable token\n3   not running\n" +
				"4   no permission on the socket\n64  wrong usage"},
		{"api", "[--app ID] [-d BODY] PATH", "make a call of the REST API V2, as curl would", apiCommand,
			"tvpassd api --app ref30 REF30/configuration",
			"0   the server answered 2xx\n1   failed: standard error says why\n64  wrong usage"},
		{"token", "[--app ID]", "the access token alone", tokenCommand, "tvpassd token --app ref30", ""},
		{"headers", "[--app ID]", "`Name: value` lines for curl -H @-", headersCommand,
			"tvpassd headers --app ref30 | curl -H @- https://sp.auth.adobe.com/api/v2/REF30/configuration", ""},
		{"report", "[--app ID]", "report the refused token on standard input", reportCommand,
			"tvpassd report --app ref30 < token", ""},
		{"watch", "[--app ID]", "state and token of an app, and every change", watchCommand,
			"tvpassd watch --app ref30 | while read -r event json; do echo \"$event\"; done", ""},
		{"device", "[--all] [--root DIR]", "the device info, and where it comes from", deviceCommand,
			"tvpassd device --all", ""},
		{"doctor", "[--failed] [--json]", "check what a token needs, and say what to do", doctorCommand,
			"sudo tvpassd doctor", "0   all checks pass\n1   warnings\n2   failures\n64  wrong usage"},
		{"bundle", "[--output FILE]", "what a support ticket needs, in one .tar.gz", bundleCommand,
			"sudo tvpassd bundle --output /tmp/ticket.tar.gz", ""},
		{"config", "check", "read the configuration as the daemon would", configCommand,
			"tvpassd config check --config ./config.toml", ""},
		{"refresh", "--app ID", "fetch a token now", refreshCommand, "sudo tvpassd refresh --app ref30", ""},
		{"reload", "[--accept ID]", "read the configuration again", reloadCommand,
			"tvpassd config check && sudo tvpassd reload", ""},
		{"reset", "--app ID [--yes]", "forget an app's credentials and register anew", resetCommand,
			"sudo tvpassd reset --app ref30", ""},
		{"install", "", "make tvpassd a service of this system", serviceCommand("install"),
			"sudo tvpassd install && sudo tvpassd start", ""},
		{"uninstall", "", "remove the service; the state stays", serviceCommand("uninstall"), "sudo tvpassd uninstall", ""},
		{"start", "", "start the service", serviceCommand("start"), "sudo tvpassd start", ""},
		{"stop", "", "stop the service", serviceCommand("stop"), "sudo tvpassd stop", ""},
		{"restart", "", "stop and start the service", serviceCommand("restart"), "sudo tvpassd restart", ""},
		{"version", "[--json]", "version, commit, build date, Go and target", versionCommand, "tvpassd version --json", ""},
	}
}

// find returns the command of that name. The error suggests the one that was
// probably meant.
func find(name string) (command, error) {
	var near string
	var names []string
	for _, c := range append(commands(), identify()) {
		if c.name == name {
			return c, nil
		}
		if near == "" && len(name) > 2 && strings.HasPrefix(c.name, name) {
			near = c.name
		}
		names = append(names, c.name)
	}
	if near = cmp.Or(near, device.Nearest(name, names)); near != "" {
		return command{}, misused("unknown command %q: did you mean %s?", name, near)
	}
	return command{}, misused("unknown command %q", name)
}

// helpOn prints the help of the command that words name, or of all.
func (e *env) helpOn(words []string) error {
	if len(words) == 0 {
		e.help(e.stdout)
		return nil
	}
	c, err := find(words[0])
	if err != nil {
		return err
	}
	set := e.flagSet(c.name)
	c.flags(set)
	c.help(e.stdout, set)
	return nil
}

func (e *env) help(w io.Writer) {
	fmt.Fprint(w, "tvpassd keeps an access token for Adobe Pass at hand for this device's players.\n\n"+
		"usage: tvpassd [--config FILE] [--socket PATH] COMMAND\n\n")
	width := 0
	for _, c := range commands() {
		width = max(width, len(c.line()))
	}
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-*s  %s\n", width, c.line(), c.does)
	}
	fmt.Fprintf(w, "\n--config FILE  configuration, apps.d is beside it (%s)\n"+
		"--socket PATH  the daemon's socket (as the configuration has it)\n\n"+
		"tvpassd help COMMAND: flags, exit statuses and an example; man tvpassd has more.\n", config.DefaultFile)
}

// line is the command with its usage.
func (c command) line() string { return strings.TrimSpace(c.name + " " + c.usage) }

// help prints what set has, which are the flags of c, and the rest of its help.
func (c command) help(w io.Writer, set *flag.FlagSet) {
	fmt.Fprintf(w, "tvpassd %s: %s\n\n", c.line(), c.does)
	set.VisitAll(func(f *flag.Flag) {
		kind, does := flag.UnquoteUsage(f)
		dashes := "--"[:min(len(f.Name), 2)]
		fmt.Fprintf(w, "  %-18s %s\n", strings.TrimSpace(dashes+f.Name+" "+strings.ToUpper(kind)), does)
	})
	exits := cmp.Or(c.exits, plainExits)
	fmt.Fprintf(w, "\nexit status:\n  %s\n\nexample:\n  %s\n", strings.ReplaceAll(exits, "\n", "\n  "), c.example)
}
