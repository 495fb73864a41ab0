package pmtiles_test

import (
	"errors"
	"testing"

	"tilegate/internal/pmtiles"
)

func decode(t testing.TB, numbers ...uint64) *pmtiles.Directory {
	t.Helper()
	d, err := pmtiles.DecodeDirectory(varints(numbers...), pmtiles.None, limit)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLookup(t *testing.T) {
	h := &pmtiles.Header{
		Leaves: pmtiles.Range{Offset: 1000, Length: 500},
		Tiles:  pmtiles.Range{Offset: 5000, Length: 100},
	}
	tests := []struct {
		name      string
		directory *pmtiles.Directory // asked for the id 5
		depth     int
		found     pmtiles.Found
		at        pmtiles.Range
		fault     string
	}{
		{"a tile", decode(t, 1, 5, 1, 10, 21), 1, pmtiles.Tile, pmtiles.Range{Offset: 5020, Length: 10}, ""},
		{"a tile of a run", decode(t, 1, 2, 4, 10, 21), 1, pmtiles.Tile, pmtiles.Range{Offset: 5020, Length: 10}, ""},
		{"a tile in the deepest directory", decode(t, 1, 5, 1, 10, 21), pmtiles.MaxDepth, pmtiles.Tile, pmtiles.Range{Offset: 5020, Length: 10}, ""},
		{"the last bytes of the section", decode(t, 1, 5, 1, 10, 91), 1, pmtiles.Tile, pmtiles.Range{Offset: 5090, Length: 10}, ""},
		{"absent", decode(t, 1, 6, 1, 10, 21), 1, pmtiles.Absent, pmtiles.Range{}, ""},
		{"a leaf", decode(t, 1, 2, 0, 400, 101), 1, pmtiles.Leaf, pmtiles.Range{Offset: 1100, Length: 400}, ""},
		{"a leaf of a leaf of a leaf", decode(t, 1, 2, 0, 400, 101), pmtiles.MaxDepth - 1, pmtiles.Leaf, pmtiles.Range{Offset: 1100, Length: 400}, ""},
		{"a leaf too deep", decode(t, 1, 2, 0, 400, 101), pmtiles.MaxDepth, 0, pmtiles.Range{}, "directory 4 points to another leaf directory"},
		{"a tile beyond its section", decode(t, 1, 5, 1, 10, 92), 1, 0, pmtiles.Range{}, "tile id 5: its data has 10 bytes at offset 91 of a section of 100 bytes"},
		{"a tile far beyond its section", decode(t, 1, 5, 1, 10, 1<<62-1), 1, 0, pmtiles.Range{}, "of a section of 100 bytes"},
		{"a tile longer than its section", decode(t, 1, 5, 1, 101, 1), 1, 0, pmtiles.Range{}, "101 bytes at offset 0"},
		{"a leaf beyond its section", decode(t, 1, 5, 0, 400, 102), 1, 0, pmtiles.Range{}, "tile id 5: its leaf directory has 400 bytes at offset 101"},
		{"a leaf that is too large", decode(t, 1, 5, 0, pmtiles.MaxLeaf+1, 1), 1, 0, pmtiles.Range{}, "pmtiles cluster"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found, at, err := h.Lookup(test.directory, 5, test.depth)
			if test.fault != "" {
				wantFault(t, err, test.fault)
				return
			}
			if err != nil || found != test.found || at != test.at {
				t.Errorf("got %v, %v, %v, want %v, %v", found, at, err, test.found, test.at)
			}
		})
	}
	_, _, err := h.Lookup(decode(t, 1, 5, 0, pmtiles.MaxLeaf+1, 1), 5, 1)
	if !errors.Is(err, pmtiles.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

// An archive without leaf directories or tiles names none of their bytes.
func TestLookupInAnEmptySection(t *testing.T) {
	for _, run := range []uint64{0, 1} {
		_, _, err := (&pmtiles.Header{}).Lookup(decode(t, 1, 5, run, 1, 1), 5, 1)
		wantFault(t, err, "of a section of 0 bytes")
	}
}

func TestAttackALeafThatPointsAtItself(t *testing.T) {
	b := write(t, pmtiles.WriteOptions{InternalCompression: pmtiles.None, LeafEntries: 1}, tileset{0: []byte("tile")})
	a := open(t, b)
	// The only leaf, of five bytes, becomes one that names itself.
	if leaves := a.header.Leaves; leaves.Length == 5 {
		copy(b[leaves.Offset:], varints(1, 0, 0, 5, 1))
	} else {
		t.Fatalf("the leaf has %d bytes", leaves.Length)
	}
	_, err := a.tile(0)
	wantFault(t, err, "directory 4 points to another leaf directory; at most 4 are read")
	if a.reads != pmtiles.MaxDepth-1 {
		t.Errorf("%d reads, want %d", a.reads, pmtiles.MaxDepth-1)
	}
}
