//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/worldmap"
)

// The configuration of docs/archives.md serves, and its commands check it, create a token and do what their reader expects.
func TestArchivesPageIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/archives.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	commands := regexp.MustCompile(`(?m)^(\./tilegate|TOKEN=|curl) ?.*$`).FindAll(text, -1)
	if block == nil || len(commands) != 5 {
		t.Fatalf("the page has %d commands and the configuration %q", len(commands), block)
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
	dir := filepath.Dir(config)
	paste(t, dir, strings.ReplaceAll(string(bytes.Join(commands, []byte("\n"))), "https://maps.example.com", server.url), baseCredentials(testKey, testSecret)...)
	for name, begins := range map[string]string{"tile.mvt": "\x1a", "header": "PMTiles\x03"} {
		if b, err := os.ReadFile(dir + "/" + name); err != nil || !strings.HasPrefix(string(b), begins) {
			t.Errorf("%s: got %.20q, error %v", name, b, err)
		}
	}
}
