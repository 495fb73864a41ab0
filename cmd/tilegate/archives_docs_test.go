package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
	"tilegate/internal/worldmap"
)

// The configuration of docs/archives.md serves, and each of its curl commands does what its reader expects.
func TestArchivesPageIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/archives.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	commands := regexp.MustCompile(`(?m)^curl .*$`).FindAll(text, -1)
	if block == nil || len(commands) != 3 {
		t.Fatalf("the page has %d curl commands and the configuration %q", len(commands), block)
	}
	world, err := worldmap.Archive()
	if err != nil {
		t.Fatal(err)
	}
	s := privateBucket(t)
	s.Put("tiles", "countries.pmtiles", fakeaws.Object{Body: world})
	key, _, _ := command(t, "keygen")
	config := writeFile(t, "tilegate.yaml", fmt.Sprintf("server: {listen: \"127.0.0.1:0\", admin_listen: \"\"}\naws: {endpoint: %q, sts_endpoint: %q, path_style: true, role: {arn: %q, scope_down: true}}\nauth: {signing_keys: [{file: %q}]}\n",
		s.URL(), s.URL(), testRole, writeFile(t, "tilegate.key", key))+strings.ReplaceAll(string(block[1]), "acme-private-tiles", "tiles")+"    raw: true\n")
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	token := mintToken(t, config, "--tilesets", "countries")
	testenv.NeedCurl(t)
	dir := t.TempDir()
	for _, line := range commands {
		shell := exec.CommandContext(t.Context(), "bash", "-euc", strings.ReplaceAll(string(line), "https://maps.example.com", server.url))
		shell.Dir, shell.Env = dir, append(os.Environ(), "TOKEN="+token)
		if out, err := shell.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	for name, begins := range map[string]string{"tile.mvt": "\x1a", "header": "PMTiles\x03"} {
		if b, err := os.ReadFile(dir + "/" + name); err != nil || !strings.HasPrefix(string(b), begins) {
			t.Errorf("%s: got %.20q, error %v", name, b, err)
		}
	}
}
