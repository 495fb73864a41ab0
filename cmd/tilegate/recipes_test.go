package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

// sharedCache is a real cache from deploy/ in front of a real tilegate in front of a private bucket.
type sharedCache struct {
	name     string // as it calls itself in Cache-Status
	url      string
	config   string // tilegate's
	secret   string // X-Origin-Verify
	dir      string // where nginx keeps its cache and its log; Varnish keeps nothing there
	bucket   *fakeaws.Server
	tilegate *program
	tiles    map[string][]byte // by path, e.g. 5/16/10

	mu  sync.Mutex
	saw []*http.Request // what came out of the cache, towards tilegate
}

const warmTile = "5/16/10"

func TestNginxRecipe(t *testing.T) {
	c := behindRecipe(t, "nginx", "nginx.conf")
	conf := edit(t, "nginx.conf", map[string]string{
		"server 127.0.0.1:8080;":         "server " + c.relay(t) + ";",
		"/var/cache/nginx-tilegate":      c.dir + "/cache",
		"/var/log/nginx/tilegate.log":    c.dir + "/access.log",
		"listen 80;":                     "listen {{.Address}};",
		"change-me-to-the-origin-secret": c.secret,
	})
	c.url = testenv.Nginx(t, conf)
	c.test(t)
	t.Run("nothing of a viewer on the disk", c.nothingOnDisk)
}

func TestVarnishRecipe(t *testing.T) {
	c := behindRecipe(t, "varnish", "varnish.vcl")
	host, port, _ := strings.Cut(c.relay(t), ":")
	c.url = testenv.Varnish(t, edit(t, "varnish.vcl", map[string]string{
		`.host = "127.0.0.1"`:            fmt.Sprintf(".host = %q", host),
		`.port = "8080"`:                 fmt.Sprintf(".port = %q", port),
		"change-me-to-the-origin-secret": c.secret,
	}))
	c.test(t)
}

// edit is a recipe with the lines changed that every site has to change.
func edit(t *testing.T, name string, changes map[string]string) string {
	t.Helper()
	text := readRecipe(t, name)
	for from, to := range changes {
		if !strings.Contains(text, from) {
			t.Fatalf("deploy/%s has no %q", name, from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

func readRecipe(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var settingLine = regexp.MustCompile(`(?m)^# +((?:server|auth|cdn): +\{.*\})$`)

// behindRecipe starts a tilegate with the settings that the recipe's head asks for.
func behindRecipe(t *testing.T, name, file string) *sharedCache {
	t.Helper()
	c := &sharedCache{name: name, secret: "the-cache's-own-secret-0123456789", dir: t.TempDir(), bucket: privateBucket(t), tiles: randomTiles(1)}
	t.Setenv("ORIGIN_SECRET", c.secret)
	c.tiles[warmTile] = c.tiles["9/0/0"]
	c.tiles["1/1/0"] = append(bytes.Clone(c.tiles[warmTile]), "another tile"...)
	for path, body := range c.tiles {
		c.bucket.Put("tiles", "basemap/"+path+".png", fakeaws.Object{Body: body})
	}
	key, _, _ := command(t, "keygen")
	settings := ""
	for _, line := range settingLine.FindAllStringSubmatch(readRecipe(t, file), -1) {
		settings += line[1] + "\n"
	}
	for from, to := range map[string]string{
		`listen: "127.0.0.1:8080"`: `listen: "127.0.0.1:0", admin_listen: ""`,
		"verify_header:":           fmt.Sprintf("signing_keys: [{file: %q}], verify_header:", writeFile(t, "tilegate.key", key)),
	} {
		if !strings.Contains(settings, from) {
			t.Fatalf("deploy/%s: the settings for tilegate have no %q:\n%s", file, from, settings)
		}
		settings = strings.ReplaceAll(settings, from, to)
	}
	c.config = writeFile(t, "tilegate.yaml", settings+fmt.Sprintf(`aws: {endpoint: %q, sts_endpoint: %q, path_style: true, role: {arn: %q}}
tilesets:
  basemap: {default: true, source: "s3://tiles/basemap/{z}/{x}/{y}.png"}
  roads: {source: "s3://tiles/roads/{z}/{x}/{y}.png"}
`, c.bucket.URL(), c.bucket.URL(), testRole))
	c.tilegate, _ = start(t, baseCredentials(testKey, testSecret), "serve", "-c", c.config)
	eventually(t, "ready", func() error { return wantStatus(t, http.StatusOK, c.tilegate.url+"/ready") })
	return c
}

// relay stands between the cache and tilegate, changes nothing, and remembers what it saw.
func (c *sharedCache) relay(t *testing.T) (address string) {
	t.Helper()
	target, err := url.Parse(c.tilegate.url)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	pass := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host, r.Out.Header = r.In.Host, r.In.Header.Clone()
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.saw = append(c.saw, r.Clone(r.Context()))
		c.mu.Unlock()
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return strings.TrimPrefix(server.URL, "http://")
}

// shared is the requests for tiles that bore the cache's secret.
func (c *sharedCache) shared(path string) (found []*http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.saw {
		if r.Header.Get("X-Origin-Verify") != "" && strings.HasPrefix(r.URL.Path, path) {
			found = append(found, r)
		}
	}
	return found
}

// people are the viewers: each one's way in, as name and value of a header.
type people struct{ alice, bob, lowZooms, elsewhere, otherTileset []string }

func (c *sharedCache) people(t *testing.T) people {
	t.Helper()
	bearer := func(args ...string) []string {
		return []string{"Authorization", "Bearer " + mintToken(t, c.config, args...)}
	}
	return people{
		alice:        bearer("--tilesets", "basemap"),
		bob:          []string{"Cookie", signIn(t, c.url, mintToken(t, c.config, "--tilesets", "*"))},
		lowZooms:     bearer("--tilesets", "basemap", "--zoom", "0-3"),
		elsewhere:    bearer("--tilesets", "basemap", "--bbox=-60,-30,-50,-20"),
		otherTileset: bearer("--tilesets", "roads"),
	}
}

// signIn exchanges an access token for a session cookie, as a browser would send it.
func signIn(t *testing.T, base, token string) string {
	t.Helper()
	answer, body := send(t, http.MethodPost, base+"/session", "", "Authorization", "Bearer "+token)
	if answer.StatusCode != http.StatusOK || len(answer.Cookies()) != 1 {
		t.Fatalf("POST /session: got %s %s with cookies %v", answer.Status, body, answer.Cookies())
	}
	cookie := answer.Cookies()[0]
	return cookie.Name + "=" + cookie.Value
}

// send is get with a method and a body.
func send(t *testing.T, method, url, body string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close() // all of it has been read
	if err != nil {
		t.Fatal(err)
	}
	return answer, got
}

func wantStatus(t *testing.T, want int, url string, headers ...string) error {
	t.Helper()
	answer, body, err := try(t.Context(), url, headers...)
	if err != nil {
		return err
	}
	if answer.StatusCode != want {
		return fmt.Errorf("got %s %.200s, want %d", answer.Status, body, want)
	}
	return nil
}

// hit reads the last word of Cache-Status, which is the cache's that is nearest to the client (RFC 9211).
func (c *sharedCache) hit(answer *http.Response) bool {
	return strings.HasSuffix(cacheStatus(answer), ", "+c.name+"; hit")
}

func cacheStatus(answer *http.Response) string {
	return strings.Join(answer.Header.Values("Cache-Status"), ", ")
}

func (c *sharedCache) test(t *testing.T) {
	p := c.people(t)
	t.Run("two users share one fetch", func(t *testing.T) { c.twoUsersShareOneFetch(t, p) })
	t.Run("refused on the warm cache", func(t *testing.T) { c.refusedOnTheWarmCache(t, p) })
	t.Run("smuggled headers", func(t *testing.T) { c.smuggledHeaders(t, p) })
	t.Run("smuggled paths", func(t *testing.T) { c.smuggledPaths(t, p) })
	t.Run("conditional, ranged and missing", func(t *testing.T) { c.conditionalRangedMissing(t, p) })
	t.Run("answers that differ by caller pass through", func(t *testing.T) { c.passesThrough(t, p) })
	t.Run("signing out holds on the warm cache", func(t *testing.T) { c.signOut(t) })
	t.Run("the shared fetch bears nothing of a viewer", c.fetchesBearNothing)
}

func (c *sharedCache) twoUsersShareOneFetch(t *testing.T, p people) {
	tile := c.url + "/tiles/basemap/" + warmTile + ".png"
	for i, viewer := range [][]string{p.alice, p.bob, p.alice, p.bob} {
		// A query is no part of the key, and no way to fill the cache with copies.
		answer, body := get(t, fmt.Sprintf("%s?v=%d", tile, i), viewer...)
		if answer.StatusCode != http.StatusOK || !bytes.Equal(body, c.tiles[warmTile]) || c.hit(answer) != (i > 0) {
			t.Fatalf("request %d: got %s, %d bytes, Cache-Status %q", i, answer.Status, len(body), cacheStatus(answer))
		}
		for name, want := range map[string]string{
			"Cache-Control": "private, max-age=3600, stale-while-revalidate=600", "Content-Type": "image/png", "X-Content-Type-Options": "nosniff",
			"Set-Cookie": "", "Surrogate-Control": "", "Surrogate-Key": "", "Cdn-Cache-Control": "", "Cache-Tag": "", "Age": "", "Vary": "",
		} {
			if got := answer.Header.Get(name); got != want {
				t.Errorf("request %d: %s is %q, want %q", i, name, got, want)
			}
		}
	}
	if got := len(c.shared("/tiles/basemap/" + warmTile)); got != 1 {
		t.Errorf("the cache asked tilegate %d times, want once", got)
	}
	if got := c.bucket.Count("GetObject", "tiles", "basemap/"+warmTile+".png"); got != 1 {
		t.Errorf("tilegate asked S3 %d times, want once", got)
	}
	path := fmt.Sprintf(`"path":"/tiles/basemap/%s.png"`, warmTile)
	eventually(t, "tilegate's log", func() error {
		log := c.tilegate.log()
		if tiles, asked := strings.Count(log, path), strings.Count(log, `"path":"/auth/verify","status":204`); tiles != 1 || asked != 4 {
			return fmt.Errorf("%d fetches and %d admissions, want 1 and 4", tiles, asked)
		}
		return nil
	})
}

// wantRefusal wants a refusal that tilegate has worded, with nothing of the tile in it.
func (c *sharedCache) wantRefusal(t *testing.T, what string, answer *http.Response, body []byte, want int) {
	t.Helper()
	var problem struct{ Status int }
	if answer.StatusCode != want || answer.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(body, &problem) != nil || problem.Status != want {
		t.Errorf("%s: got %s %s %.100q, want a problem of %d", what, answer.Status, answer.Header.Get("Content-Type"), body, want)
	}
	if challenges := len(answer.Header.Values("Www-Authenticate")); (want == http.StatusUnauthorized) != (challenges == 1) {
		t.Errorf("%s: got %d challenges", what, challenges)
	}
	if cc := answer.Header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
		t.Errorf("%s: Cache-Control is %q", what, cc)
	}
	if answer.Header.Get("Etag") != "" || answer.Header.Get("Content-Range") != "" || c.hit(answer) {
		t.Errorf("%s: tells of the tile: %v", what, answer.Header)
	}
}

func (c *sharedCache) refusedOnTheWarmCache(t *testing.T, p people) {
	etag := `"` + strings.Repeat("0", 32) + `"`
	for _, path := range []string{"/tiles/basemap/" + warmTile + ".png", "/tiles/basemap/" + warmTile, "/tiles/" + warmTile + ".png?access_token=x"} {
		for _, test := range []struct {
			name    string
			headers []string
			want    int
		}{
			{"nobody", nil, 401},
			{"nobody, conditional", []string{"If-None-Match", etag}, 401},
			{"nobody, any validator", []string{"If-None-Match", "*"}, 401},
			{"nobody, a range", []string{"Range", "bytes=0-9"}, 401},
			{"nobody, told not to revalidate", []string{"Cache-Control", "only-if-cached"}, 401},
			{"a forged token", []string{"Authorization", p.alice[1][:len(p.alice[1])-4] + "AAAA"}, 401},
			{"a forged cookie", []string{"Cookie", p.bob[1][:len(p.bob[1])-4] + "AAAA"}, 401},
			{"a cookie of another name", []string{"Cookie", strings.TrimPrefix(p.bob[1], "__Host-")}, 401},
			{"zooms below", p.lowZooms, 403},
			{"another area", p.elsewhere, 403},
			{"another tileset", p.otherTileset, 403},
			{"another tileset, any validator", append([]string{"If-None-Match", "*"}, p.otherTileset...), 403},
			{"a bad token before a good cookie", []string{"Authorization", "Bearer x", "Cookie", p.bob[1]}, 401},
		} {
			answer, body := get(t, c.url+path, test.headers...)
			c.wantRefusal(t, test.name+" at "+path, answer, body, test.want)
		}
	}
}

// What a client says of itself in the headers by which caches and tilegate speak to each other opens nothing.
func (c *sharedCache) smuggledHeaders(t *testing.T, p people) {
	tile, low := "/tiles/basemap/"+warmTile+".png", "/tiles/basemap/1/1/0.png"
	for _, who := range []struct {
		name string
		as   []string
		want int
	}{{"nobody", nil, 401}, {"zooms below", p.lowZooms, 403}} {
		for _, smuggled := range [][]string{
			{"X-Original-URI", low},
			{"X-Original-Uri", tile},
			{"x-original-uri", low, "X-Original-URI", low},
			{"X-Original-URL", low},
			{"X-Forwarded-Uri", low},
			{"X-Forwarded-Uri", low, "X-Original-URI", low},
			{"X-Rewrite-Url", low},
			{"X-Origin-Verify", "guessed"},
			{"X-Origin-Verify", c.secret},
			{"X-Origin-Verify", c.secret, "X-Origin-Verify", c.secret},
			{"X-Tile", tile},
			{"X-Tile", tile, "X-Original-URI", low},
			{"X-Tilegate-Verify", "204"},
			{"X-Forwarded-For", "127.0.0.1"},
			{"X-Forwarded-Host", "localhost"},
			{"X-Method-Override", "OPTIONS"},
			{"X-Http-Method-Override", "OPTIONS"},
			{"Connection", "X-Original-URI, X-Origin-Verify, Authorization"},
			{"Connection", "X-Tile"},
			{"X-Varnish", "1"},
			{"X-Accel-Redirect", tile},
		} {
			status, body := raw(t, c.url, "GET", tile, append(smuggled, who.as...)...)
			// The Connection header may take the credential away; it must not take the question away.
			if status != who.want && (smuggled[0] != "Connection" || status < 400 || status >= 500) || bytes.Contains(body, c.tiles[warmTile]) {
				t.Errorf("%s with %q: got %d %.60q, want %d", who.name, smuggled, status, body, who.want)
			}
		}
		// The secret opens no other door either.
		for _, path := range []string{"/auth/verify", "/_tilegate_verify", "/catalog", "/tiles/basemap.json", "/tiles/roads/0/0/0.png"} {
			status, body := raw(t, c.url, "GET", path, append([]string{"X-Origin-Verify", c.secret, "X-Original-URI", low, "X-Tile", tile}, who.as...)...)
			if allowed := who.as != nil && (path == "/catalog" || path == "/tiles/basemap.json"); !allowed && (status < 400 || status >= 500) {
				t.Errorf("%s at %s: got %d %.60q, want a refusal", who.name, path, status, body)
			}
		}
	}
	// Answers without a body are not all admissions: these need no credential, and their 204 must not turn into a tile.
	for _, request := range []struct{ method, path string }{{"DELETE", "/session"}, {"OPTIONS", tile}, {"OPTIONS", "/session"}} {
		status, body := raw(t, c.url, request.method, request.path, "X-Tile", tile, "X-Original-URI", tile, "X-Origin-Verify", c.secret)
		if status != http.StatusNoContent || len(body) != 0 {
			t.Errorf("%s %s with a smuggled state: got %d with %d bytes, want 204 and none", request.method, request.path, status, len(body))
		}
	}
	// The one who may see the tile is not kept from it by what a client adds, and reads no other one.
	status, body := raw(t, c.url, "GET", tile, append([]string{"X-Original-URI", low, "X-Tile", low, "X-Forwarded-Uri", low}, p.alice...)...)
	if status != http.StatusOK || !bytes.Contains(body, c.tiles[warmTile]) {
		t.Errorf("the one who may: got %d with %d bytes", status, len(body))
	}
}

// Paths that the cache and tilegate might read differently: one verifies, the other serves.
func (c *sharedCache) smuggledPaths(t *testing.T, p people) {
	host := strings.TrimPrefix(c.url, "http://")
	for _, path := range []string{
		"//tiles/basemap/" + warmTile + ".png",
		"/tiles//basemap/" + warmTile + ".png",
		"/./tiles/basemap/" + warmTile + ".png",
		"/tiles/basemap/%35/16/10.png",
		"/%74iles/basemap/" + warmTile + ".png",
		"/tiles/basemap/1/../" + warmTile + ".png",
		"/tiles/basemap/1/1/0.png/../../../" + warmTile + ".png",
		"/tiles/basemap/1/1/0.png/%2e%2e/%2e%2e/%2e%2e/" + warmTile + ".png",
		"/tiles/basemap/1/1/0.png%2f..%2f..%2f..%2f" + warmTile + ".png",
		"/tiles/basemap/1/1/0.png#/../../../" + warmTile + ".png",
		"/tiles/basemap/1/1/0.png;/../../../" + warmTile + ".png",
		"/tiles/basemap/1/1/0.png\\..\\..\\..\\" + warmTile + ".png",
		"/tiles/basemap/" + warmTile + ".png/",
		"/tiles/basemap/" + warmTile + ".png%00",
		"/tiles/basemap/" + warmTile + ".png%0a",
		"/tiles/basemap/" + warmTile + ".png%20",
		"/tiles/basemap/05/16/10.png",
		"/TILES/basemap/" + warmTile + ".png",
		"/t//tiles/basemap/" + warmTile + ".png",
		"/t/x/../../tiles/basemap/" + warmTile + ".png",
		"http://" + host + "/tiles/basemap/1/../" + warmTile + ".png",
		"http://127.0.0.1:1/tiles/basemap/" + warmTile + ".png",
		"/tiles/basemap/" + warmTile + ".png?/../../1/1/0.png",
		"/tiles/basemap/" + warmTile + ".png#?v=1",
		"*",
	} {
		for name, as := range map[string][]string{"nobody": nil, "zooms below": p.lowZooms} {
			status, body := raw(t, c.url, "GET", path, as...)
			if status < 400 || status >= 500 || bytes.Contains(body, c.tiles[warmTile]) {
				t.Errorf("%s at %q: got %d with %d bytes, want a refusal", name, path, status, len(body))
			}
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PURGE", "BAN", "TRACE"} {
		if status, body := raw(t, c.url, method, "/tiles/basemap/"+warmTile+".png"); status < 400 || status == 502 || bytes.Contains(body, c.tiles[warmTile]) {
			t.Errorf("%s: got %d", method, status)
		}
	}
	if answer, _ := get(t, c.url+"/tiles/basemap/"+warmTile+".png", p.alice...); !c.hit(answer) {
		t.Errorf("after all of this the tile is no hit any more: %q", cacheStatus(answer))
	}
}

// raw sends a request as it is written: net/http's client would tidy it up.
func raw(t *testing.T, base, method, target string, headers ...string) (status int, answer []byte) {
	t.Helper()
	host := strings.TrimPrefix(base, "http://")
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, host)
	closes := true
	for i := 0; i < len(headers); i += 2 {
		fmt.Fprintf(&request, "%s: %s\r\n", headers[i], headers[i+1])
		closes = closes && headers[i] != "Connection"
	}
	if closes {
		request.WriteString("Connection: close\r\n")
	}
	if _, err := io.WriteString(conn, request.String()+"\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s %q: %v", method, target, headers, err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatalf("%s %s %q: %v", method, target, headers, err)
	}
	return got.StatusCode, body
}

func (c *sharedCache) conditionalRangedMissing(t *testing.T, p people) {
	tile, body := c.url+"/tiles/basemap/"+warmTile+".png", c.tiles[warmTile]
	first, _ := get(t, tile, p.alice...)
	etag, modified := first.Header.Get("Etag"), first.Header.Get("Last-Modified")
	if etag == "" || strings.HasPrefix(etag, "W/") || modified == "" {
		t.Fatalf("got validators %q and %q", etag, modified)
	}
	before := len(c.shared(""))
	for _, test := range []struct {
		name    string
		headers []string
		status  int
		body    []byte
	}{
		{"If-None-Match", []string{"If-None-Match", etag}, 304, nil},
		{"another validator", []string{"If-None-Match", `"another"`}, 200, body},
		{"If-Modified-Since", []string{"If-Modified-Since", modified}, 304, nil},
		{"the first bytes", []string{"Range", "bytes=0-7"}, 206, body[:8]},
		{"the last bytes", []string{"Range", "bytes=-5"}, 206, body[len(body)-5:]},
		{"If-Range", []string{"Range", "bytes=8-15", "If-Range", etag}, 206, body[8:16]},
		{"If-Range of another", []string{"Range", "bytes=8-15", "If-Range", `"another"`}, 200, body},
		{"beyond the end", []string{"Range", fmt.Sprintf("bytes=%d-", len(body)+1)}, 416, nil},
	} {
		answer, got := get(t, tile, append(test.headers, p.bob...)...)
		if answer.StatusCode != test.status || test.body != nil && !bytes.Equal(got, test.body) {
			t.Errorf("%s: got %s with %d bytes, want %d with %d", test.name, answer.Status, len(got), test.status, len(test.body))
		}
		if test.status == 304 && (len(got) != 0 || answer.Header.Get("Etag") != etag || !strings.HasPrefix(answer.Header.Get("Cache-Control"), "private, ")) {
			t.Errorf("%s: got %d bytes and %v", test.name, len(got), answer.Header)
		}
	}
	if answer, got := send(t, http.MethodHead, tile, "", p.alice...); answer.StatusCode != 200 || answer.ContentLength != int64(len(body)) || len(got) != 0 {
		t.Errorf("HEAD: got %s, length %d", answer.Status, answer.ContentLength)
	}
	if got := len(c.shared("")); got != before {
		t.Errorf("the cache asked tilegate %d times more for a tile it holds", got-before)
	}

	missing := c.url + "/tiles/basemap/9/500/500.png"
	for range 2 {
		answer, got := get(t, missing, p.alice...)
		if answer.StatusCode != http.StatusNotFound || !strings.HasPrefix(answer.Header.Get("Cache-Control"), "private, ") {
			t.Errorf("a missing tile: got %s %.100q, Cache-Control %q", answer.Status, got, answer.Header.Get("Cache-Control"))
		}
	}
	if got := c.bucket.Count("GetObject", "tiles", "basemap/9/500/500.png"); got != 1 {
		t.Errorf("two requests for a missing tile: %d at S3, want one", got)
	}
	for _, test := range []struct {
		as   []string
		want int
	}{{nil, 401}, {p.lowZooms, 403}} {
		answer, got := get(t, missing, test.as...)
		c.wantRefusal(t, "a tile remembered as missing", answer, got, test.want)
	}
}

func (c *sharedCache) passesThrough(t *testing.T, p people) {
	catalog := func(as []string) string {
		_, body := get(t, c.url+"/catalog", as...)
		return string(body)
	}
	if all, one := catalog(p.bob), catalog(p.otherTileset); !strings.Contains(all, `"basemap"`) || !strings.Contains(all, `"roads"`) || strings.Contains(one, `"basemap"`) {
		t.Errorf("/catalog: got %s for everything, and %s for one tileset", all, one)
	}
	for _, test := range []struct {
		as   []string
		want int
	}{{p.alice, 200}, {nil, 401}, {p.otherTileset, 403}, {p.bob, 200}} {
		if err := wantStatus(t, test.want, c.url+"/tiles/basemap.json", test.as...); err != nil {
			t.Errorf("TileJSON: %v", err)
		}
	}
	answer, body := send(t, http.MethodPost, c.url+"/tokens", `{"tilesets":["basemap"]}`, p.alice...)
	var minted struct {
		Token string
		Tiles map[string]string
	}
	if err := json.Unmarshal(body, &minted); err != nil || minted.Token == "" || !strings.HasPrefix(minted.Tiles["basemap"], "https://tiles.example.com/t/") {
		t.Fatalf("POST /tokens: got %s %s", answer.Status, body)
	}
	before := len(c.shared(""))
	under := c.url + "/t/" + minted.Token + "/tiles/basemap/" + warmTile + ".png"
	if answer, body := get(t, under); answer.StatusCode != 200 || !bytes.Equal(body, c.tiles[warmTile]) || strings.Contains(cacheStatus(answer), c.name) {
		t.Errorf("with the token in the path: got %s, %d bytes, Cache-Status %q", answer.Status, len(body), cacheStatus(answer))
	}
	if err := wantStatus(t, 401, strings.Replace(under, minted.Token, "x"+minted.Token[1:], 1)); err != nil {
		t.Errorf("with a forged token in the path: %v", err)
	}
	if got := len(c.shared("")); got != before {
		t.Error("a tile under /t/ was fetched for everybody")
	}
}

func (c *sharedCache) signOut(t *testing.T) {
	session := []string{"Cookie", signIn(t, c.url, mintToken(t, c.config, "--tilesets", "basemap"))}
	tile := c.url + "/tiles/basemap/" + warmTile + ".png"
	if answer, _ := get(t, tile, session...); !c.hit(answer) {
		t.Fatalf("got %s, Cache-Status %q", answer.Status, cacheStatus(answer))
	}
	if answer, body := send(t, http.MethodDelete, c.url+"/session", "", session...); answer.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE /session: got %s %s", answer.Status, body)
	}
	answer, body := get(t, tile, session...)
	c.wantRefusal(t, "after signing out", answer, body, http.StatusUnauthorized)
}

func (c *sharedCache) fetchesBearNothing(t *testing.T) {
	fetches := c.shared("")
	if len(fetches) == 0 {
		t.Fatal("there was none")
	}
	allowed := []string{"Accept-Encoding", "X-Origin-Verify", "X-Forwarded-For", "X-Varnish", "Via", "User-Agent", "If-None-Match", "If-Modified-Since", "X-Forwarded-Proto"}
	for _, r := range fetches {
		if r.URL.RawQuery != "" || len(r.Header["X-Origin-Verify"]) != 1 || !regexp.MustCompile(`^/tiles/basemap/\d+/\d+/\d+(\.png)?$|^/tiles/\d+/\d+/\d+(\.png)?$`).MatchString(r.URL.Path) {
			t.Errorf("the secret went with %s %s", r.Method, r.URL)
		}
		for name := range r.Header {
			if !slices.Contains(allowed, name) {
				t.Errorf("%s bears %s: %q", r.URL, name, r.Header[name])
			}
		}
	}
}

// nothingOnDisk looks for credentials in all that nginx has written.
func (c *sharedCache) nothingOnDisk(t *testing.T) {
	c.mu.Lock()
	var secrets []string
	for _, r := range c.saw {
		secrets = append(secrets, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		_, cookie, _ := strings.Cut(r.Header.Get("Cookie"), "=")
		secrets = append(secrets, cookie)
		if rest, ok := strings.CutPrefix(r.URL.Path, "/t/"); ok {
			token, _, _ := strings.Cut(rest, "/")
			secrets = append(secrets, token)
		}
	}
	c.mu.Unlock()
	secrets = slices.Compact(slices.Sorted(slices.Values(append(secrets, c.secret))))
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return len(s) < 16 })
	if len(secrets) < 8 {
		t.Fatalf("only %d credentials were seen", len(secrets))
	}
	files := 0
	err := filepath.WalkDir(c.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		for _, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds a credential", filepath.Base(path))
			}
		}
		return err
	})
	if err != nil || files < 2 {
		t.Errorf("%d files, %v: want the log and a tile at least", files, err)
	}
}
