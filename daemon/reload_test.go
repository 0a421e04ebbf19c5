package daemon

import (
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tvpassd/tvpassd/ipc"
)

// rewrite replaces a part of the configuration file.
func rewrite(t *testing.T, cfg Config, old, now string) {
	t.Helper()
	text, err := os.ReadFile(cfg.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%q is not in\n%s", old, text)
	}
	if err := os.WriteFile(cfg.ConfigFile, []byte(strings.Replace(string(text), old, now, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// running starts a daemon that ends with the test.
func running(t *testing.T, cfg Config) *Daemon {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- d.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestAReloadTakesOverDeviceAndLogLevel(t *testing.T) {
	cfg := onBench(t, "eyJhbGciOiJub25lIn0.e30.c2ln")
	rewrite(t, cfg, "state_dir", "log_level = \"warn\"\nstate_dir")
	d := running(t, cfg)
	model := func() string {
		t.Helper()
		var info struct{ Model string }
		if err := json.Unmarshal(d.api.Device(false).Info, &info); err != nil {
			t.Fatal(err)
		}
		return info.Model
	}
	if got := cfg.Level.Level(); got != slog.LevelWarn {
		t.Errorf("the level is %v at the start", got)
	}
	rewrite(t, cfg, "[[app]]", "[device]\nmodel = \"Box 7\"\n[[app]]")
	rewrite(t, cfg, `"warn"`, `"debug"`)
	if err := d.Reload(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if got := model(); got != "Box 7" {
		t.Errorf("the model is %q after a reload", got)
	}
	if got := cfg.Level.Level(); got != slog.LevelDebug {
		t.Errorf("the level is %v after a reload", got)
	}

	// A refused configuration changes nothing.
	rewrite(t, cfg, "Box 7", "Box 8")
	rewrite(t, cfg, `"debug"`, `"loud"`)
	err := d.Reload(t.Context(), "")
	if p, ok := errors.AsType[*ipc.Problem](err); !ok || p.Code != ipc.CodeInvalidConfiguration {
		t.Errorf("a reload with a wrong level: %v", err)
	}
	if model() != "Box 7" || cfg.Level.Level() != slog.LevelDebug {
		t.Errorf("a refused reload leaves model %q and level %v", model(), cfg.Level.Level())
	}
	rewrite(t, cfg, `log_level = "loud"`, "")
	rewrite(t, cfg, `model = "Box 8"`, "")
	if err := d.Reload(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if model() == "Box 7" || cfg.Level.Level() != slog.LevelInfo {
		t.Errorf("without the settings: model %q, level %v", model(), cfg.Level.Level())
	}
}

// A reload does not put a ca_file in force in whose certificates no root can be
// found, even if they look like some from outside.
func TestAReloadRefusesRootsThatAreNone(t *testing.T) {
	cfg := onBench(t, "eyJhbGciOiJub25lIn0.e30.c2ln")
	d := running(t, cfg)
	outline, err := asn1.Marshal(struct {
		TBS, Algorithm struct{ Number int }
		Signature      asn1.BitString
	}{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(cfg.ConfigFile), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: outline})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	rewrite(t, cfg, "[[app]]", "[http]\nca_file = \"ca.pem\"\n[[app]]")
	p, ok := errors.AsType[*ipc.Problem](d.Reload(t.Context(), ""))
	if !ok || p.Code != ipc.CodeInvalidConfiguration || !strings.Contains(p.Error(), file) {
		t.Errorf("the reload ends with %v", p)
	}
}
