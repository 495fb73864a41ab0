package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"tilegate/auth"
	"tilegate/proxy/viewer"
)

func under(publicURL, base string) func(*setup) {
	return func(s *setup) {
		s.proxy.PublicURL, s.proxy.Viewer = publicURL, viewer.New(viewer.Options{Base: base})
	}
}

// A proxy in front serves tilegate under a path: it may strip that path, or leave it.
func TestPublicURLWithAPath(t *testing.T) {
	w := start(t, under("https://example.com/maps", "/maps/"))
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	cookie := []string{"Cookie", w.cookie(w.token("*"))}
	for _, prefix := range []string{"", "/maps"} {
		for path, want := range map[string]int{
			"/": 200, "/tilegate.js": 200, "/tilegate.mjs": 200, "/viewer/viewer.css": 200, "/viewer/viewer.js": 200, "/viewer/nope.js": 404,
			"/catalog": 200, "/session": 200, "/tiles/basemap.json": 200, "/tiles/basemap/1/0/0.png": 200, "/health": 200,
		} {
			if got := w.get(prefix+path, cookie...); got.status != want {
				t.Errorf("%s%s: got %d, want %d", prefix, path, got.status, want)
			}
		}
		page := w.get(prefix + "/").body
		for _, want := range []string{`src="/maps/tilegate.js"`, `href="/maps/viewer/viewer.css"`, `src="/maps/viewer/viewer.js"`} {
			if !strings.Contains(page, want) {
				t.Errorf("%s/: the page has no %s", prefix, want)
			}
		}
	}
	if got := w.get("/maps", cookie...); got.status != 200 || !strings.Contains(got.body, "<title>tilegate") {
		t.Errorf("without the slash at its end: got %d", got.status)
	}
	if got := len(w.origin.asked()); got != 1 {
		t.Errorf("the tile was fetched %d times, want once: both paths are one tile", got)
	}
}

// What an unstripped prefix opens is what the path behind it opens, and no more.
func TestPrefixOpensNoOtherWay(t *testing.T) {
	w := start(t, under("https://example.com/maps", "/maps/"), verifies("X-Original-URI"), trustLoopback)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	bearer := w.bearer()
	for _, test := range []struct {
		path   string
		header []string
		want   int
	}{
		{"/maps/tiles/basemap/1/0/0.png", nil, 401},
		{"/maps/tiles/secret/1/0/0.png", []string{"Authorization", "Bearer " + w.token("basemap")}, 403},
		{"/maps/catalog", []string{"Authorization", "Bearer x"}, 401},
		{"/maps/auth/verify", append(bearer, "X-Original-URI", "/catalog"), 204},
		{"/maps/auth/verify", bearer, 403},
		{"/maps/tiles/basemap/01/0/0.png", bearer, 400},
		{"/maps/tiles/basemap/1/0/0%2epng", bearer, 400},
		{"/maps//tiles/basemap/1/0/0.png", bearer, 400},
		{"/maps/./tiles/basemap/1/0/0.png", bearer, 400},
		{"/maps/../tiles/basemap/1/0/0.png", bearer, 400},
		{"/maps/maps/tiles/basemap/1/0/0.png", bearer, 404},
		{"/%6daps/tiles/basemap/1/0/0.png", bearer, 404},
		{"/maps%2ftiles/basemap/1/0/0.png", bearer, 404},
		{"/mapstiles/basemap/1/0/0.png", bearer, 404},
		{"/MAPS/tiles/basemap/1/0/0.png", bearer, 404},
		{"//maps/tiles/basemap/1/0/0.png", bearer, 404},
	} {
		if got := w.rawGet(test.path, test.header...); got.status != test.want {
			t.Errorf("%s: got %d, want %d", test.path, got.status, test.want)
		}
	}
}

// A prefix that begins like a route of ours is never cut: the same path would mean two things.
func TestPrefixThatIsARouteIsLeft(t *testing.T) {
	for _, prefix := range []string{"/tiles", "/t/x", "/auth", "/viewer"} {
		w := start(t, under("https://example.com"+prefix, prefix+"/"))
		w.origin.put("basemap", 1, 0, 0, tilePNG)
		if got := w.get("/tiles/basemap/1/0/0.png", w.bearer()...); got.status != 200 {
			t.Errorf("%s, stripped: got %d", prefix, got.status)
		}
		if got := w.get(prefix+"/catalog", w.bearer()...); got.status < 400 {
			t.Errorf("%s, not stripped: got %d", prefix, got.status)
		}
	}
}

// A page whose browser keeps no cookie learns what to do, from what the browser and the configuration say.
func TestSessionTellsWhyThereIsNoCookie(t *testing.T) {
	cross := []string{"Sec-Fetch-Site", "cross-site"}
	for _, test := range []struct {
		name   string
		change func(*auth.Options)
		header []string
		want   string
	}{
		{"curl", func(*auth.Options) {}, nil, "POST /session"},
		{"the same site", func(*auth.Options) {}, []string{"Sec-Fetch-Site", "same-site"}, "POST /session"},
		{"another site", func(*auth.Options) {}, cross, "same_site: none, partitioned: true"},
		{"another site, with same_site none", func(o *auth.Options) { o.SameSite, o.SecureCookie = http.SameSiteNoneMode, true }, cross, "auth.session.partitioned: true"},
		{"another site, partitioned", func(o *auth.Options) {
			o.SameSite, o.SecureCookie, o.Partitioned = http.SameSiteNoneMode, true, true
		}, cross, "path token"},
	} {
		w := start(t, func(s *setup) { test.change(&s.auth) })
		got := w.get("/session", test.header...)
		if got.status != 401 || !strings.Contains(got.problem(t).Detail, test.want) || got.header.Get("Www-Authenticate") != `Bearer realm="tilegate"` {
			t.Errorf("%s: got %d %s %v, want %q", test.name, got.status, got.body, got.header["Www-Authenticate"], test.want)
		}
	}
}
