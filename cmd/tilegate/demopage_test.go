package main

import (
	"bytes"
	"cmp"
	"context"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tilegate/internal/testenv"
)

// The README's picture of the map page shows a state of the demo that the page still draws; `make picture` renews it.
// Whether both are alike is for people to see.
func TestPictureOfTheMapPage(t *testing.T) {
	const picture = "../../docs/map-page.jpg"
	body, err := os.ReadFile(picture)
	shown, decodeErr := jpeg.DecodeConfig(bytes.NewReader(body))
	readme, readErr := os.ReadFile("../../README.md")
	if renew := os.Getenv("PICTURE"); renew == "" && (err != nil || decodeErr != nil || shown.Width != 1280 || shown.Height != 800 || len(body) > 300<<10) {
		t.Errorf("docs/map-page.jpg has %d bytes, %d×%d; make picture renews it (%v, %v)", len(body), shown.Width, shown.Height, err, decodeErr)
	}
	if readErr != nil || !strings.Contains(string(readme), "(docs/map-page.jpg)") {
		t.Errorf("README.md does not show docs/map-page.jpg, %v", readErr)
	}
	shot := cmp.Or(os.Getenv("PICTURE"), filepath.Join(t.TempDir(), "page.jpg"))
	openDemo(t, shot, "--show", "map=2.7/41/14&style=cartography/world", "--tiles", "3", "--size", "1280x800")
}

// The demo's page as a visitor finds it: images in the dark, and the style for somebody who may see a part. `make browser`
// opens it in the light.
func TestDemoPageInARealBrowser(t *testing.T) {
	for name, args := range map[string][]string{
		"dark":   {"--dark", "--size", "820x1180", "--tiles", "4"},
		"europe": {"--account", "eve", "--tiles", "2", "--show", "map=3/50/10&style=cartography/world"},
	} {
		t.Run(name, func(t *testing.T) { openDemo(t, filepath.Join(t.TempDir(), "page.png"), args...) })
	}
}

// openDemo opens the page of a new demo in a browser and takes a picture. What is expected is in .ci/browser/demo.js.
func openDemo(t *testing.T, shot string, args ...string) {
	t.Helper()
	chromium := testenv.Chromium(t)
	node := testenv.Node(t)
	testenv.NeedNodeModules(t, "playwright-core", "axe-core")
	needEmbeddedViewer(t)
	_, stdout := start(t, nil, "demo", "--listen", "127.0.0.1:0")
	page := regexp.MustCompile(`http://[0-9.:]+/`).FindString(readUntil(t, stdout, "Ctrl-C"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, append([]string{"demo.js", page, shot}, args...)...)
	cmd.Dir, cmd.Env = browserDir, append(os.Environ(), "CHROMIUM="+chromium)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v: %s", args, err, out)
	}
	t.Logf("%s", out)
}
