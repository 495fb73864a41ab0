package proxy_test

import (
	"net/http"
	"net/netip"
	"testing"
)

func trustLoopback(s *setup) {
	s.proxy.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

func verifies(header string) func(*setup) {
	return func(s *setup) { s.proxy.VerifyHeader = header }
}

func TestVerify(t *testing.T) {
	w := start(t, verifies("X-Original-URI"), trustLoopback, withQuery)
	token := w.token("basemap")
	path := w.pathToken(token)
	bearer := []string{"Authorization", "Bearer " + token}
	for _, test := range []struct {
		name   string
		uri    string
		header []string
		want   int
	}{
		{"tile", "/tiles/basemap/7/66/44.png", bearer, 204},
		{"tile without its extension", "/tiles/basemap/7/66/44", bearer, 204},
		{"default tileset", "/tiles/7/66/44.png", bearer, 204},
		{"with a query", "/tiles/basemap/7/66/44.png?v=2026-11", bearer, 204},
		{"cookie", "/tiles/basemap/7/66/44.png", []string{"Cookie", w.cookie(token)}, 204},
		{"path token", "/t/" + path + "/tiles/basemap/7/66/44.png", nil, 204},
		{"public", "/tiles/open/7/66/44.png", nil, 204},
		{"absent tile, granted", "/tiles/basemap/14/1/1.png", bearer, 204}, // whether it exists is not the question

		{"no credential", "/tiles/basemap/7/66/44.png", nil, 401},
		{"bad credential", "/tiles/basemap/7/66/44.png", []string{"Authorization", "Bearer x"}, 401},
		{"bad path token", "/t/x/tiles/basemap/7/66/44.png", nil, 401},
		{"bad path token beside a good cookie", "/t/x/tiles/basemap/7/66/44.png", []string{"Cookie", w.cookie(token)}, 401},
		{"not granted", "/tiles/secret/7/66/44.png", bearer, 403},
		{"not granted by the path token", "/t/" + path + "/tiles/secret/7/66/44.png", nil, 403},

		{"TileJSON", "/tiles/basemap.json", bearer, 204},
		{"TileJSON by path token", "/t/" + path + "/tiles/basemap.json", nil, 204},
		{"TileJSON, public", "/tiles/open.json", nil, 204},
		{"TileJSON without credential", "/tiles/basemap.json", nil, 401},
		{"TileJSON, not granted", "/tiles/secret.json", bearer, 403},
		{"TileJSON, not granted by the path token", "/t/" + path + "/tiles/secret.json", nil, 403},
		{"TileJSON of an unknown tileset", "/tiles/nowhere.json", w.bearer(), 403},
		{"TileJSON by a second spelling", "/tiles/./basemap.json", bearer, 403},
		{"TileJSON, no id", "/tiles/.json", bearer, 403},
		{"catalogue", "/catalog", bearer, 204},
		{"catalogue, what is public", "/catalog", nil, 204},
		{"catalogue with a bad credential", "/catalog", []string{"Authorization", "Bearer x"}, 401},
		{"catalogue under a path token", "/t/" + path + "/catalog", nil, 403},
		{"catalogue by a second spelling", "/catalog/", bearer, 403},

		{"session", "/session", bearer, 403},
		{"root", "/", bearer, 403},
		{"empty", "", bearer, 403},
		{"no slash", "tiles/basemap/7/66/44.png", bearer, 403},
		{"absolute", "http://tiles.example.com/tiles/basemap/7/66/44.png", bearer, 403},
		{"another host", "//evil.example/tiles/basemap/7/66/44.png", bearer, 403},
		{"not canonical", "/tiles/basemap/07/66/44.png", bearer, 403},
		{"dot segments", "/tiles/basemap/../secret/7/66/44.png", bearer, 403},
		{"dot segments into another", "/tiles/secret/../basemap/7/66/44.png", bearer, 403},
		{"escaped", "/tiles/basemap/7/66/44%2epng", bearer, 403},
		{"escaped slash", "/tiles/secret%2f..%2fbasemap/7/66/44", bearer, 403},
		{"double slash", "//tiles/basemap/7/66/44.png", bearer, 403},
		{"backslash", `/tiles/basemap\7/66/44.png`, bearer, 403},
		{"trailing slash", "/tiles/basemap/7/66/44.png/", bearer, 403},
		{"fragment", "/tiles/basemap/7/66/44.png#x", bearer, 403},
		{"list", "/tiles/basemap/7/66/44.png, /tiles/secret/7/66/44.png", bearer, 403},
		{"white space", "/tiles/basemap/7/66/44.png /x", bearer, 403},
		{"wrong extension", "/tiles/basemap/7/66/44.jpg", bearer, 403},
		{"unknown tileset", "/tiles/nowhere/7/66/44.png", w.bearer(), 403},
		{"two Authorization fields", "/tiles/basemap/7/66/44.png", append(bearer, bearer...), 403},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			got := w.do(method, "/auth/verify", "", append(test.header, "X-Original-URI", test.uri)...)
			if got.status != test.want {
				t.Errorf("%s %s: got %d, want %d", method, test.name, got.status, test.want)
			}
			if (got.status == 401) != (got.header.Get("Www-Authenticate") != "") || got.header.Get("Cache-Control") != "private, no-store" && got.status == 204 || got.header["Set-Cookie"] != nil {
				t.Errorf("%s %s: got %d with %v", method, test.name, got.status, got.header)
			}
		}
	}
	w.origin.wantAsked(t, 0)
}

// nginx forwards a client's own X-Forwarded-Uri beside the X-Original-URI that it sets itself; a
// gate that believed either would let anybody name a tile that they may see (oauth2-proxy had this hole).
func TestVerifyHeaderSmuggling(t *testing.T) {
	const good, other = "/tiles/basemap/7/66/44.png", "/tiles/secret/7/66/44.png"
	for _, ours := range []string{"X-Original-URI", "X-Forwarded-Uri"} {
		theirs := "X-Forwarded-Uri"
		if ours == theirs {
			theirs = "X-Original-URI"
		}
		w := start(t, verifies(ours), trustLoopback)
		bearer := []string{"Authorization", "Bearer " + w.token("basemap")}
		for _, test := range []struct {
			name   string
			header []string
			want   int
		}{
			{"ours alone", []string{ours, good}, 204},
			{"both alike", []string{ours, good, theirs, good}, 204},
			{"theirs alone", []string{theirs, good}, 403},
			{"theirs differs, ours is good", []string{ours, good, theirs, other}, 403},
			{"theirs is good, ours is not", []string{ours, other, theirs, good}, 403},
			{"theirs differs in its query", []string{ours, good + "?a", theirs, good}, 403},
			{"theirs is empty", []string{ours, good, theirs, ""}, 403},
			{"ours twice, alike", []string{ours, good, ours, good}, 403},
			{"ours twice, the first good", []string{ours, good, ours, other}, 403},
			{"ours twice, the second good", []string{ours, other, ours, good}, 403},
			{"theirs twice, one alike", []string{ours, good, theirs, good, theirs, other}, 403},
			{"with an underscore", []string{"X_Original_URI", good, "X_Forwarded_Uri", good}, 403},
			{"in X-Rewrite-URL", []string{"X-Rewrite-Url", good, "X-Original-Url", good}, 403},
			{"none", nil, 403},
		} {
			if got := w.get("/auth/verify", append(bearer, test.header...)...); got.status != test.want {
				t.Errorf("%s: %s: got %d, want %d", ours, test.name, got.status, test.want)
			}
		}
	}
}

func TestVerifyFromWhoIsNotTrusted(t *testing.T) {
	for name, prefixes := range map[string][]netip.Prefix{
		"nobody trusted":    nil,
		"somebody else is":  {netip.MustParsePrefix("10.0.0.0/8")},
		"all of IPv6 alone": {netip.MustParsePrefix("::/0")},
	} {
		w := start(t, verifies("X-Original-URI"), func(s *setup) { s.proxy.TrustedProxies = prefixes })
		got := w.get("/auth/verify", w.as("X-Original-URI", "/tiles/basemap/7/66/44.png", "X-Forwarded-For", "10.1.1.1")...)
		if got.status != 403 {
			t.Errorf("%s: got %d, want 403", name, got.status)
		}
		if got := w.get("/auth/verify", "X-Original-URI", "/tiles/open/7/66/44.png"); got.status != 403 {
			t.Errorf("%s, public: got %d, want 403", name, got.status)
		}
	}
}

func TestVerifyNotConfigured(t *testing.T) {
	w := start(t, trustLoopback)
	for _, header := range []string{"X-Original-URI", "X-Forwarded-Uri"} {
		if got := w.get("/auth/verify", w.as(header, "/tiles/basemap/7/66/44.png")...); got.status != 403 {
			t.Errorf("%s: got %d, want 403", header, got.status)
		}
	}
}

// A forward-auth that keeps its client's method must not take a preflight's 204 for a yes, nor choke on a 405.
func TestVerifyByAnotherMethodIsNoYes(t *testing.T) {
	w := start(t, verifies("X-Original-URI"), trustLoopback)
	for _, method := range []string{"OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"} {
		for name, header := range map[string][]string{"with a credential": w.bearer(), "without": nil} {
			header = append(header, "X-Original-URI", "/tiles/basemap/7/66/44.png", "Access-Control-Request-Method", "GET")
			if got := w.do(method, "/auth/verify", "", header...); got.status != 403 {
				t.Errorf("%s %s: got %d, want 403", method, name, got.status)
			}
		}
	}
}

// A decision is 204, 401 or 403; what else goes wrong, for nginx would turn it into a 500 or worse, is a no.
func TestVerifyNeverFailsOpen(t *testing.T) {
	w := start(t, verifies("X-Original-URI"), trustLoopback, withQuery, withUnreachableIssuer)
	for name, header := range map[string][]string{
		"no key set":      {"Authorization", "Bearer " + unsigned(`{"alg":"ES256","kid":"k"}`, `{"iss":"https://id.example.com/","aud":"tiles","exp":4102444800}`)},
		"two credentials": {"Authorization", "Bearer x", "Authorization", "Bearer y"},
	} {
		if got := w.get("/auth/verify", append(header, "X-Original-URI", "/tiles/basemap/7/66/44.png")...); got.status != 401 && got.status != 403 {
			t.Errorf("%s: got %d", name, got.status)
		}
	}
	if got := w.do(http.MethodPost, "/auth/verify", "", w.as("X-Original-URI", "/tiles/basemap/7/66/44.png")...); got.status < 400 {
		t.Errorf("POST: got %d", got.status)
	}
	if got := w.get("/auth/verify", "X-Original-URI", "/tiles/basemap/7/66/44.png?access_token="+w.token("basemap")); got.status != 204 {
		t.Errorf("query token in the original URI: got %d", got.status)
	}
	if got := w.get("/auth/verify?access_token="+w.token("basemap"), "X-Original-URI", "/tiles/basemap/7/66/44.png"); got.status != 401 {
		t.Errorf("query token of the subrequest, which the client did not send: got %d", got.status)
	}
}
