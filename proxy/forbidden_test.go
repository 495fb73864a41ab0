package proxy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy"
)

// The log says what a refused caller lacks and what the credential has. The client is told the same whatever was missing, so that
// nobody can find out by asking what there is.
func TestForbiddenIsExplainedInTheLogAlone(t *testing.T) {
	w := start(t, cartography(func(b *proxy.Bundle) { b.With, b.Spatial = []string{"basemap"}, true }), verifies("X-Original-URI"), trustLoopback)
	limits := func(tilesets ...string) auth.Limits {
		return auth.Limits{Tilesets: tilesets, Zoom: &tile.ZoomRange{Min: 2, Max: 5}, BBox: &tile.Box{West: 5, South: 45, East: 15.5, North: 55}}
	}
	token := w.tokenFor("alice", time.Hour, limits("basemap"))
	far := w.tokenFor("alice", time.Hour, auth.Limits{Tilesets: []string{"basemap"}, Zoom: &tile.ZoomRange{Min: 20, Max: 22}})
	long := strings.Repeat("a", 60)
	for _, test := range []struct {
		name, token, method, path, body string
		header                          []string
		want                            string
	}{
		{name: "tileset", path: "/tiles/secret/3/4/2", want: "tileset secret is not granted: the access token grants basemap"},
		{name: "unknown tileset", path: "/tiles/nowhere/3/4/2", want: "tileset nowhere is not granted: the access token grants basemap"},
		{name: "zoom", path: "/tiles/basemap/6/33/21", want: "zoom 6 of tileset basemap is not granted: the access token grants zooms 2-5 of it"},
		{name: "box", path: "/tiles/basemap/4/0/0", want: "tile 4/0/0 of tileset basemap lies outside of the granted area: the access token grants bbox [5,45,15.5,55] of it"},
		{name: "TileJSON", path: "/tiles/secret.json", want: "tileset secret is not granted: the access token grants basemap"},
		{name: "TileJSON of another zoom", token: far, path: "/tiles/basemap.json", want: "only a part of tileset basemap is granted: the access token grants zooms 20-22, the whole world; the tileset has zooms 0-14 and the bounds [-180 -85.0511 180 85.0511]"},
		{name: "bundle", path: "/assets/cartography/style.json", want: "bundle cartography is not granted: the access token grants basemap; only a part of tileset basemap is granted: the access token grants zooms 2-5, bbox [5,45,15.5,55]"},
		{name: "file", path: "/files/report/url", want: "file report is not granted: the access token grants basemap"},
		{name: "path token", method: "POST", path: "/tokens", body: `{"tilesets":["secret"]}`, want: "more than the credential grants: tileset secret is not granted: the access token grants basemap"},
		{name: "no area left", method: "POST", path: "/tokens", body: `{"bbox":[100,0,110,10]}`, want: "more than the credential grants: nothing is left of the zooms and areas that the access token grants"},
		{name: "verify", path: "/auth/verify", header: []string{"X-Original-URI", "/tiles/secret/3/4/2"}, want: "tileset secret is not granted: the access token grants basemap"},
		{name: "what could be a credential", path: "/tiles/" + long + "/3/4/2", want: "tileset - is not granted: the access token grants basemap"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bearer, method := token, "GET"
			if test.token != "" {
				bearer = test.token
			}
			if test.method != "" {
				method = test.method
			}
			before := len(w.access.waitFor(0))
			got := w.do(method, test.path, test.body, append(test.header, "Authorization", "Bearer "+bearer)...)
			l := parseLine(t, w.access.waitFor(before + 1)[before])
			if got.status != 403 || l.Error != test.want || l.Subject != "alice" || l.TokenID == "" {
				t.Errorf("got %d and the line %+v, want the error %q", got.status, l, test.want)
			}
			if strings.Contains(fmt.Sprint(got.header)+got.body, "access token grants") {
				t.Errorf("the client was told %s", got.body)
			}
		})
	}
}

// What a grant has is cut where it is long.
func TestForbiddenLineIsBounded(t *testing.T) {
	w := start(t)
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("a-tileset-with-a-long-name-%02d", i))
	}
	w.get("/tiles/basemap/3/4/2", "Authorization", "Bearer "+w.token(many...))
	l := parseLine(t, w.access.waitFor(1)[0])
	if len(l.Error) > 512 || !strings.HasSuffix(l.Error, "-07 and 32 more") {
		t.Errorf("got %q", l.Error)
	}
}
