package pmtiles_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"tilegate/internal/pmtiles"
)

// The ids are those of the specification; the last one of zoom 30 shows that all fit into 61 bits.
var tileIDs = []struct {
	z    uint8
	x, y uint32
	id   uint64
}{
	{0, 0, 0, 0},
	{1, 0, 0, 1},
	{1, 0, 1, 2},
	{1, 1, 1, 3},
	{1, 1, 0, 4},
	{2, 0, 0, 5},
	{12, 3423, 1763, 19078479},
	{30, 0, 0, (1<<60 - 1) / 3},
	{30, 1<<30 - 1, 0, (1<<62-1)/3 - 1},
}

func TestTileIDsOfTheSpecification(t *testing.T) {
	for _, test := range tileIDs {
		if id, ok := pmtiles.TileID(test.z, test.x, test.y); id != test.id || !ok {
			t.Errorf("TileID(%d, %d, %d): got %d, %t, want %d", test.z, test.x, test.y, id, ok, test.id)
		}
		if z, x, y, ok := pmtiles.ZXY(test.id); z != test.z || x != test.x || y != test.y || !ok {
			t.Errorf("ZXY(%d): got %d/%d/%d, %t, want %d/%d/%d", test.id, z, x, y, ok, test.z, test.x, test.y)
		}
	}
}

// Along the curve each tile is a neighbour of the one before, which fixes the curve but for its turns.
func TestTheCurveVisitsNeighbours(t *testing.T) {
	for z := uint8(1); z <= 8; z++ {
		first := firstID(z)
		_, px, py, _ := pmtiles.ZXY(first)
		for id := first + 1; id < firstID(z+1); id++ {
			gotZ, x, y, ok := pmtiles.ZXY(id)
			dx, dy := int64(x)-int64(px), int64(y)-int64(py)
			if gotZ != z || !ok || dx*dx+dy*dy != 1 {
				t.Fatalf("after %d/%d/%d comes %d/%d/%d", z, px, py, gotZ, x, y)
			}
			if back, ok := pmtiles.TileID(z, x, y); back != id || !ok {
				t.Fatalf("TileID(%d, %d, %d): got %d, %t, want %d", z, x, y, back, ok, id)
			}
			px, py = x, y
		}
	}
}

func TestTileIDsOfDeepZooms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for z := uint8(0); z <= pmtiles.MaxZoom; z++ {
		for range 1000 {
			x, y := random.Uint32N(1<<z), random.Uint32N(1<<z)
			id, ok := pmtiles.TileID(z, x, y)
			if !ok || id < firstID(z) || id-firstID(z) >= 1<<(2*z) {
				t.Fatalf("TileID(%d, %d, %d): got %d, %t", z, x, y, id, ok)
			}
			if gotZ, gotX, gotY, ok := pmtiles.ZXY(id); gotZ != z || gotX != x || gotY != y || !ok {
				t.Fatalf("ZXY(%d): got %d/%d/%d, want %d/%d/%d", id, gotZ, gotX, gotY, z, x, y)
			}
		}
	}
}

func TestNoTileHasNoID(t *testing.T) {
	for _, test := range []struct {
		z    uint8
		x, y uint32
	}{{0, 1, 0}, {0, 0, 1}, {3, 8, 0}, {30, 1 << 30, 0}, {31, 0, 0}, {32, 0, 0}, {255, 0, 0}, {5, math.MaxUint32, 0}} {
		if id, ok := pmtiles.TileID(test.z, test.x, test.y); ok {
			t.Errorf("TileID(%d, %d, %d): got %d", test.z, test.x, test.y, id)
		}
	}
	for _, id := range []uint64{(1<<62 - 1) / 3, math.MaxUint64 / 3, math.MaxUint64} {
		if z, x, y, ok := pmtiles.ZXY(id); ok {
			t.Errorf("ZXY(%d): got %d/%d/%d", id, z, x, y)
		}
	}
}

func TestTileIDsAllocateNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		id, _ := pmtiles.TileID(14, 8190, 5441)
		if _, x, _, _ := pmtiles.ZXY(id); x != 8190 {
			t.Error(x)
		}
	}); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}
