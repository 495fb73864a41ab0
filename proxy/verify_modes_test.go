package proxy_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy"
)

// ingress-nginx names an absolute URL, whose host is what the client wrote into Host.
func TestVerifyByAnAbsoluteURL(t *testing.T) {
	w := start(t, verifies("X-Original-URL"), trustLoopback)
	bearer := []string{"Authorization", "Bearer " + w.token("basemap")}
	const good, other = "/tiles/basemap/7/66/44.png", "/tiles/secret/7/66/44.png"
	for _, test := range []struct {
		name   string
		header []string
		want   int
	}{
		{"https", []string{"X-Original-URL", "https://tiles.example.com" + good + "?v=1"}, 204},
		{"http with a port", []string{"X-Original-URL", "http://tiles.example.com:8080" + good}, 204},
		{"as ingress-nginx asks", []string{"X-Original-URL", "https://tiles.example.com" + good, "X-Original-Method", "GET", "X-Auth-Request-Redirect", good, "X-Sent-From", "nginx-ingress-controller"}, 204},
		{"with auth-method, beside the URI", []string{"X-Original-URL", "https://tiles.example.com" + good, "X-Original-URI", good}, 204},
		{"TileJSON", []string{"X-Original-URL", "https://tiles.example.com/tiles/basemap.json"}, 204},
		{"another tileset", []string{"X-Original-URL", "https://tiles.example.com" + other}, 403},

		{"smuggled: a URI that differs", []string{"X-Original-URL", "https://tiles.example.com" + other, "X-Original-URI", good}, 403},
		{"smuggled: the URI alone", []string{"X-Original-URI", good}, 403},
		{"smuggled: two URLs", []string{"X-Original-URL", "https://tiles.example.com" + good, "X-Original-URL", "https://tiles.example.com" + other}, 403},
		{"a host that begins a query", []string{"X-Original-URL", "https://tiles.example.com?" + good}, 403},
		{"a host that begins a fragment", []string{"X-Original-URL", "https://tiles.example.com#" + good}, 403},
		{"a host with a user", []string{"X-Original-URL", "https://a@tiles.example.com" + good}, 403},
		{"a host that is escaped", []string{"X-Original-URL", "https://tiles%2eexample.com" + good}, 403},
		{"no host", []string{"X-Original-URL", "https://" + good}, 403},
		{"no scheme", []string{"X-Original-URL", "//tiles.example.com" + good}, 403},
		{"another scheme", []string{"X-Original-URL", "ftp://tiles.example.com" + good}, 403},
		{"a path alone", []string{"X-Original-URL", good}, 403},
		{"no path", []string{"X-Original-URL", "https://tiles.example.com"}, 403},
		{"a double slash", []string{"X-Original-URL", "https://tiles.example.com/" + good}, 403},
		{"escaped", []string{"X-Original-URL", "https://tiles.example.com/tiles/basemap/7/66/44%2epng"}, 403},
		{"empty", []string{"X-Original-URL", ""}, 403},
	} {
		if got := w.get("/auth/verify", append(test.header, bearer...)...); got.status != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got.status, test.want)
		}
	}
}

// Envoy and Istio ask about /path at /auth/verify/path, with the client's method, and take 200 alone for a yes.
func TestVerifyByPath(t *testing.T) {
	w := start(t, verifies(proxy.VerifyByPath), trustLoopback, withQuery)
	token := w.token("basemap")
	path := w.pathToken(token)
	bearer := []string{"Authorization", "Bearer " + token}
	for _, test := range []struct {
		name, method, target string
		header               []string
		want                 int
	}{
		{"tile", "GET", "/auth/verify/tiles/basemap/7/66/44.png", bearer, 200},
		{"tile by HEAD", "HEAD", "/auth/verify/tiles/basemap/7/66/44.png", bearer, 200},
		{"with a query", "GET", "/auth/verify/tiles/basemap/7/66/44.png?v=1", bearer, 200},
		{"cookie", "GET", "/auth/verify/tiles/basemap/7/66/44.png", []string{"Cookie", w.cookie(token)}, 200},
		{"path token", "GET", "/auth/verify/t/" + path + "/tiles/basemap/7/66/44.png", nil, 200},
		{"query token", "GET", "/auth/verify/tiles/basemap/7/66/44.png?access_token=" + token, nil, 200},
		{"TileJSON", "GET", "/auth/verify/tiles/basemap.json", bearer, 200},
		{"catalogue", "GET", "/auth/verify/catalog", bearer, 200},
		{"public", "GET", "/auth/verify/tiles/open/7/66/44.png", nil, 200},
		{"Envoy's own header, alike", "GET", "/auth/verify/tiles/basemap/7/66/44.png", append([]string{"X-Envoy-Original-Path", "/tiles/basemap/7/66/44.png"}, bearer...), 200},

		{"nobody", "GET", "/auth/verify/tiles/basemap/7/66/44.png", nil, 401},
		{"bad credential", "GET", "/auth/verify/tiles/basemap/7/66/44.png", []string{"Authorization", "Bearer x"}, 401},
		{"not granted", "GET", "/auth/verify/tiles/secret/7/66/44.png", bearer, 403},
		{"nothing", "GET", "/auth/verify", bearer, 403},
		{"root", "GET", "/auth/verify/", bearer, 403},
		{"nothing but a header", "GET", "/auth/verify", append([]string{"X-Original-URI", "/tiles/basemap/7/66/44.png"}, bearer...), 403},
		{"a header that differs", "GET", "/auth/verify/tiles/secret/7/66/44.png", append([]string{"X-Original-URI", "/tiles/basemap/7/66/44.png"}, bearer...), 403},
		{"another route", "GET", "/auth/verify/session", bearer, 403},
		{"itself", "GET", "/auth/verify/auth/verify/tiles/basemap/7/66/44.png", bearer, 403},
		{"twice as deep", "GET", "/auth/verify//tiles/basemap/7/66/44.png", bearer, 403},
		{"dot segments", "GET", "/auth/verify/../tiles/basemap/7/66/44.png", bearer, 403},
		{"dot segments within", "GET", "/auth/verify/tiles/secret/../basemap/7/66/44.png", bearer, 403},
		{"escaped prefix", "GET", "/auth%2fverify/tiles/basemap/7/66/44.png", bearer, 403},
		{"escaped", "GET", "/auth/verify/tiles/basemap/7/66/44%2epng", bearer, 403},
		{"escaped slash", "GET", "/auth/verify/tiles/secret%2f..%2fbasemap/7/66/44", bearer, 403},
		{"a name that only begins alike", "GET", "/auth/verifytiles/basemap/7/66/44.png", bearer, 404},
		{"POST", "POST", "/auth/verify/tiles/basemap/7/66/44.png", bearer, 403},
		{"PURGE", "PURGE", "/auth/verify/tiles/basemap/7/66/44.png", bearer, 403},
		{"OPTIONS", "OPTIONS", "/auth/verify/tiles/basemap/7/66/44.png", append([]string{"Origin", "https://app.example.com", "Access-Control-Request-Method", "GET"}, bearer...), 403},
	} {
		var head strings.Builder
		head.WriteString(test.method + " " + test.target + " HTTP/1.1\r\nHost: tiles.example.com\r\nConnection: close\r\n")
		for i := 0; i < len(test.header); i += 2 {
			head.WriteString(test.header[i] + ": " + test.header[i+1] + "\r\n")
		}
		got := w.raw(head.String() + "\r\n")
		if got.status != test.want || got.status == 200 && (got.body != "" || got.header.Get("Cache-Control") != "private, no-store") {
			t.Errorf("%s: got %d %s, want %d", test.name, got.status, got.body, test.want)
		}
	}
	w.origin.wantAsked(t, 0)
	if log := w.access.String(); strings.Contains(log, path) || strings.Contains(log, token) {
		t.Error("a credential is in the log")
	}
}

func TestVerifyByPathFromWhoIsNotTrusted(t *testing.T) {
	w := start(t, verifies(proxy.VerifyByPath), func(s *setup) { s.proxy.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	for _, path := range []string{"/auth/verify/tiles/basemap/7/66/44.png", "/auth/verify/tiles/open/7/66/44.png"} {
		if got := w.get(path, w.bearer()...); got.status != 403 {
			t.Errorf("%s: got %d, want 403", path, got.status)
		}
	}
}

// A path behind /auth/verify is a question too where the configuration knows no such questions: it is refused as one.
func TestVerifyPathWhereAHeaderIsConfigured(t *testing.T) {
	for _, header := range []string{"", "X-Original-URI"} {
		w := start(t, verifies(header), trustLoopback)
		if got := w.get("/auth/verify/tiles/basemap/7/66/44.png", w.as("X-Original-URI", "/tiles/basemap/7/66/44.png")...); got.status != 403 {
			t.Errorf("%q: got %d, want 403", header, got.status)
		}
	}
}

func TestVerifyPrefixIsCutOffOnce(t *testing.T) {
	for header, wrap := range map[string]func(uri string) (path string, header []string){
		"X-Forwarded-Uri":       func(uri string) (string, []string) { return "/auth/verify", []string{"X-Forwarded-Uri", uri} },
		"X-Envoy-Original-Path": func(uri string) (string, []string) { return "/auth/verify", []string{"X-Envoy-Original-Path", uri} },
		"X-Original-URL": func(uri string) (string, []string) {
			return "/auth/verify", []string{"X-Original-URL", "https://example.com" + uri}
		},
		proxy.VerifyByPath: func(uri string) (string, []string) { return "/auth/verify" + uri, nil },
	} {
		w := start(t, verifies(header), trustLoopback, func(s *setup) { s.proxy.VerifyPrefix = "/maps" })
		bearer := []string{"Authorization", "Bearer " + w.token("basemap")}
		for uri, allowed := range map[string]bool{
			"/maps/tiles/basemap/7/66/44.png":        true,
			"/maps/tiles/basemap.json":               true,
			"/maps/catalog":                          true,
			"/maps/tiles/secret/7/66/44.png":         false,
			"/tiles/basemap/7/66/44.png":             false,
			"/mapsx/tiles/basemap/7/66/44.png":       false,
			"/maps/maps/tiles/basemap/7/66/44.png":   false,
			"/maps//tiles/basemap/7/66/44.png":       false,
			"/x/maps/tiles/basemap/7/66/44.png":      false,
			"/maps/../maps/tiles/basemap/7/66/44":    false,
			"/MAPS/tiles/basemap/7/66/44.png":        false,
			"/maps":                                  false,
			"/maps?/tiles/basemap/7/66/44.png":       false,
			"/maps/x/../tiles/basemap/7/66/44.png":   false,
			"/maps/tiles/secret/../basemap/7/66/44":  false,
			"/%6daps/tiles/basemap/7/66/44.png":      false,
			"/maps/tiles/basemap/7/66/44.png?x=/../": true,
		} {
			path, fields := wrap(uri)
			got := w.rawGet(path, append(fields, bearer...)...)
			if (got.status < 300) != allowed || !allowed && got.status != 403 {
				t.Errorf("%s: %s: got %d, want it allowed: %v", header, uri, got.status, allowed)
			}
		}
	}
}

// A preflight has no credential. It is allowed only where that is configured, and only where it is one: the method comes
// from a field that the same proxy always sets, never from one that a client can add.
func TestVerifyPreflight(t *testing.T) {
	const uri = "/tiles/basemap/7/66/44.png"
	preflight := []string{"Origin", "https://app.example.com", "Access-Control-Request-Method", "GET"}
	for _, test := range []struct {
		name, mode, method string
		header             []string
		off, on            int
	}{
		{"the question has the client's method", proxy.VerifyByPath, "OPTIONS", preflight, 403, 200},
		{"the question has the client's method, with a header", "X-Original-URI", "OPTIONS", append([]string{"X-Original-URI", uri}, preflight...), 403, 204},
		{"Traefik and Caddy", "X-Forwarded-Uri", "GET", append([]string{"X-Forwarded-Uri", uri, "X-Forwarded-Method", "OPTIONS"}, preflight...), 403, 204},
		{"ingress-nginx", "X-Original-URL", "GET", append([]string{"X-Original-URL", "https://x.example" + uri, "X-Original-Method", "OPTIONS"}, preflight...), 403, 204},

		{"smuggled: a method that nginx does not set", "X-Original-URI", "GET", append([]string{"X-Original-URI", uri, "X-Forwarded-Method", "OPTIONS", "X-Original-Method", "OPTIONS"}, preflight...), 401, 401},
		{"smuggled: the other proxy's method", "X-Original-URL", "GET", append([]string{"X-Original-URL", "https://x.example" + uri, "X-Original-Method", "GET", "X-Forwarded-Method", "OPTIONS"}, preflight...), 401, 401},
		{"smuggled: the method twice", "X-Forwarded-Uri", "GET", append([]string{"X-Forwarded-Uri", uri, "X-Forwarded-Method", "GET", "X-Forwarded-Method", "OPTIONS"}, preflight...), 403, 403},
		{"smuggled: an override", "X-Forwarded-Uri", "GET", append([]string{"X-Forwarded-Uri", uri, "X-Forwarded-Method", "GET", "X-Http-Method-Override", "OPTIONS"}, preflight...), 401, 401},
		{"smuggled: Envoy's method as a field", proxy.VerifyByPath, "GET", append([]string{"X-Forwarded-Method", "OPTIONS", "X-Original-Method", "OPTIONS"}, preflight...), 401, 401},
		{"OPTIONS that is no preflight", proxy.VerifyByPath, "OPTIONS", nil, 403, 403},
		{"OPTIONS without an origin", proxy.VerifyByPath, "OPTIONS", preflight[2:], 403, 403},
		{"a GET that looks like a preflight", proxy.VerifyByPath, "GET", preflight, 401, 401},
		{"POST", proxy.VerifyByPath, "POST", preflight, 403, 403},
		{"another method than the question's", "X-Forwarded-Uri", "GET", []string{"X-Forwarded-Uri", uri, "X-Forwarded-Method", "DELETE"}, 403, 403},
	} {
		for on, want := range map[bool]int{false: test.off, true: test.on} {
			w := start(t, verifies(test.mode), trustLoopback, func(s *setup) { s.proxy.VerifyPreflight = on })
			path := "/auth/verify"
			if test.mode == proxy.VerifyByPath {
				path += uri
			}
			if got := w.do(test.method, path, "", test.header...); got.status != want {
				t.Errorf("%s, verify_preflight %v: got %d, want %d", test.name, on, got.status, want)
			}
			w.origin.wantAsked(t, 0)
		}
	}
	w := start(t, verifies(proxy.VerifyByPath), trustLoopback, func(s *setup) { s.proxy.VerifyPreflight = true })
	for _, path := range []string{"/auth/verify", "/auth/verify/session", "/auth/verify/admin", "/auth/verify/../tiles/basemap/1/0/0"} {
		if got := w.do("OPTIONS", path, "", preflight...); got.status != 403 {
			t.Errorf("a preflight for %s: got %d, want 403", path, got.status)
		}
	}
}

// A refusal says what is true: the client learns nothing of its credential that was not looked at, and the operator
// learns from the log what is wrong.
func TestRefusedDecisionSaysWhy(t *testing.T) {
	const uri = "/tiles/basemap/7/66/44.png"
	untrusted := func(s *setup) { s.proxy.TrustedProxies = nil }
	prefixed := func(s *setup) { s.proxy.VerifyPrefix = "/maps" }
	for _, test := range []struct {
		name, logged string
		header       []string
		changes      []func(*setup)
	}{
		{"not configured", "auth.verify_header is not set", []string{"X-Original-URI", uri}, []func(*setup){trustLoopback}},
		{"not trusted", "server.trusted_proxies", []string{"X-Original-URI", uri}, []func(*setup){verifies("X-Original-URI"), untrusted}},
		{"no header", "0 times instead of once", nil, []func(*setup){verifies("X-Original-URI"), trustLoopback}},
		{"the header twice", "2 times instead of once", []string{"X-Original-URI", uri, "X-Original-URI", uri}, []func(*setup){verifies("X-Original-URI"), trustLoopback}},
		{"no URL", "holds no URI", []string{"X-Original-URL", uri}, []func(*setup){verifies("X-Original-URL"), trustLoopback}},
		{"another URI", "another URI in X-Forwarded-Uri", []string{"X-Original-URI", uri, "X-Forwarded-Uri", "/x"}, []func(*setup){verifies("X-Original-URI"), trustLoopback}},
		{"no prefix", "auth.verify_prefix", []string{"X-Original-URI", uri}, []func(*setup){verifies("X-Original-URI"), trustLoopback, prefixed}},
		{"no path", "nothing follows", nil, []func(*setup){verifies(proxy.VerifyByPath), trustLoopback}},
	} {
		w := start(t, test.changes...)
		got := w.get("/auth/verify", append(test.header, w.bearer()...)...)
		if detail := got.problem(t).Detail; got.status != 403 || strings.Contains(strings.ToLower(detail), "credential") || !strings.Contains(detail, "log") {
			t.Errorf("%s: got %d %q", test.name, got.status, detail)
		}
		if line := w.access.waitFor(1)[0]; !strings.Contains(line, test.logged) {
			t.Errorf("%s: the log says %s, want %q", test.name, line, test.logged)
		}
	}

	w := start(t, verifies("X-Original-URI"), trustLoopback, withUnreachableIssuer)
	narrow := w.tokenFor("alice", time.Hour, auth.Limits{Tilesets: []string{"basemap"}, Zoom: &tile.ZoomRange{Min: 20, Max: 22}})
	for _, test := range []struct {
		name, uri string
		header    []string
		detail    string
	}{
		{"no such path", "/session", nil, "tiles, TileJSON and the catalogue"},
		{"a second spelling", "/tiles/basemap/07/66/44", nil, "canonical"},
		{"granted, but not there", "/tiles/nowhere/7/66/44.png", w.bearer(), "nothing at this address"},
		{"another extension", "/tiles/basemap/7/66/44.jpg", w.bearer(), "nothing at this address"},
		{"not granted", "/tiles/basemap/7/66/44.png", []string{"Authorization", "Bearer " + narrow}, "does not grant this"},
		{"TileJSON of which nothing is granted", "/tiles/basemap.json", []string{"Authorization", "Bearer " + narrow}, "does not grant this"},
		{"no key set", uri, []string{"Authorization", "Bearer " + unsigned(`{"alg":"ES256","kid":"k"}`, `{"iss":"https://id.example.com/","aud":"tiles","exp":4102444800}`)}, "keys that verify tokens"},
		{"two credentials", uri, []string{"Authorization", "Bearer x", "Authorization", "Bearer y"}, "twice"},
	} {
		got := w.get("/auth/verify", append(test.header, "X-Original-URI", test.uri)...)
		if detail := got.problem(t).Detail; got.status != 403 || !strings.Contains(detail, test.detail) {
			t.Errorf("%s: got %d %q, want %q", test.name, got.status, detail, test.detail)
		}
	}
}
