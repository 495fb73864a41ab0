package pmtiles_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"tilegate/internal/pmtiles"
	"tilegate/internal/testenv"
)

// What go-pmtiles writes is read alike, and what is written here go-pmtiles reads alike.

// reference runs go-pmtiles and returns what it prints to standard output, and to both.
func reference(t testing.TB, args ...string) (out, all string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), testenv.PMTiles(t), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("go-pmtiles %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.String(), stdout.String() + stderr.String()
}

// verify runs go-pmtiles verify, which says of some faults that they are invalid and succeeds.
func verify(t *testing.T, file string) {
	t.Helper()
	_, all := reference(t, "verify", file)
	if strings.Contains(strings.ToLower(all), "invalid") || !strings.Contains(all, "Completed verify") {
		t.Errorf("go-pmtiles verify: %s", all)
	}
}

// referenceTile is a tile as go-pmtiles reads it.
func referenceTile(t *testing.T, file string, id uint64) []byte {
	t.Helper()
	z, x, y, _ := pmtiles.ZXY(id)
	out, _ := reference(t, "tile", file, fmt.Sprint(z), fmt.Sprint(x), fmt.Sprint(y))
	return []byte(out)
}

// vectorTile is a Mapbox vector tile (version 2) with one layer of one point.
func vectorTile(z uint8, x, y uint32) []byte {
	field := func(number int, b []byte) []byte {
		return append(varints(uint64(number<<3|2), uint64(len(b))), b...)
	}
	zigzag := func(n uint32) uint64 { return uint64(n) << 1 }
	id, _ := pmtiles.TileID(z, x, y)
	geometry := varints(1<<3|1, zigzag(x%4096), zigzag(y%4096)) // one MoveTo
	feature := append(varints(1<<3, id, 3<<3, 1), field(4, geometry)...)
	layer := append(varints(15<<3, 2), field(1, fmt.Appendf(nil, "zoom%d", z))...)
	layer = append(append(layer, field(2, feature)...), varints(5<<3, 4096)...)
	return field(3, layer)
}

// rasterTile is a small PNG; those in the south-west are all alike, as the sea is.
func rasterTile(t testing.TB, z uint8, x, y uint32) []byte {
	t.Helper()
	img := image.NewPaletted(image.Rect(0, 0, 4, 4), color.Palette{color.White, color.Black, color.RGBA{0, 0, 255, 255}})
	if half := uint32(1) << z / 2; x >= half || y < half {
		for i := range img.Pix {
			img.Pix[i] = uint8((x>>i ^ y>>(15-i)) & 1)
		}
		img.Palette[2] = color.RGBA{z, uint8(x), uint8(y), 255}
	}
	var b bytes.Buffer
	if err := pngEncoder.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pngEncoder keeps its buffers: a tile takes a thousandth of them.
var pngEncoder = png.Encoder{CompressionLevel: png.NoCompression, BufferPool: new(oneBuffer)}

type oneBuffer struct{ b *png.EncoderBuffer }

func (o *oneBuffer) Get() *png.EncoderBuffer  { return o.b }
func (o *oneBuffer) Put(b *png.EncoderBuffer) { o.b = b }

// world draws all tiles from zoom 0 to deepest.
func world(deepest uint8, draw func(z uint8, x, y uint32) []byte) tileset {
	s := tileset{}
	for id := range firstID(deepest + 1) {
		z, x, y, _ := pmtiles.ZXY(id)
		s[id] = draw(z, x, y)
	}
	return s
}

// sample is a tileset, and what it is called in archives of both kinds.
type sample struct {
	tileType    pmtiles.TileType
	compression pmtiles.Compression
	format      string // in MBTiles
	tiles       tileset
}

// large is the deepest zoom of samples that go-pmtiles gives leaf directories.
const large = 7

// samples have all tiles from zoom 0 to deepest.
func samples(t testing.TB, deepest uint8) map[string]sample {
	t.Helper()
	var packed bytes.Buffer
	packer, err := gzip.NewWriterLevel(nil, gzip.HuffmanOnly)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]sample{
		"vector": {pmtiles.MVT, pmtiles.Gzip, "pbf", world(deepest, func(z uint8, x, y uint32) []byte {
			packed.Reset()
			packer.Reset(&packed)
			if _, err := packer.Write(vectorTile(z, x, y)); err != nil {
				t.Fatal(err)
			}
			if err := packer.Close(); err != nil {
				t.Fatal(err)
			}
			return bytes.Clone(packed.Bytes())
		})},
		"raster": {pmtiles.PNG, pmtiles.None, "png", world(deepest, func(z uint8, x, y uint32) []byte {
			return rasterTile(t, z, x, y)
		})},
	}
}

const sampleMetadata = `{"name":"Sample","description":"Points","attribution":"© nobody","version":"1.0.0","type":"overlay",` +
	`"vector_layers":[{"fields":{},"id":"zoom0"}]}`

func TestReferenceReadsWhatIsWritten(t *testing.T) {
	testenv.PMTiles(t)
	for _, deepest := range []uint8{2, large} {
		for name, s := range samples(t, deepest) {
			// Brotli and zstd directories end go-pmtiles with a panic.
			for _, c := range []pmtiles.Compression{pmtiles.None, pmtiles.Gzip} {
				t.Run(fmt.Sprintf("%s to zoom %d %v", name, deepest, c), func(t *testing.T) {
					checkWritten(t, s, c, deepest)
				})
			}
		}
	}
}

func checkWritten(t *testing.T, s sample, c pmtiles.Compression, deepest uint8) {
	o := pmtiles.WriteOptions{
		TileType: s.tileType, TileCompression: s.compression, InternalCompression: c, Metadata: json.RawMessage(sampleMetadata),
		Bounds: pmtiles.Bounds{West: -179.5, South: -80.25, East: 179.5, North: 80.125},
	}
	if deepest == large {
		o.LeafEntries = 4096
	}
	b := write(t, o, s.tiles)
	file := filepath.Join(t.TempDir(), "written.pmtiles")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	verify(t, file)
	checkShow(t, file, open(t, b).header)
	behind := firstID(deepest + 1) // absent
	for id := uint64(0); id <= behind; id += 1 + behind/50 {
		if got := referenceTile(t, file, id); !bytes.Equal(got, s.tiles[id]) {
			t.Errorf("tile %d: got %q, want %q", id, got, s.tiles[id])
		}
	}
}

// checkShow compares what go-pmtiles show says of an archive.
func checkShow(t *testing.T, file string, h *pmtiles.Header) {
	t.Helper()
	shown, _ := reference(t, "show", file)
	for _, line := range []string{
		"pmtiles spec version: 3",
		fmt.Sprintf("tile type: %v", h.TileType),
		fmt.Sprintf("bounds: (long: %f, lat: %f) (long: %f, lat: %f)", h.Bounds.West, h.Bounds.South, h.Bounds.East, h.Bounds.North),
		fmt.Sprintf("min zoom: %d", h.MinZoom),
		fmt.Sprintf("max zoom: %d", h.MaxZoom),
		fmt.Sprintf("center: (long: %f, lat: %f)", h.Center.Lon, h.Center.Lat),
		fmt.Sprintf("center zoom: %d", h.Center.Zoom),
		fmt.Sprintf("addressed tiles count: %d", h.AddressedTiles),
		fmt.Sprintf("tile entries count: %d", h.TileEntries),
		fmt.Sprintf("tile contents count: %d", h.TileContents),
		fmt.Sprintf("clustered: %t", h.Clustered),
		fmt.Sprintf("internal compression: %v", h.InternalCompression),
		fmt.Sprintf("tile compression: %v", h.TileCompression),
	} {
		if !strings.Contains(shown, line+"\n") {
			t.Errorf("go-pmtiles show does not say %q but\n%s", line, shown)
		}
	}
	metadata, _ := reference(t, "show", "--metadata", file)
	var got, want any
	if err := json.Unmarshal([]byte(metadata), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(sampleMetadata), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("go-pmtiles show --metadata: got %v, want %v", got, want)
	}
}

// mbtiles makes an MBTiles file, whose rows count from the south.
func mbtiles(t *testing.T, file string, s sample) {
	t.Helper()
	var sql bytes.Buffer
	fmt.Fprintf(&sql, `PRAGMA synchronous = OFF;
		CREATE TABLE metadata (name text, value text);
		CREATE TABLE tiles (zoom_level integer, tile_column integer, tile_row integer, tile_data blob);
		CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row);
		INSERT INTO metadata VALUES ('name', 'Sample'), ('format', '%s'), ('bounds', '-179.5,-80.25,179.5,80.125'), ('center', '7.5,46.75,5'),
			('attribution', '© nobody'), ('tileSize', '512'), ('json', '{"vector_layers":[{"id":"zoom0","fields":{}}],"tilestats":{"layerCount":1}}');
		BEGIN;
		`, s.format)
	for id, b := range s.tiles.all() {
		z, x, y, _ := pmtiles.ZXY(id)
		fmt.Fprintf(&sql, "INSERT INTO tiles VALUES (%d, %d, %d, X'%x');\n", z, x, 1<<z-1-y, b)
	}
	sql.WriteString("COMMIT;\n")
	cmd := exec.CommandContext(t.Context(), testenv.SQLite(t), "-bail", file)
	cmd.Stdin = &sql
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, out)
	}
}

func TestWhatTheReferenceConvertsIsRead(t *testing.T) {
	testenv.PMTiles(t)
	testenv.SQLite(t)
	for name, s := range samples(t, large) {
		t.Run(name, func(t *testing.T) {
			source, file := filepath.Join(t.TempDir(), "in.mbtiles"), filepath.Join(t.TempDir(), "out.pmtiles")
			mbtiles(t, source, s)
			reference(t, "convert", "--quiet", source, file)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			a := open(t, b)
			h := a.header
			if h.Leaves.Length == 0 {
				t.Error("there are no leaf directories")
			}
			if h.TileType != s.tileType || h.TileCompression != s.compression || h.AddressedTiles != uint64(len(s.tiles)) || h.MinZoom != 0 || h.MaxZoom != large ||
				h.Bounds != (pmtiles.Bounds{West: -179.5, South: -80.25, East: 179.5, North: 80.125}) || h.Center != (pmtiles.Position{Lon: 7.5, Lat: 46.75, Zoom: 5}) {
				t.Errorf("got %+v", h)
			}
			m, err := a.metadata()
			if err != nil {
				t.Fatal(err)
			}
			want := pmtiles.Metadata{Name: "Sample", Attribution: "© nobody", TileSize: 512, VectorLayers: json.RawMessage(`[{"fields":{},"id":"zoom0"}]`)}
			if !reflect.DeepEqual(*m, want) {
				t.Errorf("got %+v, want %+v", m, want)
			}
			checkTiles(t, a, s.tiles)

			// Written again it is another file with the same directories: gaps, runs and repeated tiles are found alike.
			again := open(t, write(t, pmtiles.WriteOptions{InternalCompression: h.InternalCompression}, s.tiles)).header
			if again.TileEntries != h.TileEntries || again.TileContents != h.TileContents || again.Tiles.Length != h.Tiles.Length {
				t.Errorf("go-pmtiles has %d entries, %d contents, %d bytes; written here they are %d, %d, %d",
					h.TileEntries, h.TileContents, h.Tiles.Length, again.TileEntries, again.TileContents, again.Tiles.Length)
			}
		})
	}
}
