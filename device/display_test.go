package device

import "testing"

func TestModes(t *testing.T) {
	for _, test := range []struct {
		name          string
		parse         func(string) (int, int)
		text          string
		width, height int
	}{
		{"amlogic", parseAmlogicMode, "2160p60hz", 3840, 2160}, {"amlogic", parseAmlogicMode, "1080i50hz", 1920, 1080},
		{"amlogic", parseAmlogicMode, "smpte60hz", 4096, 2160}, {"amlogic", parseAmlogicMode, "576cvbs", 720, 576},
		{"amlogic", parseAmlogicMode, "1024x768p60hz", 1024, 768}, {"amlogic", parseAmlogicMode, "2160p60hz420", 3840, 2160},
		{"amlogic", parseAmlogicMode, "panel", 0, 0}, {"amlogic", parseAmlogicMode, "null", 0, 0},
		{"amlogic", parseAmlogicMode, "1080", 0, 0}, {"amlogic", parseAmlogicMode, "999p", 0, 0},
		{"amlogic", parseAmlogicMode, "", 0, 0},
		{"mode", parseMode, "1920x1080i", 1920, 1080}, {"mode", parseMode, "4096x2160p30", 4096, 2160},
		{"mode", parseMode, "x", 0, 0}, {"mode", parseMode, "-1x5", 0, 0},
		{"mode", parseMode, "99999999999999999999x1", 0, 0},
		{"virtual", parseVirtualSize, "1920,1080", 1920, 1080}, {"virtual", parseVirtualSize, "1920,2160", 1920, 1080},
		{"virtual", parseVirtualSize, "1280,2160", 1280, 720}, {"virtual", parseVirtualSize, "720,1152", 720, 576},
		{"virtual", parseVirtualSize, "4096,4320", 4096, 2160},
		{"virtual", parseVirtualSize, "800,1280", 0, 0}, {"virtual", parseVirtualSize, "0,0", 0, 0},
		{"virtual", parseVirtualSize, "7", 0, 0},
	} {
		if w, h := test.parse(test.text); w != test.width || h != test.height {
			t.Errorf("%s %q: got %dx%d, want %dx%d", test.name, test.text, w, h, test.width, test.height)
		}
	}
}

func TestDiagonal(t *testing.T) {
	for _, test := range []struct {
		cmWidth, cmHeight byte
		mmWidth, mmHeight int
		want              float64
	}{
		{121, 68, 1209, 680, 54.6},
		{95, 54, 1872, 1053, 43.0}, // the millimetres are wrong
		{95, 54, 0, 0, 43.0},
		{160, 90, 1600, 900, 0}, {16, 9, 160, 90, 0}, // aspect ratios
		{0, 0, 708, 398, 0}, {0, 9, 0, 0, 0}, // not known
		{5, 3, 50, 30, 0}, // not a screen to watch
	} {
		if got := diagonal(test.cmWidth, test.cmHeight, test.mmWidth, test.mmHeight); got != test.want {
			t.Errorf("%dx%d cm, %dx%d mm: got %v, want %v", test.cmWidth, test.cmHeight, test.mmWidth, test.mmHeight, got,
				test.want)
		}
	}
}

func TestDisplayOrder(t *testing.T) {
	hdmi := map[string]string{
		"sys/class/drm/card0-HDMI-A-1/status":  "connected\n",
		"sys/class/drm/card0-HDMI-A-1/modes":   "3840x2160\n",
		"sys/class/drm/card0-Virtual-1/status": "connected\n",
		"sys/class/drm/card0-Virtual-1/modes":  "1024x768\n",
	}
	for _, test := range []struct {
		name  string
		more  map[string]string
		width int64
	}{
		{"DRM before the frame buffer", map[string]string{"sys/class/graphics/fb0/virtual_size": "1280,720\n"}, 3840},
		{"an internal panel first", map[string]string{"sys/class/drm/card1-eDP-1/status": "connected\n",
			"sys/class/drm/card1-eDP-1/modes": "1366x768\n"}, 1366},
		{"Amlogic's driver before DRM", map[string]string{"sys/class/display/mode": "1080p60hz\n"}, 1920},
		{"Amlogic's driver without a picture", map[string]string{"sys/class/display/mode": "null\n"}, 3840},
	} {
		for name, content := range hdmi {
			test.more[name] = content
		}
		if got, _ := probeFiles(t, test.more, nil).Info.Get("displayWidth"); got != test.width {
			t.Errorf("%s: the width is %v, want %d", test.name, got, test.width)
		}
	}
	modes := map[string]string{"sys/class/graphics/fb0/modes": "U:1280x720p-0\n",
		"sys/class/graphics/fb0/virtual_size": "1920,1080\n"}
	if got, _ := probeFiles(t, modes, nil).Info.Get("displayWidth"); got != int64(1280) {
		t.Errorf("the frame buffer's mode is not used: the width is %v", got)
	}
}

func TestBrokenEDID(t *testing.T) {
	var good []byte
	everyFile(t, "dt-board/sys/class/drm/card0-HDMI-A-2/edid", func(data []byte) { good = data })
	if s, ok := parseEDID(good); !ok || s != (screen{1920, 1080, 40.0}) {
		t.Fatalf("got %v, %v", s, ok)
	}
	if _, ok := parseEDID(append(good, 0xFF, 0x01)); !ok {
		t.Error("a cut-off extension spoils the base block")
	}
	if _, ok := parseEDID(good[:127]); ok {
		t.Error("a cut-off base block passes")
	}
	for at := range edidLength {
		bad := append([]byte(nil), good...)
		bad[at] ^= 0x20
		if _, ok := parseEDID(bad); ok {
			t.Errorf("byte %d is wrong, and the EDID passes", at)
		}
	}
}
