package auth_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"tilegate/auth"
	"tilegate/internal/tile"
)

func TestGrantComesFromTheClaims(t *testing.T) {
	europe := []any{-10.0, 35.0, 30.0, 70.0}
	for _, tt := range []struct {
		name     string
		issuer   func(*auth.Issuer)
		options  func(*auth.Options)
		claims   map[string]any
		tilesets []string
		files    []string
		none     []string
		zoom     string
		bbox     string
	}{
		{name: "an array", claims: map[string]any{"tilesets": []string{"basemap", "roads"}}, tilesets: []string{"basemap", "roads"}, none: []string{"base", "basemap2", "acme-roads"}},
		{name: "a string", claims: map[string]any{"tilesets": "basemap  roads"}, tilesets: []string{"basemap", "roads"}, none: []string{"basemap roads"}},
		{name: "scope", claims: map[string]any{"tilesets": nil, "scope": "openid tiles:roads profile tiles:acme-*"}, tilesets: []string{"roads", "acme-x"}, none: []string{"openid", "basemap"}},
		{name: "both united", claims: map[string]any{"scope": "tiles:roads"}, tilesets: []string{"basemap", "roads"}},
		{name: "everything but files", claims: map[string]any{"tilesets": "*"}, tilesets: []string{"basemap", "x"}, none: []string{"file:x", "a:b", "*"}},
		{name: "a file", claims: map[string]any{"tilesets": "file:annual-report"}, files: []string{"annual-report"}, none: []string{"annual-report", "file:annual-report"}},
		{name: "files by a glob", claims: map[string]any{"tilesets": "file:annual-*"}, files: []string{"annual-report", "annual-"}, none: []string{"annual-report"}},
		{name: "nothing", claims: map[string]any{"tilesets": []string{}}, none: []string{"basemap"}},
		{name: "nothing, as a string", claims: map[string]any{"tilesets": ""}, none: []string{"basemap"}},
		{name: "no claims, no default", claims: map[string]any{"tilesets": nil}, none: []string{"basemap"}},
		{
			name: "no claims, a default", claims: map[string]any{"tilesets": nil, "scope": "openid profile"},
			issuer: func(i *auth.Issuer) {
				i.Default = auth.Limits{Tilesets: []string{"public-*"}, Zoom: &tile.ZoomRange{Max: 5}}
			},
			tilesets: []string{"public-x"}, none: []string{"basemap"}, zoom: "0-5",
		},
		{
			name: "a zoom alone is a claim, and there are no tilesets then", claims: map[string]any{"tilesets": nil, "zoom": "1-2"},
			issuer: func(i *auth.Issuer) { i.Default = auth.Limits{Tilesets: []string{"*"}} },
			none:   []string{"basemap"}, zoom: "1-2",
		},
		{
			name: "[] is a claim, and no default applies", claims: map[string]any{"tilesets": []string{}},
			issuer: func(i *auth.Issuer) { i.Default = auth.Limits{Tilesets: []string{"*"}} },
			none:   []string{"basemap"},
		},
		{
			name: "cut to allow", claims: map[string]any{"tilesets": "* file:*", "zoom": "3-14", "bbox": europe},
			issuer: func(i *auth.Issuer) {
				i.Allow = auth.Limits{Tilesets: []string{"acme-*"}, Zoom: &tile.ZoomRange{Max: 10}, BBox: &tile.Box{West: 0, South: 0, East: 90, North: 80}}
			},
			tilesets: []string{"acme-roads"}, none: []string{"basemap", "acme"}, zoom: "3-10", bbox: "{0 35 30 70}",
		},
		{
			name: "cut to allow by overlapping globs", claims: map[string]any{"tilesets": "*-roads basemap"},
			issuer:   func(i *auth.Issuer) { i.Allow = auth.Limits{Tilesets: []string{"acme-*"}} },
			tilesets: []string{"acme-roads", "acme-x-roads"}, none: []string{"basemap", "acme-x", "x-roads"},
		},
		{
			name: "cut to an allow without files", claims: map[string]any{"tilesets": "file:* file:report"},
			issuer: func(i *auth.Issuer) { i.Allow = auth.Limits{Tilesets: []string{"*"}} },
			none:   []string{"report"},
		},
		{
			name: "cut to an allow with files", claims: map[string]any{"tilesets": "* file:*"},
			issuer: func(i *auth.Issuer) { i.Allow = auth.Limits{Tilesets: []string{"file:report"}} },
			files:  []string{"report"}, none: []string{"report"},
		},
		{
			name: "the default is cut to allow", claims: map[string]any{"tilesets": nil},
			issuer: func(i *auth.Issuer) {
				i.Default, i.Allow = auth.Limits{Tilesets: []string{"*"}}, auth.Limits{Tilesets: []string{"acme-*"}}
			},
			tilesets: []string{"acme-x"}, none: []string{"basemap"},
		},
		{
			name: "other names", claims: map[string]any{"tilesets": "x", "https://acme/maps": "roads", "scope": "map.acme tiles:x"},
			options:  func(o *auth.Options) { o.Claims = auth.ClaimNames{Tilesets: "https://acme/maps", ScopePrefix: "map."} },
			tilesets: []string{"roads", "acme"}, none: []string{"x"},
		},
		{name: "case variants are others' claims", claims: map[string]any{"Tilesets": "roads", "Zoom": 7, "BBOX": null}, tilesets: []string{"basemap"}, none: []string{"roads"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := newClock(), rsaSigner("")
			o := testOptions(c, s)
			if tt.issuer != nil {
				tt.issuer(&o.Issuers[0])
			}
			if tt.options != nil {
				tt.options(&o)
			}
			g := authenticate(t, newAuth(t, o), s.token(claims(tt.claims)))
			for _, id := range tt.tilesets {
				if !g.AdmitsTileset(id) {
					t.Errorf("tileset %q is not granted by %q", id, g.Tilesets)
				}
				if g.AdmitsFile(id) {
					t.Errorf("file %q is granted by %q", id, g.Tilesets)
				}
			}
			for _, id := range tt.files {
				if !g.AdmitsFile(id) {
					t.Errorf("file %q is not granted by %q", id, g.Tilesets)
				}
			}
			for _, id := range tt.none {
				if g.AdmitsTileset(id) {
					t.Errorf("tileset %q is granted by %q", id, g.Tilesets)
				}
			}
			if got := fmt.Sprintf("%d-%d", g.Zoom().Min, g.Zoom().Max); tt.zoom != "" && got != tt.zoom {
				t.Errorf("got zoom %s, want %s", got, tt.zoom)
			}
			if tt.bbox != "" && fmt.Sprint(*g.BBox()) != tt.bbox {
				t.Errorf("got bbox %v, want %s", *g.BBox(), tt.bbox)
			}
			if whole := tt.zoom == "" && tt.bbox == ""; g.WholeTilesets() != whole {
				t.Errorf("WholeTilesets: got %v, want %v", g.WholeTilesets(), whole)
			}
		})
	}
}

// slowGlob is the definition: a * is any string.
func slowGlob(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] == '*' {
		return slowGlob(pattern[1:], s) || s != "" && slowGlob(pattern, s[1:])
	}
	return s != "" && s[0] == pattern[0] && slowGlob(pattern[1:], s[1:])
}

func TestGlobsAgainstTheirDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func(alphabet string, n int) string {
		b := make([]byte, random.IntN(n))
		for i := range b {
			b[i] = alphabet[random.IntN(len(alphabet))]
		}
		return string(b)
	}
	covered := 0
	for range 100_000 {
		pattern, s := word("ab*", 8), word("ab", 8)
		if got, want := auth.MatchGlob(pattern, s), slowGlob(pattern, s); got != want {
			t.Fatalf("MatchGlob(%q, %q): got %v, want %v", pattern, s, got, want)
		}
		// What covers a glob matches all that the glob matches.
		if narrower := word("ab*", 6); auth.CoveredBy([]string{pattern}, narrower) && slowGlob(narrower, s) {
			covered++
			if !slowGlob(pattern, s) {
				t.Fatalf("%q is said to cover %q, and does not match %q", pattern, narrower, s)
			}
		}
	}
	if covered < 100 {
		t.Errorf("only %d samples were covered", covered)
	}
	if long := strings.Repeat("*a", 32); auth.MatchGlob(long, strings.Repeat("a", 64)+"b") {
		t.Error("a glob matched what it should not")
	}
}

func TestGrantAdmits(t *testing.T) {
	box := func(w, s, e, n float64) *tile.Box { return &tile.Box{West: w, South: s, East: e, North: n} }
	for _, tt := range []struct {
		name    string
		limits  auth.Limits
		z       uint8
		x, y    uint32
		tileset string
		want    bool
	}{
		{name: "no limits", z: 30, x: 1<<30 - 1, y: 1<<30 - 1, want: true},
		{name: "another tileset", tileset: "roads"},
		{name: "least zoom", limits: auth.Limits{Zoom: &tile.ZoomRange{Min: 3, Max: 5}}, z: 3, want: true},
		{name: "below it", limits: auth.Limits{Zoom: &tile.ZoomRange{Min: 3, Max: 5}}, z: 2},
		{name: "beyond the greatest", limits: auth.Limits{Zoom: &tile.ZoomRange{Min: 3, Max: 5}}, z: 6},
		{name: "the world's tile meets every box", limits: auth.Limits{BBox: box(8, 47, 8.1, 47.1)}, want: true},
		{name: "inside the box", limits: auth.Limits{BBox: box(0, 0, 90, 66)}, z: 3, x: 5, y: 3, want: true},
		{name: "touching its west edge alone", limits: auth.Limits{BBox: box(0, 0, 90, 66)}, z: 3, x: 3, y: 3},
		{name: "touching its east edge alone", limits: auth.Limits{BBox: box(0, 0, 90, 66)}, z: 3, x: 6, y: 3},
		{name: "touching its south edge alone", limits: auth.Limits{BBox: box(0, 0, 90, 66)}, z: 3, x: 4, y: 4},
		{name: "touching at a corner alone", limits: auth.Limits{BBox: box(0, 0, 90, 66)}, z: 3, x: 3, y: 4},
		{name: "across the antimeridian, east of it", limits: auth.Limits{BBox: box(170, -10, -170, 10)}, z: 5, x: 0, y: 15, want: true},
		{name: "across the antimeridian, west of it", limits: auth.Limits{BBox: box(170, -10, -170, 10)}, z: 5, x: 31, y: 15, want: true},
		{name: "across the antimeridian, the rest of the world", limits: auth.Limits{BBox: box(170, -10, -170, 10)}, z: 5, x: 16, y: 15},
		{name: "from 180 eastwards", limits: auth.Limits{BBox: box(180, -10, -170, 10)}, z: 5, x: 31, y: 15},
		{name: "to 180 westwards", limits: auth.Limits{BBox: box(170, -10, -180, 10)}, z: 5, x: 0, y: 15},
		{name: "whole width, deepest zoom", limits: auth.Limits{BBox: box(-180, -90, 180, 90)}, z: 30, x: 1<<30 - 1, y: 0, want: true},
		{name: "up to the pole", limits: auth.Limits{BBox: box(-180, 85, 180, 90)}, z: 10, x: 0, y: 0, want: true},
		{name: "beyond the end of the map", limits: auth.Limits{BBox: box(-180, 85.06, 180, 90)}, z: 10, x: 0, y: 0},
		{name: "beyond the end of the map, the world's tile", limits: auth.Limits{BBox: box(-180, 85.06, 180, 90)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.tileset == "" {
				tt.tileset = "basemap"
			}
			tt.limits.Tilesets = []string{"basemap"}
			g, err := auth.NewGrant(tt.limits)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Admits(tt.tileset, tt.z, tt.x, tt.y); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// A tile's own bounds, computed in floating point as every client does, admit that tile and none
// of its neighbours.
func TestBoxOfATileAdmitsItsNeighboursNever(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		z := uint8(2 + random.IntN(23))
		n := int64(1) << z
		x, y := 1+random.Int64N(n-2), 1+random.Int64N(n-2)
		latitude := func(row int64) float64 {
			return math.Atan(math.Sinh(math.Pi*(1-2*float64(row)/float64(n)))) * 180 / math.Pi
		}
		g, err := auth.NewGrant(auth.Limits{Tilesets: []string{"*"}, BBox: &tile.Box{
			West: float64(x)/float64(n)*360 - 180, East: float64(x+1)/float64(n)*360 - 180,
			North: latitude(y), South: latitude(y + 1),
		}})
		if err != nil {
			t.Fatal(err)
		}
		for dx := int64(-1); dx <= 1; dx++ {
			for dy := int64(-1); dy <= 1; dy++ {
				if got, want := g.Admits("x", z, uint32(x+dx), uint32(y+dy)), dx == 0 && dy == 0; got != want {
					t.Fatalf("box of %d/%d/%d: %d/%d/%d: got %v, want %v", z, x, y, z, x+dx, y+dy, got, want)
				}
			}
		}
	}
}

// Admits against Web Mercator in exact and 200-bit arithmetic.
func TestAdmitsAgainstAnExactReference(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	admitted := 0
	for range 800 {
		z := uint8(random.IntN(12))
		n := int64(1) << z
		x, y := random.Int64N(n), random.Int64N(n)
		// A box near the tile, so that both answers are frequent.
		lon := float64(x)/float64(n)*360 - 180 + random.NormFloat64()*360/float64(n)
		lat := math.Atan(math.Sinh(math.Pi*(1-2*(float64(y)+random.NormFloat64())/float64(n)))) * 180 / math.Pi
		b := tile.Box{
			West: lon, East: lon + random.ExpFloat64()*360/float64(n),
			South: lat, North: lat + random.ExpFloat64()*100/float64(n),
		}
		if b.Validate() != nil {
			continue
		}
		if random.IntN(4) == 0 { // the rest of the world's width
			b.West, b.East = b.East, b.West
		}
		g, err := auth.NewGrant(auth.Limits{Tilesets: []string{"*"}, BBox: &b})
		if err != nil {
			t.Fatal(err)
		}
		got, want := g.Admits("x", z, uint32(x), uint32(y)), exactlyMeets(b, z, x, y)
		if got != want {
			t.Fatalf("%v and %d/%d/%d: got %v, want %v", b, z, x, y, got, want)
		}
		if got {
			admitted++
		}
	}
	if admitted < 100 || admitted > 700 {
		t.Errorf("%d of 800 tiles were admitted: the samples say little", admitted)
	}
}

func exactlyMeets(b tile.Box, z uint8, x, y int64) bool {
	n := int64(1) << z
	// Longitudes are rational: a tile's edge is 360·x/n − 180.
	edge := func(column int64) *big.Rat {
		r := big.NewRat(360*column, n)
		return r.Sub(r, big.NewRat(180, 1))
	}
	west, east := new(big.Rat).SetFloat64(b.West), new(big.Rat).SetFloat64(b.East)
	left, right := edge(x), edge(x+1)
	inside := left.Cmp(east) < 0 && right.Cmp(west) > 0
	if b.West > b.East {
		inside = left.Cmp(east) < 0 || right.Cmp(west) > 0
	}
	// A latitude φ lies at π(1−2y/n) = ½·ln((1+sin φ)/(1−sin φ)), so compare exp(2π(1−2y/n)).
	return inside && exactRow(y, n).Cmp(exactLatitude(b.South)) > 0 && exactRow(y+1, n).Cmp(exactLatitude(b.North)) < 0
}

const precision = 200

func exact(v float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(v) }

func exactPi() *big.Float {
	pi, _, err := big.ParseFloat("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803", 10, precision, big.ToNearestEven)
	if err != nil {
		panic(err)
	}
	return pi
}

func exactRow(row, n int64) *big.Float {
	v := new(big.Float).SetPrec(precision).Quo(exact(float64(2*n-4*row)), exact(float64(n)))
	return exactSeries(v.Mul(v, exactPi()), func(k int64) (int64, bool) { return k, false })
}

func exactLatitude(degrees float64) *big.Float {
	v := new(big.Float).SetPrec(precision).Quo(exact(degrees), exact(180))
	v.Mul(v, exactPi())
	square := new(big.Float).Mul(v, v)
	sin := exactSeries(square, func(k int64) (int64, bool) { return 2 * k * (2*k + 1), true })
	sin.Mul(sin, v)
	above, below := new(big.Float).Add(exact(1), sin), new(big.Float).Sub(exact(1), sin)
	return above.Quo(above, below)
}

// exactSeries is 1 + v/d(1) + v²/(d(1)·d(2)) + …, with alternating signs if d says so.
func exactSeries(v *big.Float, d func(k int64) (int64, bool)) *big.Float {
	sum, term := exact(1), exact(1)
	for k := int64(1); k < 150; k++ {
		divisor, alternate := d(k)
		term.Quo(term.Mul(term, v), exact(float64(divisor)))
		if alternate {
			term.Neg(term)
		}
		sum.Add(sum, term)
	}
	return sum
}

func TestClipNarrowsATilesetToTheGrant(t *testing.T) {
	world := tile.Box{West: -180, South: -85.0511, East: 180, North: 85.0511}
	for _, tt := range []struct {
		name   string
		limits auth.Limits
		bounds tile.Box
		want   string
	}{
		{"no limits", auth.Limits{}, world, "{2 14} {-180 -85.0511 180 85.0511} true"},
		{"zooms", auth.Limits{Zoom: &tile.ZoomRange{Min: 0, Max: 7}}, world, "{2 7} {-180 -85.0511 180 85.0511} true"},
		{"no zoom left", auth.Limits{Zoom: &tile.ZoomRange{Min: 0, Max: 1}}, world, "{0 0} {0 0 0 0} false"},
		{"a box", auth.Limits{BBox: &tile.Box{West: 5, South: 45, East: 15, North: 90}}, world, "{2 14} {5 45 15 85.0511} true"},
		{"a box elsewhere", auth.Limits{BBox: &tile.Box{West: 5, South: 45, East: 15, North: 50}}, tile.Box{West: 20, South: 0, East: 30, North: 10}, "{0 0} {0 0 0 0} false"},
		{"across the antimeridian", auth.Limits{BBox: &tile.Box{West: 170, South: -10, East: -170, North: 10}}, world, "{2 14} {-180 -10 180 10} true"},
		{"across it, one side", auth.Limits{BBox: &tile.Box{West: 170, South: -10, East: -170, North: 10}}, tile.Box{West: 0, South: 0, East: 180, North: 80}, "{2 14} {170 0 180 10} true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.limits.Tilesets = []string{"*"}
			g, err := auth.NewGrant(tt.limits)
			if err != nil {
				t.Fatal(err)
			}
			zoom, bounds, ok := g.Clip("basemap", tile.ZoomRange{Min: 2, Max: 14}, tt.bounds)
			if got := fmt.Sprint(zoom, bounds, ok); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestNewGrantRefusesMalformedLimits(t *testing.T) {
	for name, limits := range map[string]auth.Limits{
		"entry": {Tilesets: []string{"a/b"}},
		"zoom":  {Zoom: &tile.ZoomRange{Min: 5, Max: 4}},
		"deep":  {Zoom: &tile.ZoomRange{Max: 31}},
		"bbox":  {BBox: &tile.Box{}},
		"NaN":   {BBox: &tile.Box{West: math.NaN(), South: 0, East: 1, North: 1}},
	} {
		if _, err := auth.NewGrant(limits); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestParseZoom(t *testing.T) {
	for in, want := range map[string]string{
		"0-0": "{0 0}", "0-14": "{0 14}", "30-30": "{30 30}",
		"": "", "-": "", "5": "", "0-": "", "-5": "", "5-4": "", "0-31": "", "01-2": "", "0-1-2": "", "0x1-2": "", "0–5": "", " 0-5": "", "٠-٥": "",
	} {
		got, err := tile.ParseZoomRange(in)
		if (err == nil) != (want != "") || err == nil && fmt.Sprint(got) != want {
			t.Errorf("%q: got %v, %v, want %q", in, got, err, want)
		}
	}
}

func TestStrictJSON(t *testing.T) {
	refused := []string{
		``, ` `, `1`, `[]`, `"a"`, `null`, `{`, `{}{}`, `{} x`, `{"a":1,}`, `{"a":01}`, `{"a":NaN}`, `{"a":+1}`, `{'a':1}`, `{"a":1 "b":2}`,
		`{"a":1,"a":1}`, `{"a":{"b":1,"b":2}}`, `{"a":[[{"b":1,"\u0062":2}]]}`, `{"a":"\ud800"}`, `{"a":"\udc00\ud800"}`, `{"a":"\ud800\u0041"}`, `{"\ud800":1}`,
		`{"a":"\ud800`, "{\"a\":\"\xff\"}", "{\"a\":\"\n\"}", "\ufeff{}", `{"a":` + strings.Repeat(`{"a":`, 17) + `1` + strings.Repeat(`}`, 18),
	}
	for _, in := range refused {
		if got, err := auth.ParseObject([]byte(in)); err == nil {
			t.Errorf("%q: accepted as %v", in, got)
		}
	}
	for _, in := range []string{`{}`, ` {"a" : [1, {"b": null}], "A": 1e3} `, `{"a":"\ud83d\ude00\\ud800"}`, `{"":1," ":2}`} {
		got, err := auth.ParseObject([]byte(in))
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		var want map[string]any
		d := json.NewDecoder(strings.NewReader(in))
		d.UseNumber()
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
}
