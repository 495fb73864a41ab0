package proxy_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tilegate/auth"
	"tilegate/proxy/wire"
)

// admin serves the admin listener of a world's proxy, and returns a world that asks there.
func (w *world) admin(token string) *world {
	w.t.Helper()
	var secret []byte
	if token != "" {
		secret = []byte(token)
	}
	metrics := promhttp.HandlerFor(prometheus.NewRegistry(), promhttp.HandlerOpts{})
	other := *w
	other.address = serve(w.t, &wire.Server{Handler: w.proxy.Admin(metrics, secret)})
	return &other
}

// ask is do without what only holds on the public listener.
func (w *world) ask(method, path, body string, header ...string) reply {
	w.t.Helper()
	response, err := w.client.Do(w.request(method, path, body, header...))
	if err != nil {
		w.t.Fatal(err)
	}
	return readAll(response)
}

func TestAdminRefusesPages(t *testing.T) {
	w := start(t, func(s *setup) { s.proxy.CORS.Origins = []string{"https://app.example.com"} })
	for name, header := range map[string][]string{
		"another origin":               {"Origin", "https://evil.example"},
		"a listed origin":              {"Origin", "https://app.example.com"},
		"its own origin":               {"Origin", "http://127.0.0.1:9090"},
		"null":                         {"Origin", "null"},
		"empty":                        {"Origin", ""},
		"an image of another site":     {"Sec-Fetch-Site", "cross-site"},
		"a link on a page of the site": {"Sec-Fetch-Site", "same-site"},
		"a name that was rebound":      {"Host", "evil.example:9090"},
		"an address as a name":         {"Host", "127.0.0.1.evil.example"},
	} {
		for _, token := range []string{"", "admin-secret"} {
			admin := w.admin(token)
			for _, route := range []string{"GET /metrics", "GET /debug/pprof/", "POST /admin/purge", "POST /admin/revoke", "GET /admin/revocations", "DELETE /admin/revocations?subject=a", "OPTIONS /admin/purge"} {
				method, path, _ := strings.Cut(route, " ")
				got := admin.ask(method, path, `{"tileset":"basemap"}`, append(header, "Authorization", "Bearer "+token)...)
				if got.status != 403 || got.header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s from %s: got %d %v", route, name, got.status, got.header)
				}
			}
		}
	}
}

// Which names are its own depends on where a request arrives, not on the token: /metrics needs none.
func TestAdminNames(t *testing.T) {
	admin := start(t).proxy.Admin(http.NotFoundHandler(), []byte("admin-secret"))
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090}
	for _, test := range []struct {
		name  string
		local net.Addr
		host  string
		want  int // 404 is the metrics' own
	}{
		{"loopback by address", loopback, "127.0.0.1:9090", 404},
		{"loopback by name", loopback, "localhost:9090", 404},
		{"loopback by another's name", loopback, "evil.example:9090", 403},
		{"IPv6 loopback by another's name", &net.TCPAddr{IP: net.IPv6loopback, Port: 9090}, "evil.example:9090", 403},
		{"network by name", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 9090}, "tiles-1.example:9090", 404},
		{"network by address", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 9090}, "192.0.2.7:9090", 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
			r.Host = test.host
			got := httptest.NewRecorder()
			admin.ServeHTTP(got, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, test.local)))
			if got.Code != test.want {
				t.Errorf("got %d, want %d", got.Code, test.want)
			}
		})
	}
}

// What the admin listener does not have, it refuses as the public one does.
func TestAdminRefusalsAreProblems(t *testing.T) {
	admin := start(t).admin("")
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/nowhere", 404, ""},
		{"POST", "/admin/nowhere", 404, ""},
		{"GET", "/admin/purge", 405, "POST"},
		{"DELETE", "/admin/revoke", 405, "POST"},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			got := admin.ask(test.method, test.path, "")
			if got.status != test.status || got.header.Get("Allow") != test.allow {
				t.Errorf("got %d, Allow %q; want %d, %q", got.status, got.header.Get("Allow"), test.status, test.allow)
			}
			if p := got.problem(t); p.Status != test.status || p.Detail == "" {
				t.Errorf("got the problem %+v", p)
			}
		})
	}
}

func TestAdminToken(t *testing.T) {
	admin := start(t).admin("admin-secret")
	for _, test := range []struct {
		name   string
		header []string
		want   int
	}{
		{"right", []string{"Authorization", "Bearer admin-secret"}, 200},
		{"scheme in another case", []string{"Authorization", "bearer admin-secret"}, 200},
		{"none", nil, 401},
		{"wrong", []string{"Authorization", "Bearer admin-secreT"}, 401},
		{"shorter", []string{"Authorization", "Bearer admin-secre"}, 401},
		{"longer", []string{"Authorization", "Bearer admin-secrett"}, 401},
		{"empty", []string{"Authorization", "Bearer "}, 401},
		{"scheme alone", []string{"Authorization", "Bearer"}, 401},
		{"another scheme", []string{"Authorization", "Basic admin-secret"}, 401},
		{"bare", []string{"Authorization", "admin-secret"}, 401},
		{"twice", []string{"Authorization", "Bearer x", "Authorization", "Bearer admin-secret"}, 401},
		{"in the query", []string{"X-Admin-Token", "admin-secret"}, 401},
	} {
		for _, path := range []string{"/admin/purge", "/debug/pprof/"} {
			method := map[bool]string{true: "POST", false: "GET"}[strings.HasPrefix(path, "/admin")]
			got := admin.ask(method, path, `{"tileset":"basemap"}`, test.header...)
			if got.status != test.want || (got.status == 401) != (got.header.Get("Www-Authenticate") != "") || strings.Contains(got.body, "secret") {
				t.Errorf("%s on %s: got %d %v %.200s", test.name, path, got.status, got.header, got.body)
			}
		}
	}
	if got := admin.ask("GET", "/metrics", ""); got.status != 200 {
		t.Errorf("/metrics needs none: got %d", got.status)
	}
}

// An empty secret, of a variable that is set to nothing, opens nothing.
func TestEmptyAdminTokenOpensNothing(t *testing.T) {
	w := start(t)
	w.address = serve(t, &wire.Server{Handler: w.proxy.Admin(http.NotFoundHandler(), []byte{})})
	for _, header := range [][]string{nil, {"Authorization", "Bearer "}, {"Authorization", "Bearer"}} {
		if got := w.ask("POST", "/admin/purge", `{"tileset":"basemap"}`, header...); got.status != 401 {
			t.Errorf("%q: got %d", header, got.status)
		}
	}
}

func TestPurge(t *testing.T) {
	w := start(t)
	admin := w.admin("")
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.origin.put("secret", 1, 0, 0, tilePNG)
	w.get("/tiles/basemap/1/0/0", w.bearer()...)
	w.get("/tiles/basemap/1/1/1", w.bearer()...) // absent
	w.get("/tiles/secret/1/0/0", w.bearer()...)
	var purged struct{ Purged int }
	admin.ask("POST", "/admin/purge", `{"tileset":"basemap"}`).decode(t, &purged)
	if purged.Purged != 2 {
		t.Errorf("purged %d entries, want 2", purged.Purged)
	}
	w.get("/tiles/basemap/1/0/0", w.bearer()...)
	w.get("/tiles/secret/1/0/0", w.bearer()...)
	w.origin.wantAsked(t, 4)
	for body, want := range map[string]int{`{"tileset":"nowhere"}`: 404, `{}`: 404, `[]`: 400, "null": 400, `{"Tileset":"basemap"}`: 400, `{"tileset":"nowhere","tileset":"basemap"}`: 400, `{"tileset":"basemap","x":1}`: 400, `{"tileset":"basemap"} x`: 400, "": 400, strings.Repeat(" ", 1<<20) + "{}": 413} {
		if got := admin.ask("POST", "/admin/purge", body); got.status != want || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.40q: got %d %s, want %d", body, got.status, got.body, want)
		}
	}
	if got := admin.ask("GET", "/admin/purge", ""); got.status != 405 {
		t.Errorf("GET: got %d", got.status)
	}
	if got := admin.ask("GET", "/tiles/basemap/1/0/0", "", w.bearer()...); got.status != 404 {
		t.Errorf("a tile on the admin listener: got %d", got.status)
	}
}

func TestRevoke(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	admin := w.admin("")
	for _, by := range []string{"subject", "token_id"} {
		t.Run(by, func(t *testing.T) {
			subject := "alice-" + by
			token := w.tokenFor(subject, 3600e9, auth.Limits{Tilesets: []string{"*"}})
			r := w.request("GET", "/", "", "Authorization", "Bearer "+token)
			grant, err := w.auth.Authenticate(r, "")
			if err != nil {
				t.Fatal(err)
			}
			ways := map[string]func() int{
				"token":   func() int { return w.get("/tiles/basemap/1/0/0", "Authorization", "Bearer "+token).status },
				"session": nil, "path": nil,
			}
			cookie, path := w.cookie(token), w.pathToken(token)
			ways["session"] = func() int { return w.get("/tiles/basemap/1/0/0", "Cookie", cookie).status }
			ways["path"] = func() int { return w.get("/t/" + path + "/tiles/basemap/1/0/0").status }
			for name, status := range ways {
				if got := status(); got != 200 {
					t.Errorf("%s before: got %d", name, got)
				}
			}
			body, err := json.Marshal(map[string]string{by: map[string]string{"subject": subject, "token_id": grant.ID}[by]})
			if err != nil {
				t.Fatal(err)
			}
			if got := admin.ask("POST", "/admin/revoke", string(body)); got.status != 200 {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			for name, status := range ways { // at once, warm as the cache is
				if got := status(); got != 401 {
					t.Errorf("%s after: got %d", name, got)
				}
			}
			if got := w.get("/tiles/basemap/1/0/0", w.bearer()...); got.status != 200 {
				t.Errorf("somebody else: got %d", got.status)
			}
		})
	}
	for _, body := range []string{`{}`, `{"subject":""}`, `{"subject":"a","token_id":"b"}`, `{"sub":"a"}`, `"alice"`, "", "null", `{"Subject":"alice"}`, `{"subject":"alice","subject":"bob"}`, `{"subject":"alice","token_id":null}`} {
		if got := admin.ask("POST", "/admin/revoke", body); got.status != 400 {
			t.Errorf("%s: got %d", body, got.status)
		}
	}
}

// A revocation says what it hit. It can be listed and undone.
func TestRevocationsAreToldListedAndUndone(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	admin := w.admin("")
	token := w.token("*")
	w.get("/tiles/basemap/1/0/0", "Authorization", "Bearer "+token)
	w.get("/tiles/basemap/1/0/0", "Cookie", w.cookie(token))
	for _, test := range []struct{ method, path, body, want string }{
		{"GET", "/admin/revocations", "", `{"total":0,"revocations":[]}`},
		{"POST", "/admin/revoke", `{"subject":"nobody"}`, `{"subject":"nobody","matched":0}`},
		{"POST", "/admin/revoke", `{"subject":"alice"}`, `{"subject":"alice","matched":2,"kinds":{"access":1,"session":1}}`},
		{"POST", "/admin/revoke", `{"token_id":"some-token"}`, `{"token_id":"some-token","matched":0}`},
		{"GET", "/admin/revocations", "", `{"total":3,"revocations":[{"subject":"alice","revoked_at":"2026-11-22T12:03:04Z","kept_until":"2026-11-23T12:04:04Z"},` +
			`{"subject":"nobody","revoked_at":"2026-11-22T12:03:04Z","kept_until":"2026-11-23T12:04:04Z"},{"token_id":"some-token","revoked_at":"2026-11-22T12:03:04Z","kept_until":"2026-11-23T12:04:04Z"}]}`},
		{"DELETE", "/admin/revocations?subject=bob", "", `{"undone":0}`},
		{"DELETE", "/admin/revocations?subject=alice", "", `{"undone":1}`},
		{"DELETE", "/admin/revocations?subject=alice", "", `{"undone":0}`},
		{"DELETE", "/admin/revocations?token_id=some-token", "", `{"undone":1}`},
	} {
		if got := admin.ask(test.method, test.path, test.body); got.status != 200 || got.body != test.want+"\n" {
			t.Errorf("%s %s %s: got %d %s, want %s", test.method, test.path, test.body, got.status, got.body, test.want)
		}
	}
	if got := w.get("/tiles/basemap/1/0/0", "Authorization", "Bearer "+token); got.status != 200 {
		t.Errorf("after it was undone: got %d %s", got.status, got.body)
	}
	for _, query := range []string{"", "?subject=", "?subject=a&subject=b", "?subject=a&token_id=b", "?subject=a&x=1", "?x=1", "?subject=%zz"} {
		if got := admin.ask("DELETE", "/admin/revocations"+query, ""); got.status != 400 {
			t.Errorf("%s: got %d", query, got.status)
		}
	}
}

// What the cache holds and how often it answers is told for each tileset and bundle.
func TestCacheUsage(t *testing.T) {
	w := start(t, cartography())
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.origin.put("secret", 1, 0, 0, tilePNG)
	admin := w.admin("")
	for _, path := range []string{"/tiles/basemap/1/0/0", "/tiles/basemap/1/0/0", "/tiles/basemap/1/0/0", "/tiles/basemap/1/1/1", "/tiles/secret/1/0/0"} {
		w.get(path, w.bearer()...)
	}
	var got struct {
		Bytes, Limit           int64
		Entries, Fills, Queued int
		Tilesets               []struct {
			ID                string
			Bytes             int64
			Entries, Absences int
			Requests          int
			HitRatio          *float64 `json:"hit_ratio"`
		}
	}
	w.access.waitFor(5) // they are counted before their lines
	admin.ask("GET", "/admin/cache", "").decode(t, &got)
	if got.Entries != 2 || got.Limit <= 0 || got.Bytes <= 0 || got.Bytes > got.Limit {
		t.Errorf("got %+v", got)
	}
	for _, ts := range got.Tilesets {
		switch {
		case ts.ID == "basemap" && (ts.Entries != 1 || ts.Absences != 1 || ts.Requests != 4 || ts.HitRatio == nil || *ts.HitRatio != 0.5 || ts.Bytes < int64(len(tilePNG.body))):
			t.Errorf("basemap: got %+v", ts)
		case ts.ID == "secret" && (ts.Entries != 1 || ts.Absences != 0 || ts.Requests != 1 || *ts.HitRatio != 0):
			t.Errorf("secret: got %+v", ts)
		case ts.ID == "bundle:cartography" && (ts.Entries != 0 || ts.HitRatio != nil):
			t.Errorf("bundle: got %+v", ts)
		}
	}
	if last := got.Tilesets[len(got.Tilesets)-1]; last.ID != "bundle:cartography" {
		t.Errorf("the last one is %q", last.ID)
	}
}
