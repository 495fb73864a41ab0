package worldmap_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"sync"
	"testing"

	"tilegate/internal/pmtiles"
	"tilegate/internal/worldmap"
)

var sharedArchive = sync.OnceValues(worldmap.Archive)

// vectorTiles returns the tiles of the archive by their ids, unpacked. The tests share them.
func vectorTiles(t *testing.T) map[uint64][]byte {
	t.Helper()
	unpackOnce.Do(func() { unpacked = unpackTiles(t) })
	return unpacked
}

var (
	unpackOnce sync.Once
	unpacked   map[uint64][]byte
)

func unpackTiles(t *testing.T) map[uint64][]byte {
	t.Helper()
	b, err := sharedArchive()
	if err != nil {
		t.Fatal(err)
	}
	h, err := pmtiles.ParseHeader(b, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	tiles := map[uint64][]byte{}
	directories := map[pmtiles.Range]*pmtiles.Directory{}
	end, _ := pmtiles.TileID(worldmap.MaxZoom+1, 0, 0)
	for id := range end {
		at := h.Root
		for depth := 1; ; depth++ {
			d := directories[at]
			if d == nil {
				if d, err = pmtiles.DecodeDirectory(b[at.Offset:at.End()], h.InternalCompression, 1<<20); err != nil {
					t.Fatal(err)
				}
				directories[at] = d
			}
			found, next, err := h.Lookup(d, id, depth)
			if err != nil {
				t.Fatal(err)
			}
			at = next
			if found == pmtiles.Tile {
				z, err := gzip.NewReader(bytes.NewReader(b[at.Offset:at.End()]))
				if err != nil {
					t.Fatal(err)
				}
				if tiles[id], err = io.ReadAll(z); err != nil {
					t.Fatal(err)
				}
			}
			if found != pmtiles.Leaf {
				break
			}
		}
	}
	return tiles
}

// fields goes through the fields of a protocol buffer.
func fields(t *testing.T, b []byte, visit func(field, n uint64, bytes []byte)) {
	t.Helper()
	for len(b) > 0 {
		tag, k := binary.Uvarint(b)
		n, m := binary.Uvarint(b[k:])
		if k <= 0 || m <= 0 {
			t.Fatal("not a protocol buffer")
		}
		b = b[k+m:]
		var value []byte
		if tag&7 == 2 {
			if uint64(len(b)) < n {
				t.Fatal("a field is cut off")
			}
			value, b = b[:n], b[n:]
		}
		visit(tag>>3, n, value)
	}
}

// feature is a decoded one: the area of its rings, and whether a point is within them.
type feature struct {
	name  string
	rings [][][2]int64
}

func (f feature) holds(x, y float64) bool {
	inside := false
	for _, r := range f.rings {
		for i, a := range r {
			b := r[(i+1)%len(r)]
			ax, ay, bx, by := float64(a[0]), float64(a[1]), float64(b[0]), float64(b[1])
			if (ay > y) != (by > y) && x < (bx-ax)*(y-ay)/(by-ay)+ax {
				inside = !inside
			}
		}
	}
	return inside
}

// countries decodes the polygons of a tile, as the specification has them.
func countries(t *testing.T, tile []byte) (all []feature) {
	t.Helper()
	fields(t, tile, func(field, _ uint64, layer []byte) {
		var layerName string
		var values []string
		var features [][]byte
		fields(t, layer, func(field, _ uint64, b []byte) {
			switch field {
			case 1:
				layerName = string(b)
			case 2:
				features = append(features, b)
			case 4:
				text := ""
				fields(t, b, func(field, _ uint64, b []byte) {
					if field == 1 {
						text = string(b)
					}
				})
				values = append(values, text)
			}
		})
		if field != 3 || layerName != "countries" {
			return
		}
		for _, b := range features {
			var f feature
			fields(t, b, func(field, _ uint64, b []byte) {
				switch field {
				case 2:
					_, k := binary.Uvarint(b)
					value, _ := binary.Uvarint(b[k:])
					f.name = values[value]
				case 4:
					f.rings = decodeRings(t, b)
				}
			})
			all = append(all, f)
		}
	})
	return all
}

func decodeRings(t *testing.T, b []byte) (rings [][][2]int64) {
	t.Helper()
	next := func() uint64 {
		n, k := binary.Uvarint(b)
		if k <= 0 {
			t.Fatal("a geometry is cut off")
		}
		b = b[k:]
		return n
	}
	signed := func() int64 { n := next(); return int64(n>>1) ^ -int64(n&1) }
	var at [2]int64
	for len(b) > 0 {
		command := next()
		switch command & 7 {
		case 1:
			rings = append(rings, nil)
			fallthrough
		case 2:
			for range command >> 3 {
				at[0], at[1] = at[0]+signed(), at[1]+signed()
				rings[len(rings)-1] = append(rings[len(rings)-1], at)
			}
		case 7:
		default:
			t.Fatalf("command %d", command)
		}
	}
	return rings
}

func TestVectorTilesShowCountriesWhereTheyAre(t *testing.T) {
	tiles := vectorTiles(t)
	for _, tc := range []struct {
		lon, lat float64
		want     string
	}{
		{10, 51, "Germany"},
		{-100, 40, "United States of America"},
		{-70, -20, "Chile"},
		{28.3, -29.6, "Lesotho"},
		{25, -29, "South Africa"},
		{179, 67.5, "Russia"},
		{-175, 67, "Russia"},
		{135, -25, "Australia"},
		{0, -80, "Antarctica"},
		{-30, 40, ""},
		{150, 10, ""},
	} {
		for z := range uint8(worldmap.MaxZoom + 1) {
			n := math.Exp2(float64(z))
			x := (tc.lon + 180) / 360 * n
			y := (0.5 - math.Asinh(math.Tan(tc.lat*math.Pi/180))/(2*math.Pi)) * n
			id, ok := pmtiles.TileID(z, uint32(x), uint32(y))
			if !ok {
				continue
			}
			var got string
			for _, f := range countries(t, tiles[id]) {
				if f.holds((x-math.Floor(x))*4096, (y-math.Floor(y))*4096) {
					got += f.name
				}
			}
			if got != tc.want && (z > 2 || tc.want != "Lesotho") { // too small
				t.Errorf("at %g, %g of zoom %d: got %q, want %q", tc.lon, tc.lat, z, got, tc.want)
			}
		}
	}
}

// The specification wants outer rings of positive area, and a hole of a negative one behind its outer ring.
func TestVectorTilesAreValid(t *testing.T) {
	tiles := vectorTiles(t)
	if len(tiles) < 500 || len(tiles) > 1300 {
		t.Errorf("%d of 1,365 tiles have land", len(tiles))
	}
	for id, b := range tiles {
		for _, f := range countries(t, b) {
			for i, r := range f.rings {
				var doubled int64
				for k, a := range r {
					b := r[(k+1)%len(r)]
					doubled += a[0]*b[1] - b[0]*a[1]
					if a[0] < -81 || a[0] > 4177 || a[1] < -81 || a[1] > 4177 {
						t.Fatalf("tile %d: %s reaches to %v", id, f.name, a)
					}
				}
				if len(r) < 3 || doubled == 0 || doubled < 0 && i == 0 {
					t.Fatalf("tile %d: ring %d of %s has %d points and area %d", id, i, f.name, len(r), doubled/2)
				}
			}
		}
	}
}

func TestArchiveIsTheSameEachTime(t *testing.T) {
	first, err := sharedArchive()
	if err != nil {
		t.Fatal(err)
	}
	if len(first) > 1<<20 {
		t.Errorf("the archive has %d bytes", len(first))
	}
	again, err := worldmap.Archive()
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("got %d and %d bytes, error %v", len(first), len(again), err)
	}
	if !json.Valid([]byte(worldmap.VectorLayers)) {
		t.Error("VectorLayers is no JSON")
	}
}
