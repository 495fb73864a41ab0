package proxy_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
)

func withQuery(s *setup) { s.proxy.QueryParameter = "access_token" }

// session is a session cookie's value for the caller of an access token.
func (w *world) session(token string) string {
	w.t.Helper()
	got := w.do(http.MethodPost, "/session", "", "Authorization", "Bearer "+token)
	for _, c := range (&http.Response{Header: got.header}).Cookies() {
		if c.Name == w.auth.CookieName() {
			return c.Value
		}
	}
	w.t.Fatalf("no session: %d %s", got.status, got.body)
	return ""
}

func (w *world) cookie(token string) string { return w.auth.CookieName() + "=" + w.session(token) }

// pathToken is a path token for the caller of an access token.
func (w *world) pathToken(token string) string {
	w.t.Helper()
	var got struct {
		Token     string            `json:"token"`
		ExpiresAt time.Time         `json:"expires_at"`
		Tiles     map[string]string `json:"tiles"`
	}
	w.do(http.MethodPost, "/tokens", `{}`, "Authorization", "Bearer "+token).decode(w.t, &got)
	return got.Token
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestEachTransport(t *testing.T) {
	w := start(t, withQuery)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	token := w.token("basemap")
	for _, test := range []struct {
		name, path string
		header     []string
	}{
		{"bearer", "/tiles/basemap/1/0/0.png", []string{"Authorization", "Bearer " + token}},
		{"scheme in lower case", "/tiles/basemap/1/0/0.png", []string{"Authorization", "bearer " + token}},
		{"scheme in upper case", "/tiles/basemap/1/0/0.png", []string{"Authorization", "BEARER " + token}},
		{"basic", "/tiles/basemap/1/0/0.png", []string{"Authorization", basic("qgis", token)}},
		{"basic without user", "/tiles/basemap/1/0/0.png", []string{"Authorization", "basic " + strings.TrimPrefix(basic("", token), "Basic ")}},
		{"cookie", "/tiles/basemap/1/0/0.png", []string{"Cookie", w.cookie(token)}},
		{"cookie among others", "/tiles/basemap/1/0/0.png", []string{"Cookie", "a=b; " + w.cookie(token) + "; c=d"}},
		{"path", "/t/" + w.pathToken(token) + "/tiles/basemap/1/0/0.png", nil},
		{"path, default tileset", "/t/" + w.pathToken(token) + "/tiles/1/0/0", nil},
		{"query", "/tiles/basemap/1/0/0.png?access_token=" + url.QueryEscape(token), nil},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			if got := w.do(method, test.path, "", test.header...); got.status != 200 {
				t.Errorf("%s by %s: got %d %s", method, test.name, got.status, got.body)
			}
		}
	}
	w.origin.wantAsked(t, 1) // whoever asks and however, it is one tile
}

// The first credential that is found decides: a bad one is not saved by a good one that comes after it.
func TestCredentialNeverFallsThrough(t *testing.T) {
	w := start(t, withQuery)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	good := w.token("basemap")
	cookie, path := w.cookie(good), w.pathToken(good)
	for _, test := range []struct {
		name, path string
		header     []string
		want       int
	}{
		{"bad header, good cookie", "/tiles/basemap/1/0/0", []string{"Authorization", "Bearer x", "Cookie", cookie}, 401},
		{"bad header, good path", "/t/" + path + "/tiles/basemap/1/0/0", []string{"Authorization", "Bearer x"}, 401},
		{"bad header, good query", "/tiles/basemap/1/0/0?access_token=" + good, []string{"Authorization", "Bearer x"}, 401},
		{"unknown scheme, good cookie", "/tiles/basemap/1/0/0", []string{"Authorization", "Negotiate " + good, "Cookie", cookie}, 401},
		{"empty header, good cookie", "/tiles/basemap/1/0/0", []string{"Authorization", "", "Cookie", cookie}, 401},
		{"scheme alone, good cookie", "/tiles/basemap/1/0/0", []string{"Authorization", "Bearer", "Cookie", cookie}, 401},
		{"basic that is no base64, good cookie", "/tiles/basemap/1/0/0", []string{"Authorization", "Basic !", "Cookie", cookie}, 401},
		{"basic with the token as its user", "/tiles/basemap/1/0/0", []string{"Authorization", basic(good, "")}, 401},
		{"bad path, good query", "/t/x/tiles/basemap/1/0/0?access_token=" + good, nil, 401},
		{"bad path, good cookie", "/t/x/tiles/basemap/1/0/0", []string{"Cookie", cookie}, 401},
		{"bad query, good cookie", "/tiles/basemap/1/0/0?access_token=x", []string{"Cookie", cookie}, 401},
		{"empty query, good cookie", "/tiles/basemap/1/0/0?access_token=", []string{"Cookie", cookie}, 401},
		{"good header, bad cookie", "/tiles/basemap/1/0/0", []string{"Authorization", "Bearer " + good, "Cookie", "__Host-tilegate=x"}, 200},
		{"good path, bad query", "/t/" + path + "/tiles/basemap/1/0/0?access_token=x", nil, 200},
		{"two headers, both good", "/tiles/basemap/1/0/0", []string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good}, 400},
		{"two headers, one bad", "/tiles/basemap/1/0/0", []string{"Authorization", "Bearer x", "Authorization", "Bearer " + good}, 400},
		{"two in the query", "/tiles/basemap/1/0/0?access_token=" + good + "&access_token=" + good, nil, 400},
		{"two cookies", "/tiles/basemap/1/0/0", []string{"Cookie", cookie + "; " + cookie}, 400},
		{"cookie of the other name", "/tiles/basemap/1/0/0", []string{"Cookie", strings.TrimPrefix(cookie, "__Host-")}, 401},
		{"header of a wrong grant, cookie of the right one", "/tiles/basemap/1/0/0", []string{"Authorization", "Bearer " + w.token("secret"), "Cookie", cookie}, 403},
	} {
		for _, warm := range []bool{false, true} {
			if got := w.get(test.path, test.header...); got.status != test.want {
				t.Errorf("%s (warm: %v): got %d, want %d", test.name, warm, got.status, test.want)
			}
			w.get("/tiles/basemap/1/0/0", "Authorization", "Bearer "+good)
		}
	}
}

func TestQueryTokenIsRefusedUnlessConfigured(t *testing.T) {
	w := start(t)
	if got := w.get("/tiles/basemap/1/0/0?access_token=" + w.token("basemap")); got.status != 401 {
		t.Errorf("got %d, want 401", got.status)
	}
}

// Each way in takes its own kind alone.
func TestTokensOfAnotherPurpose(t *testing.T) {
	w := start(t, withQuery)
	access := w.token("basemap")
	session, path := w.session(access), w.pathToken(access)
	for _, test := range []struct {
		name, path string
		header     []string
	}{
		{"session as bearer", "/tiles/basemap/1/0/0", []string{"Authorization", "Bearer " + session}},
		{"path token as bearer", "/tiles/basemap/1/0/0", []string{"Authorization", "Bearer " + path}},
		{"session as password", "/tiles/basemap/1/0/0", []string{"Authorization", basic("", session)}},
		{"access token as cookie", "/tiles/basemap/1/0/0", []string{"Cookie", "__Host-tilegate=" + access}},
		{"path token as cookie", "/tiles/basemap/1/0/0", []string{"Cookie", "__Host-tilegate=" + path}},
		{"session in the path", "/t/" + session + "/tiles/basemap/1/0/0", nil},
		{"access token in the path", "/t/" + access + "/tiles/basemap/1/0/0", nil},
		{"session in the query", "/tiles/basemap/1/0/0?access_token=" + session, nil},
		{"path token in the query", "/tiles/basemap/1/0/0?access_token=" + path, nil},
	} {
		if got := w.get(test.path, test.header...); got.status != 401 {
			t.Errorf("%s: got %d, want 401", test.name, got.status)
		}
	}
	w.origin.wantAsked(t, 0)
}

func TestChallenges(t *testing.T) {
	w := start(t)
	short := w.tokenFor("alice", time.Minute, auth.Limits{Tilesets: []string{"*"}})
	w.clock.Advance(time.Minute + 30*time.Second + 12*time.Second)
	flipped := []byte(short)
	flipped[len(flipped)-10] ^= 1
	for _, test := range []struct {
		name      string
		header    []string
		challenge string
	}{
		{"none", nil, `^Bearer realm="tilegate"$`},
		{"expired", []string{"Authorization", "Bearer " + short}, `^Bearer (realm="tilegate", )?error="invalid_token", error_description="[^"]*expired [0-9]+s ago[^"]*"$`},
		{"forged and expired", []string{"Authorization", "Bearer " + string(flipped)}, `^Bearer (realm="tilegate", )?error="invalid_token", error_description="[^"e]*(e[^"x][^"e]*)*"$`},
		{"nonsense", []string{"Authorization", "Bearer \"quoted\\\""}, `^Bearer (realm="tilegate", )?error="invalid_token", error_description="[^"\\]*"$`},
		{"basic is taken, not asked for", []string{"Authorization", basic("a", "b")}, `^Bearer (realm="tilegate", )?error="invalid_token", error_description="[^"]*"$`},
	} {
		for _, path := range []string{"/tiles/basemap/1/0/0.png", "/tiles/basemap.json", "/presign/basemap/1/0/0", "/files/report/url"} {
			got := w.get(path, test.header...)
			if challenge := got.header.Values("Www-Authenticate"); got.status != 401 || len(challenge) != 1 || !regexp.MustCompile(test.challenge).MatchString(challenge[0]) {
				t.Errorf("%s, %s: got %d %q, want %s", path, test.name, got.status, challenge, test.challenge)
			}
		}
	}
	if got := w.get("/tiles/secret/1/0/0", "Authorization", "Bearer "+w.token("basemap")); got.header.Get("Www-Authenticate") != "" {
		t.Errorf("a 403 challenges: %q", got.header.Get("Www-Authenticate"))
	}
}

// A warm cache gives nothing away: who comes without a credential gets no byte and no validator.
func TestWarmCacheStillAsksWho(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.get("/tiles/basemap/1/0/0", w.bearer()...)
	for _, method := range []string{"GET", "HEAD"} {
		for status, header := range map[int][]string{401: nil, 403: {"Authorization", "Bearer " + w.token("secret")}} {
			got := w.do(method, "/tiles/basemap/1/0/0", "", header...)
			if got.status != status || strings.Contains(got.body, "\x89PNG") || got.header.Get("Etag") != "" || got.header.Get("Cache-Status") != "" {
				t.Errorf("%s: got %d %v", method, got.status, got.header)
			}
		}
	}
}

func TestCredentialEndsWhenItSays(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	token := w.tokenFor("alice", 10*time.Minute, auth.Limits{Tilesets: []string{"*"}})
	cookie, path := w.cookie(token), "/t/"+w.pathToken(token)+"/tiles/basemap/1/0/0"
	ways := map[string]func() reply{
		"bearer": func() reply { return w.get("/tiles/basemap/1/0/0", "Authorization", "Bearer "+token) },
		"cookie": func() reply { return w.get("/tiles/basemap/1/0/0", "Cookie", cookie) },
		"path":   func() reply { return w.get(path) },
	}
	for name, get := range ways {
		if got := get(); got.status != 200 {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
		}
	}
	w.clock.Advance(10*time.Minute + 31*time.Second) // the leeway included
	for name, get := range ways {
		if got := get(); got.status != 401 {
			t.Errorf("%s, expired: got %d, want 401", name, got.status)
		}
	}
}

func withUnreachableIssuer(s *setup) {
	s.auth.Issuers = []auth.Issuer{{Issuer: "https://id.example.com/", Audience: []string{"tiles"}, Algorithms: []string{"ES256"}, JWKSURL: "http://127.0.0.1:1/jwks.json"}}
}

// A key set that never came is our trouble: 503 and when to come again, not a verdict on the caller.
func TestNoKeySetYet(t *testing.T) {
	w := start(t, withUnreachableIssuer)
	token := unsigned(`{"alg":"ES256","kid":"k"}`, `{"iss":"https://id.example.com/","aud":"tiles","exp":4102444800}`)
	got := w.get("/tiles/basemap/1/0/0", "Authorization", "Bearer "+token)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, Retry-After %q", got.status, got.body, got.header.Get("Retry-After"))
	}
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...); got.status != 404 {
		t.Errorf("tilegate's own token meanwhile: got %d, want 404", got.status)
	}
}

// unsigned is a token of the right shape whose signature is made up.
func unsigned(header, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode(make([]byte, 64))
}

// All routes that need a credential take the same ones and refuse alike.
func TestEveryPrivateRouteAsksWho(t *testing.T) {
	w := start(t, func(s *setup) { s.proxy.VerifyHeader = "" })
	w.origin.presign = func(tileKey) (tile.Signed, error) { t.Error("presigned for nobody"); return tile.Signed{}, nil }
	for _, route := range []struct{ method, path string }{
		{"GET", "/tiles/basemap/1/0/0"},
		{"GET", "/tiles/basemap.json"},
		{"GET", "/assets/cartography/style.json"},
		{"GET", "/catalog"},
		{"POST", "/session"},
		{"GET", "/session"},
		{"POST", "/tokens"},
		{"GET", "/presign/basemap/1/0/0"},
		{"GET", "/files/report/url"},
		{"POST", "/credentials"},
	} {
		for _, header := range [][]string{nil, {"Authorization", "Bearer x"}} {
			got := w.do(route.method, route.path, "", header...)
			if got.status != 401 && (route.path != "/catalog" || header != nil) && (route.path != "/credentials" || got.status != 404) {
				t.Errorf("%s %s with %q: got %d, want 401", route.method, route.path, header, got.status)
			}
		}
	}
	w.origin.wantAsked(t, 0)
}
