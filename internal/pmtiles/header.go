package pmtiles

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

const (
	// HeaderSize is the length of a header in bytes.
	HeaderSize = 127
	// FirstRead is how many bytes at an archive's start hold its header and its root directory.
	FirstRead = 16384
	// maxOffset keeps sums of an offset and a length from overflowing.
	maxOffset = 1<<62 - 1
)

// Range is a part of the archive: Length bytes from Offset on.
type Range struct{ Offset, Length int64 }

// End is the offset behind the last byte.
func (r Range) End() int64 { return r.Offset + r.Length }

func (r Range) String() string {
	if r.Length == 0 {
		return fmt.Sprintf("no bytes at %d", r.Offset)
	}
	return fmt.Sprintf("bytes %d-%d", r.Offset, r.End()-1)
}

// TileType is the format of an archive's tiles.
type TileType uint8

// The tile types of the format. OtherTile also stands for an unknown type.
const (
	OtherTile TileType = iota
	MVT
	PNG
	JPEG
	WebP
	AVIF
	MLT
)

func (t TileType) String() string {
	names := [...]string{"other", "mvt", "png", "jpeg", "webp", "avif", "mlt"}
	if int(t) >= len(names) {
		return fmt.Sprintf("tile type %d", uint8(t))
	}
	return names[t]
}

// Compression is how directories and metadata, or tiles, are compressed.
type Compression uint8

// The compressions of the format. Unknown means gzip when the first two bytes are gzip's, else none.
const (
	Unknown Compression = iota
	None
	Gzip
	Brotli
	Zstd
)

func (c Compression) String() string {
	names := [...]string{"unknown", "none", "gzip", "brotli", "zstd"}
	if int(c) >= len(names) {
		return fmt.Sprintf("compression %d", uint8(c))
	}
	return names[c]
}

// Bounds is a box in degrees, West ≤ East and South ≤ North.
type Bounds struct{ West, South, East, North float64 }

// world is all that Web Mercator shows.
var world = Bounds{West: -180, South: -85.0511287, East: 180, North: 85.0511287}

// Position is a place in degrees and a zoom: where to look first.
type Position struct {
	Lon, Lat float64
	Zoom     uint8
}

// Header is the start of an archive. Its sections lie within the object and behind the header.
type Header struct {
	Root     Range
	Metadata Range // may be empty
	Leaves   Range // all leaf directories; may be empty
	Tiles    Range // may be empty

	// Counts, 0 if unknown: tiles, entries that name tiles, different contents.
	AddressedTiles, TileEntries, TileContents uint64

	Clustered           bool        // the tiles' bytes are in the order of their ids
	InternalCompression Compression // of directories and metadata
	TileCompression     Compression
	TileType            TileType
	MinZoom, MaxZoom    uint8 // MinZoom ≤ MaxZoom ≤ 30

	// Bounds is the whole world if the header has none. Longitudes that cross the antimeridian or are not within -180
	// to 180 become -180 to 180, because TileJSON allows no others.
	Bounds Bounds
	// Center is the middle of Bounds if the header has none, or one that is not on Earth. Its zoom is within MinZoom to
	// MaxZoom.
	Center Position
}

// ParseHeader reads the first bytes of an archive: HeaderSize of them are needed, the others ignored. The size is that
// of the whole object, in bytes. It is -1 when it is not known, and then nothing is checked against it: sections, the
// root directory included, may lie beyond the object's end. An object that is no archive is a FormatError, too.
func ParseHeader(b []byte, size int64) (*Header, error) {
	if err := recognize(b); err != nil {
		return nil, err
	}
	h := &Header{
		AddressedTiles:      binary.LittleEndian.Uint64(b[72:]),
		TileEntries:         binary.LittleEndian.Uint64(b[80:]),
		TileContents:        binary.LittleEndian.Uint64(b[88:]),
		Clustered:           b[96] == 1,
		InternalCompression: Compression(b[97]),
		TileCompression:     Compression(b[98]),
		TileType:            TileType(b[99]),
		MinZoom:             b[100],
		MaxZoom:             b[101],
	}
	for _, s := range []struct {
		name string
		at   int
		to   *Range
	}{
		{"root directory", 8, &h.Root},
		{"metadata", 24, &h.Metadata},
		{"leaf directories", 40, &h.Leaves},
		{"tiles", 56, &h.Tiles},
	} {
		r, err := parseSection(s.name, b[s.at:], size)
		if err != nil {
			return nil, err
		}
		*s.to = r
	}
	switch {
	case h.Root.Length == 0:
		return nil, bad("header", "the root directory has no bytes")
	case h.Root.End() > FirstRead:
		return nil, bad("header", "the root directory is at %v; it must end within the first %d bytes", h.Root, FirstRead)
	case b[96] > 1:
		return nil, bad("header", "clustered is %d; it must be 0 or 1", b[96])
	case h.InternalCompression > Zstd:
		return nil, bad("header", "the compression of directories is %d; 0 to 4 are known", b[97])
	case h.TileCompression > Zstd:
		return nil, bad("header", "the compression of tiles is %d; 0 to 4 are known", b[98])
	case h.TileType > MLT:
		return nil, bad("header", "the type of tiles is %d; 0 to 6 are known", b[99])
	case h.MinZoom > h.MaxZoom || h.MaxZoom > MaxZoom:
		return nil, bad("header", "zooms are %d to %d; they must ascend and end at %d", h.MinZoom, h.MaxZoom, MaxZoom)
	}
	var err error
	if h.Bounds, err = parseBounds(b[102:118]); err != nil {
		return nil, err
	}
	h.Center = parseCenter(b[118:127], h)
	return h, nil
}

// recognize returns an error unless b starts as an archive of version 3 does. For the files that are likely to be
// uploaded instead, the error has the command that converts them.
func recognize(b []byte) error {
	const (
		fromMBTiles = "pmtiles convert FILE.mbtiles FILE.pmtiles"
		fromTIFF    = "gdal_translate -of MBTiles FILE.tif FILE.mbtiles && gdaladdo FILE.mbtiles && " + fromMBTiles
		fromOld     = "pmtiles convert OLD.pmtiles NEW.pmtiles, with go-pmtiles 1.26 or older"
	)
	starts := func(magic string) bool { return bytes.HasPrefix(b, []byte(magic)) }
	e := &FormatError{Part: "header"}
	switch {
	case starts("PMTiles") && len(b) < HeaderSize, len(b) == 0:
		e.Problem = fmt.Sprintf("the object ends after %d bytes; a header has %d", len(b), HeaderSize)
	case starts("PMTiles\x03"):
		return nil
	case starts("PMTiles"):
		e.Problem = fmt.Sprintf("the archive is of version %d; only version 3 can be read", b[7])
	case starts("PM\x01\x00"), starts("PM\x02\x00"):
		e.Problem, e.Hint = fmt.Sprintf("the archive is of version %d; only version 3 can be read", b[2]), fromOld
	case starts("SQLite format 3\x00"):
		e.Problem, e.Hint = "the object is an SQLite database, such as MBTiles", fromMBTiles
	case starts("II*\x00"), starts("MM\x00*"), starts("II+\x00"), starts("MM\x00+"):
		e.Problem, e.Hint = "the object is a TIFF image", fromTIFF
	default:
		e.Problem = fmt.Sprintf("the object is not a PMTiles archive; it starts with %q", b[:min(len(b), 8)])
	}
	return e
}

func parseSection(name string, b []byte, size int64) (Range, error) {
	offset, length := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if length == 0 {
		return Range{}, nil // writers put any offset beside it
	}
	if offset > maxOffset || length > maxOffset {
		return Range{}, bad("header", "the section of %s has %d bytes at offset %d, which is too large", name, length, offset)
	}
	r := Range{int64(offset), int64(length)}
	if r.Offset < HeaderSize {
		return Range{}, bad("header", "the section of %s is at %v, which overlaps the header", name, r)
	}
	if size >= 0 && r.End() > size {
		e := bad("header", "the section of %s is at %v, but the object ends after %d bytes", name, r, size)
		e.Hint = "was the upload cut off?"
		return Range{}, e
	}
	return r, nil
}

const degree = 1e7 // what the header counts in

func degrees(b []byte) float64 { return float64(int32(binary.LittleEndian.Uint32(b))) / degree }

func parseBounds(b []byte) (Bounds, error) {
	box := Bounds{West: degrees(b), South: degrees(b[4:]), East: degrees(b[8:]), North: degrees(b[12:])}
	if box == (Bounds{}) {
		return world, nil
	}
	if box.South > box.North || box.South < -90 || box.North > 90 {
		return Bounds{}, bad("header", "the bounds' latitudes are %g to %g; they must ascend within -90 to 90",
			box.South, box.North)
	}
	if box.West > box.East || box.West < -180 || box.East > 180 {
		box.West, box.East = -180, 180
	}
	return box, nil
}

func parseCenter(b []byte, h *Header) Position {
	p := Position{Zoom: min(max(b[0], h.MinZoom), h.MaxZoom), Lon: degrees(b[1:]), Lat: degrees(b[5:])}
	unset := b[0] == 0 && p.Lon == 0 && p.Lat == 0
	if unset || math.Abs(p.Lon) > 180 || math.Abs(p.Lat) > 90 {
		p.Lon, p.Lat = (h.Bounds.West+h.Bounds.East)/2, (h.Bounds.South+h.Bounds.North)/2
	}
	return p
}

// encode is the inverse of ParseHeader.
func (h *Header) encode() []byte {
	b := make([]byte, 0, HeaderSize)
	b = append(b, "PMTiles\x03"...)
	for _, r := range []Range{h.Root, h.Metadata, h.Leaves, h.Tiles} {
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Offset))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Length))
	}
	for _, count := range []uint64{h.AddressedTiles, h.TileEntries, h.TileContents} {
		b = binary.LittleEndian.AppendUint64(b, count)
	}
	clustered := byte(0)
	if h.Clustered {
		clustered = 1
	}
	b = append(b, clustered, byte(h.InternalCompression), byte(h.TileCompression), byte(h.TileType), h.MinZoom, h.MaxZoom)
	place := func(value float64) { b = binary.LittleEndian.AppendUint32(b, uint32(int32(math.Round(value*degree)))) }
	place(h.Bounds.West)
	place(h.Bounds.South)
	place(h.Bounds.East)
	place(h.Bounds.North)
	b = append(b, h.Center.Zoom)
	place(h.Center.Lon)
	place(h.Center.Lat)
	return b
}
