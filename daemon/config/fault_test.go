package config

import (
	"fmt"
	"strings"
	"testing"
)

// labOwnApp is an [[app]] of three lines.
const labOwnApp = "[[app]]\nid = \"a\"\nsoftware_statement = \"" + labStatement + "\"\n"

// faulty is a config.toml and its error. FILE stands for its path.
type faulty struct{ name, content, want string }

func expectFaults(t *testing.T, files []faulty) {
	t.Helper()
	for _, tt := range files {
		t.Run(tt.name, func(t *testing.T) {
			dir := lay(t, map[string]string{"config.toml": tt.content})
			_, err := loadDir(dir)
			want := strings.ReplaceAll(tt.want, "FILE", dir+"/config.toml")
			if got := fmt.Sprint(err); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(tt.content, "hid") && strings.Contains(fmt.Sprint(err), "hid") {
				t.Error("the message shows a secret")
			}
		})
	}
}

// TestSyntaxFaults reads files that are not TOML.
func TestSyntaxFaults(t *testing.T) {
	const tooMany = "FILE: has more than 16384 of the signs = . , [ and {, and no configuration needs so many"
	expectFaults(t, []faulty{
		{"syntax", "log_level = \"info\"\nstate_dir = /var/lib\n",
			"FILE:2: is not valid TOML: unexpected character U+002F '/' at start of value: put text in quotes"},
		{"a Windows path", "state_dir = \"C:\\x\"", `FILE:1: is not valid TOML: unicode escape sequence is too short`},
		{"an unknown escape", "state_dir = \"\\\u00e9\"", `FILE:1: is not valid TOML: invalid escape character U+00C3 'Ã'`},
		{"a key twice", "log_level = \"info\"\n\nlog_level = \"warn\"\n",
			"FILE:3: is not valid TOML: key log_level is already defined"},
		{"too many keys", "a" + strings.Repeat(".a", 17000) + " = 1\n", tooMany},
		{"too many tables", strings.Repeat("[[app]]\n", 9000), tooMany},
		{"too many values", "a = [" + strings.Repeat("1,", 17000) + "]\n", tooMany},
		{"a table twice", "[http]\n[socket]\n[http]\n", "FILE:3: is not valid TOML: table http already exists"},
		{"a table after its value", "http = 1\n[http]\n",
			"FILE:2: is not valid TOML: key http should be a table, not a value"},
		{"not UTF-8", "# \xff\n", "FILE:1: is not valid TOML: invalid UTF-8 character in comment"},
		{"UTF-16", "\xff\xfea\x00", "FILE:1: is not valid TOML: invalid character at start of key: U+00FF 'ÿ'"},
		{"nested without end", "a = " + strings.Repeat("[", 12_000),
			"FILE:1: is not valid TOML: arrays and inline tables are nested more than the maximum of 10000 levels deep"},
		{"too long", "#" + strings.Repeat("x", maxFile), "FILE: can't be read: it is longer than 256 KiB"},
	})
}

// TestUnknownKeys mistypes and misplaces keys: a near miss gets a suggestion.
func TestUnknownKeys(t *testing.T) {
	expectFaults(t, []faulty{
		{"a statement for a key", "\"" + labStatement + "\" = 1",
			`FILE:1: unknown key "eyJ…": known keys are accept_volatile_state, ` +
				`app, device, endpoint, environment, gateway, http, log_level, socket, state_dir`},
		{"mistyped", "\n\nenviroment = \"release-staging\"\n",
			`FILE:3: unknown key "enviroment": did you mean environment?`},
		{"mistyped table", "[sockets]\n", `FILE:1: unknown key "sockets": did you mean socket?`},
		{"mistyped in a table", "[http]\n\ntime-out = \"1s\"\n",
			`FILE:3: unknown key "time-out" in [http]: did you mean timeout?`},
		{"mistyped in dotted keys", "http.ca_fil = \"x\"\n",
			`FILE:1: unknown key "ca_fil" in [http]: did you mean ca_file?`},
		{"mistyped in an inline table", "http = { timeout = \"5s\",\n  prox = \"\" }\n",
			`FILE:2: unknown key "prox" in [http]: did you mean proxy?`},
		{"mistyped in an app", labOwnApp + "redirect_url = \"a:b\"\n",
			`FILE:4: unknown key "redirect_url" in [[app]]: did you mean redirect_uri?`},
		{"mistyped device key", "[device]\nprimaryHardwareTyp = \"TV\"\n",
			`FILE:2: unknown key "primaryHardwareTyp" in [device]: did you mean primaryHardwareType?`},
		{"unlike any", "[http]\nretries = 3\n",
			`FILE:2: unknown key "retries" in [http]: known keys are ca_file, proxy, timeout`},
		{"in the wrong table", "[http]\nstate_dir = \"/x\"\nmode = \"0660\"\n",
			`FILE:2: unknown key "state_dir" in [http]: it belongs at the top of the file, before the first [table]` + "\n" +
				`FILE:3: unknown key "mode" in [http]: it belongs to [socket]`},
		{"not in a table", "path = \"/x\"\n", `FILE:1: unknown key "path": it belongs to [socket]`},
		{"empty key", "\"\" = 1\n", `FILE:1: unknown key "": known keys are accept_volatile_state, ` +
			`app, device, endpoint, environment, gateway, http, log_level, socket, state_dir`},
		{"control characters in a key", `"a\u001b[2J" = 1`,
			`FILE:1: unknown key "a\x1b[2J": known keys are accept_volatile_state, ` +
				`app, device, endpoint, environment, gateway, http, log_level, socket, state_dir`},
	})
}

// TestFaultsOfShape confuses tables, lists and values, and makes several faults at
// once.
func TestFaultsOfShape(t *testing.T) {
	expectFaults(t, []faulty{
		{"several", "log_level = \"all\"\n[http]\ntimeout = 5\n[socket]\nmode = \"x\"\n[device]\nosName = \"linux\"\n",
			`FILE:1: log_level is "all": write debug, info, warn or error` + "\n" +
				`FILE:3: [http] timeout must be a string such as "15s", not the number 5` + "\n" +
				`FILE:5: [socket] mode is "x": write an octal number such as "0660", at most "0777"` + "\n" +
				`FILE:7: [device] osName is "linux": allowed are Android, Chrome OS, Linux, Mac OS, OS X, OpenBSD, Roku OS, ` +
				`Windows, iOS, tvOS, webOS`},
		{"not a table", "socket = \"/run/x\"\n",
			"FILE:1: socket must be a table, not a string: write [socket] above its keys"},
		{"a list for a table", "[[http]]\n", "FILE:1: http must be a table, not a list: write [http] above its keys"},
		{"a table for a list", "[app]\nid = \"x\"\n",
			"FILE:1: app must be a list of tables: write [[app]], in two brackets, above its keys"},
		{"a list of something else", "app = [1]\n", "FILE:1: app must be a list of tables: element 1 is the number 1"},
	})
}

// TestFaultsAtTheTop gets the values above the tables wrong.
func TestFaultsAtTheTop(t *testing.T) {
	expectFaults(t, []faulty{
		{"environment", `environment = "production"`, `FILE:1: environment is "production": ` +
			`write release-production, release-staging, prequal-production or prequal-staging`},
		{"endpoint in plain http", `endpoint = "http://pass.example"`,
			`FILE:1: endpoint is http:// to "pass.example", which is not a loopback address: write https://`},
		{"endpoint with a password", `endpoint = "https://a:hidden@pass.example"`,
			`FILE:1: endpoint must not contain a user or a password: remove them`},
		{"endpoint with a query", `endpoint = "https://pass.example/?key=hidden"`,
			`FILE:1: endpoint must not contain a query or a fragment: remove everything from ? or # on`},
		{"endpoint without scheme", `endpoint = "pass.example"`,
			`FILE:1: endpoint must be a URL such as https://host or http://host:3128`},
		{"endpoint of another kind", `endpoint = "ftp://pass.example"`, `FILE:1: endpoint must begin with https://`},
		{"endpoint port", `endpoint = "https://pass.example:70000"`,
			`FILE:1: endpoint has the port "70000": write 1 to 65535`},
		{"state_dir", `state_dir = ""`, `FILE:1: state_dir is empty: write a path or delete the line`},
		{"NUL", `state_dir = "a\u0000"`, `FILE:1: state_dir contains a NUL character: remove it`},
		{"accept_volatile_state", `accept_volatile_state = "yes"`,
			`FILE:1: accept_volatile_state must be true or false, not a string`},
		{"log_level", `log_level = true`, `FILE:1: log_level must be a string such as "info", not true`},
	})
}

// TestFaultsInTables gets the values of [socket], [http], [gateway] and [device]
// wrong.
func TestFaultsInTables(t *testing.T) {
	expectFaults(t, []faulty{
		{"long path", "socket.path = \"/" + strings.Repeat("x", 107) + "\"",
			`FILE:1: [socket] path is 108 bytes long: the path of a socket has at most 107`},
		{"mode too large", "[socket]\nmode = \"1777\"",
			`FILE:2: [socket] mode is "1777": write an octal number such as "0660", at most "0777"`},
		{"mode for nobody", "[socket]\nmode = \"0\"",
			`FILE:2: [socket] mode is "0", which gives nobody the write permission that connecting takes: write a mode ` +
				`such as "0660"`},
		{"mode as a number", "[socket]\nmode = 0o660",
			`FILE:2: [socket] mode must be a string such as "0660", not the number 432`},
		{"group", "[socket]\ngroup = \"tvpas\"", `FILE:2: [socket] group names the group "tvpas", which does not exist: ` +
			`create it or correct the name, or write ""`},
		{"admin_group", "[socket]\nadmin_group = \"4294967295\"",
			`FILE:2: [socket] admin_group names the number "4294967295": write 0 to 4294967294, or write ""`},
		{"group of another type", "[socket]\ngroup = true",
			`FILE:2: [socket] group must be a name or a number such as "tvpass", not true`},
		{"ca_file", "[http]\nca_file = 1979-05-27",
			`FILE:2: [http] ca_file must be a string such as "roots.pem", not a date`},
		{"proxy", "[http]\nproxy = \"http://me:hid den@proxy\"",
			`FILE:2: [http] proxy must be a URL such as https://host or http://host:3128`},
		{"proxy with a # in its password", "[http]\nproxy = \"http://me:hid#den@proxy\"",
			`FILE:2: [http] proxy must be a URL such as https://host or http://host:3128`},
		{"proxy of another kind", "[http]\nproxy = \"ftp://me:hidden@proxy\"",
			`FILE:2: [http] proxy must begin with http://, https:// or socks5://`},
		{"proxy with a path", "[http]\nproxy = \"http://proxy/pac\"",
			`FILE:2: [http] proxy must end with the port: a proxy has no path`},
		{"timeout without unit", "[http]\ntimeout = \"15\"",
			`FILE:2: [http] timeout is "15": write a duration such as 15s or 1m30s`},
		{"timeout too short", "[http]\ntimeout = \"-1s\"", `FILE:2: [http] timeout is -1s: write 1s to 5m`},
		{"gateway", "[gateway]\nenabled = 1\ntimeout = \"10m\"",
			`FILE:2: [gateway] enabled must be true or false, not the number 1` + "\n" +
				`FILE:3: [gateway] timeout is 10m0s: write 1s to 5m`},
		{"device type", "[device]\nmodel = 5", `FILE:2: [device] model must be a string, not the number 5`},
	})
}

// TestFaultsInApps gets an [[app]] wrong in each way.
func TestFaultsInApps(t *testing.T) {
	expectFaults(t, []faulty{
		{"no id", "[[app]]\nsoftware_statement = \"" + labStatement + "\"",
			`FILE:1: [[app]] id is missing: every app needs one`},
		{"id", "\n[[app]]\nid = \"Ref30\"\nsoftware_statement = \"" + labStatement + "\"",
			`FILE:3: [[app]] id is "Ref30": write at most 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit`},
		{"id that begins with a dot", "[[app]]\nid = \".a\"\nsoftware_statement = \"" + labStatement + "\"",
			`FILE:2: [[app]] id is ".a": write at most 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit`},
		{"id twice", labOwnApp + labOwnApp, `FILE:5: [[app]] id "a" is taken by FILE:2: give every app an id of its own`},
		{"no statement", "\n[[app]]\nid = \"a\"", `FILE:2: [[app]] software_statement_file is missing: ` +
			`write the path of the software statement from the TVE Dashboard`},
		{"two statements", labOwnApp + "software_statement_file = \"x.jwt\"",
			`FILE:3: [[app]] software_statement and software_statement_file are both set: delete one`},
		{"statement", "[[app]]\nid = \"a\"\nsoftware_statement = \"hidden.statement\"",
			`FILE:3: [[app]] software_statement is not a software statement ` +
				`(it needs 2 dots and has 1): copy all of it from the TVE Dashboard again`},
		{"statement of the wrong type", "[[app]]\nid = \"a\"\nsoftware_statement = [\"hidden\"]",
			`FILE:3: [[app]] software_statement must be a string such as "eyJ…", not a list`},
		{"statement for its file", "[[app]]\nid = \"a\"\nsoftware_statement_file = \"" + labStatement + "\"",
			`FILE:3: [[app]] ` +
				`software_statement_file contains the statement itself: write the path of its file, or software_statement = "…"`},
		{"statement for an id", "[[app]]\nid = \"" + labStatement + "\"\nsoftware_statement = \"" + labStatement + "\"",
			`FILE:2: [[app]] id is "eyJ…": write at most 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit`},
		{"redirect_uri", labOwnApp + "redirect_uri = \"/callback\"",
			`FILE:4: [[app]] redirect_uri is "/callback": write an absolute URI such as adobepass://com.programmer`},
		{"redirect_uri with a blank", labOwnApp + "redirect_uri = \"a:b c\"",
			`FILE:4: [[app]] redirect_uri is "a:b c": write an absolute URI such as adobepass://com.programmer`},
		{"application_id", labOwnApp + "application_id = \"a\\tb\"",
			`FILE:4: [[app]] application_id is "a\tb": write 1 to 255 printable bytes or delete the line`},
		{"user as text", labOwnApp + "allow_users = \"player\"",
			`FILE:4: [[app]] allow_users must be a list such as ["player"], not a string`},
		{"user as a fraction", labOwnApp + "allow_users = [1.5]",
			`FILE:4: [[app]] allow_users must contain names or numbers, such as ["player"], not the number 1.5`},
		{"user below zero", labOwnApp + "allow_users = [-1]",
			`FILE:4: [[app]] allow_users names the number "-1": write 0 to 4294967294`},
		{"hand_out_token", labOwnApp + "hand_out_token = []",
			`FILE:4: [[app]] hand_out_token must be true or false, not a list`},
		{"in a list of inline tables", "app = [\n { id = \"a\", software_statement = \"" + labStatement +
			"\" },\n { id = \"B\" },\n]",
			`FILE:3: [[app]] id is "B": write at most 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit` +
				"\n" +
				`FILE:3: [[app]] software_statement_file is missing: write the path of the software statement from the TVE ` +
				`Dashboard`},
	})
}
