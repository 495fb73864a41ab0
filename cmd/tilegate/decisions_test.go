package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tilegate/internal/testenv"
)

// decided is another tile server, a real go-pmtiles, behind a real proxy that asks tilegate for decisions.
type decided struct {
	url      string // the proxy's
	config   string // tilegate's
	tilegate *program
	tile     []byte // of the tileset world
	secret   []byte // of an archive that tilegate does not know

	mu  sync.Mutex
	saw []*http.Request // what reached the tile server
}

func TestNginxBeforeATileServer(t *testing.T) {
	d := behindDecisions(t, "nginx-tileserver.conf")
	d.url = testenv.Nginx(t, edit(t, "nginx-tileserver.conf", map[string]string{
		"server 127.0.0.1:8080;": "server " + strings.TrimPrefix(d.tilegate.url, "http://") + ";",
		"server 127.0.0.1:8081;": "server " + d.tileServer(t) + ";",
		"listen 80;":             "listen {{.Address}};",
	}))
	d.test(t, http.StatusNotFound) // as tilegate itself says, which nginx asks for the refusal
}

func TestCaddyBeforeATileServer(t *testing.T) {
	d := behindDecisions(t, "Caddyfile")
	d.url = testenv.Caddy(t, edit(t, "Caddyfile", map[string]string{
		"127.0.0.1:8080 {":             strings.TrimPrefix(d.tilegate.url, "http://") + " {",
		"127.0.0.1:8081":               d.tileServer(t),
		"reverse_proxy 127.0.0.1:8080": "reverse_proxy " + strings.TrimPrefix(d.tilegate.url, "http://"),
		"tiles.example.com {":          "http://{{.Address}} {\n\tbind 127.0.0.1",
	}))
	d.test(t, http.StatusForbidden)
}

// behindDecisions starts a tilegate with the settings that the recipe's head asks for.
func behindDecisions(t *testing.T, file string) *decided {
	t.Helper()
	bucket := privateBucket(t)
	key, _, _ := command(t, "keygen")
	settings := ""
	for _, line := range settingLine.FindAllStringSubmatch(readRecipe(t, file), -1) {
		settings += line[1] + "\n"
	}
	settings = strings.Replace(settings, `listen: "127.0.0.1:8080"`, `listen: "127.0.0.1:0", admin_listen: ""`, 1)
	settings = strings.Replace(settings, "verify_header:", fmt.Sprintf("signing_keys: [{file: %q}], verify_header:", writeFile(t, "tilegate.key", key)), 1)
	d := &decided{tile: []byte("\x89PNG\r\n\x1a\na tile of the world"), secret: []byte("\x89PNG\r\n\x1a\na tile that nobody may see")}
	d.config = writeFile(t, "tilegate.yaml", settings+fmt.Sprintf(`aws: {endpoint: %[1]q, sts_endpoint: %[1]q, path_style: true, role: {arn: %[2]q}}
tilesets:
  world: {source: "s3://not-read/world/{z}/{x}/{y}.png", maxzoom: 2}
  other: {source: "s3://not-read/other/{z}/{x}/{y}.png", maxzoom: 2}
`, bucket.URL(), testRole))
	d.tilegate, _ = start(t, baseCredentials(testKey, testSecret), "serve", "-c", d.config)
	return d
}

// tileServer starts go-pmtiles, and a relay before it that remembers what arrives.
func (d *decided) tileServer(t *testing.T) (address string) {
	t.Helper()
	dir := t.TempDir()
	for name, body := range map[string][]byte{"world": d.tile, "other": d.tile, "secret": d.secret} {
		if err := os.WriteFile(filepath.Join(dir, name+".pmtiles"), oneTileArchive(t, body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	target, err := url.Parse(testenv.PMTilesServer(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	pass := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.saw = append(d.saw, r.Clone(r.Context()))
		d.mu.Unlock()
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return strings.TrimPrefix(server.URL, "http://")
}

// oneTileArchive is a PMTiles archive of version 3 with the tile 0/0/0 (https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md).
func oneTileArchive(t *testing.T, tile []byte) []byte {
	t.Helper()
	pack := func(b []byte) []byte {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return packed.Bytes()
	}
	directory := []byte{1, 0, 1} // one entry, tile id 0, run length 1
	directory = binary.AppendUvarint(directory, uint64(len(tile)))
	directory = pack(append(directory, 1)) // offset 0, plus 1
	metadata := pack([]byte("{}"))
	header := []byte("PMTiles\x03")
	at := uint64(127)
	for _, n := range []uint64{
		at, uint64(len(directory)), at + uint64(len(directory)), uint64(len(metadata)),
		at + uint64(len(directory)+len(metadata)), 0, at + uint64(len(directory)+len(metadata)), uint64(len(tile)), 1, 1, 1,
	} {
		header = binary.LittleEndian.AppendUint64(header, n)
	}
	header = append(header, 1, 2, 1, 2, 0, 0) // clustered, gzip inside, tiles as they are, PNG, zooms 0 to 0
	header = append(header, make([]byte, 127-len(header))...)
	return slices.Concat(header, directory, metadata, tile)
}

// test is what holds for each recipe. unknown is the status for a tileset that is granted but is none of tilegate's.
func (d *decided) test(t *testing.T, unknown int) {
	const tile = "/tiles/world/0/0/0.png"
	bearer := func(args ...string) []string {
		return []string{"Authorization", "Bearer " + mintToken(t, d.config, args...)}
	}
	all, elsewhere, high := bearer("--tilesets", "world"), bearer("--tilesets", "other"), bearer("--tilesets", "world", "--zoom", "1-2")
	session := []string{"Cookie", signIn(t, d.url, mintToken(t, d.config, "--tilesets", "world"))}

	answer, body := send(t, http.MethodPost, d.url+"/tokens", `{"tilesets":["world"]}`, all...)
	var minted struct {
		Token string
		Tiles map[string]string
	}
	if err := json.Unmarshal(body, &minted); err != nil || minted.Token == "" || !strings.HasPrefix(minted.Tiles["world"], "https://tiles.example.com/t/") {
		t.Fatalf("POST /tokens: got %s %s", answer.Status, body)
	}
	byToken := strings.TrimPrefix(strings.Replace(minted.Tiles["world"], "{z}/{x}/{y}", "0/0/0", 1), "https://tiles.example.com")
	answer, body = get(t, d.url+"/tiles/world.json", session...)
	if answer.StatusCode != 200 || !strings.Contains(string(body), "https://tiles.example.com/tiles/world/{z}/{x}/{y}.png") {
		t.Errorf("TileJSON: got %s %s", answer.Status, body)
	}

	for _, test := range []struct {
		name, path string
		as         []string
		want       int
	}{
		{"by a token", tile, all, 200},
		{"by a session", tile, session, 200},
		{"by a path token", byToken, nil, 200},
		{"with a query", tile + "?v=1", all, 200},
		{"a tile that the archive lacks", "/tiles/world/1/0/0.png", all, 404},

		{"nobody", tile, nil, 401},
		{"a forged token", tile, []string{"Authorization", all[1][:len(all[1])-4] + "AAAA"}, 401},
		{"a forged path token", "/t/x" + strings.TrimPrefix(byToken, "/t/")[1:], nil, 401},
		{"another tileset's token", tile, elsewhere, 403},
		{"another tileset by the path token", strings.Replace(byToken, "/world/", "/other/", 1), nil, 403},
		{"zooms above", tile, high, 403},
		{"an archive that tilegate does not know", "/tiles/secret/0/0/0.png", bearer("--tilesets", "*"), unknown},
		{"the same, nobody", "/tiles/secret/0/0/0.png", nil, 401},
	} {
		answer, body := get(t, d.url+test.path, test.as...)
		if answer.StatusCode != test.want || (test.want == 200) != bytes.Equal(body, d.tile) || bytes.Contains(body, d.secret) {
			t.Errorf("%s: got %s, %.80q, want %d", test.name, answer.Status, body, test.want)
		}
		if test.want == 200 && (answer.Header.Get("Cache-Control") != "private, max-age=3600" || answer.Header.Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%s: got %v", test.name, answer.Header)
		}
		if (test.want == 401 || test.want == 403) && (!strings.Contains(answer.Header.Get("Cache-Control"), "no-store") || len(answer.Header.Values("Www-Authenticate")) > 1 || (test.want == 401) != (answer.Header.Get("Www-Authenticate") != "")) {
			t.Errorf("%s: got %v", test.name, answer.Header)
		}
	}

	// What a client says in the headers by which proxies speak to tilegate opens nothing, and no second spelling does.
	good := []string{
		"X-Original-URI", tile, "X-Forwarded-Uri", tile, "X-Original-URL", "https://tiles.example.com" + tile, "X-Envoy-Original-Path", tile,
		"X-Forwarded-Method", "OPTIONS", "X-Original-Method", "OPTIONS", "Origin", "https://evil.example", "Access-Control-Request-Method", "GET",
	}
	for _, path := range []string{
		"/tiles/secret/0/0/0.png", "/tiles/world/../secret/0/0/0.png", "/tiles/world/%2e%2e/secret/0/0/0.png", "/tiles/world%2f..%2fsecret/0/0/0.png",
		"//tiles/secret/0/0/0.png", "/tiles//secret/0/0/0.png", "/./tiles/secret/0/0/0.png", "/%74iles/secret/0/0/0.png", "/tiles/secret/0/0/%30.png",
		"/tiles/secret/00/0/0.png", "/secret/0/0/0.png", "/secret.json", "/tiles/secret/0/0/0.png?/../../world/0/0/0.png", "/t/" + minted.Token + "/../../tiles/secret/0/0/0.png",
		"/t/" + minted.Token + "/tiles/world/../secret/0/0/0.png", "/t/" + minted.Token + "/tiles/secret/0/0/0.png", "/auth/verify/../../tiles/secret/0/0/0.png", "/_tilegate_verify",
	} {
		for name, as := range map[string][]string{"granted another": all, "with smuggled headers": append(slices.Clone(good), all...), "nobody, smuggling": good} {
			status, body := raw(t, d.url, "GET", path, as...)
			if status < 300 || status >= 500 || bytes.Contains(body, d.secret) || bytes.Contains(body, d.tile) {
				t.Errorf("%s: %s: got %d %.60q", name, path, status, body)
			}
		}
	}
	if status, body := raw(t, d.url, "GET", tile, good...); status < 400 || bytes.Contains(body, d.tile) {
		t.Errorf("nobody, smuggling, at a real tile: got %d", status)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PURGE"} {
		if status, _ := raw(t, d.url, method, tile, all...); status < 400 || status >= 500 {
			t.Errorf("%s: got %d", method, status)
		}
	}

	if answer, body := send(t, http.MethodDelete, d.url+"/session", "", session...); answer.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE /session: got %s %s", answer.Status, body)
	}
	if err := wantStatus(t, 401, d.url+tile, session...); err != nil {
		t.Errorf("after signing out: %v", err)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.saw) < 4 {
		t.Errorf("the tile server saw %d requests", len(d.saw))
	}
	for _, r := range d.saw {
		if r.URL.RawQuery != "" || r.Header.Get("Authorization")+r.Header.Get("Cookie") != "" || !strings.HasPrefix(r.URL.Path, "/world/") || strings.Contains(r.URL.Path, minted.Token) {
			t.Errorf("the tile server saw %s %s %v", r.Method, r.URL, r.Header)
		}
	}
}
