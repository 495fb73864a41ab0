package tile_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"tilegate/internal/tile"
)

func TestValidID(t *testing.T) {
	long := "a123456789012345678901234567890123456789012345678901234567890123" // 64 bytes
	for _, test := range []struct {
		s           string
		id, pattern bool
	}{
		{"basemap", true, true},
		{"a", true, true},
		{"0", true, true},
		{"a_b-c", true, true},
		{long, true, true},
		{"", false, false},
		{long + "4", false, false},
		{"_a", false, false},
		{"-a", false, false},
		{"A", false, false},
		{"a.b", false, false},
		{"a/b", false, false},
		{"a b", false, false},
		{"é", false, false},
		{"a\n", false, false},
		{"*", false, true},
		{"acme-*", false, true},
		{"a?b", false, false},
		{"file:report", false, true},
		{"file:*", false, true},
		{"file:", false, false},
		{"file:file:a", false, false},
		{"bundle:a", false, true},
		{"bundle:*", false, true},
		{"bundle:", false, false},
		{"bundle:file:a", false, false},
		{"other:a", false, false},
	} {
		if got := tile.ValidID(test.s); got != test.id {
			t.Errorf("ValidID(%q): got %t, want %t", test.s, got, test.id)
		}
		if got := tile.ValidPattern(test.s); got != test.pattern {
			t.Errorf("ValidPattern(%q): got %t, want %t", test.s, got, test.pattern)
		}
	}
}

func TestParseZoomRange(t *testing.T) {
	for s, want := range map[string]tile.ZoomRange{"0-14": {Min: 0, Max: 14}, "7-7": {Min: 7, Max: 7}, "0-30": tile.AllZooms} {
		if got, err := tile.ParseZoomRange(s); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "-", "7", "3-", "-3", "5-3", "0-31", "00-3", "+1-3", "1-+3", " 1-3", "1-3 ", "1-3-5", "1–3", "0x1-3", "256-300"} {
		if got, err := tile.ParseZoomRange(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
	if both := (tile.ZoomRange{Min: 3, Max: 5}).Intersect(tile.ZoomRange{Min: 6, Max: 9}); both.Valid() {
		t.Errorf("disjoint ranges: got %v, want none that is valid", both)
	}
}

func TestBoxValidate(t *testing.T) {
	for _, test := range []struct {
		degrees []float64
		ok      bool
	}{
		{[]float64{-180, -90, 180, 90}, true},
		{[]float64{170, -10, -170, 10}, true}, // across the antimeridian
		{[]float64{1, 2, 3}, false},
		{[]float64{1, 2, 1, 3}, false},
		{[]float64{1, 3, 2, 3}, false},
		{[]float64{1, 4, 2, 3}, false},
		{[]float64{180, 0, -180, 1}, false},
		{[]float64{-181, 0, 1, 1}, false},
		{[]float64{0, 0, 1, 91}, false},
		{[]float64{math.NaN(), 0, 1, 1}, false},
		{[]float64{0, 0, math.Inf(1), 1}, false},
	} {
		if _, err := tile.ParseBox(test.degrees); (err == nil) != test.ok {
			t.Errorf("%v: got %v, want ok %t", test.degrees, err, test.ok)
		}
	}
}

// edges returns a tile's own box in degrees, by the inverse projection.
func edges(z uint8, x, y uint32) tile.Box {
	side := math.Ldexp(1, int(z))
	lon := func(x float64) float64 { return x/side*360 - 180 }
	lat := func(y float64) float64 { return math.Atan(math.Sinh(math.Pi*(1-2*y/side))) * 180 / math.Pi }
	return tile.Box{West: lon(float64(x)), South: lat(float64(y) + 1), East: lon(float64(x) + 1), North: lat(float64(y))}
}

// A box that was computed from a tile's edges meets that tile and none of its neighbours.
func TestABoxOfATileMeetsThatTileAlone(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		z := uint8(random.IntN(tile.MaxZoom-1) + 2)
		last := uint32(1)<<z - 1
		x, y := random.Uint32N(last-1)+1, random.Uint32N(last-1)+1
		box := edges(z, x, y)
		area := tile.NewArea(&box)
		for dx := range uint32(3) {
			for dy := range uint32(3) {
				want := dx == 1 && dy == 1
				if got := area.Meets(z, x+dx-1, y+dy-1); got != want {
					t.Fatalf("%d/%d/%d with the box of %d/%d/%d: got %t, want %t", z, x+dx-1, y+dy-1, z, x, y, got, want)
				}
			}
		}
		lon, lat := box.Center()
		if gotX, gotY := tile.At(z, lon, lat); gotX != x || gotY != y {
			t.Fatalf("At(%d, %g, %g): got %d/%d, want %d/%d", z, lon, lat, gotX, gotY, x, y)
		}
	}
}

func TestTheWorldMeetsEveryTile(t *testing.T) {
	for _, area := range []tile.Area{{}, tile.NewArea(&tile.World)} {
		for _, z := range []uint8{0, 1, 17, 24, tile.MaxZoom} {
			last := uint32(1)<<z - 1
			for _, x := range []uint32{0, last / 2, last} {
				for _, y := range []uint32{0, last / 2, last} {
					if !area.Meets(z, x, y) {
						t.Errorf("%d/%d/%d is outside of the world (whole %t)", z, x, y, area.Whole())
					}
				}
			}
		}
	}
}

func TestAreaAcrossTheAntimeridian(t *testing.T) {
	area := tile.NewArea(&tile.Box{West: 170, South: -10, East: -170, North: 10})
	for place, want := range map[[2]float64]bool{{175, 0}: true, {-175, 0}: true, {0, 0}: false, {175, 20}: false} {
		x, y := tile.At(9, place[0], place[1])
		if got := area.Meets(9, x, y); got != want {
			t.Errorf("%v: got %t, want %t", place, got, want)
		}
	}
	if h := area.Hull(); h.West != -180 || h.East != 180 {
		t.Errorf("hull: got %v, want all longitudes", h)
	}
	other := tile.NewArea(&tile.Box{West: 0, South: 0, East: 175, North: 5})
	both := area.Intersect(other)
	if want := (tile.Box{West: 170, South: 0, East: 175, North: 5}); both.Hull() != want {
		t.Errorf("intersection: got %v, want %v", both.Hull(), want)
	}
	if none := area.Intersect(tile.NewArea(&tile.Box{West: 0, South: 20, East: 1, North: 21})); !none.Empty() || none.Whole() || none.Meets(0, 0, 0) {
		t.Errorf("disjoint areas: got %v", none)
	}
}

func TestContradiction(t *testing.T) {
	heads := map[string]string{
		"png": "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "jpg": "\xff\xd8\xff\xe0\x00\x10JFIF", "webp": "RIFF\x10\x00\x00\x00WEBPVP8 ",
		"avif": "\x00\x00\x00\x20ftypavif", "XML": "\ufeff <?xml version", "HTML": "<!DOCTYPE html>", "JSON": `{"message":"no"}`,
		"": "\x1a\x05roads", // of a vector tile
	}
	for _, name := range tile.FormatNames() {
		format := tile.FormatNamed(name)
		for what, head := range heads {
			want := what
			if what == name || what == "JSON" && name == "json" || name == "auto" && tile.FormatNamed(what) != nil {
				want = ""
			}
			if got := format.Contradiction([]byte(head)); got != want {
				t.Errorf("%s beginning like %q: got %q, want %q", name, what, got, want)
			}
		}
		if got := format.Contradiction(nil); got != "" {
			t.Errorf("%s, empty: got %q", name, got)
		}
	}
}

func TestFormatOf(t *testing.T) {
	for key, want := range map[string]string{
		"a/1/2/3.png": "png", "a.jpg": "jpg", "a.jpeg": "jpg", "a.pbf": "mvt", "a.mvt": "mvt", "a.mlt": "mlt", "a.auto": "", "a@2x.webp": "webp",
		"a": "", "a.tif": "", "a.PNG": "", "a.pmtiles": "", "": "",
	} {
		got := ""
		if f := tile.FormatOf(key); f != nil {
			got = f.Name
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", key, got, want)
		}
	}
}

func BenchmarkAreaMeets(b *testing.B) {
	area := tile.NewArea(&tile.Box{West: 5, South: 45, East: 15, North: 55})
	b.ReportAllocs()
	for b.Loop() {
		area.Meets(12, 2148, 1400)
	}
}
