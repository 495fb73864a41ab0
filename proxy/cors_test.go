package proxy_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tilegate/internal/tile"
	"tilegate/proxy"
)

// everyStatus are requests that end in each status and on each route.
func everyStatus(w *world) []struct {
	name, method, path, body string
	header                   []string
	want                     int
} {
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.origin.presign = func(tileKey) (tile.Signed, error) {
		return tile.Signed{URL: "https://bucket.s3.amazonaws.com/x?X-Amz-Signature=0", Expires: noon.Add(time.Hour), Constant: time.Minute}, nil
	}
	bearer := w.bearer()
	return []struct {
		name, method, path, body string
		header                   []string
		want                     int
	}{
		{"tile", "GET", "/tiles/basemap/1/0/0", "", bearer, 200},
		{"tile by HEAD", "HEAD", "/tiles/basemap/1/0/0", "", bearer, 200},
		{"part of a tile", "GET", "/tiles/basemap/1/0/0", "", append(bearer, "Range", "bytes=0-9"), 206},
		{"not modified", "GET", "/tiles/basemap/1/0/0", "", append(bearer, "If-None-Match", tilePNG.etag), 304},
		{"malformed path", "GET", "/tiles/basemap/01/0/0", "", nil, 400},
		{"no credential", "GET", "/tiles/basemap/1/0/0", "", nil, 401},
		{"bad credential", "GET", "/tiles/basemap/1/0/0", "", []string{"Authorization", "Bearer x"}, 401},
		{"no grant", "GET", "/tiles/basemap/1/0/0", "", []string{"Authorization", "Bearer " + w.token("roads")}, 403},
		{"no such tile", "GET", "/tiles/basemap/1/1/1", "", bearer, 404},
		{"beyond the zooms", "GET", "/tiles/basemap/20/1/1", "", bearer, 404},
		{"no such tileset", "GET", "/tiles/nowhere/1/1/1", "", bearer, 404},
		{"no such route", "GET", "/nowhere", "", nil, 404},
		{"method", "PUT", "/tiles/basemap/1/0/0", "", bearer, 405},
		{"precondition", "GET", "/tiles/basemap/1/0/0", "", append(bearer, "If-Match", `"x"`), 412},
		{"range", "GET", "/tiles/basemap/1/0/0", "", append(bearer, "Range", "bytes=5000-"), 416},
		{"origin fails", "GET", "/tiles/secret/2/3/3", "", bearer, 502},
		{"TileJSON", "GET", "/tiles/basemap.json", "", bearer, 200},
		{"TileJSON without credential", "GET", "/tiles/basemap.json", "", nil, 401},
		{"catalogue", "GET", "/catalog", "", bearer, 200},
		{"sign in", "POST", "/session", "", bearer, 200},
		{"no session", "GET", "/session", "", nil, 401},
		{"sign out", "DELETE", "/session", "", nil, 204},
		{"tokens", "POST", "/tokens", "{}", bearer, 200},
		{"tokens refused", "POST", "/tokens", "[]", bearer, 400},
		{"presign", "GET", "/presign/basemap/1/0/0", "", bearer, 200},
		{"file", "GET", "/files/report/url", "", []string{"Authorization", "Bearer " + w.token("file:report")}, 200},
		{"file refused", "GET", "/files/report/url", "", bearer, 403},
		{"health", "GET", "/health", "", nil, 200},
		{"ready", "GET", "/ready", "", nil, 200},
		{"verify", "GET", "/auth/verify", "", nil, 403},
		{"path token", "GET", "/t/" + w.pathToken(w.token("*")) + "/tiles/basemap/1/0/0", "", nil, 200},
		{"preflight", "OPTIONS", "/tiles/basemap/1/0/0", "", []string{"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization"}, 204},
	}
}

func TestCORSOnEveryStatusAndRoute(t *testing.T) {
	const app, other, evil = "https://app.example.com", "https://x.maps.example.com", "https://evil.example"
	for _, test := range []struct {
		name, origin string // the request's
		configured   []string
		allow, vary  string
	}{
		{"none configured", app, nil, "", ""},
		{"one, from it", app, []string{app}, app, ""},
		{"one, without Origin", "", []string{app}, app, ""},
		{"one, from elsewhere", evil, []string{app}, app, ""}, // a constant: the browser sees that it is not its own
		{"one, from null", "null", []string{app}, app, ""},
		{"several, from one", app, []string{app, "https://*.maps.example.com"}, app, "Origin"},
		{"several, from the wildcard", other, []string{app, "https://*.maps.example.com"}, other, "Origin"},
		{"several, without Origin", "", []string{app, "https://*.maps.example.com"}, "", "Origin"},
		{"several, from elsewhere", evil, []string{app, "https://*.maps.example.com"}, "", "Origin"},
		{"several, from null", "null", []string{app, "https://*.maps.example.com"}, "", "Origin"},
		{"one wildcard", other, []string{"https://*.maps.example.com"}, other, "Origin"},
		{"the wildcard's own domain", "https://maps.example.com", []string{"https://*.maps.example.com"}, "", "Origin"},
		{"the wildcard by another scheme", "http://x.maps.example.com", []string{"https://*.maps.example.com"}, "", "Origin"},
		{"the wildcard with a port", "https://x.maps.example.com:8443", []string{"https://*.maps.example.com"}, "", "Origin"},
		{"the wildcard's name at the end of another", "https://evilmaps.example.com", []string{"https://*.maps.example.com"}, "", "Origin"},
		{"the wildcard deeper", "https://a.b.maps.example.com", []string{"https://*.maps.example.com"}, "https://a.b.maps.example.com", "Origin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t, func(s *setup) {
				s.proxy.CORS = proxy.CORS{Origins: test.configured, MaxAge: 2 * time.Hour}
				s.tileset("secret").Origin = failing{tile.ErrBadAnswer}
			})
			for _, r := range everyStatus(w) {
				header := r.header
				mutates := r.method == "POST" || r.method == "DELETE"
				want := r.want
				if test.origin != "" {
					header = append(slices.Clone(header), "Origin", test.origin)
					if mutates && (test.allow != test.origin || test.origin == "null") {
						want = 403
					}
				}
				got := w.do(r.method, r.path, r.body, header...)
				if got.status != want {
					t.Errorf("%s: got %d %s, want %d", r.name, got.status, got.body, want)
				}
				if allow := got.header.Values("Access-Control-Allow-Origin"); strings.Join(allow, "|") != test.allow {
					t.Errorf("%s: got Allow-Origin %q, want %q", r.name, allow, test.allow)
				}
				if timing := got.header.Get("Timing-Allow-Origin"); timing != test.allow {
					t.Errorf("%s: got Timing-Allow-Origin %q, want %q", r.name, timing, test.allow)
				}
				if vary := slices.Contains(strings.Split(strings.Join(got.header.Values("Vary"), ", "), ", "), "Origin"); vary != (test.vary != "") {
					t.Errorf("%s: got Vary %q, want %q", r.name, got.header.Values("Vary"), test.vary)
				}
				wantCredentials := ""
				if test.allow != "" {
					wantCredentials = "true"
				}
				if got.header.Get("Access-Control-Allow-Credentials") != wantCredentials {
					t.Errorf("%s: got Allow-Credentials %q, want %q", r.name, got.header.Get("Access-Control-Allow-Credentials"), wantCredentials)
				}
				exposes := got.header.Get("Access-Control-Expose-Headers") != ""
				if want := test.allow != "" && test.origin != "" && r.method != "OPTIONS"; exposes != want && (want || test.allow == "" || test.origin == "") {
					t.Errorf("%s: Expose-Headers %q, want them: %v", r.name, got.header.Get("Access-Control-Expose-Headers"), want)
				}
			}
		})
	}
}

// What is wrong with a request's framing is found before anything else, and told like anything else.
func TestChunkedBodyIsRefusedLikeAnythingElse(t *testing.T) {
	const chunked = "Host: x\r\nOrigin: https://app.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	withCORS := func(s *setup) { s.proxy.CORS.Origins = []string{"https://app.example.com"} }
	for _, test := range []struct {
		name, line string
		change     func(*setup)
		want       int
	}{
		{"tile", "GET /tiles/basemap/1/0/0", func(*setup) {}, 400},
		{"log out", "DELETE /session", func(*setup) {}, 400},
		{"preflight", "OPTIONS /session", func(*setup) {}, 400},
		{"not through the CDN", "GET /tiles/basemap/1/0/0", withEdge(false), 403},
		{"a decision", "GET /auth/verify", trustLoopback, 403},
	} {
		w := start(t, test.change, withCORS)
		got := w.raw(test.line + " HTTP/1.1\r\n" + chunked)
		if got.status != test.want || got.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
			t.Errorf("%s: got %d %v, want %d", test.name, got.status, got.header, test.want)
		}
	}
}

func TestExposedHeadersAreThoseThatAPageCanUse(t *testing.T) {
	w := start(t, func(s *setup) { s.proxy.CORS.Origins = []string{"https://app.example.com"} })
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	got := w.get("/tiles/basemap/1/0/0", w.as("Origin", "https://app.example.com")...)
	exposed := strings.ToLower(got.header.Get("Access-Control-Expose-Headers"))
	for _, name := range []string{"cache-status", "etag", "x-request-id", "server-timing", "content-range"} {
		if !strings.Contains(exposed, name) {
			t.Errorf("%s is not exposed: %q", name, exposed)
		}
	}
}

func TestPreflight(t *testing.T) {
	w := start(t, func(s *setup) {
		s.proxy.CORS = proxy.CORS{Origins: []string{"https://app.example.com"}, MaxAge: 2 * time.Hour}
	})
	for _, path := range []string{
		"/tiles/basemap/1/0/0.png", "/tiles/basemap.json", "/session", "/tokens", "/catalog", "/presign/basemap/1/0/0",
		"/files/report/url", "/health", "/nowhere", "/t/x/tiles/basemap/1/0/0", "/tiles/basemap/01/0/0", "/credentials",
	} {
		got := w.do("OPTIONS", path, "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "authorization,range,if-none-match,content-type")
		if got.status != http.StatusNoContent || got.body != "" {
			t.Errorf("%s: got %d %q, want 204", path, got.status, got.body)
		}
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin": "https://app.example.com", "Access-Control-Allow-Credentials": "true", "Access-Control-Max-Age": "7200",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: got %s %q, want %q", path, name, got.header.Get(name), want)
			}
		}
		for name, wants := range map[string][]string{
			"Access-Control-Allow-Methods": {"GET", "HEAD", "POST", "DELETE"},
			"Access-Control-Allow-Headers": {"authorization", "range", "if-none-match", "content-type"},
		} {
			for _, want := range wants { // with credentials "*" would be taken literally
				if !strings.Contains(strings.ToLower(got.header.Get(name)), strings.ToLower(want)) {
					t.Errorf("%s: got %s %q, want %s in it", path, name, got.header.Get(name), want)
				}
			}
		}
	}
	w.origin.wantAsked(t, 0)
}

func TestPreflightFromElsewhere(t *testing.T) {
	several := start(t, func(s *setup) {
		s.proxy.CORS.Origins = []string{"https://app.example.com", "https://b.example.com"}
	})
	for name, w := range map[string]*world{"none configured": start(t), "not listed": several} {
		got := w.do("OPTIONS", "/tiles/basemap/1/0/0", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "GET")
		if got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Origin") != "" || got.header.Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("%s: got %d %v", name, got.status, got.header)
		}
		if l := parseLine(t, w.access.waitFor(1)[0]); !strings.Contains(l.Error, "server.cors.origins") || !strings.Contains(l.Error, "https://evil.example") {
			t.Errorf("%s: the log does not tell why the browser refuses: %+v", name, l)
		}
	}
}

// A page of another site may embed the tiles when the operator has said so, or when they are public.
func TestCrossOriginResourcePolicy(t *testing.T) {
	for _, test := range []struct {
		name, public, path, want string
		origins                  []string
	}{
		{"private", "https://tiles.example.com", "/tiles/basemap/1/0/0", "same-site", nil},
		{"private, listed page of the same site", "https://tiles.example.com", "/tiles/basemap/1/0/0", "same-site", []string{"https://app.example.com"}},
		{"private, listed page of another site", "https://tiles.example.com", "/tiles/basemap/1/0/0", "cross-origin", []string{"https://app.example.org"}},
		{"public", "https://tiles.example.com", "/tiles/open/1/0/0", "cross-origin", nil},
	} {
		w := start(t, func(s *setup) { s.proxy.PublicURL, s.proxy.CORS.Origins = test.public, test.origins })
		w.origin.respond(always(pngBody(100)))
		if got := w.get(test.path, w.bearer()...); got.header.Get("Cross-Origin-Resource-Policy") != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got.header.Get("Cross-Origin-Resource-Policy"), test.want)
		}
	}
}

// An error, a list of tilesets, a session: no other site's page may pull any answer into its process, but those whose
// tilesets may be embedded.
func TestEveryAnswerHasAResourcePolicy(t *testing.T) {
	for name, test := range map[string]struct {
		origins []string
		want    string
	}{
		"none listed":                  {nil, "same-site"},
		"a listed page of its site":    {[]string{"https://app.example.com"}, "same-site"},
		"a listed page of another one": {[]string{"https://app.example.org"}, "cross-origin"},
	} {
		w := start(t, withViewer, func(s *setup) {
			s.proxy.PublicURL, s.proxy.CORS.Origins = "https://tiles.example.com", test.origins
			s.tileset("secret").Origin = failing{tile.ErrBadAnswer}
		})
		check := func(what string, got reply, want string) {
			t.Helper()
			if policy := got.header.Values("Cross-Origin-Resource-Policy"); !slices.Equal(policy, []string{want}) {
				t.Errorf("%s: %s: a %d with %q, want %q", name, what, got.status, policy, want)
			}
		}
		for _, r := range everyStatus(w) {
			want := test.want
			if strings.HasPrefix(r.path, "/t/") {
				want = "cross-origin" // the credential is in the URL
			}
			check(r.name, w.do(r.method, r.path, r.body, r.header...), want)
		}
		check("bad path token", w.get("/t/x/tiles/basemap/1/0/0"), "cross-origin")
		check("no path under a token", w.get("/t/x/session"), "cross-origin")
		check("page", w.get("/"), test.want)
		check("no file", w.get("/viewer/nope.js"), test.want)
		check("helper", w.get("/tilegate.js"), "cross-origin")
		check("public tile", w.get("/tiles/open/1/0/0"), "cross-origin")
		check("public TileJSON", w.get("/tiles/open.json"), "cross-origin")
		check("public tileset, by another method", w.do("PUT", "/tiles/open/1/0/0", ""), test.want)
	}
}

// A tile's answer must not depend on who asks where it does not say so: a copy that an image element
// has put into the browser's cache is what a script reads later.
func TestImageElementsCopyServesAScript(t *testing.T) {
	w := start(t, func(s *setup) { s.proxy.CORS.Origins = []string{"https://app.example.com"} })
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	got := w.get("/tiles/basemap/1/0/0", w.bearer()...) // an <img> without crossorigin sends no Origin
	if got.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || got.header.Get("Access-Control-Allow-Credentials") != "true" || got.header.Get("Vary") != "" {
		t.Errorf("got %v", got.header)
	}
}
