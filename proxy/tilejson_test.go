package proxy_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy"
)

// tileJSON is version 3.0.0 as far as tilegate writes it (https://github.com/mapbox/tilejson-spec).
type tileJSON struct {
	TileJSON     string          `json:"tilejson"`
	Tiles        []string        `json:"tiles"`
	Name         string          `json:"name"`
	Attribution  string          `json:"attribution"`
	Scheme       string          `json:"scheme"`
	Version      string          `json:"version"`
	Format       string          `json:"format"`
	MinZoom      int             `json:"minzoom"`
	MaxZoom      int             `json:"maxzoom"`
	Bounds       []float64       `json:"bounds"`
	VectorLayers json.RawMessage `json:"vector_layers"`
	Scalable     bool            `json:"scalable"`
	TileSize     int             `json:"tileSize"`
}

func (w *world) tileJSON(path string, header ...string) (got tileJSON) {
	w.t.Helper()
	w.get(path, header...).decode(w.t, &got)
	return got
}

func TestTileJSON(t *testing.T) {
	layers := `[{"id":"streets","fields":{"name":"String"}}]`
	w := start(t, func(s *setup) {
		s.proxy.PublicURL = "https://tiles.example.com"
		roads := s.tileset("roads")
		roads.VectorLayers, roads.Attribution, roads.MinZoom, roads.MaxZoom, roads.Bounds = json.RawMessage(layers), "© <Acme>", 2, 12, tile.Box{West: 5, South: 45, East: 15, North: 55}
		s.tileset("retina").Version = ""
		s.tileset("open").Version = "a b&c=d#e/ü"
	})
	r := w.get("/tiles/roads.json", w.bearer()...)
	var got tileJSON
	r.decode(t, &got)
	if got.TileSize != 0 || w.tileJSON("/tiles/basemap.json", w.bearer()...).TileSize != 256 {
		t.Error("images have 256 pixels, and vector tiles no size, unless the configuration says otherwise")
	}
	if got.TileJSON != "3.0.0" || got.Name != "The roads" || got.Attribution != "© <Acme>" || got.MinZoom != 2 || got.MaxZoom != 12 ||
		!slices.Equal(got.Bounds, []float64{5, 45, 15, 55}) || string(got.VectorLayers) != layers {
		t.Errorf("got %+v", got)
	}
	if !slices.Equal(got.Tiles, []string{"https://tiles.example.com/tiles/roads/{z}/{x}/{y}.mvt?v=2026-11"}) {
		t.Errorf("got tiles %q", got.Tiles)
	}
	if r.header.Get("Content-Type") != "application/json" || r.header.Get("Cache-Control") != "private, no-store" || r.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("got headers %v", r.header)
	}
	basemap := w.tileJSON("/tiles/basemap.json", w.bearer()...)
	if basemap.Scalable || !w.tileJSON("/tiles/retina.json", w.bearer()...).Scalable {
		t.Error("the tileset whose source has {scale} should say that it is scalable, and no other")
	}
	if basemap.VectorLayers != nil {
		t.Errorf("a raster tileset has vector_layers %s", basemap.VectorLayers)
	}
	if got := w.tileJSON("/tiles/retina.json", w.bearer()...).Tiles[0]; got != "https://tiles.example.com/tiles/retina/{z}/{x}/{y}.png" {
		t.Errorf("without version: got %q", got)
	}
	if got := w.tileJSON("/tiles/open.json").Tiles[0]; got != "https://tiles.example.com/tiles/open/{z}/{x}/{y}.png?v=a+b%26c%3Dd%23e%2F%C3%BC" && got != "https://tiles.example.com/tiles/open/{z}/{x}/{y}.png?v=a%20b%26c%3Dd%23e%2F%C3%BC" {
		t.Errorf("version that needs escapes: got %q", got)
	}
	if head := w.do(http.MethodHead, "/tiles/roads.json", "", w.bearer()...); head.status != 200 && head.status != 405 || head.body != "" {
		t.Errorf("HEAD: got %d %q", head.status, head.body)
	}
}

// The tiles that a TileJSON names are there: what it says can be followed.
func TestTileJSONCanBeFollowed(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 3, 4, 2, tilePNG)
	got := w.tileJSON("/tiles/basemap.json", w.bearer()...)
	r := w.request("GET", "", "", w.bearer()...)
	r.URL.Path = strings.TrimPrefix(strings.Split(at(got.Tiles[0], "3/4/2"), "?")[0], "http://"+w.address)
	if tile := w.send(w.client, r); tile.status != 200 {
		t.Errorf("%s: got %d", r.URL, tile.status)
	}
}

func TestTileJSONIsClippedToTheGrant(t *testing.T) {
	w := start(t, func(s *setup) {
		s.tileset("roads").MinZoom, s.tileset("roads").MaxZoom, s.tileset("roads").Bounds = 3, 10, tile.Box{West: 0, South: 40, East: 10, North: 50}
	})
	for _, test := range []struct {
		name     string
		limits   auth.Limits
		min, max int
		bounds   []float64
		status   int
	}{
		{"no limits", auth.Limits{}, 3, 10, []float64{0, 40, 10, 50}, 200},
		{"zoom within", auth.Limits{Zoom: &tile.ZoomRange{Min: 5, Max: 7}}, 5, 7, []float64{0, 40, 10, 50}, 200},
		{"zoom beyond", auth.Limits{Zoom: &tile.ZoomRange{Min: 0, Max: 30}}, 3, 10, []float64{0, 40, 10, 50}, 200},
		{"box overlaps", auth.Limits{BBox: &tile.Box{West: 5, South: 45, East: 20, North: 60}}, 3, 10, []float64{5, 45, 10, 50}, 200},
		{"box around", auth.Limits{BBox: &tile.Box{West: -20, South: 0, East: 20, North: 60}}, 3, 10, []float64{0, 40, 10, 50}, 200},
		{"box across the antimeridian", auth.Limits{BBox: &tile.Box{West: 170, South: 0, East: 5, North: 60}}, 3, 10, []float64{0, 40, 5, 50}, 200},
		{"zoom apart", auth.Limits{Zoom: &tile.ZoomRange{Min: 0, Max: 2}}, 0, 0, nil, 403},
	} {
		test.limits.Tilesets = []string{"roads"}
		r := w.get("/tiles/roads.json", "Authorization", "Bearer "+w.tokenFor("alice", time.Hour, test.limits))
		if r.status != test.status {
			t.Errorf("%s: got %d, want %d", test.name, r.status, test.status)
		}
		if r.status != 200 {
			continue
		}
		var got tileJSON
		r.decode(t, &got)
		same := func(a, b float64) bool { return math.Abs(a-b) < 1e-4 } // a box travels in a token rounded
		if got.MinZoom != test.min || got.MaxZoom != test.max || !slices.EqualFunc(got.Bounds, test.bounds, same) {
			t.Errorf("%s: got zooms %d-%d, bounds %v", test.name, got.MinZoom, got.MaxZoom, got.Bounds)
		}
	}
}

func TestTileJSONUnderAPathTokenCarriesIt(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 3, 4, 2, tilePNG)
	token := w.pathToken(w.token("basemap"))
	got := w.tileJSON("/t/" + token + "/tiles/basemap.json")
	if want := "http://" + w.address + "/t/" + token + "/tiles/basemap/{z}/{x}/{y}.png?v=2026-11"; got.Tiles[0] != want {
		t.Errorf("got %q, want %q", got.Tiles[0], want)
	}
	if tile := w.follow(at(got.Tiles[0], "3/4/2")); tile.status != 200 {
		t.Errorf("following it: got %d", tile.status)
	}
	for path, want := range map[string]int{"/t/x/tiles/basemap.json": 401, "/t/" + token + "/tiles/secret.json": 403, "/t/" + token + "/tiles/nowhere.json": 403} {
		if got := w.get(path); got.status != want {
			t.Errorf("%s: got %d, want %d", path, got.status, want)
		}
	}
}

func TestTileJSONForWhom(t *testing.T) {
	w := start(t)
	for _, test := range []struct {
		path   string
		header []string
		want   int
	}{
		{"/tiles/basemap.json", nil, 401},
		{"/tiles/nowhere.json", nil, 401},
		{"/tiles/basemap.json", []string{"Authorization", "Bearer " + w.token("roads")}, 403},
		{"/tiles/nowhere.json", []string{"Authorization", "Bearer " + w.token("roads")}, 403},
		{"/tiles/nowhere.json", w.bearer(), 404},
		{"/tiles/open.json", []string{"Authorization", "Bearer x"}, 200},
		{"/tiles/BASEMAP.json", w.bearer(), 400},
		{"/tiles/.json", w.bearer(), 400},
		{"/tiles/basemap%2ejson", w.bearer(), 400},
		{"/tiles/basemap.json/", w.bearer(), 400},
		{"/tiles/base/map.json", w.bearer(), 400},
	} {
		if got := w.rawGet(test.path, test.header...); got.status != test.want {
			t.Errorf("%s with %d fields: got %d, want %d", test.path, len(test.header), got.status, test.want)
		}
	}
	w.origin.wantAsked(t, 0)
}

// Whoever sets X-Forwarded-Host could send a map's viewers, with their cookies and tokens, to a host of
// their own: only a trusted proxy may, and public_url wins over all.
func TestForwardedHeaderPoisoning(t *testing.T) {
	forwarded := []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "maps.example.com"}
	for _, test := range []struct {
		name   string
		change func(*setup)
		header []string
		want   string
	}{
		{"from the request", nil, []string{"Host", "tiles.test:8080"}, "http://tiles.test:8080"},
		{"forwarded by nobody who is trusted", nil, append(forwarded, "Host", "tiles.test"), "http://tiles.test"},
		{"forwarded by a trusted proxy", trustLoopback, append(forwarded, "Host", "10.0.0.7:8080"), "https://maps.example.com"},
		{"protocol alone", trustLoopback, []string{"X-Forwarded-Proto", "https", "Host", "tiles.test"}, "https://tiles.test"},
		{"public_url wins", func(s *setup) { trustLoopback(s); s.proxy.PublicURL = "https://public.example.com/base" }, forwarded, "https://public.example.com/base"},
		{"protocol in capitals", trustLoopback, []string{"X-Forwarded-Proto", "HTTPS", "Host", "tiles.test"}, "https://tiles.test"},
		{"a client's protocol before the proxy's", trustLoopback, []string{"X-Forwarded-Proto", "https, http", "X-Forwarded-For", "192.0.2.1", "Host", "tiles.test"}, "http://tiles.test"},
		{"a client's protocol in a field of its own", trustLoopback, []string{"X-Forwarded-Proto", "https", "X-Forwarded-Proto", "http", "X-Forwarded-For", "192.0.2.1", "Host", "tiles.test"}, "http://tiles.test"},
		{"two trusted proxies, https to the first", trustLoopback, []string{"X-Forwarded-Proto", "https,http", "X-Forwarded-For", "192.0.2.1, 127.0.0.2", "Host", "tiles.test"}, "https://tiles.test"},
		{"two trusted proxies, and a client's protocol", trustLoopback, []string{"X-Forwarded-Proto", "https, http ,https", "X-Forwarded-For", "192.0.2.1, 127.0.0.2", "Host", "tiles.test"}, "http://tiles.test"},
		{"two trusted proxies, of which the second adds nothing", trustLoopback, []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.1, 127.0.0.2", "Host", "tiles.test"}, "https://tiles.test"},
		{"a list that ends in nothing", trustLoopback, []string{"X-Forwarded-Proto", "https,", "X-Forwarded-For", "192.0.2.1", "Host", "tiles.test"}, "http://tiles.test"},
		{"a list from who is not trusted", func(*setup) {}, []string{"X-Forwarded-Proto", "https,https", "X-Forwarded-For", "127.0.0.2", "Host", "tiles.test"}, "http://tiles.test"},
		{"unknown protocol", trustLoopback, []string{"X-Forwarded-Proto", "javascript", "Host", "tiles.test"}, "http://tiles.test"},
		{"host that is no host", trustLoopback, []string{"X-Forwarded-Host", "evil.example/x?", "Host", "tiles.test"}, "http://tiles.test"},
		{"host with a user", trustLoopback, []string{"X-Forwarded-Host", "a@evil.example", "Host", "tiles.test"}, "http://tiles.test"},
		{"host with quotes", trustLoopback, []string{"X-Forwarded-Host", `x"><script>`, "Host", "tiles.test"}, "http://tiles.test"},
	} {
		change := test.change
		if change == nil {
			change = func(*setup) {}
		}
		w := start(t, change)
		got := w.tileJSON("/tiles/basemap.json", w.as(test.header...)...)
		if want := test.want + "/tiles/basemap/{z}/{x}/{y}.png?v=2026-11"; got.Tiles[0] != want {
			t.Errorf("%s: got %q, want %q", test.name, got.Tiles[0], want)
		}
		minted := w.mint(`{"tilesets":["basemap"]}`, w.as(test.header...)...)
		if !strings.HasPrefix(minted.Tiles["basemap"], test.want+"/t/") {
			t.Errorf("%s: token for %q, want %q", test.name, minted.Tiles["basemap"], test.want)
		}
	}
	// A list is what chained proxies append to: what stands in it besides the trusted hop's own word is a client's.
	w := start(t, trustLoopback)
	got := w.tileJSON("/tiles/basemap.json", w.as("X-Forwarded-Host", "evil.example, maps.example.com", "Host", "tiles.test")...)
	if strings.Contains(got.Tiles[0], "evil") {
		t.Errorf("a client's own part of a list is believed: %q", got.Tiles[0])
	}
}

// An absolute URL is made of a Host that is one, or not at all.
func TestUnusableHostMakesNoURLs(t *testing.T) {
	w := start(t, trustLoopback)
	ask := func(method, path, host, body string, header ...string) reply {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: %d\r\nConnection: close\r\n", method, path, host, w.bearer()[1], len(body))
		for i := 0; i < len(header); i += 2 {
			b.WriteString(header[i] + ": " + header[i+1] + "\r\n")
		}
		return w.raw(b.String() + "\r\n" + body)
	}
	for _, host := range []string{"[::1", "a;b", "x:y:z", "", "a@b", "a/b", ":80", "*", "a'b", "tiles.test:port"} {
		for _, route := range []struct{ method, path, body string }{{"GET", "/tiles/basemap.json", ""}, {"GET", "/catalog", ""}, {"POST", "/tokens", "{}"}} {
			if got := ask(route.method, route.path, host, route.body); got.status != 400 || strings.Contains(got.body, "/tiles/basemap/{z}") {
				t.Errorf("%s for Host %q: got %d %s, want 400", route.path, host, got.status, got.body)
			}
		}
		if got := ask("GET", "/tiles/basemap/1/0/0", host, ""); got.status != 404 && host != "a/b" && host != "a@b" {
			t.Errorf("a tile, which needs no URL, for Host %q: got %d", host, got.status)
		}
		if got := ask("GET", "/catalog", host, "", "X-Forwarded-Host", "maps.example.com"); got.status != 200 && host != "a/b" && host != "a@b" {
			t.Errorf("Host %q behind a trusted proxy: got %d %s", host, got.status, got.body)
		}
		if got := ask("POST", "/session", host, "", "Origin", ""); got.status != 403 && got.status != 400 {
			t.Errorf("Host %q passes for the origin of nobody: got %d", host, got.status)
		}
	}
	for _, host := range []string{"tiles.test", "tiles.test:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]", "LOCALHOST", "a_b.test"} {
		if got := ask("GET", "/tiles/basemap.json", host, ""); got.status != 200 || !strings.Contains(got.body, "http://"+host+"/tiles/") {
			t.Errorf("Host %q: got %d %s", host, got.status, got.body)
		}
	}
}

func TestCatalogue(t *testing.T) {
	type entry struct{ ID, Name, Format, TileJSON string }
	w := start(t, func(s *setup) { s.proxy.PublicURL = "https://tiles.example.com" })
	for name, test := range map[string]struct {
		header []string
		want   []string
	}{
		"everything granted":  {w.bearer(), []string{"basemap", "roads", "retina", "open", "secret"}},
		"some":                {[]string{"Authorization", "Bearer " + w.token("roads", "nowhere")}, []string{"roads", "open"}},
		"by cookie":           {[]string{"Cookie", w.cookie(w.token("re*"))}, []string{"retina", "open"}},
		"files are none":      {[]string{"Authorization", "Bearer " + w.token("file:report")}, []string{"open"}},
		"without credential":  {nil, []string{"open"}},
		"a zoom of its own":   {[]string{"Authorization", "Bearer " + w.tokenFor("a", time.Hour, auth.Limits{Tilesets: []string{"roads"}, Zoom: &tile.ZoomRange{Min: 3, Max: 4}})}, []string{"roads", "open"}},
		"zooms that are none": {[]string{"Authorization", "Bearer " + w.tokenFor("a", time.Hour, auth.Limits{Tilesets: []string{"roads"}, Zoom: &tile.ZoomRange{Min: 20, Max: 21}})}, []string{"open"}},
	} {
		got := w.get("/catalog", test.header...)
		var catalogue struct{ Tilesets []entry }
		got.decode(t, &catalogue)
		var ids []string
		for _, e := range catalogue.Tilesets {
			ids = append(ids, e.ID)
			if e.Name != "The "+e.ID || e.Format == "" || e.TileJSON != "https://tiles.example.com/tiles/"+e.ID+".json" {
				t.Errorf("%s: got %+v", name, e)
			}
		}
		if !slices.Equal(ids, test.want) {
			t.Errorf("%s: got %q, want %q", name, ids, test.want)
		}
		if got.header.Get("Cache-Control") != "private, no-store" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got headers %v", name, got.header)
		}
	}
	if got := w.get("/catalog", "Authorization", "Bearer x"); got.status != 401 {
		t.Errorf("bad credential: got %d", got.status)
	}
	empty := start(t, func(s *setup) {
		s.proxy.Tilesets = slices.DeleteFunc(s.proxy.Tilesets, func(ts proxy.Tileset) bool { return ts.Public })
	})
	if got := empty.get("/catalog", "Authorization", "Bearer "+empty.token("file:x")); got.status != 200 || strings.TrimSpace(got.body) != `{"tilesets":[]}` {
		t.Errorf("nothing to see: got %d %s", got.status, got.body)
	}
	if got := empty.get("/catalog"); got.status != 401 {
		t.Errorf("nothing to see without a credential: got %d, want 401", got.status)
	}
}

// A client that sends its token in the query can send it nowhere else: what it is told to follow carries it on.
func TestQueryTokenIsCarriedOn(t *testing.T) {
	w := start(t, withQuery, func(s *setup) { s.proxy.PublicURL = "https://tiles.example.com/maps" })
	w.origin.put("basemap", 3, 4, 2, tilePNG)
	token := w.token("*")
	const base = "https://tiles.example.com/maps"
	follow := func(address string) reply { return w.follow(strings.Replace(address, base, "http://"+w.address, 1)) }

	tiles := w.tileJSON("/tiles/basemap.json?access_token=" + token).Tiles[0]
	if want := base + "/tiles/basemap/{z}/{x}/{y}.png?v=2026-11&access_token=" + token; tiles != want {
		t.Errorf("got %q, want %q", tiles, want)
	}
	if got := follow(at(tiles, "3/4/2")); got.status != 200 {
		t.Errorf("following the tiles: got %d", got.status)
	}
	var catalogue struct {
		Tilesets []struct{ ID, Name, Format, TileJSON string }
	}
	w.get("/catalog?access_token="+token).decode(t, &catalogue)
	for _, entry := range catalogue.Tilesets {
		if want := base + "/tiles/" + entry.ID + ".json?access_token=" + token; entry.TileJSON != want {
			t.Errorf("got %q, want %q", entry.TileJSON, want)
		}
		if got := follow(entry.TileJSON); got.status != 200 {
			t.Errorf("following %s: got %d", entry.ID, got.status)
		}
	}

	// What did not decide is not carried on: not a token that was never verified, nor one beside another credential.
	path := w.pathToken(token)
	for name, got := range map[string]tileJSON{
		"public, with a token that nobody verified": w.tileJSON("/tiles/open.json?access_token=" + token),
		"beside Authorization":                      w.tileJSON("/tiles/basemap.json?access_token="+token, w.bearer()...),
		"beside a path token":                       w.tileJSON("/t/" + path + "/tiles/basemap.json?access_token=" + token),
		"another parameter":                         w.tileJSON("/tiles/basemap.json?token="+token, w.bearer()...),
	} {
		if strings.Contains(got.Tiles[0], token) {
			t.Errorf("%s: got %q", name, got.Tiles[0])
		}
	}
	if log := w.access.String(); strings.Contains(log, token) || strings.Contains(log, path) {
		t.Error("a credential is in the log")
	}
}

// encoding and sparse stand in TileJSON as clients read them, and only where they say something.
func TestTileJSONEncodingAndSparse(t *testing.T) {
	w := start(t, func(s *setup) {
		s.tileset("basemap").Encoding, s.tileset("basemap").Sparse = "terrarium", true
		s.tileset("roads").Format = "mlt"
	})
	for id, want := range map[string]string{
		"basemap": `"encoding":"terrarium","sparse":true`,
		"roads":   `"encoding":"mlt"`,
		"secret":  "",
	} {
		got := w.get("/tiles/"+id+".json", w.bearer()...)
		if got.status != 200 || want != "" && !strings.Contains(got.body, want) || strings.Contains(got.body, "encoding") != strings.Contains(want, "encoding") || strings.Contains(got.body, "sparse") != strings.Contains(want, "sparse") {
			t.Errorf("%s: got %d %s, want %s", id, got.status, got.body, want)
		}
	}
}
