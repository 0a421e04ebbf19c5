package service

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLookReadsWhatSystemdTells(t *testing.T) {
	for _, tc := range []struct {
		name, show string
		want       State
	}{
		{"runs", "Result=success\nExecMainStatus=0\nNRestarts=0\nUser=tvpass\nLoadState=loaded\nActiveState=active\n" +
			"UnitFileState=enabled\n\nLoadState=loaded\nUnitFileState=disabled\n",
			State{Manager: "systemd", Installed: true, Enabled: true, Active: "active", Result: "success", User: "tvpass"}},
		{"gave up", "Result=exit-code\nExecMainStatus=78\nNRestarts=0\nUser=tvpass\nLoadState=loaded\n" +
			"ActiveState=failed\nUnitFileState=enabled\n\n",
			State{Manager: "systemd", Installed: true, Enabled: true, Active: "failed", Result: "exit-code", ExitStatus: 78,
				User: "tvpass"}},
		{"by its socket", "LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n\nLoadState=loaded\n" +
			"UnitFileState=enabled\n",
			State{Manager: "systemd", Installed: true, Enabled: true, Active: "inactive"}},
		{"not there", "Result=success\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n\nLoadState=not-found\n",
			State{Manager: "systemd", Active: "inactive", Result: "success"}},
		{"masked", "LoadState=masked\nActiveState=inactive\nUnitFileState=masked\n\nLoadState=loaded\nActiveState=active\n",
			State{Manager: "systemd", Installed: true, Broken: "masked", HoldsPath: true, Active: "inactive"}},
		{"an old systemd", "LoadState=loaded\nActiveState=activating\nUnitFileState=disabled\nResult=signal\n" +
			"ExecMainStatus=9\n",
			State{Manager: "systemd", Installed: true, Active: "activating", Result: "signal", ExitStatus: 9}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := t.TempDir()
			script := "#!/bin/sh\ncat <<'END'\n" + tc.show + "END\n"
			if err := os.WriteFile(filepath.Join(folder, "systemctl"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
			if got, err := Look(t.Context()); err != nil || got != tc.want {
				t.Errorf("Look gives %+v, %v, want %+v", got, err, tc.want)
			}
		})
	}
}
