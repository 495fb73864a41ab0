package proxy_test

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy"
)

// withAPIKeys gives the world a file of keys, and returns their texts.
func withAPIKeys(t *testing.T, keys ...auth.APIKey) (texts []string, change func(*setup)) {
	t.Helper()
	var file []byte
	for _, k := range keys {
		text, line, err := auth.NewAPIKey(k)
		if err != nil {
			t.Fatal(err)
		}
		texts, file = append(texts, text), append(file, line...)
	}
	path := filepath.Join(t.TempDir(), "keys.jsonl")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return texts, func(s *setup) {
		s.auth.APIKeys, s.proxy.QueryParameter = path, "key"
		s.auth.ClientAddress = proxy.ClientAddress(s.proxy.TrustedProxies)
	}
}

func grantsOf(tilesets ...string) auth.Limits { return auth.Limits{Tilesets: tilesets} }

// An image of the customer's page gets its tiles, one of another page does not, and every way in is the same.
func TestAPIKeyOnOneOriginAndNotOnAnother(t *testing.T) {
	keys, change := withAPIKeys(t, auth.APIKey{Limits: grantsOf("basemap"), Origins: []string{"https://shop.example.com"}})
	w := start(t, change)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	for _, way := range []struct {
		name, path string
		header     []string
	}{
		{"header", "/tiles/basemap/1/0/0.png", []string{"X-API-Key", keys[0]}},
		{"basic", "/tiles/basemap/1/0/0.png", []string{"Authorization", basic("any", keys[0])}},
		{"path", "/t/" + keys[0] + "/tiles/basemap/1/0/0.png", nil},
		{"query", "/tiles/basemap/1/0/0.png?key=" + keys[0], nil},
	} {
		for _, test := range []struct {
			name   string
			header []string
			want   int
		}{
			{"its page's script", []string{"Origin", "https://shop.example.com"}, 200},
			{"its page's image", []string{"Referer", "https://shop.example.com/"}, 200},
			{"another page's script", []string{"Origin", "https://evil.example"}, 403},
			{"another page's image", []string{"Referer", "https://evil.example/"}, 403},
			{"neither", nil, 403},
		} {
			for _, warm := range []bool{false, true} {
				got := w.get(way.path, append(test.header, way.header...)...)
				if got.status != test.want || got.status != 200 && strings.Contains(got.body, "\x89PNG") {
					t.Errorf("%s of %s (again: %t): got %d %s", way.name, test.name, warm, got.status, got.body)
				}
			}
		}
		if got := w.get(strings.Replace(way.path, "basemap", "secret", 1), append([]string{"Origin", "https://shop.example.com"}, way.header...)...); got.status != 403 {
			t.Errorf("%s for another tileset: got %d", way.name, got.status)
		}
	}
	if got := w.get("/tiles/basemap/1/0/0.png", "Referer", "https://shop.example.com/?key="+keys[0]); got.status != 401 {
		t.Errorf("the key in the Referer: got %d", got.status)
	}
	// TileJSON and the decision for another server ask the same.
	for origin, want := range map[string]int{"https://shop.example.com": 200, "https://evil.example": 403} {
		if got := w.get("/tiles/basemap.json", "X-API-Key", keys[0], "Origin", origin); got.status != want {
			t.Errorf("TileJSON for %s: got %d", origin, got.status)
		}
	}
}

func TestAPIKeyDecisionForAnotherServer(t *testing.T) {
	keys, change := withAPIKeys(t, auth.APIKey{Limits: grantsOf("basemap"), Origins: []string{"https://shop.example.com"}})
	w := start(t, trustLoopback, verifies("X-Original-URI"), change)
	for origin, want := range map[string]int{"https://shop.example.com": 204, "https://evil.example": 403, "": 403} {
		for _, uri := range []string{"/t/" + keys[0] + "/tiles/basemap/1/0/0.png", "/tiles/basemap/1/0/0.png?key=" + keys[0]} {
			header := []string{"X-Original-URI", uri}
			if origin != "" {
				header = append(header, "Origin", origin)
			}
			if got := w.get("/auth/verify", header...); got.status != want {
				t.Errorf("%s for %q: got %d, want %d", uri, origin, got.status, want)
			}
		}
	}
}

// Nothing comes of a key that could be used after its revocation, or elsewhere.
func TestAPIKeyMintsNothing(t *testing.T) {
	keys, change := withAPIKeys(t, auth.APIKey{Limits: grantsOf("*")}, auth.APIKey{Limits: grantsOf("*"), Origins: []string{"https://shop.example.com"}})
	w := start(t, change)
	for _, key := range keys {
		for _, path := range []string{"/session", "/tokens", "/credentials"} {
			got := w.do(http.MethodPost, path, "{}", "X-API-Key", key, "Referer", "https://shop.example.com/")
			if got.status != 403 || got.header.Get("Set-Cookie") != "" || strings.Contains(got.body, "/t/") {
				t.Errorf("POST %s: got %d %s", path, got.status, got.body)
			}
		}
		if got := w.do(http.MethodPost, "/session?key="+key, ""); got.status != 401 {
			t.Errorf("POST /session with the key in the query: got %d", got.status)
		}
	}
}

func TestAPIKeyAddressesBehindATrustedProxy(t *testing.T) {
	limited := auth.APIKey{Limits: grantsOf("basemap"), IPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	for _, test := range []struct {
		name      string
		trusted   []netip.Prefix
		forwarded string
		want      int
	}{
		{"from a trusted proxy", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "192.0.2.7", 200},
		{"from another client", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "198.51.100.1", 403},
		{"from a client that claims it", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "192.0.2.7, 198.51.100.1", 403},
		{"from nobody who is trusted", nil, "192.0.2.7", 403},
	} {
		keys, change := withAPIKeys(t, limited)
		w := start(t, func(s *setup) { s.proxy.TrustedProxies = test.trusted }, change)
		w.origin.put("basemap", 1, 0, 0, tilePNG)
		if got := w.get("/tiles/basemap/1/0/0", "X-API-Key", keys[0], "X-Forwarded-For", test.forwarded); got.status != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got.status, test.want)
		}
	}
}

func TestAPIKeyNeverReachesALog(t *testing.T) {
	keys, change := withAPIKeys(t, auth.APIKey{Name: "shop", Limits: grantsOf("*")}, auth.APIKey{Limits: grantsOf("*"), Origins: []string{"https://shop.example.com"}})
	w := start(t, withEdge(true), trustLoopback, verifies("X-Original-URI"), change)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	const tilePath = "/tiles/basemap/1/0/0.png"
	for _, key := range append(keys, keys[0][:len(keys[0])-1]+"_") {
		w.get(tilePath, "X-API-Key", key)
		w.get(tilePath, "X-API-Key", key, "X-API-Key", key)
		w.get(tilePath, "X-API-Key", "x"+key)
		w.get(tilePath, "Authorization", "Bearer "+key)
		w.get(tilePath, "Authorization", basic("u", key))
		w.get(tilePath, "Authorization", basic(key, ""))
		w.get(tilePath, "Cookie", "__Host-tilegate="+key)
		w.get(tilePath, "Referer", "https://shop.example.com/t/"+key+"/")
		w.get(tilePath, "Origin", "https://"+key+".example")
		for _, spelled := range []string{
			"/t/" + key + tilePath, "/t/" + key + "/tiles/basemap.json", "/t/" + key, "/T/" + key + tilePath, "//t/" + key + tilePath, "/t//" + key + tilePath,
			"/maps/t/" + key + tilePath, "/t%2f" + key + tilePath, "/" + key, "/" + key + tilePath, "/tiles/" + key + "/1/0/0", "/tiles/" + key + ".json",
			"/tiles/basemap/1/0/0." + key, "/files/" + key + "/url", "/t/" + key + "%00" + tilePath, tilePath + "?key=" + key, tilePath + "?key=" + key + "&key=" + key,
			tilePath + ";key=" + key, "/catalog?key=" + key,
		} {
			w.rawGet(spelled)
		}
		w.get("/auth/verify", "X-Original-URI", "/t/"+key+tilePath)
		w.do("POST", "/session", "", "X-API-Key", key)
		w.do("POST", "/tokens", `{"`+key+`":1}`, "X-API-Key", key)
	}
	told := false
	for _, l := range []*lines{w.access, w.logged} {
		logged := l.String()
		told = told || strings.Contains(logged, `"subject":"key:`+keys[0][3:15]+`"`)
		for _, key := range keys {
			secret := key[strings.LastIndexByte(key, '_')+1:]
			for _, part := range []string{secret, secret[:26], secret[26:], base64.StdEncoding.EncodeToString([]byte("u:" + key))[20:]} {
				if at := strings.Index(logged, part); at >= 0 {
					t.Fatalf("a key stands in the log: %s", logged[max(0, at-200):min(len(logged), at+100)])
				}
			}
		}
	}
	if !told {
		t.Error("the log does not tell whose key it was")
	}
}

func TestTileJSONOfAPIKeyIsClipped(t *testing.T) {
	limits := grantsOf("basemap")
	limits.Zoom, limits.BBox = &tile.ZoomRange{Min: 2, Max: 5}, &tile.Box{West: 0, South: 0, East: 10, North: 10}
	keys, change := withAPIKeys(t, auth.APIKey{Limits: limits})
	w := start(t, change)
	got := w.get("/tiles/basemap.json", "X-API-Key", keys[0])
	for _, want := range []string{`"minzoom":2,`, `"maxzoom":5,`, `"bounds":[0,0,10,10]`} {
		if got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("got %d %s, want %s in it", got.status, got.body, want)
		}
	}
}

// What a client is told to follow carries the key of its query on, and no credential that did not decide.
func TestQueryKeyIsCarriedOn(t *testing.T) {
	keys, change := withAPIKeys(t, auth.APIKey{Limits: grantsOf("basemap")}, auth.APIKey{Limits: grantsOf("basemap")})
	w := start(t, change)
	w.origin.put("basemap", 3, 4, 2, tilePNG)
	got := w.tileJSON("/tiles/basemap.json?key=" + keys[0]).Tiles[0]
	if !strings.HasSuffix(got, "&key="+keys[0]) {
		t.Errorf("got %q", got)
	}
	if tile := w.follow(at(got, "3/4/2")); tile.status != 200 {
		t.Errorf("following it: got %d", tile.status)
	}
	for name, header := range map[string][]string{"X-API-Key": {"X-API-Key", keys[1]}, "Basic": {"Authorization", basic("any", keys[1])}} {
		if got := w.tileJSON("/tiles/basemap.json?key="+keys[0], header...).Tiles[0]; strings.Contains(got, "tg_") {
			t.Errorf("beside %s: got %q", name, got)
		}
	}
}
