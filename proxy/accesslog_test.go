package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tilegate/internal/tile"
)

type accessLine struct {
	Time, Level, Msg, Method, Path, Tileset, Cache, Subject, Client, Protocol, Error string

	Aborted       bool
	Status, Bytes int
	Duration      float64 `json:"duration_ms"`
	RequestID     string  `json:"request_id"`
	TokenID       string  `json:"token_id"`
}

func parseLine(t *testing.T, line string) (l accessLine) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	level := "INFO"
	if l.Status >= 500 {
		level = "WARN"
	}
	if _, err := time.Parse(time.RFC3339, l.Time); err != nil || l.Level != level || l.Msg != "request" {
		t.Errorf("%s: %v", line, err)
	}
	return l
}

func TestOneAccessLineARequest(t *testing.T) {
	w := start(t, func(s *setup) {
		s.proxy.CORS.Origins, s.proxy.LogProbes = []string{"https://app.example.com"}, true
		s.tileset("secret").Origin = failing{tile.ErrBadAnswer}
	})
	requests := everyStatus(w)
	before := len(w.access.waitFor(1)) // the requests that prepared these
	for i, r := range requests {
		got := w.do(r.method, r.path, r.body, r.header...)
		all := w.access.waitFor(before + i + 1)
		if len(all) != before+i+1 {
			t.Fatalf("%s: %d lines, want one: %q", r.name, len(all)-before-i, all[before+i:])
		}
		l := parseLine(t, all[before+i])
		if l.Method != r.method || l.Status != got.status || l.Bytes != len(got.body) || l.Client != "127.0.0.1" || l.Protocol != "HTTP/1.1" || l.Duration < 0 {
			t.Errorf("%s: got %d with %d bytes and the line %+v", r.name, got.status, len(got.body), l)
		}
		if got.status >= 400 && l.Error == "" && got.status != 404 {
			t.Errorf("%s: the line of a %d does not say why: %+v", r.name, got.status, l)
		}
	}
}

func TestAccessLineTellsWhoAndWhat(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	for i, outcome := range []string{"miss", "hit"} {
		w.get("/tiles/1/0/0.png?v=1", w.as("X-Request-Id", "abc")...)
		l := parseLine(t, w.access.waitFor(i + 1)[i])
		if l.Path != "/tiles/1/0/0.png" || l.Tileset != "basemap" || l.Cache != outcome || l.Subject != "alice" || l.RequestID != "abc" {
			t.Errorf("got %+v", l)
		}
	}
}

// What the log calls a token is what revokes it, and no more than that, whatever kind it is.
func TestLoggedTokenIDRevokes(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	access := w.token("*")
	cookie, path := w.cookie(access), "/t/"+w.pathToken(access)
	admin := w.admin("")
	ways := []struct {
		name, prefix string
		header       []string
	}{
		{"path token", path, nil},
		{"session", "", []string{"Cookie", cookie}},
		{"access token", "", []string{"Authorization", "Bearer " + access}},
	}
	for i, way := range ways {
		before := 2 + i*(1+len(ways))
		w.access.waitFor(before)
		if got := w.get(way.prefix+"/tiles/basemap/1/0/0", way.header...); got.status != 200 {
			t.Fatalf("%s: got %d", way.name, got.status)
		}
		l := parseLine(t, w.access.waitFor(before + 1)[before])
		if l.TokenID == "" || l.Subject != "alice" || strings.Contains(strings.Join(way.header, "")+way.prefix, l.TokenID) {
			t.Fatalf("%s: got %+v", way.name, l)
		}
		if got := admin.ask("POST", "/admin/revoke", `{"token_id":"`+l.TokenID+`"}`); got.status != 200 || !strings.Contains(got.body, `"matched":`) {
			t.Fatalf("%s: got %d %s", way.name, got.status, got.body)
		}
		for j, other := range ways {
			want := 401
			if j > i {
				want = 200
			}
			if got := w.get(other.prefix+"/tiles/basemap/1/0/0", other.header...); got.status != want {
				t.Errorf("%s after the %s was revoked: got %d, want %d", other.name, way.name, got.status, want)
			}
		}
	}
}

// No credential, however it came and whether or not it was any good, stands in a log, an error or a metric.
func TestCredentialsNeverReachALog(t *testing.T) {
	w := start(t, withQuery, withEdge(true), trustLoopback, verifies("X-Original-URI"))
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	access := w.token("*")
	session, path := w.session(access), w.pathToken(access)
	const bad = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYWxsb3J5In0.c2VjcmV0LXNpZ25hdHVyZQ"
	credentials := []string{access, session, path, bad, string(edgeSecret), base64.StdEncoding.EncodeToString([]byte("u:" + access)), base64.StdEncoding.EncodeToString([]byte("u:" + bad))}
	for _, token := range []string{access, session, path, bad} {
		tile := "/tiles/basemap/1/0/0.png"
		w.get(tile, "Authorization", "Bearer "+token)
		w.get(tile, "Authorization", "Digest "+token)
		w.get(tile, "Authorization", token)
		w.get(tile, "Authorization", basic("u", token))
		w.get(tile, "Authorization", "Bearer "+token, "Authorization", "Bearer "+token)
		w.get(tile, "Cookie", "__Host-tilegate="+token)
		w.get(tile + "?access_token=" + url.QueryEscape(token))
		w.get(tile + "?token=" + url.QueryEscape(token))
		w.get(tile, throughEdge, string(edgeSecret))
		for _, spelled := range []string{
			"/t/" + token + tile, "/t/" + token + "/tiles/basemap.json", "/t/" + token, "/t/" + token + "/", "/t/" + token + "/nowhere", "/t/" + token + "/tiles/basemap/01/0/0",
			"/T/" + token + tile, "//t/" + token + tile, "/t//" + token + tile, "/./t/" + token + tile, "/maps/t/" + token + tile, "/t%2f" + token + tile, "/t%252f" + token + tile,
			"/tiles/t/" + token + tile, "/" + token, "/" + token + tile, "/tiles/" + token + "/1/0/0", "/tiles/" + token + ".json", "/tiles/basemap/1/0/0." + token, "/session/" + token,
			"/files/" + token + "/url", "/presign/" + token + "/1/0/0", "/viewer/" + token, "/t/" + token + "%00" + tile, "/t;" + token + tile, "http://x/t/" + token + tile,
			"/tiles/basemap/1/0/0.png;access_token=" + token, "/catalog/" + strings.Repeat("a", 600) + "/" + token,
		} {
			w.rawGet(spelled)
		}
		w.get("/auth/verify", "X-Original-URI", "/t/"+token+tile)
		w.get("/auth/verify", "X-Original-URI", tile+"?access_token="+token)
		w.do("POST", "/session", "", "Authorization", "Bearer "+token)
		w.do("POST", "/tokens", `{"tilesets":["`+token+`"]}`, "Authorization", "Bearer "+access)
		w.do("POST", "/tokens", `{"`+token+`":1}`, "Authorization", "Bearer "+access)
		w.do("DELETE", "/session", "", "Cookie", "__Host-tilegate="+token)
	}
	w.do("OPTIONS", "/t/"+path+"/tiles/basemap/1/0/0", "")
	for _, l := range []*lines{w.access, w.logged} {
		logged := l.String()
		for i, secret := range credentials {
			for _, part := range []string{secret, secret[:min(len(secret), 40)], secret[len(secret)/2:]} {
				if at := strings.Index(logged, part); at >= 0 {
					t.Fatalf("credential %d stands in the log: %s", i, logged[max(0, at-200):min(len(logged), at+100)])
				}
			}
		}
	}
}

// Nothing that a client sends makes a second line, or a field of its own.
func TestLogInjection(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		w := start(t, func(s *setup) { s.proxy.AccessFormat = format })
		w.rawGet("/nowhere%0a%7b%22status%22:200%7d%1b[31m%22")
		w.rawGet("/nowhere%20status=200")
		for _, line := range w.access.waitFor(2) {
			if strings.Count(line, "\n") != 1 || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\x00\x1b\r\n") || strings.Contains(line, " status=200") && !strings.Contains(line, `"/nowhere status=200"`) {
				t.Errorf("got %q", line)
			}
			if format == "json" {
				if l := parseLine(t, line); l.Status != 404 {
					t.Errorf("got %+v", l)
				}
			}
		}
	}
}

func TestClientBehindTrustedProxies(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	for _, test := range []struct {
		name      string
		trusted   []netip.Prefix
		forwarded []string
		want      string
	}{
		{"nobody trusted", nil, []string{"X-Forwarded-For", "192.0.2.1"}, "127.0.0.1"},
		{"one hop", trusted, []string{"X-Forwarded-For", "192.0.2.1"}, "192.0.2.1"},
		{"two hops", trusted, []string{"X-Forwarded-For", "192.0.2.1, 10.1.2.3"}, "192.0.2.1"},
		{"a client's own claim", trusted, []string{"X-Forwarded-For", "203.0.113.9, 192.0.2.1"}, "192.0.2.1"},
		{"in two fields", trusted, []string{"X-Forwarded-For", "203.0.113.9", "X-Forwarded-For", "192.0.2.1"}, "192.0.2.1"},
		{"IPv6", trusted, []string{"X-Forwarded-For", "2001:db8::1"}, "2001:db8::1"},
		{"a zone that would end the string", trusted, []string{"X-Forwarded-For", `fe80::1%"\`}, "fe80::1"},
		{"nonsense", trusted, []string{"X-Forwarded-For", "192.0.2.1, \"; drop"}, "127.0.0.1"},
		{"none", trusted, nil, "127.0.0.1"},
		{"all trusted", trusted, []string{"X-Forwarded-For", "10.9.9.9, 10.1.2.3"}, "10.9.9.9"},
	} {
		w := start(t, func(s *setup) { s.proxy.TrustedProxies, s.proxy.LogProbes = test.trusted, true })
		w.get("/health", test.forwarded...)
		if l := parseLine(t, w.access.waitFor(1)[0]); l.Client != test.want {
			t.Errorf("%s: got client %q, want %q", test.name, l.Client, test.want)
		}
	}
}

// Load balancers ask every few seconds. Their lines would bury the others.
func TestProbesAreNotInTheAccessLog(t *testing.T) {
	for _, logged := range []bool{false, true} {
		w := start(t, func(s *setup) { s.proxy.LogProbes = logged })
		w.get("/health")
		w.get("/ready")
		w.do("POST", "/health", "")
		w.get("/nowhere")
		var paths []string
		want := []string{"/health", "/nowhere"} // a POST is no probe
		if logged {
			want = []string{"/health", "/ready", "/health", "/nowhere"}
		}
		for _, line := range w.access.waitFor(len(want)) {
			paths = append(paths, parseLine(t, line).Path)
		}
		if !slices.Equal(paths, want) {
			t.Errorf("probes logged: %v: got lines for %q", logged, paths)
		}
	}
}

func TestWithoutAccessLog(t *testing.T) {
	w := start(t, func(s *setup) { s.proxy.AccessLog = nil })
	if got := w.get("/health"); got.status != 200 {
		t.Errorf("got %d", got.status)
	}
}
