package proxy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy"
)

// cartography adds a bundle of that name.
func cartography(changes ...func(*proxy.Bundle)) func(*setup) {
	return func(s *setup) {
		from, _ := s.tileset("basemap").Origin.(*origin)
		b := proxy.Bundle{ID: "cartography", Prefix: "styles/", Freshness: policy, Origin: from, FetchPart: from.fetchPart}
		for _, change := range changes {
			change(&b)
		}
		s.proxy.Bundles = append(s.proxy.Bundles, b)
	}
}

// fetchPart answers as S3 does.
func (o *origin) fetchPart(_ context.Context, key tile.Key, first, length int64, cond tile.Condition) (*tile.Object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fetches = append(o.fetches, fetch{key, tile.Condition{IfMatch: cond.IfMatch, Offset: first}})
	v, ok := o.tiles[key]
	switch {
	case !ok:
		return nil, tile.ErrMissing
	case cond.IfMatch != "" && cond.IfMatch != v.etag:
		return nil, tile.ErrChanged
	}
	part := v.body[first:min(first+length, int64(len(v.body)))]
	return &tile.Object{
		Body: io.NopCloser(strings.NewReader(part[cond.Offset:])), Size: int64(len(part)), Total: int64(len(v.body)),
		ETag: v.etag, LastModified: v.modified, Encoding: v.encoding,
	}, nil
}

// store puts an object into the bundle.
func (o *origin) store(path, body string) {
	o.putKey(tile.Key{Tileset: "bundle:cartography", Path: path}, object{body: body, etag: fmt.Sprintf(`"%d-%s"`, len(body), path), modified: modified})
}

func (w *world) cartographer() []string {
	return []string{"Authorization", "Bearer " + w.token("bundle:cartography")}
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.String()
}

func TestWhoMaySeeABundle(t *testing.T) {
	box, some, all := tile.Box{West: 1, South: 1, East: 2, North: 2}, tile.ZoomRange{Max: 9}, tile.AllZooms
	with := func(spatial bool) func(*proxy.Bundle) {
		return func(b *proxy.Bundle) { b.With, b.Spatial = []string{"basemap", "roads"}, spatial }
	}
	for _, test := range []struct {
		name    string
		bundle  func(*proxy.Bundle)
		limits  auth.Limits
		status  int
		bundles string // that is asked for
	}{
		{"its name", with(true), auth.Limits{Tilesets: []string{"bundle:cartography"}}, 200, "cartography"},
		{"a glob over bundles", with(true), auth.Limits{Tilesets: []string{"bundle:carto-*", "bundle:cart*"}}, 200, "cartography"},
		{"all bundles", with(true), auth.Limits{Tilesets: []string{"bundle:*"}}, 200, "cartography"},
		{"its name with a box", with(true), auth.Limits{Tilesets: []string{"bundle:cartography"}, BBox: &box}, 200, "cartography"},
		{"another bundle", with(true), auth.Limits{Tilesets: []string{"bundle:other"}}, 403, "cartography"},
		{"a file of its name", with(true), auth.Limits{Tilesets: []string{"file:cartography"}}, 403, "cartography"},
		{"everything, without with", func(*proxy.Bundle) {}, auth.Limits{Tilesets: []string{"*"}}, 403, "cartography"},
		{"a tileset of its name", func(*proxy.Bundle) {}, auth.Limits{Tilesets: []string{"cartography"}}, 403, "cartography"},
		{"a tileset that it goes with", with(true), auth.Limits{Tilesets: []string{"roads"}}, 200, "cartography"},
		{"another tileset", with(true), auth.Limits{Tilesets: []string{"secret"}}, 403, "cartography"},
		{"a zoom range of all", with(true), auth.Limits{Tilesets: []string{"roads"}, Zoom: &all}, 200, "cartography"},
		{"grant with box opening spatial bundle by with", with(true), auth.Limits{Tilesets: []string{"roads"}, BBox: &box}, 403, "cartography"},
		{"grant with zooms opening spatial bundle by with", with(true), auth.Limits{Tilesets: []string{"roads"}, Zoom: &some}, 403, "cartography"},
		{"a box, of a bundle that is not spatial", with(false), auth.Limits{Tilesets: []string{"roads"}, BBox: &box}, 200, "cartography"},
		{"no such bundle", with(true), auth.Limits{Tilesets: []string{"roads", "*"}}, 403, "nothing"},
		{"no such bundle, granted", with(true), auth.Limits{Tilesets: []string{"bundle:*"}}, 404, "nothing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t, cartography(test.bundle), func(s *setup) {
				s.proxy.VerifyHeader, s.proxy.TrustedProxies = "X-Original-URI", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			})
			w.origin.store("a.png", "a")
			token := w.tokenFor("ada", time.Hour, test.limits)
			path := "/assets/" + test.bundles + "/a.png"
			if got := w.get(path, "Authorization", "Bearer "+token); got.status != test.status {
				t.Errorf("got %d %s, want %d", got.status, got.body, test.status)
			}
			if got := w.get("/t/" + w.pathToken(token) + path); got.status != test.status {
				t.Errorf("by path token: got %d %s, want %d", got.status, got.body, test.status)
			}
			want := map[int]int{200: 204, 403: 403, 404: 403}[test.status]
			if got := w.get("/auth/verify", "Authorization", "Bearer "+token, "X-Original-URI", path); got.status != want {
				t.Errorf("verify: got %d %s, want %d", got.status, got.body, want)
			}
			if got := w.get(path); got.status != 401 {
				t.Errorf("without a credential: got %d", got.status)
			}
		})
	}
}

// One accepted path is one key, and no spelling leaves the prefix.
func TestTraversalOutOfABundle(t *testing.T) {
	w := start(t, cartography())
	w.origin.store("fonts/Noto Sans/0-255.pbf", "glyphs")
	for path, status := range map[string]int{
		"fonts/Noto%20Sans/0-255.pbf":     200,
		"%66onts/Noto%20Sans/0-255.pbf":   200, // spelled in two ways, one object
		"fonts/Noto%20Sans/0-255.pbf?a=b": 200,
		"fonts/Noto%2520Sans/0-255.pbf":   404, // decoded once
		"fonts%2FNoto%20Sans/0-255.pbf":   400,
		"fonts%2fNoto%20Sans/0-255.pbf":   400,
		"fonts%5CNoto%20Sans/0-255.pbf":   400,
		"fonts/%00/0-255.pbf":             400,
		"fonts/%0a/0-255.pbf":             400,
		"fonts/%7f":                       400,
		"fonts/%ff":                       400,
		"fonts//Noto%20Sans/0-255.pbf":    400,
		"fonts/./0-255.pbf":               400,
		"fonts/../fonts":                  400,
		"fonts/%2e%2e/x":                  400,
		"fonts/.%2E/x":                    400,
		"../x":                            400,
		"%2e%2e/x":                        400,
		"fonts/":                          400,
		"":                                400,
		strings.Repeat("a", 1017):         404,
		strings.Repeat("a", 1018):         400,
		"a,../0-255.pbf":                  400,
		"a,%2e%2e/b/0-255.pbf":            404, // no glyphs of a stack, and no dot segment
		"x/..,a/0-255.pbf":                400,
	} {
		if got := w.rawGet("/assets/cartography/"+path, w.cartographer()...); got.status != status {
			t.Errorf("%.60s: got %d, want %d", path, got.status, status)
		}
	}
	for _, path := range []string{"/%61ssets/cartography/a", "/assets/%63artography/a", "//assets/cartography/a", "/x/../assets/cartography/a", "/t/a%2Fb/assets/cartography/a"} {
		if got := w.rawGet(path, w.cartographer()...); got.status != 400 {
			t.Errorf("%s: got %d, want 400", path, got.status)
		}
	}
	keys := map[string]bool{}
	for _, f := range w.origin.asked() {
		keys[f.key.Path] = true
		if strings.Contains(f.key.Path, "..,") || strings.Contains("/"+f.key.Path+"/", "/../") {
			t.Errorf("S3 was asked for %q", f.key.Path)
		}
	}
	if n := len(w.origin.asked()); n != len(keys) {
		t.Errorf("S3 was asked %d times for %d objects", n, len(keys))
	}
}

func TestActiveContentFromABucket(t *testing.T) {
	for _, active := range []bool{false, true} {
		w := start(t, cartography(func(b *proxy.Bundle) { b.Active = active }))
		for _, name := range []string{"a.html", "a.HTM", "a.xhtml", "a.svg", "a.SvgZ", "a.xml", "a.js", "a.mjs"} {
			w.origin.store(name, "<script>alert(1)</script>")
			got := w.get("/assets/cartography/"+name, w.cartographer()...)
			policy := got.header.Get("Content-Security-Policy")
			if !active && got.status != 403 || active && (got.status != 200 || !strings.HasPrefix(policy, "sandbox") || strings.Contains(policy, "allow-same-origin")) {
				t.Errorf("%s: got %d with %q", name, got.status, policy)
			}
		}
		for name, want := range map[string]string{"a": "application/octet-stream", "a.json": "application/json", "a.png": "image/png", "b.PNG": "image/png", "x.glb": "model/gltf-binary"} {
			w.origin.store(name, "<html><script>alert(1)</script>") // HTML under another name stays what its name says
			got := w.get("/assets/cartography/"+name, w.cartographer()...)
			if got.status != 200 || got.header.Get("Content-Type") != want || got.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: got %d %q", name, got.status, got.header)
			}
		}
	}
}

func TestFontStacks(t *testing.T) {
	w := start(t, cartography())
	w.origin.store("fonts/B/0-255.pbf", "glyphs of B")
	w.origin.store("fonts/C/0-255.pbf", "glyphs of C")
	w.origin.store("fonts/C,B/0-255.pbf", "glyphs of both")
	for path, want := range map[string]string{
		"fonts/A,B,C/0-255.pbf":   "glyphs of B",
		"fonts/C%2CA/0-255.pbf":   "glyphs of C",
		"fonts/C,B/0-255.pbf":     "glyphs of both",
		"fonts/A,D/0-255.pbf":     "",
		"fonts/A,B/0-255.pbf.txt": "",
	} {
		got := w.get("/assets/cartography/"+path, w.cartographer()...)
		if want == "" && got.status != 404 || want != "" && got.body != want {
			t.Errorf("%s: got %d %q, want %q", path, got.status, got.body, want)
		}
	}
}

func TestStackOfAHundredFonts(t *testing.T) {
	w := start(t, cartography())
	var fonts []string
	for n := range 100 {
		fonts = append(fonts, fmt.Sprint("f", n))
	}
	w.origin.store("f50/0-255.pbf", "late")
	if got := w.get("/assets/cartography/"+strings.Join(fonts, ",")+"/0-255.pbf", w.cartographer()...); got.status != 404 {
		t.Errorf("got %d", got.status)
	}
	w.origin.wantAsked(t, 9)
}

func TestCodingsOfABundle(t *testing.T) {
	w := start(t, cartography())
	for _, name := range []string{"a.terrain", "b.json", "c.gz"} {
		w.origin.store(name, zipped("plain"))
	}
	for _, test := range []struct{ name, accepted, coding, body string }{
		{"a.terrain", "gzip", "gzip", zipped("plain")},
		{"a.terrain", "", "", "plain"},
		{"b.json", "gzip", "gzip", zipped("plain")},
		{"b.json", "", "", "plain"},
		{"c.gz", "gzip", "", zipped("plain")},
		{"c.gz", "", "", zipped("plain")},
	} {
		got := w.get("/assets/cartography/"+test.name, append(w.cartographer(), "Accept-Encoding", test.accepted)...)
		if got.status != 200 || got.header.Get("Content-Encoding") != test.coding || got.body != test.body {
			t.Errorf("%s, accepting %q: got %d %q %q", test.name, test.accepted, got.status, got.header.Get("Content-Encoding"), got.body)
		}
	}
}

func TestRangesOfLargeObjects(t *testing.T) {
	w := start(t, cartography(), func(s *setup) { s.cache.MaxObject = 100_000 })
	large := strings.Repeat("0123456789", 50_000)
	w.origin.store("ortho.tif", large)
	w.origin.store("small.tif", large[:1000])
	for _, test := range []struct {
		path, given string
		status      int
		want        string
	}{
		{"ortho.tif", "bytes=100003-100009", 206, "3456789"},
		{"ortho.tif", "bytes=-3", 206, "789"},
		{"ortho.tif", "bytes=500000-", 416, ""},
		{"small.tif", "bytes=3-5", 206, "345"},
		{"none.tif", "bytes=3-5", 404, ""},
	} {
		got := w.get("/assets/cartography/"+test.path, append(w.cartographer(), "Range", test.given)...)
		if got.status != test.status || test.want != "" && got.body != test.want {
			t.Errorf("%s %s: got %d %.40q", test.path, test.given, got.status, got.body)
		}
	}
	for _, f := range w.origin.asked() {
		if f.key.Path == "ortho.tif" && f.cond.Offset == 0 && f.cond.IfMatch != "" {
			t.Errorf("S3 was asked for the whole of a large object: %+v", f)
		}
	}
	// Another object in its place: the part is of the new one.
	w.origin.store("ortho.tif", "x"+large)
	got := w.get("/assets/cartography/ortho.tif", append(w.cartographer(), "Range", "bytes=0-3")...)
	if got.status != 206 || got.body != "x012" || got.header.Get("Content-Range") != "bytes 0-3/500001" {
		t.Errorf("replaced: got %d %q %q\n%s", got.status, got.body, got.header.Get("Content-Range"), w.access)
	}
}

const style = `{"zoom": 1.50e0, "version": 8, "name":"é\u00e9",
 "sprite": [{"id": "default", "url": "sprites/base"}, {"id":"f","url":"https://other.example/s"}],
 "glyphs": "fonts/{fontstack}/{range}.pbf",
 "sources": {"a": {"type": "vector", "url": "tilegate://tilesets/roads"}, "b": {"tiles": ["/tiles/basemap/{z}/{x}/{y}.png", "//evil.example/{z}"]},
  "c": {"data": "../cartography/x.geojson"}, "d": {"data": {"url": "untouched"}}, "e": {"urls": ["tilegate://bundles/cartography/v.mp4"]},
  "f": {"url": "pmtiles://x"}, "g": {"url": "https://evil.example\\@maps.example.com/tiles/x.json"}, "h": {"url": "https://maps.example.com/tiles/roads.json"},
  "i": {"url": "https://maps.example.com.evil.example/tiles/roads.json"}, "j": {"url": "https://maps.example.com:8443/tiles/roads.json"}},
 "layers": [{"id": "glyphs", "big": 123456789012345678901234567890}]}`

func onMaps(s *setup) { s.proxy.PublicURL = "https://maps.example.com" }

func TestStylesAreRewritten(t *testing.T) {
	w := start(t, cartography(func(b *proxy.Bundle) { b.Styles = map[string]string{"basic": "dark/style.json"} }), onMaps)
	w.origin.store("dark/style.json", "\ufeff"+style)
	got := w.get("/assets/cartography/dark/style.json", w.cartographer()...)
	at := "https://maps.example.com/assets/cartography/dark/"
	want := strings.NewReplacer(
		`"sprites/base"`, `"`+at+`sprites/base"`,
		`"fonts/{fontstack}`, `"`+at+`fonts/{fontstack}`,
		`"tilegate://tilesets/roads"`, `"https://maps.example.com/tiles/roads.json"`,
		`"/tiles/basemap`, `"https://maps.example.com/tiles/basemap`,
		`"../cartography/x.geojson"`, `"https://maps.example.com/assets/cartography/cartography/x.geojson"`,
		`"tilegate://bundles/cartography/v.mp4"`, `"https://maps.example.com/assets/cartography/v.mp4"`,
	).Replace(style)
	if got.status != 200 || got.body != want {
		t.Errorf("got %d\n%s\nwant\n%s", got.status, got.body, want)
	}
	if !strings.Contains(got.header.Get("Cache-Control"), "private") || got.header.Get("Etag") == "" {
		t.Errorf("got %q", got.header)
	}
	again := w.get("/assets/cartography/dark/style.json", append(w.cartographer(), "If-None-Match", got.header.Get("Etag"))...)
	if again.status != 304 {
		t.Errorf("again: got %d", again.status)
	}
	w.origin.wantAsked(t, 1)
}

func TestTokenLeakIntoForeignURLsOfAStyle(t *testing.T) {
	w := start(t, cartography(), onMaps)
	w.origin.store("style.json", style)
	token := w.pathToken(w.token("bundle:cartography", "*"))
	got := w.get("/t/" + token + "/assets/cartography/style.json")
	if got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	ours := "https://maps.example.com/t/" + token + "/"
	for _, want := range []string{"assets/cartography/sprites/base", "assets/cartography/fonts/{fontstack}", "tiles/roads.json", "tiles/basemap/{z}", "assets/cartography/x.geojson"} {
		if !strings.Contains(got.body, `"`+ours+want) {
			t.Errorf("%s does not have the token:\n%s", want, got.body)
		}
	}
	if rest := strings.ReplaceAll(got.body, `"`+ours, ""); strings.Contains(rest, token) {
		t.Errorf("the token is in a foreign URL:\n%s", rest)
	}
	if n := strings.Count(got.body, token); n != 7 {
		t.Errorf("the token is there %d times:\n%s", n, got.body)
	}
}

func TestWhatIsNoStyle(t *testing.T) {
	deep := `{"version":8,"sources":{},"layers":[` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `]}`
	oversized := `{"version":8,"sources":{},"layers":[],"x":"` + strings.Repeat("a", 8<<20) + `"}`
	for name, body := range map[string]string{
		"HTML under a .json name":  "<html>",
		"a tileset of 3D Tiles":    `{"asset":{"version":"1.1"},"root":{"content":{"uri":"a.glb"}}}`,
		"deep-nested JSON":         deep,
		"oversized style":          oversized,
		"oversized style, zipped":  zipped(oversized),
		"empty":                    "",
		"zipped, cut off":          zipped(style)[:60],
		"version of another style": `{"version":7,"sources":{},"layers":[]}`,
	} {
		for _, named := range []bool{false, true} {
			w := start(t, cartography(func(b *proxy.Bundle) {
				if named {
					b.Styles = map[string]string{"basic": "a.json"}
				}
			}), func(s *setup) { s.cache.MaxObject = 16 << 20 })
			w.origin.store("a.json", body)
			got := w.get("/assets/cartography/a.json", append(w.cartographer(), "Accept-Encoding", "gzip")...)
			if named && got.status != 502 || !named && (got.status != 200 || got.body != body) {
				t.Errorf("%s, named %t: got %d, %d bytes", name, named, got.status, len(got.body))
			}
		}
	}
}

func TestCatalogueOfStyles(t *testing.T) {
	w := start(t, cartography(func(b *proxy.Bundle) { b.Styles = map[string]string{"basic": "a b/style.json"} }), onMaps)
	var got struct {
		Tilesets []json.RawMessage
		Styles   []struct{ ID, Name, Style string }
	}
	w.get("/catalog", w.cartographer()...).decode(t, &got)
	if len(got.Styles) != 1 || got.Styles[0].ID != "cartography/basic" || got.Styles[0].Style != "https://maps.example.com/assets/cartography/a%20b/style.json" {
		t.Errorf("got %+v", got)
	}
	got.Styles = nil
	if w.get("/catalog", "Authorization", "Bearer "+w.token("*")).decode(t, &got); got.Styles != nil {
		t.Errorf("somebody without the bundle sees %+v", got.Styles)
	}
}

func TestPurgeOfABundle(t *testing.T) {
	w := start(t, cartography())
	w.origin.store("a.png", "old")
	w.get("/assets/cartography/a.png", w.cartographer()...)
	w.origin.store("a.png", "new one")
	if got := w.admin("").ask("POST", "/admin/purge", `{"bundle":"cartography"}`); got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	if got := w.get("/assets/cartography/a.png", w.cartographer()...); got.body != "new one" {
		t.Errorf("got %q", got.body)
	}
}

func TestEdgeAndBundles(t *testing.T) {
	w := start(t, cartography(), func(s *setup) {
		s.proxy.Edge = proxy.Edge{Secrets: [][]byte{[]byte("secret")}, Authorizes: true, Tilesets: []string{"bundle:cartography"}, TTL: time.Hour}
		other := s.proxy.Bundles[0]
		other.ID = "other"
		s.proxy.Bundles = append(s.proxy.Bundles, other)
		s.proxy.VerifyHeader, s.proxy.TrustedProxies = "X-Original-URI", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	w.origin.store("a.png", "a")
	w.origin.store("style.json", style)
	got := w.get("/assets/cartography/a.png", "X-Origin-Verify", "secret")
	if got.status != 200 || got.header.Get("Surrogate-Key") != "bundle-cartography" || !strings.Contains(got.header.Get("Cache-Control"), "s-maxage=3600") {
		t.Errorf("got %d %q", got.status, got.header)
	}
	if got := w.get("/assets/cartography/style.json", "X-Origin-Verify", "secret"); got.status != 200 || !strings.Contains(got.header.Get("Cache-Control"), "private") {
		t.Errorf("a style: got %d %q", got.status, got.header)
	}
	if got := w.get("/assets/other/a.png", "X-Origin-Verify", "secret"); got.status != 401 {
		t.Errorf("another bundle: got %d", got.status)
	}
	if got := w.get("/auth/verify", "X-Origin-Verify", "secret", "X-Original-URI", "/assets/cartography/a.png"); got.status != 401 {
		t.Errorf("verify: got %d", got.status)
	}
}

// A style goes out compressed to those who accept it, out of the cache and with a token in the path, and is the same style.
func TestStylesAreCompressed(t *testing.T) {
	w := start(t, cartography(), onMaps)
	w.origin.store("style.json", style)
	w.origin.store("small.json", `{"version":8,"sources":{},"layers":[]}`)
	token := w.pathToken(w.token("bundle:cartography", "*"))
	for name, from := range map[string]struct {
		prefix string
		header []string
	}{
		"out of the cache":  {"", w.cartographer()},
		"made for one path": {"/t/" + token, nil},
	} {
		path := from.prefix + "/assets/cartography/"
		plain := w.get(path+"style.json", from.header...)
		zipped := w.get(path+"style.json", append(from.header, "Accept-Encoding", "gzip")...)
		if zipped.header.Get("Content-Encoding") != "gzip" || len(zipped.body) >= len(plain.body) || zipped.header.Get("Content-Length") != strconv.Itoa(len(zipped.body)) {
			t.Errorf("%s: got %v and %d bytes, plain %d", name, zipped.header, len(zipped.body), len(plain.body))
		}
		r, err := gzip.NewReader(strings.NewReader(zipped.body))
		if err != nil {
			t.Fatal(err)
		}
		if unzipped, err := io.ReadAll(r); err != nil || string(unzipped) != plain.body {
			t.Errorf("%s: it unpacks to\n%s\n%v", name, unzipped, err)
		}
		if plain.header.Get("Content-Encoding") != "" || plain.header.Get("Etag") == zipped.header.Get("Etag") {
			t.Errorf("%s: got %v and %v", name, plain.header, zipped.header)
		}
		for _, got := range []reply{plain, zipped} {
			accepted := got.header.Get("Content-Encoding")
			if !strings.Contains(got.header.Get("Vary"), "Accept-Encoding") {
				t.Errorf("%s: Vary is %q", name, got.header.Get("Vary"))
			}
			if again := w.get(path+"style.json", append(from.header, "Accept-Encoding", accepted, "If-None-Match", got.header.Get("Etag"))...); again.status != 304 {
				t.Errorf("%s, accepting %q: again: got %d", name, accepted, again.status)
			}
			if head := w.do("HEAD", path+"style.json", "", append(from.header, "Accept-Encoding", accepted)...); head.status != 200 || head.header.Get("Etag") != got.header.Get("Etag") {
				t.Errorf("%s, accepting %q: HEAD: got %d %v", name, accepted, head.status, head.header)
			}
		}
		if small := w.get(path+"small.json", append(from.header, "Accept-Encoding", "gzip")...); small.status != 200 || small.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: a small style: got %d %v", name, small.status, small.header)
		}
	}
}
