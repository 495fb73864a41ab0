//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

func stylesPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/styles.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// startStyles serves the configuration of docs/styles.md, with more bundles, out of a bucket.
func startStyles(t *testing.T, objects map[string]string, more string) (server *program, config string) {
	t.Helper()
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(stylesPage(t))
	if block == nil {
		t.Fatal("docs/styles.md has no configuration")
	}
	s := privateBucket(t)
	for key, body := range objects {
		s.Put("tiles", key, fakeaws.Object{Body: []byte(body)})
	}
	key, _, _ := command(t, "keygen")
	config = writeFile(t, "tilegate.yaml", fmt.Sprintf("server: {listen: \"127.0.0.1:0\", admin_listen: \"\"}\naws: {endpoint: %q, sts_endpoint: %q, path_style: true, role: {arn: %q}}\nauth: {signing_keys: [{file: %q}]}\n",
		s.URL(), s.URL(), testRole, writeFile(t, "tilegate.key", key))+strings.ReplaceAll(block[1], "acme-private-tiles", "tiles")+more)
	server, _ = start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	return server, config
}

// The page's configuration opens the bundle to whoever may see the tileset, and each row of its table is what clients get.
func TestStylesPageIsTrue(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| (?:`(\"[^`]*)`|`https://other)").FindAllStringSubmatch(stylesPage(t), -1)
	if len(rows) < 4 {
		t.Fatalf("docs/styles.md shows %d URLs of a style", len(rows))
	}
	for _, row := range []string{`"url": "tilegate://tilesets/roads"`, `"url": "tilegate://bundles/terrain/layer.json"`, `"glyphs": "fonts/{fontstack}/{range}.pbf"`, `"sprite": "sprites/base"`} {
		if !strings.Contains(stylesPage(t), "| `"+row+"` |") {
			t.Errorf("docs/styles.md has no row for %s", row)
		}
	}
	server, config := startStyles(t, map[string]string{
		"styles/style.json": `{"version":8,"glyphs": "fonts/{fontstack}/{range}.pbf","sprite": "sprites/base","sources":{"a":{"url": "tilegate://tilesets/roads"},"b":{"url": "tilegate://bundles/terrain/layer.json"},` +
			`"c":{"url":"https://other.example/x"},"d":{"url":"//other.example/x"},"e":{"url":"mapbox://x"},"f":{"url":"pmtiles://x"}},"layers":[]}`,
		"styles/fonts/Noto Sans Regular/0-255.pbf": "glyphs",
		"styles/sprites/base.json":                 "{}",
		"roads/0/0/0.mvt":                          "\x1a\x02",
	}, "")
	token := mintToken(t, config, "--tilesets", "roads")
	bearer := []string{"Authorization", "Bearer " + token}
	answer, body := get(t, server.url+"/assets/cartography/style.json", bearer...)
	want := `{"version":8,"glyphs": "AT/assets/cartography/fonts/{fontstack}/{range}.pbf","sprite": "AT/assets/cartography/sprites/base","sources":{"a":{"url": "AT/tiles/roads.json"},"b":{"url": "AT/assets/terrain/layer.json"},` +
		`"c":{"url":"https://other.example/x"},"d":{"url":"//other.example/x"},"e":{"url":"mapbox://x"},"f":{"url":"pmtiles://x"}},"layers":[]}`
	if want = strings.ReplaceAll(want, "AT/", server.url+"/"); answer.StatusCode != 200 || string(body) != want {
		t.Errorf("got %s %s, want %s", answer.Status, body, want)
	}
	for path, want := range map[string]int{
		"fonts/Noto%20Sans%20Regular,Arial/0-255.pbf": 200, "sprites/base.json": 200, "nothing.json": 404,
		"a%2Fb": 400, "a%5Cb": 400, "a%01": 400, "a//b": 400, "./a": 400, "a/": 400, "page.html": 403, "logo.svg": 403, "script.js": 403,
	} {
		if answer, body := get(t, server.url+"/assets/cartography/"+path, bearer...); answer.StatusCode != want {
			t.Errorf("%s: got %s %.100s, want %d", path, answer.Status, body, want)
		}
	}
	commands := regexp.MustCompile(`(?m)^(TOKEN=|curl ).*$`).FindAllString(stylesPage(t), -1)
	if len(commands) != 2 {
		t.Fatalf("docs/styles.md has the commands %q", commands)
	}
	paste(t, filepath.Dir(config), strings.ReplaceAll(strings.Join(commands, "\n"), "https://maps.example.com", server.url))
	if answer, _ := get(t, server.url+"/assets/cartography/style.json", "Authorization", "Bearer "+mintToken(t, config, "--tilesets", "other")); answer.StatusCode != 403 {
		t.Errorf("who may not see roads: got %s", answer.Status)
	}
}

// The page's command reads a TIFF by ranges, with the token in a header.
func TestStylesPageGDALCommand(t *testing.T) {
	create, info := testenv.GDAL(t, "gdal_create"), testenv.GDAL(t, "gdalinfo")
	line := regexp.MustCompile(`(?m)^gdalinfo (.*)$`).FindStringSubmatch(stylesPage(t))
	if line == nil {
		t.Fatal("docs/styles.md has no gdalinfo")
	}
	tiff := filepath.Join(t.TempDir(), "city.tif")
	if out, err := exec.CommandContext(t.Context(), create, "-of", "GTiff", "-outsize", "2000", "1000", "-bands", "1", tiff).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	body, err := os.ReadFile(tiff)
	if err != nil {
		t.Fatal(err)
	}
	server, config := startStyles(t, map[string]string{"ortho/city.tif": string(body)}, "  ortho: {source: s3://tiles/ortho/, with: [roads]}\n")
	shell := exec.CommandContext(t.Context(), "sh", "-c", info+" "+strings.ReplaceAll(line[1], "https://maps.example.com", server.url))
	shell.Env = append(os.Environ(), "TOKEN="+mintToken(t, config, "--tilesets", "roads"))
	if out, err := shell.CombinedOutput(); err != nil || !strings.Contains(string(out), "Size is 2000, 1000") {
		t.Errorf("%s: got %v\n%s", line[0], err, out)
	}
}

// GDAL opens a COG that is too large for the cache and reads one pixel of it: by ranges, a small part of the file.
func TestGDALReadsACOGByRanges(t *testing.T) {
	translate, locate := testenv.GDAL(t, "gdal_translate"), testenv.GDAL(t, "gdallocationinfo")
	const side = 3200
	noise := rand.NewChaCha8([32]byte{1}) // nothing compresses it
	plain := fmt.Appendf(nil, "P5 %d %d 255\n", side, side)
	header := len(plain)
	plain = append(plain, make([]byte, side*side)...)
	_, _ = noise.Read(plain[header:]) // it never fails
	cog := filepath.Join(t.TempDir(), "city.tif")
	out, err := exec.CommandContext(t.Context(), translate, "-q", "-of", "COG", "-co", "COMPRESS=NONE", "-co", "BLOCKSIZE=256", writeFile(t, "city.pgm", string(plain)), cog).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	body, err := os.ReadFile(cog)
	if err != nil {
		t.Fatal(err)
	}
	server, config := startStyles(t, map[string]string{"ortho/city.tif": string(body)}, "  ortho: {source: s3://tiles/ortho/, with: [roads]}\n")
	for _, at := range [][2]int{{17, 3000}, {3199, 5}, {1600, 1601}} {
		ask := exec.CommandContext(t.Context(), locate, "-valonly", "/vsicurl/"+server.url+"/assets/ortho/city.tif", strconv.Itoa(at[0]), strconv.Itoa(at[1]))
		ask.Env = append(os.Environ(), "GDAL_HTTP_HEADERS=Authorization: Bearer "+mintToken(t, config, "--tilesets", "roads"), "GDAL_DISABLE_READDIR_ON_OPEN=EMPTY_DIR")
		out, err := ask.CombinedOutput()
		if want := strconv.Itoa(int(plain[header+at[1]*side+at[0]])); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("the pixel at %v: got %v %s, want %s", at, err, out, want)
		}
	}
	get(t, server.url+"/fence/1")
	requests, err := server.requestsUntil(t.Context(), "/fence/1")
	if err != nil {
		t.Fatal(err)
	}
	ranges, sent := 0, 0
	for _, r := range requests {
		if r.Path == "/assets/ortho/city.tif" && r.Method == "GET" {
			ranges++
			sent += r.Bytes
			if r.Status != 206 {
				t.Errorf("got %d for %s, want ranges alone", r.Status, r.Path)
			}
		}
	}
	if ranges < 6 || sent > len(body)/10 || len(body) < 8<<20 {
		t.Errorf("%d ranges with %d bytes of a file of %d", ranges, sent, len(body))
	}
	refused := exec.CommandContext(t.Context(), locate, "-valonly", "/vsicurl/"+server.url+"/assets/ortho/city.tif", "1", "1")
	if out, err := refused.CombinedOutput(); err == nil {
		t.Errorf("without a header: got %s", out)
	}
}
