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

var edgeSecret = []byte("the-cdn-and-the-proxy-share-this")

const throughEdge = "X-Origin-Verify"

var sharedHeaders = []string{"Cdn-Cache-Control", "Surrogate-Control", "Surrogate-Key", "Cache-Tag"}

func withEdge(authorizes bool) func(*setup) {
	return func(s *setup) {
		s.proxy.Edge = proxy.Edge{
			Secrets: [][]byte{edgeSecret, []byte("the-next-one-during-the-rotation")}, Authorizes: authorizes,
			Tilesets: []string{"basemap", "open"}, TTL: 24 * time.Hour,
		}
		s.proxy.QueryParameter, s.proxy.VerifyHeader = "access_token", "X-Original-URI"
	}
}

// shared reports whether shared caches may keep an answer, by any of the ways to say so.
func shared(got reply) bool {
	cc := got.header.Get("Cache-Control")
	return strings.Contains(cc, "s-maxage") || strings.Contains(cc, "public") || cc != "" && !strings.Contains(cc, "private") && !strings.Contains(cc, "no-store") ||
		slices.ContainsFunc(sharedHeaders, func(name string) bool { return got.header.Get(name) != "" })
}

func TestEdgeThatAuthorizes(t *testing.T) {
	w := start(t, withEdge(true))
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.origin.put("open", 1, 0, 0, tilePNG)
	secret := []string{throughEdge, string(edgeSecret)}
	token := w.token("*")
	for _, test := range []struct {
		name, method, path string
		header             []string
		want               int
		shared             bool
	}{
		{"the secret alone", "GET", "/tiles/basemap/1/0/0.png", secret, 200, true},
		{"the secret alone, HEAD", "HEAD", "/tiles/basemap/1/0/0.png", secret, 200, true},
		{"the secret alone, default tileset", "GET", "/tiles/1/0/0.png", secret, 200, true},
		{"the other secret", "GET", "/tiles/basemap/1/0/0.png", []string{throughEdge, "the-next-one-during-the-rotation"}, 200, true},
		{"public tileset of the CDN", "GET", "/tiles/open/1/0/0.png", secret, 200, true},
		{"not modified", "GET", "/tiles/basemap/1/0/0.png", append(slices.Clone(secret), "If-None-Match", tilePNG.etag), 304, true},
		{"part", "GET", "/tiles/basemap/1/0/0.png", append(slices.Clone(secret), "Range", "bytes=0-9"), 206, true},
		{"absent", "GET", "/tiles/basemap/1/1/1.png", secret, 404, true},

		{"no secret", "GET", "/tiles/basemap/1/0/0.png", nil, 401, false},
		{"no secret, a token", "GET", "/tiles/basemap/1/0/0.png", []string{"Authorization", "Bearer " + token}, 200, false},
		{"wrong secret", "GET", "/tiles/basemap/1/0/0.png", []string{throughEdge, string(edgeSecret[:len(edgeSecret)-1])}, 401, false},
		{"longer secret", "GET", "/tiles/basemap/1/0/0.png", []string{throughEdge, string(edgeSecret) + "x"}, 401, false},
		{"empty secret", "GET", "/tiles/basemap/1/0/0.png", []string{throughEdge, ""}, 401, false},
		{"two secrets", "GET", "/tiles/basemap/1/0/0.png", []string{throughEdge, "x", throughEdge, string(edgeSecret)}, 401, false},
		{"secret as bearer", "GET", "/tiles/basemap/1/0/0.png", []string{"Authorization", "Bearer " + string(edgeSecret)}, 401, false},
		{"wrong secret, a token", "GET", "/tiles/basemap/1/0/0.png", []string{throughEdge, "x", "Authorization", "Bearer " + token}, 200, false},

		{"another tileset", "GET", "/tiles/roads/1/0/0.mvt", secret, 401, false},
		{"another tileset with a token", "GET", "/tiles/roads/1/0/0.mvt", append(slices.Clone(secret), "Authorization", "Bearer "+token), 404, false},
		{"unknown tileset", "GET", "/tiles/nowhere/1/0/0.png", secret, 401, false},
		{"path token", "GET", "/t/" + w.pathToken(token) + "/tiles/basemap/1/0/0.png", secret, 200, false},
		{"bad path token", "GET", "/t/x/tiles/basemap/1/0/0.png", secret, 401, false},
		{"query token", "GET", "/tiles/basemap/1/0/0.png?access_token=" + token, secret, 200, false},
		{"bad query token", "GET", "/tiles/basemap/1/0/0.png?access_token=x", secret, 401, false},
		{"bad query token in disguise", "GET", "/tiles/basemap/1/0/0.png?%61ccess_token=x", secret, 401, false},
		{"empty query token", "GET", "/tiles/basemap/1/0/0.png?access_token=", secret, 401, false},
		{"malformed query", "GET", "/tiles/basemap/1/0/0.png?a=%zz&access_token=x", secret, 400, false},
		{"malformed query without a token", "GET", "/tiles/basemap/1/0/0.png?a=%zz", secret, 400, false},
		{"query that some split at a semicolon", "GET", "/tiles/basemap/1/0/0.png?a=1;access_token=x", secret, 400, false},
		{"two Authorizations", "GET", "/tiles/basemap/1/0/0.png", append(slices.Clone(secret), "Authorization", "Bearer x", "Authorization", "Bearer y"), 400, false},
		{"two Authorizations, public tileset", "GET", "/tiles/open/1/0/0.png", append(slices.Clone(secret), "Authorization", "Bearer x", "Authorization", "Bearer y"), 200, false},
		{"other query", "GET", "/tiles/basemap/1/0/0.png?v=2026-11", secret, 200, true},

		{"TileJSON", "GET", "/tiles/basemap.json", secret, 401, false},
		{"TileJSON of a public tileset", "GET", "/tiles/open.json", secret, 200, false},
		{"catalogue", "GET", "/catalog", append(slices.Clone(secret), "Authorization", "Bearer x"), 401, false},
		{"session", "POST", "/session", secret, 401, false},
		{"tokens", "POST", "/tokens", secret, 401, false},
		{"presign", "GET", "/presign/basemap/1/0/0", secret, 401, false},
		{"file", "GET", "/files/report/url", secret, 401, false},
		{"verify", "GET", "/auth/verify", append(slices.Clone(secret), "X-Original-URI", "/tiles/basemap/1/0/0"), 403, false},
		{"POST", "POST", "/tiles/basemap/1/0/0.png", secret, 405, false},
	} {
		for range 2 { // cold and warm
			got := w.do(test.method, test.path, "", test.header...)
			if got.status != test.want || shared(got) != test.shared {
				t.Errorf("%s: got %d, shared %v (%v), want %d, %v", test.name, got.status, shared(got), got.header, test.want, test.shared)
			}
		}
	}
}

func TestEdgeNeverAdmitsToVerify(t *testing.T) {
	w := start(t, withEdge(true), trustLoopback)
	got := w.get("/auth/verify", throughEdge, string(edgeSecret), "X-Original-URI", "/tiles/basemap/1/0/0")
	if got.status != 401 {
		t.Errorf("got %d, want 401", got.status)
	}
}

// A CDN that was purged must not keep for a day what a soft purge has marked stale.
func TestTheEdgeDoesNotKeepOutdatedTiles(t *testing.T) {
	w := start(t, withEdge(true))
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	ask := func() string {
		h := w.get("/tiles/basemap/1/0/0.png", throughEdge, string(edgeSecret)).header
		return h.Get("Cache-Control") + "; " + h.Get("Cdn-Cache-Control") + "; " + h.Get("Surrogate-Control")
	}
	fresh := ask()
	w.origin.respond(fails(tile.ErrUnreachable))
	if got := w.admin("").ask("POST", "/admin/purge", `{"tileset":"basemap","bbox":[-180,0,0,80],"soft":true}`); got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	for range 2 { // its refresh fails
		if got := ask(); got != "max-age=0, s-maxage=1; max-age=1; max-age=1" {
			t.Errorf("got %q, was %q", got, fresh)
		}
	}
}

func TestSharedCacheHeaders(t *testing.T) {
	w := start(t, withEdge(true))
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	got := w.get("/tiles/basemap/1/0/0.png", throughEdge, string(edgeSecret))
	cc := got.header.Get("Cache-Control")
	if !strings.Contains(cc, "s-maxage=86400") || strings.Contains(cc, "private") || !strings.Contains(cc, "max-age=3600") {
		t.Errorf("got Cache-Control %q", cc)
	}
	for name, want := range map[string]string{
		"Cdn-Cache-Control": "max-age=86400", "Surrogate-Control": "max-age=86400",
		"Surrogate-Key": "tileset-basemap basemap.t0", "Cache-Tag": "tileset-basemap,basemap.t0",
		"Accept-Ranges": "bytes",
	} {
		if !strings.Contains(got.header.Get(name), want) {
			t.Errorf("got %s %q, want %q in it", name, got.header.Get(name), want)
		}
	}
	missing := w.get("/tiles/basemap/1/1/1.png", throughEdge, string(edgeSecret))
	for _, name := range append(sharedHeaders[:2:2], "Cache-Control") { // an absence lasts as long as it is remembered, no longer
		if v := missing.header.Get(name); strings.Contains(v, "86400") || !strings.Contains(v, "=30") {
			t.Errorf("absent: got %s %q", name, v)
		}
	}
	if got := missing.header.Get("Cache-Tag"); got != "tileset-basemap,basemap.t3" {
		t.Errorf("absent: got Cache-Tag %q", got)
	}
	w.origin.respond(fails(tile.ErrBadAnswer))
	if failed := w.get("/tiles/basemap/1/0/1.png", throughEdge, string(edgeSecret)); failed.status != 502 || shared(failed) {
		t.Errorf("a failure: got %d %v", failed.status, failed.header)
	}
}

// What the CDN keeps for all is the same for all: no credential that comes along changes it.
func TestEdgeAnswersAlikeWhoeverAsks(t *testing.T) {
	w := start(t, withEdge(true), func(s *setup) { s.proxy.CORS.Origins = []string{"https://app.example.com"} })
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.get("/tiles/basemap/1/0/0", throughEdge, string(edgeSecret))
	plain := w.get("/tiles/basemap/1/0/0", throughEdge, string(edgeSecret))
	for name, header := range map[string][]string{"a cookie": {"Cookie", w.cookie(w.token("*"))}, "a bad cookie": {"Cookie", "__Host-tilegate=x"}} {
		got := w.get("/tiles/basemap/1/0/0", append(header, throughEdge, string(edgeSecret))...)
		if got.status != plain.status || got.header.Get("Cache-Control") != plain.header.Get("Cache-Control") {
			t.Errorf("%s: got %d %v", name, got.status, got.header)
		}
	}
}

func TestEdgeAsALock(t *testing.T) {
	w := start(t, withEdge(false), trustLoopback)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.origin.put("open", 1, 0, 0, tilePNG)
	secret, token := []string{throughEdge, string(edgeSecret)}, "Bearer "+w.token("*")
	for _, test := range []struct {
		name, method, path string
		header             []string
		want               int
	}{
		{"secret and token", "GET", "/tiles/basemap/1/0/0", append(slices.Clone(secret), "Authorization", token), 200},
		{"secret alone", "GET", "/tiles/basemap/1/0/0", secret, 401},
		{"token alone", "GET", "/tiles/basemap/1/0/0", []string{"Authorization", token}, 403},
		{"nothing", "GET", "/tiles/basemap/1/0/0", nil, 403},
		{"wrong secret", "GET", "/tiles/basemap/1/0/0", []string{throughEdge, "x", "Authorization", token}, 403},
		{"one of two is right", "GET", "/tiles/basemap/1/0/0", []string{throughEdge, "x", throughEdge, string(edgeSecret), "Authorization", token}, 403},
		{"public tileset", "GET", "/tiles/open/1/0/0", nil, 403},
		{"public tileset with the secret", "GET", "/tiles/open/1/0/0", secret, 200},
		{"TileJSON", "GET", "/tiles/basemap.json", []string{"Authorization", token}, 403},
		{"session", "POST", "/session", []string{"Authorization", token}, 403},
		{"log out", "DELETE", "/session", nil, 403},
		{"tokens", "POST", "/tokens", []string{"Authorization", token}, 403},
		{"verify", "GET", "/auth/verify", []string{"Authorization", token, "X-Original-URI", "/tiles/basemap/1/0/0"}, 403},
		{"presign", "GET", "/presign/basemap/1/0/0", []string{"Authorization", token}, 403},
		{"a load balancer's question", "GET", "/health", nil, 200},
		{"and its other one", "GET", "/ready", nil, 200},
	} {
		got := w.do(test.method, test.path, "", test.header...)
		if got.status != test.want || shared(got) {
			t.Errorf("%s: got %d, shared %v, want %d", test.name, got.status, shared(got), test.want)
		}
	}
}

// Without secrets the header means nothing.
func TestWithoutEdgeItsHeaderMeansNothing(t *testing.T) {
	w := start(t, func(s *setup) {
		s.proxy.Edge = proxy.Edge{Tilesets: []string{"basemap"}, TTL: time.Hour}
	})
	for _, value := range []string{"", "x"} {
		if got := w.get("/tiles/basemap/1/0/0", throughEdge, value); got.status != http.StatusUnauthorized || shared(got) {
			t.Errorf("%q: got %d", value, got.status)
		}
	}
}
