package pmtiles_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"tilegate/internal/pmtiles"
)

// checkRefused: whatever is refused is a FormatError with something to say.
func checkRefused(t *testing.T, err error) {
	t.Helper()
	var fault *pmtiles.FormatError
	if !errors.As(err, &fault) || fault.Part == "" || fault.Problem == "" {
		t.Fatalf("got %v, want a FormatError", err)
	}
}

// checkAllocated: no bytes make f allocate more than its limit and the decoder allow, some growing included.
func checkAllocated(t *testing.T, c pmtiles.Compression, limit int64, f func()) {
	t.Helper()
	if got, most := allocated(f), 5*limit+decoderMemory[c]; got > most {
		t.Fatalf("allocates %d bytes, more than %d", got, most)
	}
}

// FuzzHeader: an accepted header keeps what its fields promise, and says the same once it is written again.
func FuzzHeader(f *testing.F) {
	for _, test := range headerFaults {
		b := small(f)
		test.make(b)
		f.Add(b, int64(len(b)))
	}
	for _, test := range notArchives {
		f.Add(test.object, int64(-1))
	}
	for _, name := range fixtures {
		f.Add(fixture(f, name), int64(1<<40))
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		h, err := pmtiles.ParseHeader(b, size)
		if err != nil {
			checkRefused(t, err)
			return
		}
		if h.Root.Length < 1 || h.Root.End() > pmtiles.FirstRead || h.MinZoom > h.MaxZoom || h.MaxZoom > pmtiles.MaxZoom {
			t.Fatalf("accepted: %+v", h)
		}
		for _, r := range []pmtiles.Range{h.Root, h.Metadata, h.Leaves, h.Tiles} {
			if r.Length < 0 || r.Length > 0 && (r.Offset < pmtiles.HeaderSize || r.End() < r.Offset || size >= 0 && r.End() > size) {
				t.Fatalf("accepted: %+v in %d bytes", h, size)
			}
		}
		if b, c := h.Bounds, h.Center; b.West > b.East || b.South > b.North || b.West < -180 || b.East > 180 || b.South < -90 || b.North > 90 ||
			c.Zoom < h.MinZoom || c.Zoom > h.MaxZoom || math.Abs(c.Lon) > 180 || math.Abs(c.Lat) > 90 {
			t.Fatalf("accepted: %+v", h)
		}
		again, err := pmtiles.ParseHeader(h.Encode(), size)
		if err != nil {
			t.Fatal(err)
		}
		// The middle of bounds is rounded when it is written, and 0/0 at zoom 0 stands for no center.
		if h.Center != (pmtiles.Position{}) && (math.Abs(again.Center.Lon-h.Center.Lon) > 1e-7 || math.Abs(again.Center.Lat-h.Center.Lat) > 1e-7) {
			t.Fatalf("the center %+v becomes %+v", h.Center, again.Center)
		}
		if again.Center = h.Center; *again != *h {
			t.Fatalf("%+v becomes %+v", h, again)
		}
	})
}

// checkDirectory checks all that an accepted directory promises.
func checkDirectory(t *testing.T, d *pmtiles.Directory) {
	t.Helper()
	entries := d.Entries()
	if cap(entries) != len(entries) {
		t.Fatalf("%d entries in room for %d", len(entries), cap(entries))
	}
	end := uint64(0)
	for i, e := range entries {
		if i > 0 && e.ID < end || e.Length == 0 || e.Offset < 0 || e.Offset+int64(e.Length) < e.Offset {
			t.Fatalf("entry %d: %+v after %d", i, e, end)
		}
		end = e.ID + max(1, uint64(e.Run))
		if end > maxID+1 {
			t.Fatalf("entry %d: %+v", i, e)
		}
		if got, ok := d.Find(e.ID); !ok || got != e {
			t.Fatalf("Find(%d): got %+v, %t, want %+v", e.ID, got, ok, e)
		}
		if got, ok := d.Find(end - 1); !ok || got != e {
			t.Fatalf("Find(%d): got %+v, %t, want %+v", end-1, got, ok, e)
		}
		if e.Run > 0 && (i+1 == len(entries) || entries[i+1].ID > end) {
			if got, ok := d.Find(end); ok {
				t.Fatalf("Find(%d): got %+v", end, got)
			}
		}
	}
	if len(entries) > 0 && entries[0].ID > 0 {
		if got, ok := d.Find(entries[0].ID - 1); ok {
			t.Fatalf("before the first: got %+v", got)
		}
	}
}

// FuzzDirectory: an accepted directory keeps what its entries promise, and is the same once it is written again.
func FuzzDirectory(f *testing.F) {
	for _, test := range directoryFaults {
		f.Add(test.b)
	}
	f.Add(varints(4, 5, 5, 10, 10, 4, 1, 1, 0, 100, 50, 50, 700, 1, 0, 101, 4001))
	f.Add(manyEntries(100))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d *pmtiles.Directory
		var err error
		checkAllocated(t, pmtiles.None, limit, func() { d, err = pmtiles.DecodeDirectory(b, pmtiles.None, limit) })
		if err != nil {
			checkRefused(t, err)
			return
		}
		if d.Size() > limit {
			t.Fatalf("takes %d bytes", d.Size())
		}
		checkDirectory(t, d)
		again, err := pmtiles.DecodeDirectory(pmtiles.EncodeDirectory(d.Entries()), pmtiles.None, limit)
		if err != nil || !slices.Equal(again.Entries(), d.Entries()) {
			t.Fatalf("%v: %+v becomes %+v", err, d, again)
		}
	})
}

// FuzzCompressedDirectory: a directory is what its decompressed bytes are, and no bytes make a decoder panic or
// allocate without bound.
func FuzzCompressedDirectory(f *testing.F) {
	plain := varints(4, 5, 5, 10, 10, 4, 1, 1, 0, 100, 50, 50, 700, 1, 0, 101, 4001)
	for _, c := range compressions {
		f.Add(compress(f, plain, c), uint8(c))
		f.Add(compress(f, manyEntries(2000), c), uint8(c))
		f.Add(compress(f, make([]byte, 1<<20), c), uint8(c))
		f.Add(compress(f, directoryFaults[3].b, c), uint8(c))
	}
	f.Add([]byte{}, uint8(pmtiles.Unknown))
	f.Fuzz(func(t *testing.T, b []byte, coding uint8) {
		c := pmtiles.Compression(coding % 6)
		const limit = 64 << 10
		var d *pmtiles.Directory
		var err error
		checkAllocated(t, c, limit, func() { d, err = pmtiles.DecodeDirectory(b, c, limit) })
		if err != nil {
			checkRefused(t, err)
			return
		}
		checkDirectory(t, d)
		plain, err := io.ReadAll(pmtiles.NewReader(bytes.NewReader(b), c, limit))
		if err != nil {
			t.Fatal(err)
		}
		again, err := pmtiles.DecodeDirectory(plain, pmtiles.None, limit)
		if err != nil || !slices.Equal(again.Entries(), d.Entries()) {
			t.Fatalf("%v: %+v, decompressed by hand %+v", err, d, again)
		}
	})
}

// FuzzMetadata: what is accepted can stand in a TileJSON document.
func FuzzMetadata(f *testing.F) {
	for _, test := range metadataFaults {
		f.Add([]byte(test.json), uint8(pmtiles.None))
	}
	f.Add([]byte(sampleMetadata), uint8(pmtiles.None))
	f.Add([]byte(`{"tileSize":"512","tilestats":{"layers":[{"attributes":[]}]}}`), uint8(pmtiles.Unknown))
	for _, c := range compressions {
		f.Add(compress(f, []byte(sampleMetadata), c), uint8(c))
	}
	f.Fuzz(func(t *testing.T, b []byte, coding uint8) {
		c := pmtiles.Compression(coding % 6)
		var m *pmtiles.Metadata
		var err error
		checkAllocated(t, c, pmtiles.MaxMetadata, func() { m, err = pmtiles.DecodeMetadata(b, c) })
		if err != nil {
			checkRefused(t, err)
			return
		}
		var layers []any
		if m.VectorLayers != nil && json.Unmarshal(m.VectorLayers, &layers) != nil {
			t.Fatalf("vector_layers is %q", m.VectorLayers)
		}
		if m.TileSize < 0 || m.TileSize > 1<<14 || m.Size() > 2*pmtiles.MaxMetadata {
			t.Fatalf("accepted: %+v", m)
		}
	})
}

// FuzzLookup: in whatever archive, a lookup ends after four directories, and reads nothing that is not there: a range
// beyond the archive would panic.
func FuzzLookup(f *testing.F) {
	for _, name := range fixtures {
		f.Add(fixture(f, name), uint64(0))
	}
	for _, c := range compressions {
		f.Add(write(f, pmtiles.WriteOptions{InternalCompression: c, LeafEntries: 3}, pyramid(1)), uint64(2))
		f.Add(write(f, pmtiles.WriteOptions{InternalCompression: c}, pyramid(1)), uint64(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, id uint64) {
		a, err := openArchive(b)
		if err != nil {
			checkRefused(t, err)
			return
		}
		if _, err := a.tile(id); err != nil {
			checkRefused(t, err)
		}
		if a.reads > pmtiles.MaxDepth {
			t.Fatalf("%d reads", a.reads)
		}
		if _, err := a.metadata(); err != nil {
			checkRefused(t, err)
		}
	})
}

// FuzzReader: whatever a tile holds, no more than the limit comes out, and reading it ends.
func FuzzReader(f *testing.F) {
	for _, c := range append(compressions, pmtiles.Unknown) {
		stored := repetitive[:3000]
		if c != pmtiles.Unknown {
			stored = compress(f, stored, c)
		}
		f.Add(stored, uint8(c), uint16(2999))
		f.Add(stored, uint8(c), uint16(3000))
		f.Add(stored[:len(stored)/2], uint8(c), uint16(3000))
	}
	f.Fuzz(func(t *testing.T, b []byte, coding uint8, limit uint16) {
		c := pmtiles.Compression(coding % 6)
		checkAllocated(t, c, math.MaxUint16, func() {
			r := pmtiles.NewReader(bytes.NewReader(b), c, int64(limit))
			got, err := io.ReadAll(r)
			if err != nil {
				checkRefused(t, err)
			}
			if len(got) > int(limit) {
				t.Fatalf("%d bytes come out, the limit is %d", len(got), limit)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// FuzzWriteAndRead: every tile that is written is read, and no other. Each byte of the input is a tile: how far behind
// the last one, and with which content.
func FuzzWriteAndRead(f *testing.F) {
	f.Add([]byte{0}, uint64(0), uint8(2), uint8(0))
	f.Add([]byte("some tiles that lie somewhere near each other"), uint64(1<<40), uint8(1), uint8(3))
	f.Add(bytes.Repeat([]byte{1, 2, 2, 2}, 30), uint64(maxID-1000), uint8(4), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, first uint64, coding, leafEntries uint8) {
		s := tileset{}
		ids := []uint64{first % (maxID + 1)}
		for _, tile := range b {
			id := ids[len(ids)-1]
			if id > maxID {
				break
			}
			s[id] = bytes.Repeat([]byte{tile & 7}, 1+int(tile&7))
			ids = append(ids, id+1+uint64(tile>>4)*uint64(tile>>4))
		}
		if len(s) == 0 {
			return
		}
		a := open(t, write(t, pmtiles.WriteOptions{InternalCompression: pmtiles.Compression(coding % 5), LeafEntries: int(leafEntries)}, s))
		for id := range s {
			for _, near := range []uint64{id - 1, id, id + 1} {
				if got, err := a.tile(near); err != nil || !bytes.Equal(got, s[near]) {
					t.Fatalf("tile %d: got %q, %v, want %q", near, got, err, s[near])
				}
			}
		}
	})
}

// FuzzTileID: each tile has one id, each id one tile.
func FuzzTileID(f *testing.F) {
	for _, test := range tileIDs {
		f.Add(test.z, test.x, test.y, test.id)
	}
	f.Fuzz(func(t *testing.T, z uint8, x, y uint32, id uint64) {
		if got, ok := pmtiles.TileID(z, x, y); ok {
			if gotZ, gotX, gotY, ok := pmtiles.ZXY(got); !ok || gotZ != z || gotX != x || gotY != y {
				t.Fatalf("%d/%d/%d becomes %d/%d/%d", z, x, y, gotZ, gotX, gotY)
			}
		} else if z <= pmtiles.MaxZoom && x < 1<<z && y < 1<<z {
			t.Fatalf("%d/%d/%d has no id", z, x, y)
		}
		if z, x, y, ok := pmtiles.ZXY(id); ok {
			if got, ok := pmtiles.TileID(z, x, y); !ok || got != id {
				t.Fatalf("%d becomes %d", id, got)
			}
		} else if id <= maxID {
			t.Fatalf("%d has no tile", id)
		}
	})
}
