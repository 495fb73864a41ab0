package proxy_test

import (
	"context"
	"fmt"
	"image/png"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
)

var (
	sayHit  = regexp.MustCompile(`^tilegate; hit; ttl=[0-9]+$`)
	sayMiss = regexp.MustCompile(`^tilegate; fwd=(uri-)?miss(; |$)`)
)

func TestTileArrivesByteForByte(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 7, 66, 44, object{body: pngBody(300_000), etag: `"e1"`, modified: modified})
	for _, state := range []*regexp.Regexp{sayMiss, sayHit} {
		got := w.get("/tiles/basemap/7/66/44.png", w.bearer()...)
		if got.status != http.StatusOK || got.body != pngBody(300_000) || got.err != nil {
			t.Fatalf("got %d, %d bytes, %v", got.status, len(got.body), got.err)
		}
		for name, want := range map[string]string{
			"Content-Type":                 "image/png",
			"Content-Length":               "300000",
			"Etag":                         `"e1"`,
			"Last-Modified":                "Sun, 01 Nov 2026 10:20:30 GMT",
			"X-Content-Type-Options":       "nosniff",
			"Cache-Control":                "private, max-age=3600, stale-while-revalidate=600",
			"Cross-Origin-Resource-Policy": "same-site",
			"Vary":                         "",
			"X-Request-Id":                 "",
			"Content-Encoding":             "",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: got %q, want %q", name, got.header.Get(name), want)
			}
		}
		if !state.MatchString(got.header.Get("Cache-Status")) {
			t.Errorf("got Cache-Status %q, want %s", got.header.Get("Cache-Status"), state)
		}
	}
	w.origin.wantAsked(t, 1)
	want := fetch{key: tile.Key{Tileset: "basemap", Version: "2026-11", Z: 7, X: 66, Y: 44, Scale: 1}}
	if asked := w.origin.asked(); asked[0] != want {
		t.Errorf("the origin was asked for %+v, want %+v", asked[0], want)
	}
}

func TestContentTypeIsTheFormatsNeverTheObjects(t *testing.T) {
	for _, test := range []struct{ format, body, want string }{
		{"png", pngBody(100), "image/png"},
		{"jpg", "\xff\xd8\xff\xe0" + filler(100), "image/jpeg"},
		{"webp", "RIFF\x10\x00\x00\x00WEBPVP8 " + filler(100), "image/webp"},
		{"avif", "\x00\x00\x00\x1cftypavif" + filler(100), "image/avif"},
		{"mvt", "\x1a" + filler(100), "application/vnd.mapbox-vector-tile"},
		{"mlt", "\x1a" + filler(100), "application/vnd.maplibre-tile"},
		{"json", `{"type":"FeatureCollection","features":[]}`, "application/json"},
	} {
		t.Run(test.format, func(t *testing.T) {
			w := start(t, func(s *setup) { s.tileset("basemap").Format = test.format })
			w.origin.respond(func(_ context.Context, _ tile.Key, _ tile.Condition) (*tile.Object, error) {
				o := wholeObject(test.body)
				o.Header = http.Header{"Content-Type": {"text/html"}}
				return o, nil
			})
			got := w.get("/tiles/basemap/1/0/0", w.bearer()...)
			if got.status != http.StatusOK || got.body != test.body || got.header.Get("Content-Type") != test.want {
				t.Errorf("got %d of type %q, want 200 of %q", got.status, got.header.Get("Content-Type"), test.want)
			}
			if got.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("no nosniff")
			}
		})
	}
}

func TestOneTileIsOneEntryHoweverItIsAskedFor(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 7, 66, 44, tilePNG)
	for _, path := range []string{
		"/tiles/basemap/7/66/44.png", "/tiles/basemap/7/66/44", "/tiles/7/66/44", "/tiles/7/66/44.png",
		"/tiles/basemap/7/66/44.png?v=1", "/tiles/7/66/44?v=2&v=3&x-id=GetObject&response-content-type=text/html",
	} {
		if got := w.get(path, w.bearer()...); got.status != http.StatusOK || got.body != tilePNG.body {
			t.Errorf("%s: got %d %.80q", path, got.status, got.body)
		}
	}
	if got := w.do(http.MethodHead, "/tiles/basemap/7/66/44", "", w.bearer()...); got.status != http.StatusOK {
		t.Errorf("HEAD: got %d", got.status)
	}
	w.origin.wantAsked(t, 1)
}

func TestScale(t *testing.T) {
	w := start(t)
	for scale, path := range map[uint8]string{1: "/tiles/retina/1/0/0.png", 2: "/tiles/retina/1/0/0@2x.png", 3: "/tiles/retina/1/0/0@3x"} {
		body := pngBody(100 + int(scale))
		w.origin.putKey(tile.Key{Tileset: "retina", Z: 1, Scale: scale}, object{body: body, etag: fmt.Sprintf(`"%d"`, scale)})
		if got := w.get(path, w.bearer()...); got.status != http.StatusOK || got.body != body {
			t.Errorf("%s: got %d, %d bytes", path, got.status, len(got.body))
		}
	}
}

func TestWrongExtensionTellsTheRightOne(t *testing.T) {
	w := start(t)
	if got := w.get("/tiles/basemap/1/0/0.jpg", w.bearer()...); got.status != http.StatusNotFound || !strings.Contains(got.body, "/tiles/basemap/{z}/{x}/{y}.png.") {
		t.Errorf("got %d %s", got.status, got.body)
	}
	none := w.token("secret")
	if got := w.get("/tiles/basemap/1/0/0.jpg", "Authorization", "Bearer "+none); strings.Contains(got.body, ".png") {
		t.Errorf("without a grant: got %s", got.body)
	}
}

func TestTileThatTheSourceCannotHave(t *testing.T) {
	w := start(t)
	none := w.token("secret")
	for _, path := range []string{
		"/tiles/basemap/1/0/0@2x.png", "/tiles/basemap/1/0/0.jpg", "/tiles/basemap/1/0/0.PNG", "/tiles/1/0/0.webp",
		"/tiles/nowhere/1/0/0.png", "/tiles/nowhere/1/0/0",
	} {
		for _, test := range []struct {
			name   string
			header []string
			want   int
		}{
			{"without credential", nil, http.StatusUnauthorized},
			{"without grant", []string{"Authorization", "Bearer " + none}, http.StatusForbidden},
			{"with everything granted", w.bearer(), http.StatusNotFound},
		} {
			if got := w.get(path, test.header...); got.status != test.want {
				t.Errorf("%s %s: got %d, want %d", path, test.name, got.status, test.want)
			}
		}
	}
	w.origin.wantAsked(t, 0)
}

func TestUngrantedAndUnknownLookAlike(t *testing.T) {
	w := start(t)
	token := []string{"Authorization", "Bearer " + w.token("basemap"), "X-Request-Id", "one"}
	exists, unknown := w.get("/tiles/secret/1/0/0.png", token...), w.get("/tiles/nowhere/1/0/0.png", token...)
	exists.header.Del("Date")
	unknown.header.Del("Date")
	if exists.status != http.StatusForbidden || exists.body != unknown.body || fmt.Sprint(exists.header) != fmt.Sprint(unknown.header) {
		t.Errorf("one can tell them apart:\n%+v\n%+v", exists, unknown)
	}
	w.origin.wantAsked(t, 0)
}

func TestWithoutADefaultTilesetItsRouteIsLikeAnUnknownOne(t *testing.T) {
	w := start(t, func(s *setup) { s.tileset("basemap").Default = false })
	if got := w.get("/tiles/1/0/0.png"); got.status != http.StatusUnauthorized {
		t.Errorf("without credential: got %d, want 401", got.status)
	}
	if got := w.get("/tiles/1/0/0.png", w.bearer()...); got.status != http.StatusNotFound {
		t.Errorf("with everything granted: got %d, want 404", got.status)
	}
}

func TestNonCanonicalPathIsRefusedBeforeAnythingElse(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 7, 66, 44, tilePNG)
	for _, path := range []string{
		"/tiles/basemap/7/66/44/", "/tiles/basemap//7/66/44", "/tiles//basemap/7/66/44", "/tiles/basemap/7/66//44",
		"/tiles/basemap/07/66/44", "/tiles/basemap/7/066/44", "/tiles/basemap/7/66/044.png", "/tiles/basemap/+7/66/44", "/tiles/basemap/7/-0/44",
		"/tiles/basemap/7/66/44@1x.png", "/tiles/basemap/7/66/44@0x.png", "/tiles/basemap/7/66/44@2X.png", "/tiles/basemap/7/66/44@2x@2x.png",
		"/tiles/basemap/31/0/0", "/tiles/basemap/7/128/44", "/tiles/basemap/7/66/128", "/tiles/basemap/7/66/18446744073709551660",
		"/tiles/basemap/7/66/44%2epng", "/tiles/basemap/7/66/%34%34", "/tiles/%62asemap/7/66/44", "/tiles/basemap%2f7/66/44", "/tiles/basemap/7/66/44%00",
		"/tiles/basemap/7/66/44;v=1", "/tiles/basemap;a/7/66/44", `/tiles/basemap\7\66\44`, `/tiles/basemap/7/66\44`,
		"/tiles/./basemap/7/66/44", "/tiles/../tiles/basemap/7/66/44", "/tiles/basemap/7/66/../66/44", "/tiles/basemap/7/66/44/..",
		"/tiles/secret/../basemap/7/66/44", "/tiles/secret/%2e%2e/basemap/7/66/44",
		"/tiles/basemap/7/66", "/tiles/basemap/7", "/tiles/basemap", "/tiles/", "/tiles/basemap/7/66/44/55", "/tiles/BASEMAP/7/66/44",
		"/tiles/basemap/7/66/44.", "/tiles/basemap/7/66/44..png", "/tiles/basemap/7/66/44.png.png", "/tiles/basemap/7.0/66/44", "/tiles/basemap/0x7/66/44",
		"/tiles/basemap/７/66/44", "/tiles/basemap/7/66/44.p\xc3\xb1g",
	} {
		for name, header := range map[string][]string{"without credential": nil, "with": w.bearer()} {
			got := w.rawGet(path, header...)
			if got.status != http.StatusBadRequest {
				t.Errorf("%s %s: got %d, want 400", path, name, got.status)
			}
			if got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s: got type %q", path, name, got.header.Get("Content-Type"))
			}
		}
	}
	w.origin.wantAsked(t, 0)
}

func TestRequestTargetInOtherForms(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 7, 66, 44, tilePNG)
	bearer := "Authorization: " + w.bearer()[1] + "\r\nConnection: close\r\n\r\n"
	for _, test := range []struct {
		name, request string
		want          int
	}{
		{"absolute form", "GET http://tiles.example.com/tiles/basemap/7/66/44.png HTTP/1.1\r\nHost: tiles.example.com\r\n", http.StatusOK},
		{"absolute form with a dot segment", "GET http://tiles.example.com/tiles/./basemap/7/66/44 HTTP/1.1\r\nHost: tiles.example.com\r\n", http.StatusBadRequest},
		{"absolute form without a path", "GET http://tiles.example.com HTTP/1.1\r\nHost: tiles.example.com\r\n", http.StatusNotFound},
		{"fragment", "GET /tiles/basemap/7/66/44#x HTTP/1.1\r\nHost: tiles.example.com\r\n", http.StatusBadRequest},
		{"asterisk with GET", "GET * HTTP/1.1\r\nHost: tiles.example.com\r\n", http.StatusNotFound},
		{"CONNECT", "CONNECT tiles.example.com:443 HTTP/1.1\r\nHost: tiles.example.com:443\r\n", http.StatusNotFound},
		{"empty segment before the route", "GET //tiles/basemap/7/66/44 HTTP/1.1\r\nHost: tiles.example.com\r\n", http.StatusBadRequest},
		{"dot segment before the route", "GET /x/../tiles/basemap/7/66/44 HTTP/1.1\r\nHost: tiles.example.com\r\n", http.StatusBadRequest},
		{"no Host", "GET /tiles/basemap/7/66/44 HTTP/1.1\r\n", http.StatusBadRequest},
	} {
		if got := w.raw(test.request + bearer); got.status != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got.status, test.want)
		}
	}
}

func TestTileMethods(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodTrace, "PROPFIND", "get"} {
		got := w.do(method, "/tiles/basemap/1/0/0.png", "", w.bearer()...)
		if got.status != http.StatusMethodNotAllowed || !strings.Contains(got.header.Get("Allow"), "GET, HEAD") {
			t.Errorf("%s: got %d, Allow %q", method, got.status, got.header.Get("Allow"))
		}
	}
	w.origin.wantAsked(t, 0)
}

func TestHead(t *testing.T) {
	for _, state := range []string{"miss", "hit"} {
		t.Run(state, func(t *testing.T) {
			w := start(t)
			w.origin.put("basemap", 1, 0, 0, tilePNG)
			if state == "hit" {
				w.get("/tiles/basemap/1/0/0", w.bearer()...)
			}
			head := w.do(http.MethodHead, "/tiles/basemap/1/0/0", "", w.bearer()...)
			if head.status != http.StatusOK || head.body != "" || head.header.Get("Content-Length") != "1000" {
				t.Errorf("got %d, length %q, body %q", head.status, head.header.Get("Content-Length"), head.body)
			}
			get := w.get("/tiles/basemap/1/0/0", w.bearer()...)
			for _, h := range []http.Header{head.header, get.header} {
				h.Del("Cache-Status")
				h.Del("Date")
			}
			if fmt.Sprint(head.header) != fmt.Sprint(get.header) {
				t.Errorf("HEAD and GET differ:\n%v\n%v", head.header, get.header)
			}
			w.origin.wantAsked(t, 1)
		})
	}
}

func TestFreshness(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	status := func() string { return w.get("/tiles/basemap/1/0/0", w.bearer()...).header.Get("Cache-Status") }
	status()
	w.clock.Advance(13 * time.Second)
	if got := status(); got != "tilegate; hit; ttl=287" {
		t.Errorf("got %q, want ttl=287", got)
	}
	asked := make(chan tile.Condition)
	w.origin.respond(func(c context.Context, _ tile.Key, cond tile.Condition) (*tile.Object, error) {
		select {
		case asked <- cond:
		case <-c.Done():
		}
		return nil, tile.ErrNotModified
	})
	w.clock.Advance(5 * time.Minute)
	if got := status(); got != "tilegate; hit; ttl=-13" {
		t.Errorf("stale: got %q, want ttl=-13", got)
	}
	if cond := <-asked; cond.IfNoneMatch != tilePNG.etag {
		t.Errorf("the refresh asked with %+v", cond)
	}
}

// A tile that is stale says so from the first moment on.
func TestStaleByHalfASecond(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.get("/tiles/basemap/1/0/0", w.bearer()...)
	w.clock.Advance(policy.Fresh + 500*time.Millisecond)
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...).header.Get("Cache-Status"); got != "tilegate; hit; ttl=-1" {
		t.Errorf("got %q", got)
	}
}

// A tile that is too old to be served is asked for, and was not missing (RFC 9211 section 2.2).
func TestOutdatedTileIsNoMiss(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.get("/tiles/basemap/1/0/0", w.bearer()...)
	w.clock.Advance(policy.Fresh + policy.Stale + time.Second)
	got := w.get("/tiles/basemap/1/0/0", w.bearer()...)
	if status := got.header.Get("Cache-Status"); got.status != 200 || got.body != tilePNG.body || status != "tilegate; fwd=stale" {
		t.Errorf("got %d %q", got.status, status)
	}
	if again := w.get("/tiles/basemap/1/0/0", w.bearer()...).header.Get("Cache-Status"); again != "tilegate; hit; ttl=300" {
		t.Errorf("renewed: got %q", again)
	}
}

// When S3 fails, what is held is served for as long as stale says, then the failure is told.
func TestStaleWhileTheOriginFails(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.get("/tiles/basemap/1/0/0", w.bearer()...)
	w.origin.respond(fails(tile.ErrNoCredentials))
	w.clock.Advance(policy.Fresh + policy.Stale - time.Minute)
	got := w.get("/tiles/basemap/1/0/0", w.bearer()...)
	if got.status != 200 || got.body != tilePNG.body || !strings.HasPrefix(got.header.Get("Cache-Status"), "tilegate; hit; ttl=-") {
		t.Errorf("stale: got %d %q", got.status, got.header.Get("Cache-Status"))
	}
	if cc := got.header.Get("Cache-Control"); cc != "private, max-age=3600, stale-while-revalidate=600" {
		t.Errorf("stale: got Cache-Control %q", cc)
	}
	w.clock.Advance(2 * time.Minute)
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("beyond stale: got %d %s", got.status, got.body)
	}
}

func TestBrowserCaching(t *testing.T) {
	for _, test := range []struct{ browser, want string }{
		{"strict", "private, no-cache"},
		{"balanced", "private, max-age=3600, stale-while-revalidate=600"},
		{"", "private, max-age=3600, stale-while-revalidate=600"},
		{"immutable", "private, max-age=31536000, immutable"},
		{"private, max-age=77", "private, max-age=77"},
	} {
		w := start(t, func(s *setup) { s.tileset("basemap").Browser = test.browser })
		w.origin.put("basemap", 1, 0, 0, tilePNG)
		for range 2 { // a miss and a hit
			for status, header := range map[int][]string{
				http.StatusOK:             nil,
				http.StatusNotModified:    {"If-None-Match", tilePNG.etag},
				http.StatusPartialContent: {"Range", "bytes=0-9"},
			} {
				got := w.get("/tiles/basemap/1/0/0", w.as(header...)...)
				if got.status != status || got.header.Get("Cache-Control") != test.want {
					t.Errorf("%q: got %d %q, want %d %q", test.browser, got.status, got.header.Get("Cache-Control"), status, test.want)
				}
			}
		}
	}
}

func TestMissingTile(t *testing.T) {
	for _, test := range []struct {
		missing string
		want    int
	}{{"", 404}, {"404", 404}, {"204", 204}, {"transparent", 200}} {
		t.Run(test.missing, func(t *testing.T) {
			w := start(t, func(s *setup) {
				s.tileset("basemap").Missing = test.missing
				s.tileset("basemap").MinZoom = 1
				s.tileset("basemap").MaxZoom = 9
				s.tileset("basemap").Bounds = tile.Box{West: -180, South: 0, East: 180, North: 85}
			})
			for _, path := range []string{
				"/tiles/basemap/3/1/1.png", "/tiles/basemap/3/1/1.png", // NoSuchKey, and remembered
				"/tiles/basemap/10/1/1.png", "/tiles/basemap/0/0/0.png", "/tiles/basemap/3/1/7.png", // beyond the zooms and bounds
			} {
				got := w.get(path, w.bearer()...)
				if got.status != test.want || got.header.Get("Cache-Control") != "private, max-age=30" {
					t.Errorf("%s: got %d %q", path, got.status, got.header.Get("Cache-Control"))
				}
				if !strings.HasPrefix(got.header.Get("Cache-Status"), "tilegate; ") {
					t.Errorf("%s: got Cache-Status %q", path, got.header.Get("Cache-Status"))
				}
				if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Cross-Origin-Resource-Policy") != "same-site" {
					t.Errorf("%s: got headers %v", path, got.header)
				}
				if test.want == 204 && got.body != "" {
					t.Errorf("%s: a 204 with a body", path)
				}
				if test.want == 200 {
					if img, err := png.Decode(strings.NewReader(got.body)); err != nil {
						t.Errorf("%s: %v", path, err)
					} else if _, _, _, a := img.At(0, 0).RGBA(); a != 0 || img.Bounds().Dx() != 256 {
						t.Errorf("%s: alpha %d, %v", path, a, img.Bounds())
					}
				}
				if head := w.do(http.MethodHead, path, "", w.bearer()...); head.status != test.want || head.body != "" {
					t.Errorf("HEAD %s: got %d %q", path, head.status, head.body)
				}
				if got := w.get(path, w.as("If-None-Match", "*", "Range", "bytes=0-3")...); got.status != test.want && got.status != http.StatusNotModified && got.status != http.StatusPartialContent {
					t.Errorf("%s with conditions: got %d", path, got.status)
				}
			}
			w.origin.wantAsked(t, 1)

			w.clock.Advance(policy.MissingFor)
			w.origin.put("basemap", 3, 1, 1, tilePNG)
			if got := w.get("/tiles/basemap/3/1/1.png", w.bearer()...); got.body != tilePNG.body {
				t.Errorf("after missing_for: got %d %q", got.status, got.body)
			}
		})
	}
}

func TestRememberedAbsenceSaysForHowLong(t *testing.T) {
	w := start(t)
	w.get("/tiles/basemap/1/0/0", w.bearer()...)
	w.clock.Advance(12 * time.Second)
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...).header.Get("Cache-Status"); got != "tilegate; hit; ttl=18" {
		t.Errorf("got %q", got)
	}
}

func TestTransparentTileOfEachFormat(t *testing.T) {
	for _, format := range []string{"png", "jpg", "webp", "avif", "mvt"} {
		w := start(t, func(s *setup) { s.tileset("basemap").Format, s.tileset("basemap").Missing = format, "transparent" })
		got := w.get("/tiles/basemap/1/0/0", w.bearer()...)
		if got.header.Get("Content-Length") != strconv.Itoa(len(got.body)) {
			t.Errorf("%s: got length %q for %d bytes", format, got.header.Get("Content-Length"), len(got.body))
		}
		if format == "mvt" { // a vector tile without layers is an empty message
			if got.status != http.StatusOK || got.body != "" || got.header.Get("Content-Type") != "application/vnd.mapbox-vector-tile" {
				t.Errorf("mvt: got %d %q of type %q", got.status, got.body, got.header.Get("Content-Type"))
			}
			continue
		}
		// JPEG has no transparency and nobody decodes AVIF for one pixel: a PNG that says so serves every browser.
		if sniffed := http.DetectContentType([]byte(got.body)); got.status != http.StatusOK || got.header.Get("Content-Type") != sniffed || !strings.HasPrefix(sniffed, "image/") {
			t.Errorf("%s: got %d of type %q for %q", format, got.status, got.header.Get("Content-Type"), sniffed)
		}
	}
}

// A map must keep a base layer that fails visible to its maker: absence is told, a failure never passes for one.
func TestMissingIsNeverMadeOfAFailure(t *testing.T) {
	w := start(t, func(s *setup) { s.tileset("basemap").Missing = "transparent" })
	w.origin.respond(fails(tile.ErrDenied))
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...); got.status != http.StatusBadGateway {
		t.Errorf("got %d, want 502", got.status)
	}
}

func TestPublicTilesetIgnoresCredentials(t *testing.T) {
	w := start(t)
	w.origin.put("open", 1, 0, 0, tilePNG)
	for _, test := range []struct {
		name   string
		header []string
	}{
		{"none", nil},
		{"good", w.bearer()},
		{"bad", []string{"Authorization", "Bearer nonsense"}},
		{"of another scheme", []string{"Authorization", "Digest x"}},
		{"two", []string{"Authorization", "Bearer a", "Authorization", "Bearer b"}},
		{"bad cookie", []string{"Cookie", "__Host-tilegate=nonsense"}},
		{"without grant", []string{"Authorization", "Bearer " + w.token("secret")}},
	} {
		got := w.get("/tiles/open/1/0/0.png", test.header...)
		if got.status != http.StatusOK || got.body != tilePNG.body || got.header.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
			t.Errorf("%s: got %d, %v", test.name, got.status, got.header)
		}
	}
	if got := w.get("/tiles/open/1/0/0.jpg"); got.status != http.StatusNotFound {
		t.Errorf("wrong extension: got %d, want 404", got.status)
	}
}

func TestGrantBoundsTiles(t *testing.T) {
	w := start(t)
	w.origin.respond(always(pngBody(50)))
	token := w.tokenFor("alice", time.Hour, auth.Limits{
		Tilesets: []string{"base*"}, Zoom: &tile.ZoomRange{Min: 2, Max: 5}, BBox: &tile.Box{West: 5, South: 45, East: 15, North: 55},
	})
	for _, test := range []struct {
		path string
		want int
	}{
		{"/tiles/basemap/2/2/1", 200}, // the north-east of the world's middle: holds the box
		{"/tiles/basemap/2/0/0", 403},
		{"/tiles/basemap/5/16/10", 200}, // 0° to 11.25° E, 48.9° to 55.8° N
		{"/tiles/basemap/5/18/10", 403}, // east of the box
		{"/tiles/basemap/1/1/0", 403},   // below the zooms
		{"/tiles/basemap/6/33/21", 403}, // above them
		{"/tiles/2/2/1", 200},           // the default tileset is the same tileset
		{"/tiles/secret/2/2/1", 403},
	} {
		for range 2 { // the grant decides on a hit as on a miss
			if got := w.get(test.path, "Authorization", "Bearer "+token); got.status != test.want {
				t.Errorf("%s: got %d, want %d", test.path, got.status, test.want)
			}
			w.get(test.path, w.bearer()...) // warms it
		}
	}
}

// What a careless proxy in front would clean into a tile's path is a second spelling of it.
func TestSecondSpellingOutsideOfTilesIsRefused(t *testing.T) {
	w := start(t)
	for path, want := range map[string]int{
		"//tiles/basemap/1/0/0.png":           400,
		"/x/../tiles/basemap/1/0/0.png":       400,
		"/./tiles/basemap/1/0/0.png":          400,
		"///tiles/basemap/1/0/0.png":          400,
		"/viewer/../tiles/basemap/1/0/0.png":  400,
		"/x/%2e%2e/tiles/basemap/1/0/0.png":   400,
		"//t/abc/tiles/basemap/1/0/0.png":     400,
		"/x/../tiles/basemap.json":            400,
		"/presign/../tiles/basemap/1/0/0.png": 400,
		"/maps/tiles/basemap/1/0/0.png":       404,
		"//nowhere":                           404,
		"/x/../health":                        404,
		"/session/../../tiles/basemap/1/0/0":  400,
		"/files/x/../../tiles/basemap/1/0/0":  400,
	} {
		if got := w.rawGet(path, w.bearer()...); got.status != want {
			t.Errorf("%s: got %d, want %d", path, got.status, want)
		}
	}
	w.origin.wantAsked(t, 0)
}

func TestUnknownRoutes(t *testing.T) {
	w := start(t)
	for _, path := range []string{"/nowhere", "/tiles", "/t", "/t/", "/t/x", "/t/x/session", "/sessions", "/metrics", "/debug/pprof/", "/admin/purge", "/index.php", "/favicon.ico"} {
		if got := w.rawGet(path, w.bearer()...); got.status != http.StatusNotFound && got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d, want 404", path, got.status)
		}
	}
}
