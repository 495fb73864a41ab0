package proxy_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/area"
	"tilegate/internal/tile"
)

type tokenObject struct {
	Token     string            `json:"token"`
	ExpiresAt time.Time         `json:"expires_at"`
	Tiles     map[string]string `json:"tiles"`
}

func (w *world) mint(body string, header ...string) tokenObject {
	w.t.Helper()
	var got tokenObject
	w.do(http.MethodPost, "/tokens", body, header...).decode(w.t, &got)
	return got
}

// follow asks for a URL's path at the world's own address.
func (w *world) follow(address string) reply {
	w.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.get(u.RequestURI())
}

func at(template, place string) string { return strings.Replace(template, "{z}/{x}/{y}", place, 1) }

func TestPathTokenOpensItsTiles(t *testing.T) {
	w := start(t, func(s *setup) { s.proxy.PublicURL = "https://tiles.example.com/maps" })
	w.origin.put("basemap", 3, 4, 2, tilePNG)
	w.origin.put("roads", 3, 4, 2, object{body: vectorTile})
	access := w.token("basemap", "roads")
	for name, header := range map[string][]string{
		"access token": {"Authorization", "Bearer " + access},
		"session":      {"Cookie", w.cookie(access)},
	} {
		got := w.mint(`{"tilesets":["basemap"],"zoom":"0-12","bbox":[0,40,20,60],"ttl":"30m"}`, header...)
		if want := "https://tiles.example.com/maps/t/" + got.Token + "/tiles/basemap/{z}/{x}/{y}.png"; len(got.Tiles) != 1 || strings.Split(got.Tiles["basemap"], "?")[0] != want {
			t.Errorf("%s: got tiles %v, want %q", name, got.Tiles, want)
		}
		for place, want := range map[string]int{"3/4/2": 200, "13/4200/2800": 403, "3/0/0": 403} {
			if tile := w.follow(strings.Replace(at(got.Tiles["basemap"], place), "/maps", "", 1)); tile.status != want {
				t.Errorf("%s: %s: got %d, want %d", name, place, tile.status, want)
			}
		}
		if tile := w.get("/t/" + got.Token + "/tiles/roads/3/4/2.mvt"); tile.status != 403 {
			t.Errorf("%s: a tileset that was not asked for: got %d", name, tile.status)
		}
	}
	all := w.mint(`{}`, "Authorization", "Bearer "+access)
	if len(all.Tiles) != 2 || !strings.HasSuffix(strings.Split(all.Tiles["roads"], "?")[0], "/tiles/roads/{z}/{x}/{y}.mvt") {
		t.Errorf("asking for nothing in particular: got %v", all.Tiles)
	}
}

func TestPathTokenIsNeverWider(t *testing.T) {
	w := start(t)
	w.origin.respond(always(pngBody(100)))
	limited := "Bearer " + w.tokenFor("alice", 30*time.Minute, auth.Limits{
		Tilesets: []string{"basemap"}, Zoom: &tile.ZoomRange{Min: 2, Max: 5}, BBox: &tile.Box{West: 5, South: 45, East: 15, North: 55},
	})
	for _, body := range []string{`{"tilesets":["secret"]}`, `{"tilesets":["basemap","secret"]}`, `{"tilesets":["*"]}`, `{"tilesets":["base*"]}`, `{"tilesets":["file:report"]}`} {
		if got := w.do(http.MethodPost, "/tokens", body, "Authorization", limited); got.status != 403 {
			t.Errorf("%s: got %d %s, want 403", body, got.status, got.body)
		}
	}
	got := w.mint(`{"tilesets":["basemap"],"zoom":"0-14","bbox":[-180,-85,180,85],"ttl":"720h"}`, "Authorization", limited)
	if got.ExpiresAt.After(noon.Add(30 * time.Minute)) {
		t.Errorf("it ends %s, its parent %s", got.ExpiresAt, noon.Add(30*time.Minute))
	}
	for place, want := range map[string]int{"5/16/10": 200, "1/1/0": 403, "6/33/21": 403, "5/18/10": 403} {
		if tile := w.get("/t/" + got.Token + "/tiles/basemap/" + place); tile.status != want {
			t.Errorf("%s: got %d, want %d", place, tile.status, want)
		}
	}
	for name, header := range map[string][]string{
		"path token as bearer":   {"Authorization", "Bearer " + got.Token},
		"nothing":                nil,
		"bad one":                {"Authorization", "Bearer x"},
		"path token as a cookie": {"Cookie", "__Host-tilegate=" + got.Token},
	} {
		if again := w.do(http.MethodPost, "/tokens", "{}", header...); again.status != 401 && again.status != 403 {
			t.Errorf("%s begets a path token: %d", name, again.status)
		}
	}
}

// Caches keep working when a page asks again: alike within a window gives the same URL.
func TestPathTokenIsDeterministic(t *testing.T) {
	w := start(t)
	access := []string{"Authorization", "Bearer " + w.tokenFor("alice", 12*time.Hour, auth.Limits{Tilesets: []string{"basemap", "roads"}})}
	first := w.mint(`{"tilesets":["basemap","roads"],"ttl":"1h"}`, access...)
	w.clock.Advance(5 * time.Minute)
	if again := w.mint(`{"ttl":"60m", "tilesets":["roads","basemap"]}`, access...); again.Token != first.Token || !again.ExpiresAt.Equal(first.ExpiresAt) {
		t.Error("the same wish in the same window gives another token")
	}
	if other := w.mint(`{"tilesets":["basemap"],"ttl":"1h"}`, access...); other.Token == first.Token {
		t.Error("another wish gives the same token")
	}
	w.clock.Advance(15 * time.Minute)
	if later := w.mint(`{"tilesets":["basemap","roads"],"ttl":"1h"}`, access...); later.Token == first.Token {
		t.Error("the next window gives the same token")
	}
	if e := first.ExpiresAt; e.Unix()%(15*60) != 0 || e.After(noon.Add(time.Hour)) {
		t.Errorf("it ends %s: want a multiple of the window, rounded down", e)
	}
}

func TestTokensRefusesWhatItCannotRead(t *testing.T) {
	w := start(t)
	for _, test := range []struct {
		name, body string
		want       int
	}{
		{"spaces", " ", 400},
		{"empty object", "{}", 200},
		{"no object", "[]", 400},
		{"string", `"basemap"`, 400},
		{"cut short", `{"tilesets":["basemap"`, 400},
		{"something after it", `{} {}`, 400},
		{"unknown member", `{"tileset":["basemap"]}`, 400},
		{"tilesets no list", `{"tilesets":"basemap"}`, 400},
		{"empty list", `{"tilesets":[]}`, 403},
		{"no id", `{"tilesets":["../x"]}`, 400},
		{"zoom a number", `{"zoom":4}`, 400},
		{"zoom backwards", `{"zoom":"9-3"}`, 400},
		{"zoom beyond 30", `{"zoom":"0-31"}`, 400},
		{"box of three", `{"bbox":[1,2,3]}`, 400},
		{"box upside down", `{"bbox":[0,10,1,5]}`, 400},
		{"ttl a number", `{"ttl":3600}`, 400},
		{"ttl nonsense", `{"ttl":"soon"}`, 400},
		{"ttl negative", `{"ttl":"-1h"}`, 400},
		{"ttl zero", `{"ttl":"0s"}`, 400},
		{"a zoom that leaves nothing", `{"zoom":"20-30"}`, 200},
		{"very deep", strings.Repeat("[", 5000), 400},
		{"a megabyte", `{"tilesets":["` + strings.Repeat("a", 1<<20) + `"]}`, 413},
	} {
		got := w.do(http.MethodPost, "/tokens", test.body, w.bearer()...)
		if got.status != test.want {
			t.Errorf("%s: got %d %s, want %d", test.name, got.status, got.body, test.want)
		}
	}
}

// Without a body, the token is for all that the caller may see, for as long as the caller may.
func TestTokensWithoutABody(t *testing.T) {
	w := start(t)
	bearer := []string{"Authorization", "Bearer " + w.tokenFor("alice", 5*time.Hour, auth.Limits{Tilesets: []string{"basemap", "roads"}})}
	without, empty := w.mint("", bearer...), w.mint("{}", bearer...)
	if len(without.Tiles) != 2 || !without.ExpiresAt.Equal(time.Date(2026, 11, 22, 17, 0, 0, 0, time.UTC)) {
		t.Errorf("got %+v", without)
	}
	if !empty.ExpiresAt.Equal(time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)) {
		t.Errorf("for an empty object: got %v, want an hour", empty.ExpiresAt)
	}
	r := w.request(http.MethodPost, "/tokens", "x", bearer...)
	r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader("")) // in chunks, of which there are none
	var chunked struct{ Token string }
	if got := w.send(w.client, r); json.Unmarshal([]byte(got.body), &chunked) != nil || chunked.Token != without.Token {
		t.Errorf("an empty body in chunks: got %d %s", got.status, got.body)
	}
}

// A refusal says which member is at fault, and repeats nothing that could be a credential.
func TestTokensNamesTheWrongMember(t *testing.T) {
	w := start(t)
	const takes = "; this address takes tilesets, zoom, bbox, ttl, area."
	for body, want := range map[string]string{
		`{"tileset":["basemap"]}`:   `There is no member "tileset"` + takes,
		`{"Zoom":"0-3"}`:            `There is no member "Zoom"` + takes,
		`{"eyJhbGciOiJub25lIn0":1}`: `There is no member "…"` + takes,
		`{"zoom":null}`:             `"zoom" holds null; leave out what should not be restricted.`,
		`{"zoom":4}`:                `"zoom" is not of the type that it must have.`,
		`{"tilesets":"basemap"}`:    `"tilesets" is not of the type that it must have.`,
		`{"area":7}`:                `"area" is not of the type that it must have.`,
		`{"zoom":"9-3"}`:            `"zoom" is a range such as "0-14".`,
		`[]`:                        `The body is not one JSON object whose members each are there once.`,
		`{"ttl":"1h","ttl":"2h"}`:   `The body is not one JSON object whose members each are there once.`,
	} {
		if got := w.do(http.MethodPost, "/tokens", body, w.bearer()...); got.status != 400 || got.problem(t).Detail != want {
			t.Errorf("%s: got %d %s, want %s", body, got.status, got.body, want)
		}
	}
}

// A restriction that is misspelt, or given twice, must not vanish: the token would be wider than was asked for.
func TestVanishingRestrictionMintsNoToken(t *testing.T) {
	w := start(t)
	for _, test := range []struct{ name, body string }{
		{"a member twice", `{"tilesets":["basemap"],"tilesets":["*"]}`},
		{"a member twice, once in disguise", `{"zoom":"0-3","\u007aoom":"0-14"}`},
		{"a member's case", `{"Tilesets":["basemap"]}`},
		{"a member's case beside it", `{"tilesets":["basemap"],"TILESETS":["*"]}`},
		{"a long s, which folds to s", `{"tileſets":["basemap"]}`},
		{"null", "null"},
		{"null for tilesets", `{"tilesets":null}`},
		{"null for zoom", `{"tilesets":["basemap"],"zoom":null}`},
		{"null for bbox", `{"bbox":null}`},
		{"null for ttl", `{"ttl":null}`},
		{"null for area", `{"area":null}`},
		{"null in a list of areas", `{"area":["a",null]}`},
		{"a number for area", `{"area":7}`},
		{"an object for area", `{"area":{"a":true}}`},
		{"null in a list", `{"tilesets":["basemap",null]}`},
		{"null in the box", `{"bbox":[0,null,20,60]}`},
		{"no UTF-8", "{\"tilesets\":[\"\xff\"]}"},
	} {
		if got := w.do(http.MethodPost, "/tokens", test.body, w.bearer()...); got.status != 400 || strings.Contains(got.body, "/t/") {
			t.Errorf("%s: got %d %s, want 400", test.name, got.status, got.body)
		}
	}
}

// A URL is copied out of curl's output as it stands.
func TestURLsInAnswersAreNotEscaped(t *testing.T) {
	w := start(t)
	w.origin.presign = func(tileKey) (tile.Signed, error) {
		return tile.Signed{URL: "https://bucket.s3.amazonaws.com/x?a=1&b=2", Expires: noon.Add(time.Hour), Constant: time.Minute}, nil
	}
	got := w.get("/presign/basemap/1/0/0", w.bearer()...)
	if !strings.Contains(got.body, `"https://bucket.s3.amazonaws.com/x?a=1&b=2"`) || got.header.Get("Content-Type") != "application/json" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("got %v %s", got.header, got.body)
	}
}

func TestTokensAnswersAreNotCached(t *testing.T) {
	w := start(t)
	got := w.do(http.MethodPost, "/tokens", "{}", w.bearer()...)
	if got.header.Get("Cache-Control") != "private, no-store" || got.header.Get("Content-Type") != "application/json" || !json.Valid([]byte(got.body)) {
		t.Errorf("got %v %s", got.header, got.body)
	}
	if got := w.get("/tokens", w.bearer()...); got.status != 405 || !strings.Contains(got.header.Get("Allow"), "POST") {
		t.Errorf("GET: got %d, Allow %q", got.status, got.header.Get("Allow"))
	}
}

// Under /t/ there are tiles and their description, nothing else: a URL that leaks opens no other door.
func TestPathTokenOpensNothingElse(t *testing.T) {
	w := start(t)
	token := w.pathToken(w.token("*"))
	for _, path := range []string{"/session", "/tokens", "/catalog", "/presign/basemap/1/0/0", "/files/report/url", "/auth/verify", "/credentials", "/health"} {
		for _, method := range []string{"GET", "POST"} {
			if got := w.do(method, "/t/"+token+path, ""); got.status != 404 && got.status != 400 && got.status != 405 {
				t.Errorf("%s /t/…%s: got %d", method, path, got.status)
			}
		}
	}
}

// A path token can be asked for within an area of the configuration. One that does not exist is not granted.
func TestPathTokenForAnArea(t *testing.T) {
	shape, err := area.Parse([]byte(`{"type":"Polygon","coordinates":[[[0,0],[10,0],[0,10],[0,0]]]}`))
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(s *setup) { s.auth.Areas = []auth.Area{{Name: "triangle", Shape: shape}} })
	w.origin.put("basemap", 9, 257, 254, tilePNG)
	for _, body := range []string{`{"area":"triangle"}`, `{"area":["triangle"]}`} {
		got := w.mint(body, w.bearer()...)
		for place, want := range map[string]int{"9/257/254": 200, "9/268/245": 403, "9/100/100": 403} {
			if tile := w.follow(at(got.Tiles["basemap"], place)); tile.status != want {
				t.Errorf("%s: %s: got %d, want %d", body, place, tile.status, want)
			}
		}
	}
	for _, body := range []string{`{"area":"bavaria"}`, `{"area":["triangle","bavaria"]}`, `{"area":""}`, `{"area":[]}`} {
		if got := w.do(http.MethodPost, "/tokens", body, w.bearer()...); got.status != 403 {
			t.Errorf("%s: got %d %s", body, got.status, got.body)
		}
	}
}
