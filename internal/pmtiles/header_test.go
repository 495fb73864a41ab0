package pmtiles_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"tilegate/internal/pmtiles"
)

// small is a header with its root and a tile behind it.
func small(t testing.TB) []byte {
	return write(t, pmtiles.WriteOptions{TileType: pmtiles.PNG, TileCompression: pmtiles.None}, tileset{0: []byte("tile")})
}

func put64(at int, value uint64) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint64(b[at:], value) }
}

func put32(at int, values ...int32) func([]byte) {
	return func(b []byte) {
		for i, v := range values {
			binary.LittleEndian.PutUint32(b[at+4*i:], uint32(v))
		}
	}
}

func put8(at int, value byte) func([]byte) { return func(b []byte) { b[at] = value } }

// headerFaults are headers that no archive has, and what an operator is told.
var headerFaults = []struct {
	name string
	make func(b []byte)
	says string
}{
	{"root directory of no bytes", put64(16, 0), "the root directory has no bytes"},
	{"root directory over the header", put64(8, 126), "root directory is at bytes 126-"},
	{"root directory at 0", put64(8, 0), "overlaps the header"},
	{"metadata over the header", put64(24, 1), "section of metadata is at bytes 1-"},
	{"tiles over the header", put64(56, 100), "section of tiles is at bytes 100-103, which overlaps the header"},
	{"leaves over the header", func(b []byte) { put64(40, 7)(b); put64(48, 1)(b) }, "section of leaf directories"},
	{"tiles beyond the object", put64(64, 5), "upload cut off?"},
	{"tiles far beyond the object", put64(64, 1<<61), "ends after"},
	{"an offset of 2^62", put64(56, 1<<62), "which is too large"},
	{"an offset that overflows", put64(56, 1<<64-2), "which is too large"},
	{"a length that overflows", put64(64, 1<<64-1), "which is too large"},
	{"clustered 2", put8(96, 2), "clustered is 2"},
	{"internal compression 5", put8(97, 5), "compression of directories is 5"},
	{"tile compression 255", put8(98, 255), "compression of tiles is 255"},
	{"tile type 7", put8(99, 7), "type of tiles is 7"},
	{"zooms that descend", func(b []byte) { b[100], b[101] = 5, 4 }, "zooms are 5 to 4"},
	{"zoom 31", func(b []byte) { b[100], b[101] = 0, 31 }, "zooms are 0 to 31"},
	{"latitudes that descend", put32(102, 0, 10, 1, 9), "latitudes are 1e-06 to 9e-07"},
	{"a latitude beyond the pole", put32(102, 0, -900000001, 1, 0), "within -90 to 90"},
	{"version 2 with the magic of version 3", put8(7, 2), "of version 2"},
	{"version 4", put8(7, 4), "the archive is of version 4; only version 3"},
}

func TestHeaderFaults(t *testing.T) {
	for _, test := range headerFaults {
		t.Run(test.name, func(t *testing.T) {
			b := small(t)
			test.make(b)
			_, err := pmtiles.ParseHeader(b, int64(len(b)))
			wantFault(t, err, test.says)
		})
	}
}

// notArchives are objects that are configured as an archive by mistake.
var notArchives = []struct {
	name   string
	object []byte
	says   string
	hint   string
}{
	{"nothing", nil, "ends after 0 bytes", ""},
	{"ten bytes", []byte("PMTiles\x03\x7f\x00"), "ends after 10 bytes; a header has 127", ""},
	{"126 bytes", append([]byte("PMTiles\x03"), make([]byte, 118)...), "ends after 126 bytes", ""},
	{"magic alone", []byte("PMTiles"), "ends after 7 bytes", ""},
	{"version 1", append([]byte("PM\x01\x00"), make([]byte, 200)...), "version 1", "pmtiles convert OLD.pmtiles NEW.pmtiles, with go-pmtiles 1.26 or older"},
	{"version 2", append([]byte("PM\x02\x00"), make([]byte, 200)...), "version 2", "pmtiles convert OLD.pmtiles NEW.pmtiles, with go-pmtiles 1.26 or older"},
	{"MBTiles", append([]byte("SQLite format 3\x00"), make([]byte, 200)...), "SQLite", "pmtiles convert FILE.mbtiles FILE.pmtiles"},
	{"TIFF", append([]byte("II*\x00"), make([]byte, 200)...), "TIFF", "gdal_translate"},
	{"BigTIFF", append([]byte("II+\x00"), make([]byte, 200)...), "TIFF", "gdal_translate"},
	{"an error document", []byte(`<?xml version="1.0"?><Error/>`), `not a PMTiles archive; it starts with "<?xml ve"`, ""},
	{"a few bytes", []byte("x"), `it starts with "x"`, ""},
}

func TestNoArchive(t *testing.T) {
	for _, test := range notArchives {
		t.Run(test.name, func(t *testing.T) {
			_, err := pmtiles.ParseHeader(test.object, int64(len(test.object)))
			wantFault(t, err, test.says)
			wantFault(t, err, test.hint)
		})
	}
}

func TestRootDirectoryEndsWithinTheFirstRead(t *testing.T) {
	b := small(t)
	put64(16, 16384-127)(b)
	if _, err := pmtiles.ParseHeader(b, -1); err != nil {
		t.Error(err)
	}
	put64(16, 16384-126)(b)
	_, err := pmtiles.ParseHeader(b, -1)
	wantFault(t, err, "bytes 127-16384; it must end within the first 16384 bytes")
}

func TestHeaderOfAnObjectOfUnknownSize(t *testing.T) {
	b := small(t)
	whole, err := pmtiles.ParseHeader(b, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	h, err := pmtiles.ParseHeader(b[:pmtiles.HeaderSize], -1)
	if err != nil || *h != *whole {
		t.Errorf("got %+v, %v, want %+v", h, err, whole)
	}
}

// Headers that are unusual, and nevertheless found in the wild.
func TestHeaderDefaults(t *testing.T) {
	world := pmtiles.Bounds{West: -180, South: -85.0511287, East: 180, North: 85.0511287}
	tests := []struct {
		name   string
		make   func(b []byte)
		bounds pmtiles.Bounds
		center pmtiles.Position
	}{
		{"no bounds, no center", func(b []byte) { clear(b[102:127]) }, world, pmtiles.Position{}},
		{"bounds, no center", func(b []byte) { clear(b[102:127]); put32(102, 1e7, 2e7, 3e7, 6e7)(b) }, pmtiles.Bounds{West: 1, South: 2, East: 3, North: 6}, pmtiles.Position{Lon: 2, Lat: 4}},
		{"a center of its own", func(b []byte) { put32(119, 5e7, -6e7)(b) }, world, pmtiles.Position{Lon: 5, Lat: -6}},
		{"a center's zoom beyond the archive's", put8(118, 14), world, pmtiles.Position{}},
		{"a center on no map", func(b []byte) { put32(119, 1.9e9, 0)(b) }, world, pmtiles.Position{}},
		{"bounds across the antimeridian", put32(102, 17e8, -5e8, -17e8, -3e8), pmtiles.Bounds{West: -180, South: -50, East: 180, North: -30}, pmtiles.Position{Lat: -40}},
		{"bounds beyond the antimeridian", put32(102, 17e8, -5e8, 19e8, -3e8), pmtiles.Bounds{West: -180, South: -50, East: 180, North: -30}, pmtiles.Position{Lat: -40}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := small(t)
			test.make(b)
			h, err := pmtiles.ParseHeader(b, -1)
			if err != nil {
				t.Fatal(err)
			}
			if h.Bounds != test.bounds || h.Center != test.center {
				t.Errorf("got %+v, %+v, want %+v, %+v", h.Bounds, h.Center, test.bounds, test.center)
			}
		})
	}
}

func TestHeadersOfOthers(t *testing.T) {
	type want struct {
		tiles       pmtiles.Range
		count       uint64
		clustered   bool
		internal    pmtiles.Compression
		compression pmtiles.Compression
		kind        pmtiles.TileType
		zooms       [2]uint8
		west, zoom  float64
		entries     int
	}
	tests := map[string]want{
		// An archive without a tile: its root directory has no entry.
		"fixture_mlt.pmtiles":         {pmtiles.Range{}, 0, true, pmtiles.Gzip, pmtiles.Gzip, pmtiles.MLT, [2]uint8{0, 0}, 7.4078, 0, 0},
		"fixture_mvt_gzip.pmtiles":    {pmtiles.Range{Offset: 399, Length: 69}, 1, false, pmtiles.Gzip, pmtiles.Gzip, pmtiles.MVT, [2]uint8{0, 0}, 0, 0, 1},
		"fixture_unclustered.pmtiles": {pmtiles.Range{Offset: 138, Length: 140}, 2, false, pmtiles.None, pmtiles.None, pmtiles.PNG, [2]uint8{1, 1}, -180, 1, 2},
	}
	for name, w := range tests {
		t.Run(name, func(t *testing.T) {
			a := open(t, fixture(t, name))
			h := a.header
			got := want{
				h.Tiles, h.AddressedTiles, h.Clustered, h.InternalCompression, h.TileCompression, h.TileType,
				[2]uint8{h.MinZoom, h.MaxZoom},
				h.Bounds.West, float64(h.Center.Zoom), a.root.Len(),
			}
			if got != w {
				t.Errorf("got %+v, want %+v", got, w)
			}
		})
	}
}

func TestNamesOfEnums(t *testing.T) {
	var types, codings []string
	for i := range pmtiles.MLT + 2 {
		types = append(types, i.String())
	}
	for i := range pmtiles.Zstd + 2 {
		codings = append(codings, i.String())
	}
	if want := []string{"other", "mvt", "png", "jpeg", "webp", "avif", "mlt", "tile type 7"}; !slices.Equal(types, want) {
		t.Errorf("got %q, want %q", types, want)
	}
	if want := []string{"unknown", "none", "gzip", "brotli", "zstd", "compression 5"}; !slices.Equal(codings, want) {
		t.Errorf("got %q, want %q", codings, want)
	}
}

func TestNothingRefersToTheBytesThatWereDecoded(t *testing.T) {
	b := write(t, pmtiles.WriteOptions{InternalCompression: pmtiles.None, Metadata: []byte(`{"name":"first","vector_layers":[{"id":"a"}]}`)}, pyramid(3))
	a := open(t, b)
	m, err := a.metadata()
	if err != nil {
		t.Fatal(err)
	}
	layers := bytes.Clone(m.VectorLayers)
	entry, _ := a.root.Find(7)
	clear(b)
	if again, ok := a.root.Find(7); again != entry || !ok {
		t.Errorf("got %+v, want %+v", again, entry)
	}
	if m.Name != "first" || !bytes.Equal(m.VectorLayers, layers) {
		t.Errorf("got %+v", m)
	}
}
