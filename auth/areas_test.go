package auth_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/area"
	"tilegate/internal/tile"
)

// shapes are areas of a few degrees: a triangle north-east of 0,0, a square west of the antimeridian and one on
// both sides of it.
func shapes(t testing.TB) []auth.Area {
	t.Helper()
	var all []auth.Area
	for _, s := range []struct{ name, document string }{
		{"pacific", `{"type":"MultiPolygon","coordinates":[[[[178,0],[180,0],[180,2],[178,2],[178,0]]],[[[-180,0],[-178,0],[-178,2],[-180,2],[-180,0]]]]}`},
		{"square", `{"type":"Polygon","coordinates":[[[170,0],[175,0],[175,5],[170,5],[170,0]]]}`},
		{"triangle", `{"type":"Polygon","coordinates":[[[0,0],[10,0],[0,10],[0,0]]]}`},
	} {
		shape, err := area.Parse([]byte(s.document))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, auth.Area{Name: s.name, Shape: shape})
	}
	return all
}

// Tiles of zoom 9 are 0.7 degrees wide.
var (
	inTriangle = [2]uint32{257, 254} // 0.7 to 1.4 east, 0.7 to 1.4 north
	onSlope    = [2]uint32{264, 254} // 5.6 to 6.3 east
	beyond     = [2]uint32{268, 245} // 8.4 east, 7 north: in the triangle's box alone
	inSquare   = [2]uint32{500, 254} // 171.6 east
	eastmost   = [2]uint32{511, 254}
	westmost   = [2]uint32{0, 254}
	elsewhere  = [2]uint32{100, 100}
)

// where writes which of those places a grant admits.
func where(g *auth.Grant) string {
	var all []string
	for _, place := range []struct {
		name string
		at   [2]uint32
	}{
		{"inTriangle", inTriangle},
		{"onSlope", onSlope},
		{"beyond", beyond},
		{"inSquare", inSquare},
		{"eastmost", eastmost},
		{"westmost", westmost},
		{"elsewhere", elsewhere},
	} {
		if g.Admits("basemap", 9, place.at[0], place.at[1]) {
			all = append(all, place.name)
		}
	}
	return strings.Join(all, " ")
}

func withAreas(t testing.TB, change func(*auth.Options)) (*auth.Authenticator, signer) {
	t.Helper()
	c, s := newClock(), rsaSigner("")
	o := testOptions(c, s)
	o.Areas = shapes(t)
	if change != nil {
		change(&o)
	}
	return newAuth(t, o), s
}

func TestAreaClaim(t *testing.T) {
	all := shapes(t)
	for _, tt := range []struct {
		name  string
		allow []auth.Area
		token map[string]any
		want  string
	}{
		{"one", nil, map[string]any{"area": "triangle"}, "inTriangle onSlope"},
		{"several are their union", nil, map[string]any{"area": []string{"triangle", "square", "triangle"}}, "inTriangle onSlope inSquare"},
		{"across the antimeridian", nil, map[string]any{"area": "pacific"}, "eastmost westmost"},
		{"none of a list", nil, map[string]any{"area": []string{}}, ""},
		{"cut by a box", nil, map[string]any{"area": "triangle", "bbox": []int{0, 0, 2, 2}}, "inTriangle"},
		{"cut by a box elsewhere", nil, map[string]any{"area": "triangle", "bbox": []int{100, 0, 102, 2}}, ""},
		{"cut by a box across the antimeridian", nil, map[string]any{"area": "pacific", "bbox": []int{179, 0, -170, 2}}, "eastmost westmost"},
		{"cut to allow", all[2:], map[string]any{"area": []string{"triangle", "square"}}, "inTriangle onSlope"},
		{"allow alone", all[2:], nil, "inTriangle onSlope"},
		{"nothing in common with allow", all[1:2], map[string]any{"area": "triangle"}, ""},
		{"allow is empty", []auth.Area{}, map[string]any{"area": "triangle"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, s := withAreas(t, func(o *auth.Options) { o.Issuers[0].Allow = auth.Limits{Areas: tt.allow} })
			g := authenticate(t, a, s.token(claims(tt.token)))
			if got := where(g); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if g.WholeTilesets() {
				t.Error("the grant says that it has no limits")
			}
			_, minted := newSession(t, a, g)
			if got := where(minted); got != tt.want {
				t.Errorf("session: got %s, want %s", got, tt.want)
			}
			if tt.want != "" {
				if _, path := newPath(t, a, minted, auth.PathRequest{}); where(path) != tt.want {
					t.Errorf("path token: got %s, want %s", where(path), tt.want)
				}
			}
		})
	}
}

// All that is refused for a box is refused for an area.
func TestMalformedAreaIsRefused(t *testing.T) {
	a, s := withAreas(t, nil)
	for _, tt := range []struct {
		name  string
		value any
		want  string
	}{
		{"null", null, "the area claim (area) must be the name of an area or an array of names, not null"},
		{"a number", 7, "not a number"},
		{"an object", map[string]any{"triangle": true}, "not an object"},
		{"GeoJSON", map[string]any{"type": "Polygon", "coordinates": []any{}}, "not an object"},
		{"a null among them", []any{"triangle", nil}, "entry 2 of area must be a string, not null"},
		{"an area that does not exist", "bavaria", "names an area that is not configured"},
		{"one of them does not exist", []string{"triangle", "bavaria"}, "names an area that is not configured"},
		{"a glob", "*", "names an area that is not configured"},
		{"empty", "", "names an area that is not configured"},
		{"in another case", "Triangle", "names an area that is not configured"},
		{"two in one text", "triangle square", "names an area that is not configured"},
		{"a path", "../triangle", "names an area that is not configured"},
		{"a prototype's name", "__proto__", "names an area that is not configured"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := a.Authenticate(bearer(s.token(claims(map[string]any{"area": tt.value}))), "")
			wantInvalid(t, err, tt.want)
		})
	}
	standard, _, s := standard(t)
	_, err := standard.Authenticate(bearer(s.token(claims(map[string]any{"area": "triangle"}))), "")
	wantInvalid(t, err, "names an area that is not configured")
}

// A token that was minted for an area is of no use where there is no such area.
func TestMintedTokenOfAnAreaThatIsGone(t *testing.T) {
	a, s := withAreas(t, nil)
	g := authenticate(t, a, s.token(claims(map[string]any{"area": "square"})))
	path, _ := newPath(t, a, g, auth.PathRequest{})
	session, _ := newSession(t, a, g)
	without, _ := withAreas(t, func(o *auth.Options) { o.Areas = o.Areas[2:] })
	_, err := pathOf(without, path)
	wantInvalid(t, err, "no longer configured")
	_, err = cookieOf(without, session.Token)
	wantInvalid(t, err, "no longer configured")
}

func TestPathTokenOfAnAreaIsNeverWider(t *testing.T) {
	a, s := withAreas(t, nil)
	all, err := a.AreasNamed([]string{"triangle", "pacific", "square"})
	if err != nil {
		t.Fatal(err)
	}
	g := authenticate(t, a, s.token(claims(map[string]any{"area": []string{"triangle", "square"}})))
	for name, tt := range map[string]struct {
		areas []auth.Area
		want  string
	}{
		"one of them": {all[1:2], "inSquare"}, "both": {all[1:], "inTriangle onSlope inSquare"}, "more": {all, "inTriangle onSlope inSquare"},
	} {
		_, minted := newPath(t, a, g, auth.PathRequest{Limits: auth.Limits{Areas: tt.areas}})
		if got := where(minted); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
	for name, areas := range map[string][]auth.Area{"none": {}, "another one": all[1:2]} {
		if _, _, err := a.NewPathToken(authenticate(t, a, s.token(claims(map[string]any{"area": "triangle"}))), auth.PathRequest{Limits: auth.Limits{Areas: areas}}); !errors.Is(err, auth.ErrNotGranted) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, minted := newPath(t, a, authenticate(t, a, s.token(claims(map[string]any{"area": "triangle"}))), auth.PathRequest{Limits: auth.Limits{Areas: all[:1]}}); where(minted) != "" {
		t.Errorf("one whose box has something in common: got %s", where(minted))
	}
	if _, err := a.AreasNamed([]string{"bavaria"}); !errors.Is(err, auth.ErrNotGranted) {
		t.Errorf("an area that does not exist: got %v", err)
	}
}

func TestClipToAnArea(t *testing.T) {
	a, s := withAreas(t, nil)
	g := authenticate(t, a, s.token(claims(map[string]any{"area": "triangle"})))
	if _, bounds, ok := g.Clip("basemap", tile.AllZooms, tile.World); !ok || bounds.East < 9.9 || bounds.East > 10.1 || bounds.West > 0.01 {
		t.Errorf("got %v, %t", bounds, ok)
	}
	if _, bounds, ok := g.Clip("basemap", tile.AllZooms, tile.Box{West: 100, South: 0, East: 120, North: 5}); ok {
		t.Errorf("got %v", bounds)
	}
}

func TestAreasOfOwnTokensKeysAndRoles(t *testing.T) {
	all := shapes(t)
	limits := auth.Limits{Tilesets: []string{"basemap"}, Areas: all[2:]}
	text, line := newKey(t, func(k *auth.APIKey) { k.Limits = limits })
	a, s := withAreas(t, func(o *auth.Options) {
		o.APIKeys = keyFile(t, line)
		o.Issuers[0].Roles = map[string]auth.Limits{"local": limits, "far": {Tilesets: []string{"basemap"}, Areas: all[1:2]}}
	})
	own, _, err := a.NewAccessToken(auth.AccessRequest{Subject: "x", TTL: time.Hour, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	key, err := a.Authenticate(request(apiKey, text), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, g := range map[string]*auth.Grant{
		"own token": authenticate(t, a, own), "API key": key, "role": authenticate(t, a, s.token(claims(map[string]any{"tilesets": "local"}))),
	} {
		if got := where(g); got != "inTriangle onSlope" {
			t.Errorf("%s: got %s", name, got)
		}
	}
	both := authenticate(t, a, s.token(claims(map[string]any{"tilesets": "local far"})))
	if got := where(both); got != "inTriangle onSlope inSquare" {
		t.Errorf("two roles: got %s", got)
	}
	for name, broken := range map[string][]byte{
		"an area that does not exist": bytes.Replace(line, []byte(`"triangle"`), []byte(`"bavaria"`), 1),
		"no area":                     bytes.Replace(line, []byte(`["triangle"]`), []byte(`[]`), 1),
		"an area that is no list":     bytes.Replace(line, []byte(`["triangle"]`), []byte(`"triangle"`), 1),
	} {
		if _, err := auth.ParseAPIKeys(broken, all); err == nil {
			t.Errorf("a key of %s is accepted", name)
		}
	}
}
