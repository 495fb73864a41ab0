package proxy_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy"
	"tilegate/proxy/wire"
)

// sessionObject is what the session routes answer.
type sessionObject struct {
	Subject    string    `json:"subject"`
	Tilesets   []string  `json:"tilesets"`
	ExpiresAt  time.Time `json:"expires_at"`
	RenewAfter time.Time `json:"renew_after"`
}

func cookies(got reply) []*http.Cookie { return (&http.Response{Header: got.header}).Cookies() }

func TestSessionFromAccessToken(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	got := w.do(http.MethodPost, "/session", "", "Authorization", "Bearer "+w.token("basemap"))
	var session sessionObject
	got.decode(t, &session)
	now := noon.Truncate(time.Second)
	if session.Subject != "alice" || !slices.Equal(session.Tilesets, []string{"basemap"}) {
		t.Errorf("got %+v", session)
	}
	if life := session.ExpiresAt.Sub(now); life < 15*time.Minute-2*time.Second || life > 15*time.Minute || !session.RenewAfter.Before(session.ExpiresAt) || !session.RenewAfter.After(now) {
		t.Errorf("got %+v at %s", session, now)
	}
	for _, at := range []string{"expires_at", "renew_after"} {
		var raw map[string]any
		if err := json.Unmarshal([]byte(got.body), &raw); err != nil {
			t.Fatal(err)
		}
		if parsed, err := time.Parse(time.RFC3339, raw[at].(string)); err != nil || strings.Contains(raw[at].(string), ".") || !strings.HasSuffix(raw[at].(string), "Z") {
			t.Errorf("%s is %v, %v: want RFC 3339 in seconds, got %s", at, raw[at], err, parsed)
		}
	}
	if got.header.Get("Cache-Control") != "private, no-store" || got.header.Get("Content-Type") != "application/json" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("got headers %v", got.header)
	}
	if got.header.Get("Clear-Site-Data") != "" {
		t.Errorf("a first session clears site data: %q", got.header.Get("Clear-Site-Data"))
	}
	set := cookies(got)
	if len(set) != 1 {
		t.Fatalf("got cookies %v", set)
	}
	c := set[0]
	if c.Name != "__Host-tilegate" || c.Path != "/" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" {
		t.Errorf("got cookie %s", got.header.Get("Set-Cookie"))
	}
	if strings.Contains(got.body, c.Value) {
		t.Error("the body shows the HttpOnly cookie's value")
	}

	if tile := w.get("/tiles/basemap/1/0/0", "Cookie", c.Name+"="+c.Value); tile.status != 200 {
		t.Errorf("tile with the cookie: got %d", tile.status)
	}
	var again sessionObject
	w.get("/session", "Cookie", c.Name+"="+c.Value).decode(t, &again)
	if !again.ExpiresAt.Equal(session.ExpiresAt) || !again.RenewAfter.Equal(session.RenewAfter) || again.Subject != session.Subject || !slices.Equal(again.Tilesets, session.Tilesets) {
		t.Errorf("GET /session: got %+v, want %+v", again, session)
	}
}

func TestSessionNeverOutlivesItsToken(t *testing.T) {
	w := start(t)
	var session sessionObject
	w.do(http.MethodPost, "/session", "", "Authorization", "Bearer "+w.tokenFor("alice", 2*time.Minute, auth.Limits{Tilesets: []string{"*"}})).decode(t, &session)
	if session.ExpiresAt.After(noon.Add(2 * time.Minute)) {
		t.Errorf("got a session until %s from a token of two minutes at %s", session.ExpiresAt, noon)
	}
}

func TestSessionNeverBegetsASession(t *testing.T) {
	w := start(t)
	session := w.session(w.token("*"))
	for name, header := range map[string][]string{
		"cookie alone":       {"Cookie", "__Host-tilegate=" + session},
		"session as bearer":  {"Authorization", "Bearer " + session},
		"both":               {"Authorization", "Bearer " + session, "Cookie", "__Host-tilegate=" + session},
		"path token":         {"Authorization", "Bearer " + w.pathToken(w.token("*"))},
		"session as Basic":   {"Authorization", basic("", session)},
		"nothing":            nil,
		"another scheme":     {"Authorization", "Digest x"},
		"two authorizations": {"Authorization", "Bearer " + w.token("*"), "Authorization", "Bearer " + w.token("*")},
	} {
		got := w.do(http.MethodPost, "/session", "", header...)
		if got.status < 400 || got.status > 403 || len(cookies(got)) != 0 {
			t.Errorf("%s: got %d %v", name, got.status, cookies(got))
		}
	}
	// A query token is no Authorization either: a link must not sign its reader in (session fixation).
	w = start(t, withQuery)
	if got := w.do(http.MethodPost, "/session?access_token="+w.token("*"), ""); got.status != 401 || len(cookies(got)) != 0 {
		t.Errorf("query token: got %d %v", got.status, cookies(got))
	}
}

// A header comes first here as everywhere: it answers for itself, and a bad one is not saved by a good cookie.
func TestGetSessionOfABearer(t *testing.T) {
	w := start(t)
	token := w.tokenFor("alice", time.Hour, auth.Limits{Tilesets: []string{"basemap"}})
	const want = `{"subject":"alice","tilesets":["basemap"],"expires_at":"2026-11-22T13:03:04Z"}` + "\n"
	if got := w.get("/session", "Authorization", "Bearer "+token, "Cookie", w.cookie(w.tokenFor("bob", time.Hour, auth.Limits{Tilesets: []string{"*"}}))); got.status != 200 || got.body != want {
		t.Errorf("got %d %s, want %s", got.status, got.body, want)
	}
	if got := w.get("/session", "Authorization", "Bearer x", "Cookie", w.cookie(token)); got.status != 401 {
		t.Errorf("a bad bearer beside a good cookie: got %d %s", got.status, got.body)
	}
}

func TestGetSessionWithoutACredential(t *testing.T) {
	w := start(t, withQuery)
	for name, header := range map[string][]string{
		"nothing":    nil,
		"bad cookie": {"Cookie", "__Host-tilegate=x"},
	} {
		if got := w.get("/session", header...); got.status != 401 {
			t.Errorf("%s: got %d, want 401", name, got.status)
		}
	}
	if got := w.get("/session?access_token=" + w.token("*")); got.status != 401 {
		t.Errorf("query: got %d, want 401", got.status)
	}
}

// Another site's page must not sign anybody in or out, nor mint tokens with a visitor's cookie.
func TestCrossSiteRequestForgery(t *testing.T) {
	w := start(t, func(s *setup) {
		s.proxy.PublicURL = "https://tiles.example.com"
		s.proxy.CORS.Origins = []string{"https://app.example.com", "https://*.maps.example.com"}
	})
	for _, test := range []struct {
		origin string
		ok     bool
	}{
		{"", true},
		{"https://tiles.example.com", true},
		{"https://app.example.com", true},
		{"https://one.maps.example.com", true},
		{"null", false},
		{"https://evil.example", false},
		{"https://app.example.com.evil.example", false},
		{"https://evilapp.example.com", false},
		{"http://app.example.com", false},
		{"https://app.example.com:8443", false},
		{"https://app.example.com/", false},
		{"HTTPS://APP.EXAMPLE.COM", false}, // no browser writes it so
		{"https://maps.example.com", false},
		{"https://evil.example#.maps.example.com", false},
		{"https://evil.example/.maps.example.com", false},
		{"https://user@one.maps.example.com", false},
		{"https://.maps.example.com", false},
		{"http://tiles.example.com", false},
		{"undefined", false},
	} {
		token := w.token("*")
		cookie := w.cookie(token)
		for _, route := range []struct {
			method, path, body string
			header             []string
		}{
			{"POST", "/session", "", []string{"Authorization", "Bearer " + token}},
			{"POST", "/tokens", "{}", []string{"Cookie", cookie}},
			{"DELETE", "/session", "", []string{"Cookie", cookie}},
		} {
			header := route.header
			if test.origin != "" {
				header = append(header, "Origin", test.origin)
			}
			got := w.do(route.method, route.path, route.body, header...)
			if ok := got.status < 300; ok != test.ok || !ok && got.status != 403 {
				t.Errorf("%s %s from %q: got %d, allowed: want %v", route.method, route.path, test.origin, got.status, test.ok)
			}
			if !test.ok && got.header["Set-Cookie"] != nil {
				t.Errorf("%s %s from %q sets %q", route.method, route.path, test.origin, got.header["Set-Cookie"])
			}
		}
	}
	// Two fields are no origin that a browser sends.
	if got := w.do("POST", "/session", "", w.as("Origin", "https://app.example.com", "Origin", "https://evil.example")...); got.status != 403 && got.status != 400 {
		t.Errorf("two Origin fields: got %d", got.status)
	}
	// Neither is an empty one; and refusing it must not open the door.
	if got := w.do("POST", "/session", "", w.as("Origin", "")...); got.status != 403 {
		t.Errorf("empty Origin: got %d", got.status)
	}
}

// Browsers write an origin in lower case and without its default port, however public_url is spelled.
func TestOwnOriginAsBrowsersWriteIt(t *testing.T) {
	w := start(t, func(s *setup) { s.proxy.PublicURL = "https://Tiles.Example.com:443/maps" })
	for origin, want := range map[string]int{"https://tiles.example.com": 200, "https://tiles.example.com:8443": 403, "http://tiles.example.com": 403} {
		if got := w.do(http.MethodPost, "/session", "", w.as("Origin", origin)...); got.status != want {
			t.Errorf("%s: got %d, want %d", origin, got.status, want)
		}
	}
}

func TestLogout(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	access := w.token("basemap")
	session, other := w.cookie(access), w.cookie(w.token("basemap"))
	var minted struct {
		Token     string            `json:"token"`
		ExpiresAt time.Time         `json:"expires_at"`
		Tiles     map[string]string `json:"tiles"`
	}
	w.do(http.MethodPost, "/tokens", "{}", "Cookie", session).decode(t, &minted)
	path := "/t/" + minted.Token + "/tiles/basemap/1/0/0"
	if w.get("/tiles/basemap/1/0/0", "Cookie", session).status != 200 || w.get(path).status != 200 {
		t.Fatal("not signed in")
	}
	got := w.do(http.MethodDelete, "/session", "", "Cookie", session)
	if got.status != http.StatusNoContent || got.header.Get("Clear-Site-Data") != `"cache"` || got.header.Get("Cache-Control") != "private, no-store" {
		t.Errorf("got %d %v", got.status, got.header)
	}
	if set := cookies(got); len(set) != 1 || set[0].Name != "__Host-tilegate" || set[0].MaxAge >= 0 || set[0].Value != "" || !set[0].Secure || set[0].Path != "/" {
		t.Errorf("got cookies %v", set)
	}
	if got := w.get("/tiles/basemap/1/0/0", "Cookie", session); got.status != 401 {
		t.Errorf("the stolen cookie still works: %d", got.status)
	}
	if got := w.get(path); got.status != 401 {
		t.Errorf("what was minted from the session still works: %d", got.status)
	}
	if got := w.get("/session", "Cookie", session); got.status != 401 {
		t.Errorf("GET /session: got %d", got.status)
	}
	for name, header := range map[string][]string{"another session": {"Cookie", other}, "the token itself": {"Authorization", "Bearer " + access}} {
		if got := w.get("/tiles/basemap/1/0/0", header...); got.status != 200 {
			t.Errorf("%s: got %d", name, got.status)
		}
	}
	// Who is out already is out: the button works twice, and with a cookie that has expired.
	for name, header := range map[string][]string{"again": {"Cookie", session}, "without cookie": nil, "bad cookie": {"Cookie", "__Host-tilegate=x"}} {
		got := w.do(http.MethodDelete, "/session", "", header...)
		if got.status != http.StatusNoContent || got.header.Get("Clear-Site-Data") != `"cache"` || len(cookies(got)) != 1 {
			t.Errorf("%s: got %d %v", name, got.status, got.header)
		}
	}
}

// Neither of two sessions is the one to end; saying that it was would leave both.
func TestLogoutOfTwoSessionsIsRefused(t *testing.T) {
	w := start(t)
	one, two := w.cookie(w.token("*")), w.cookie(w.token("*"))
	for name, header := range map[string][]string{
		"in one field":  {"Cookie", one + "; " + two},
		"in two fields": {"Cookie", one, "Cookie", two},
	} {
		if got := w.do(http.MethodDelete, "/session", "", header...); got.status != 400 || len(cookies(got)) != 0 {
			t.Errorf("%s: got %d %v, want 400", name, got.status, cookies(got))
		}
	}
}

// On a shared computer the next user must not see what the last one's browser still caches.
func TestChangeOfSubjectClearsTheBrowsersCache(t *testing.T) {
	w := start(t)
	alice := w.cookie(w.tokenFor("alice", time.Hour, auth.Limits{Tilesets: []string{"*"}}))
	for subject, want := range map[string]string{"alice": "", "bob": `"cache"`} {
		token := w.tokenFor(subject, time.Hour, auth.Limits{Tilesets: []string{"*"}})
		got := w.do(http.MethodPost, "/session", "", "Authorization", "Bearer "+token, "Cookie", alice)
		if got.status != 200 || got.header.Get("Clear-Site-Data") != want {
			t.Errorf("%s after alice: got %d %q, want %q", subject, got.status, got.header.Get("Clear-Site-Data"), want)
		}
	}
	w.clock.Advance(16 * time.Minute) // an expired cookie still says whose the cache is
	got := w.do(http.MethodPost, "/session", "", "Authorization", "Bearer "+w.tokenFor("bob", time.Hour, auth.Limits{Tilesets: []string{"*"}}), "Cookie", alice)
	if got.status != 200 || got.header.Get("Clear-Site-Data") != `"cache"` {
		t.Errorf("bob after alice's session expired: got %d %q", got.status, got.header.Get("Clear-Site-Data"))
	}
}

func TestRenewedSessionsOverlap(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	token := w.token("basemap")
	old := w.cookie(token)
	w.clock.Advance(10 * time.Minute)
	renewed := w.cookie(token)
	for _, c := range []string{old, renewed} {
		if got := w.get("/tiles/basemap/1/0/0", "Cookie", c); got.status != 200 {
			t.Errorf("got %d", got.status)
		}
	}
}

func TestSessionMethods(t *testing.T) {
	w := start(t)
	for _, method := range []string{"PUT", "PATCH"} {
		got := w.do(method, "/session", "", w.bearer()...)
		for _, allowed := range []string{"GET", "POST", "DELETE"} {
			if got.status != 405 || !strings.Contains(got.header.Get("Allow"), allowed) {
				t.Errorf("%s: got %d, Allow %q", method, got.status, got.header.Get("Allow"))
			}
		}
	}
}

// cookieSigner stands for CloudFront's.
type cookieSigner struct {
	base    string
	ids     []string
	expires time.Time
	err     error
}

func (c *cookieSigner) Cookies(base string, ids []string, expires time.Time) ([]*http.Cookie, error) {
	c.base, c.ids, c.expires = base, ids, expires
	var made []*http.Cookie
	for _, id := range ids {
		for _, name := range []string{"CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id"} {
			made = append(made, &http.Cookie{Name: name, Value: id, Path: "/tiles/" + id + "/", Secure: true, HttpOnly: true})
		}
	}
	return made, c.err
}

func (c *cookieSigner) Expired(ids []string) []*http.Cookie {
	var taken []*http.Cookie
	for _, id := range ids {
		taken = append(taken, &http.Cookie{Name: "CloudFront-Policy", Path: "/tiles/" + id + "/", MaxAge: -1, Secure: true})
	}
	return taken
}

// signedFor lists the tilesets whose CloudFront cookies an answer sets, and those whose it takes back.
func signedFor(got reply) (set, taken []string) {
	for _, c := range cookies(got) {
		id := strings.Trim(strings.TrimPrefix(c.Path, "/tiles"), "/")
		switch {
		case c.Name != "CloudFront-Policy":
		case c.MaxAge < 0 && c.Value == "":
			taken = append(taken, id)
		default:
			set = append(set, id)
		}
	}
	return set, taken
}

func withCloudFront(signer *cookieSigner) func(*setup) {
	return func(s *setup) {
		s.proxy.CloudFront, s.proxy.PublicURL = signer, "https://tiles.example.com"
		s.proxy.Edge = proxy.Edge{Secrets: [][]byte{edgeSecret}, Authorizes: true, Tilesets: []string{"basemap", "roads", "retina"}, TTL: time.Hour}
	}
}

// CloudFront asks nobody: the cookies of the user before would show the next one their tiles.
func TestCloudFrontCookiesOfTheUserBefore(t *testing.T) {
	w := start(t, withCloudFront(&cookieSigner{}))
	token := func(subject string, tilesets ...string) string {
		return "Bearer " + w.tokenFor(subject, time.Hour, auth.Limits{Tilesets: tilesets})
	}
	alice := w.cookie(strings.TrimPrefix(token("alice", "*"), "Bearer "))
	all := []string{"basemap", "roads", "retina"}
	for _, test := range []struct {
		name, method, path string
		header             []string
		set, taken         []string
	}{
		{"signs out", "DELETE", "/session", []string{"Cookie", alice}, nil, all},
		{"signs out again", "DELETE", "/session", nil, nil, all},
		{"another, without the CDN", "POST", "/session", []string{"Authorization", token("bob", "roads"), "Cookie", alice}, nil, all},
		{"another, who may see less", "POST", "/session?cdn=cloudfront", []string{"Authorization", token("bob", "roads"), "Cookie", alice}, []string{"roads"}, []string{"basemap", "retina"}},
		{"the same, who may see less by now", "POST", "/session?cdn=cloudfront", []string{"Authorization", token("alice", "roads"), "Cookie", w.cookie(w.token("*"))}, []string{"roads"}, []string{"basemap", "retina"}},
		{"the same renews", "POST", "/session", []string{"Authorization", token("alice", "*"), "Cookie", w.cookie(w.token("*"))}, nil, nil},
	} {
		got := w.do(test.method, test.path, "", test.header...)
		set, taken := signedFor(got)
		if got.status >= 300 || !slices.Equal(set, test.set) || !slices.Equal(taken, test.taken) {
			t.Errorf("%s: got %d, set for %q, taken back for %q, want %q and %q", test.name, got.status, set, taken, test.set, test.taken)
		}
	}
}

// A partitioned cookie and one that is not are two: each must be taken back as it was set.
func TestCloudFrontCookiesArePartitionedAsTheSessionIs(t *testing.T) {
	for _, partitioned := range []bool{false, true} {
		w := start(t, withCloudFront(&cookieSigner{}), func(s *setup) {
			s.auth.SameSite, s.auth.Partitioned = http.SameSiteNoneMode, partitioned
		})
		for _, got := range []reply{
			w.do(http.MethodPost, "/session?cdn=cloudfront", "", "Authorization", "Bearer "+w.token("basemap")),
			w.do(http.MethodDelete, "/session", ""),
		} {
			for _, c := range cookies(got) {
				if c.Partitioned != partitioned {
					t.Errorf("want partitioned: %v, got %s", partitioned, c)
				}
			}
		}
	}
}

func TestCloudFrontCookies(t *testing.T) {
	signer := &cookieSigner{}
	w := start(t, withCloudFront(signer))
	post := func(limits auth.Limits) reply {
		return w.do(http.MethodPost, "/session?cdn=cloudfront", "", "Authorization", "Bearer "+w.tokenFor("alice", time.Hour, limits))
	}
	got := post(auth.Limits{Tilesets: []string{"base*", "roads", "secret", "gone"}})
	var session sessionObject
	got.decode(t, &session)
	slices.Sort(signer.ids)
	if !slices.Equal(signer.ids, []string{"basemap", "roads"}) || signer.base != "https://tiles.example.com" || !signer.expires.Equal(session.ExpiresAt) {
		t.Errorf("signed %q at %q until %s; the session ends %s", signer.ids, signer.base, signer.expires, session.ExpiresAt)
	}
	if set := slices.DeleteFunc(cookies(got), func(c *http.Cookie) bool { return c.MaxAge < 0 }); len(set) != 7 {
		t.Errorf("got %d cookies, want ours and a triplet for each of two tilesets: %v", len(set), set)
	}
	for name, limits := range map[string]auth.Limits{
		"zoom": {Tilesets: []string{"*"}, Zoom: &tile.ZoomRange{Min: 0, Max: 9}},
		"box":  {Tilesets: []string{"*"}, BBox: &tile.Box{West: 0, South: 0, East: 1, North: 1}},
	} {
		if got := post(limits); got.status != 403 || len(cookies(got)) != 0 {
			t.Errorf("grant with a %s, which CloudFront cannot enforce: got %d %v", name, got.status, cookies(got))
		}
	}
	signer.err = errors.New("the key is s3cr3t")
	if got := post(auth.Limits{Tilesets: []string{"*"}}); got.status != 500 || strings.Contains(got.body, "s3cr3t") || len(cookies(got)) != 0 {
		t.Errorf("signer fails: got %d %s", got.status, got.body)
	}
	if got := w.do(http.MethodPost, "/session?cdn=akamai", "", w.bearer()...); got.status != 400 || len(cookies(got)) != 0 {
		t.Errorf("another cdn: got %d", got.status)
	}
	if got := start(t).do(http.MethodPost, "/session?cdn=cloudfront", "", w.bearer()...); got.status < 400 || got.status >= 500 || len(cookies(got)) != 0 {
		t.Errorf("not configured: got %d", got.status)
	}
}

// CloudFront honours what is signed: a policy over a Host of the client's choice, "*" above all, would be a
// key to other distributions of the same key group.
func TestCloudFrontNeverSignsForTheClientsHost(t *testing.T) {
	for _, test := range []struct {
		name, publicURL string
		ok              bool
	}{
		{"told from each request", "", false},
		{"http", "http://tiles.example.com", false},
		{"https", "https://tiles.example.com/maps/", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			signer := &cookieSigner{}
			w, s := build(t, func(s *setup) {
				s.proxy.PublicURL, s.proxy.Edge.Tilesets = "https://tiles.example.com/maps/", []string{"basemap"}
			})
			s.proxy.CloudFront, s.proxy.PublicURL = signer, test.publicURL
			p, err := proxy.New(s.proxy)
			if (err == nil) != test.ok {
				t.Fatalf("got %v, want accepted: %v", err, test.ok)
			}
			if !test.ok {
				return
			}
			w.address, w.client = serve(t, &wire.Server{Handler: p}), newClient(t)
			for _, host := range []string{"*", "evil.example", "tiles.example.com"} {
				got := w.do(http.MethodPost, "/session?cdn=cloudfront", "", w.as("Host", host)...)
				if got.status != 200 || signer.base != "https://tiles.example.com/maps" {
					t.Errorf("Host %s: got %d, signed for %q", host, got.status, signer.base)
				}
			}
		})
	}
}
