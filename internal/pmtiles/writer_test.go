package pmtiles_test

import (
	"bytes"
	"errors"
	"iter"
	"strings"
	"testing"

	"tilegate/internal/pmtiles"
)

// checkTiles reads every tile of the archive's zooms, and one beyond.
func checkTiles(t *testing.T, a *archive, want tileset) {
	t.Helper()
	wrong := 0
	for id := range firstID(a.header.MaxZoom + 1) {
		got, err := a.tile(id)
		if err != nil {
			t.Fatalf("tile %d: %v", id, err)
		}
		if !bytes.Equal(got, want[id]) {
			if wrong++; wrong < 5 {
				t.Errorf("tile %d: got %q, want %q", id, got, want[id])
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d tiles are wrong", wrong)
	}
}

func TestWriteAndRead(t *testing.T) {
	sea := []byte("sea")
	coast := pyramid(3)
	for id := uint64(21); id < 60; id++ {
		coast[id] = sea
	}
	delete(coast, 40)
	tests := []struct {
		name                     string
		options                  pmtiles.WriteOptions
		tiles                    tileset
		entries, contents, leafs uint64
	}{
		{"one tile", pmtiles.WriteOptions{}, tileset{17: sea}, 1, 1, 0},
		{"a pyramid", pmtiles.WriteOptions{TileType: pmtiles.PNG, TileCompression: pmtiles.None}, pyramid(3), 85, 85, 0},
		{"runs of equal tiles", pmtiles.WriteOptions{}, coast, 85 - 39 + 2, 85 - 39 + 1, 0},
		{"leaves", pmtiles.WriteOptions{LeafEntries: 7}, pyramid(3), 85, 85, 13},
		{"large enough for leaves", pmtiles.WriteOptions{}, pyramid(7), 21845, 21845, 6},
	}
	for _, test := range tests {
		for _, c := range compressions {
			t.Run(test.name+" "+c.String(), func(t *testing.T) {
				o := test.options
				o.InternalCompression = c
				a := open(t, write(t, o, test.tiles))
				h := a.header
				if h.AddressedTiles != uint64(len(test.tiles)) || h.TileEntries != test.entries || h.TileContents != test.contents {
					t.Errorf("got %d tiles, %d entries, %d contents, want %d, %d, %d", h.AddressedTiles, h.TileEntries, h.TileContents, len(test.tiles), test.entries, test.contents)
				}
				if !h.Clustered || h.InternalCompression != c || h.TileType != o.TileType || h.TileCompression != o.TileCompression {
					t.Errorf("got %+v", h)
				}
				if h.Tiles.End() != int64(len(a.bytes)) {
					t.Errorf("the tiles are at %v of %d bytes", h.Tiles, len(a.bytes))
				}
				if test.leafs > 0 && uint64(a.root.Len()) != test.leafs {
					t.Errorf("got %d leaf directories, want %d", a.root.Len(), test.leafs)
				}
				checkTiles(t, a, test.tiles)
			})
		}
	}
}

func TestWriteMakesLeavesLargerUntilTheRootFits(t *testing.T) {
	tiles := pyramid(6)
	a := open(t, write(t, pmtiles.WriteOptions{InternalCompression: pmtiles.None, LeafEntries: 1}, tiles))
	if n := a.root.Len(); n < 1000 || n > (len(tiles)+1)/2 {
		t.Errorf("got %d leaf directories for %d tiles", n, len(tiles))
	}
	checkTiles(t, a, tiles)
}

func TestWriteSaysWhatTheArchiveIs(t *testing.T) {
	b := write(t, pmtiles.WriteOptions{
		TileType: pmtiles.MVT, TileCompression: pmtiles.Gzip,
		Metadata: []byte(`{"name":"Roads","vector_layers":[]}`),
		Bounds:   pmtiles.Bounds{West: 5.9559111, South: 45.8179931, East: 10.4922941, North: 47.8084648},
	}, tileset{firstID(7) + 5: []byte("x"), firstID(9): []byte("y")})
	a := open(t, b)
	m, err := a.metadata()
	if err != nil || m.Name != "Roads" {
		t.Errorf("got %+v, %v", m, err)
	}
	h := a.header
	if h.MinZoom != 7 || h.MaxZoom != 9 || h.Bounds != (pmtiles.Bounds{West: 5.9559111, South: 45.8179931, East: 10.4922941, North: 47.8084648}) {
		t.Errorf("got zooms %d to %d, bounds %+v", h.MinZoom, h.MaxZoom, h.Bounds)
	}
	if c := h.Center; c.Zoom != 7 || c.Lon < 8.22 || c.Lon > 8.23 || c.Lat < 46.81 || c.Lat > 46.82 {
		t.Errorf("got %+v", c)
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	first := write(t, pmtiles.WriteOptions{LeafEntries: 9}, pyramid(4))
	if !bytes.Equal(first, write(t, pmtiles.WriteOptions{LeafEntries: 9}, pyramid(4))) {
		t.Error("the same tiles make another archive")
	}
}

type tile struct {
	id uint64
	b  string
}

func sequence(tiles ...tile) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for _, t := range tiles {
			if !yield(t.id, []byte(t.b)) {
				return
			}
		}
	}
}

func TestWriteFaults(t *testing.T) {
	passes := 0
	changing := func(second ...tile) iter.Seq2[uint64, []byte] {
		return func(yield func(uint64, []byte) bool) {
			if passes++; passes%2 == 1 {
				sequence(tile{1, "a"}, tile{2, "b"}, tile{3, "cc"})(yield)
			} else {
				sequence(second...)(yield)
			}
		}
	}
	tests := []struct {
		name  string
		tiles iter.Seq2[uint64, []byte]
		says  string
	}{
		{"no tiles", sequence(), "no tiles"},
		{"an empty tile", sequence(tile{1, ""}), "id 1: a tile of 0 bytes"},
		{"ids that descend", sequence(tile{2, "a"}, tile{1, "b"}), "ids must ascend"},
		{"one id twice", sequence(tile{2, "a"}, tile{2, "a"}), "id 2: ids must ascend"},
		{"an id beyond zoom 30", sequence(tile{maxID + 1, "a"}), "ids must ascend up to"},
		{"another tile in the second pass", changing(tile{1, "a"}, tile{2, "d"}, tile{3, "cc"}), "other tiles"},
		{"another order in the second pass", changing(tile{1, "b"}, tile{2, "a"}, tile{3, "cc"}), "other tiles"},
		{"one tile twice in the second pass", changing(tile{1, "b"}, tile{2, "b"}, tile{3, "cc"}), "other tiles"},
		{"fewer tiles in the second pass", changing(tile{1, "a"}, tile{2, "b"}), "other tiles"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := pmtiles.Write(new(bytes.Buffer), pmtiles.WriteOptions{}, test.tiles)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want one that says %q", err, test.says)
			}
		})
	}
	err := pmtiles.Write(new(bytes.Buffer), pmtiles.WriteOptions{InternalCompression: 9}, sequence(tile{1, "a"}))
	if err == nil || !strings.Contains(err.Error(), "compression 9 cannot be written") {
		t.Errorf("got %v", err)
	}
}

var errFull = errors.New("disk full")

// full takes a number of bytes, then none.
type full int

func (f *full) Write(b []byte) (int, error) {
	n := min(len(b), int(*f))
	*f -= full(n)
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

func TestWriteReportsWhatItCouldNotWrite(t *testing.T) {
	options := pmtiles.WriteOptions{LeafEntries: 5, InternalCompression: pmtiles.None}
	whole := len(write(t, options, pyramid(2)))
	for n := range whole {
		f := full(n)
		if err := pmtiles.Write(&f, options, pyramid(2).all()); !errors.Is(err, errFull) {
			t.Fatalf("after %d of %d bytes: got %v", n, whole, err)
		}
	}
}
