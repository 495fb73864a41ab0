package pmtiles

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

const (
	// MaxDepth is how many directories a lookup goes through, the root and the leaf that names the tile included.
	MaxDepth = 4
	// MaxLeaf is the largest leaf directory, as stored, that Lookup sends the caller to read.
	MaxLeaf = 64 << 20

	// minEncoded is the least that an entry takes in a decompressed directory: a byte for each of its four numbers.
	minEncoded = 4
)

// Entry names the bytes of tiles, or of a leaf directory.
type Entry struct {
	ID     uint64 // of the first tile
	Offset int64  // from the start of the section of tiles, or of that of leaves
	Length uint32 // above 0
	Run    uint32 // how many tiles from ID on have these bytes; 0: a leaf directory, for the ids from ID on
}

// Directory is a decoded directory, immutable.
type Directory struct{ entries []Entry }

// Len is the number of entries.
func (d *Directory) Len() int { return len(d.entries) }

// Size is what the directory takes in memory, in bytes.
func (d *Directory) Size() int64 { return directorySize(len(d.entries)) }

func directorySize(entries int) int64 {
	return int64(unsafe.Sizeof(Directory{})) + int64(entries)*int64(unsafe.Sizeof(Entry{}))
}

// Find returns the entry that is responsible for a tile: its own, or that of a leaf directory. If it reports false, the
// archive has no such tile.
func (d *Directory) Find(id uint64) (Entry, bool) {
	first, after := 0, len(d.entries) // the first entry with a greater id is between them
	for first < after {
		if middle := int(uint(first+after) / 2); d.entries[middle].ID > id {
			after = middle
		} else {
			first = middle + 1
		}
	}
	if after == 0 {
		return Entry{}, false
	}
	e := d.entries[after-1]
	return e, e.Run == 0 || id-e.ID < uint64(e.Run)
}

// DecodeDirectory decodes the root or a leaf directory. Neither its decompressed bytes nor its Size exceed maxSize:
// otherwise the error is ErrTooLarge. All entries are checked: ids ascend up to the last of MaxZoom, runs do not overlap, no
// length is 0, and an offset plus a length does not overflow.
func DecodeDirectory(b []byte, c Compression, maxSize int64) (*Directory, error) {
	plain, err := decompress("directory", b, c, maxSize)
	if err != nil {
		return nil, err
	}
	count, rest, ok := number(plain)
	if !ok {
		return nil, bad("directory", "the number of entries is missing")
	}
	if count > uint64(len(rest)/minEncoded) {
		return nil, bad("directory", "%d entries cannot fit in %d bytes; each takes at least %d", count, len(rest), minEncoded)
	}
	if size := directorySize(int(count)); size > maxSize {
		return nil, tooLarge("directory", maxSize, "its %d entries need %d bytes of memory", count, size)
	}
	entries := make([]Entry, count)
	for _, column := range []func([]Entry, []byte) ([]byte, error){readIDs, readRuns, readLengths, readOffsets} {
		if rest, err = column(entries, rest); err != nil {
			return nil, err
		}
	}
	if len(rest) > 0 {
		return nil, bad("directory", "%d bytes after the last of %d entries", len(rest), count)
	}
	return &Directory{entries}, nil
}

// MeasureDirectory returns what DecodeDirectory will need for the same bytes: those decompressed, and the Directory's Size. It
// keeps nothing of them, so that room can be made before they are decoded. More than maxSize of either is ErrTooLarge.
func MeasureDirectory(b []byte, c Compression, maxSize int64) (unpacked, size int64, err error) {
	most := uint64(max(0, maxSize-directorySize(0)) / int64(unsafe.Sizeof(Entry{})))
	g := gauge{accept: func(start []byte) error {
		if count, _, ok := number(start); ok && count > most {
			return tooLarge("directory", maxSize, "its %d entries need more memory", count)
		}
		return nil
	}}
	if err := measure("directory", b, c, maxSize, &g); err != nil {
		return 0, 0, err
	}
	count, _, ok := number(g.start)
	if !ok {
		return 0, 0, bad("directory", "the number of entries is missing")
	}
	return g.n, directorySize(int(count)), nil
}

func readIDs(entries []Entry, b []byte) ([]byte, error) {
	var id uint64
	for i := range entries {
		step, rest, ok := number(b)
		switch {
		case !ok:
			return nil, badEntry(i, "the id is truncated or over 64 bits")
		case step == 0 && i > 0:
			return nil, badEntry(i, "the id %d is that of the previous entry", id)
		case step > maxID-id:
			return nil, badEntry(i, "the id is after the last one of zoom %d", MaxZoom)
		}
		b = rest
		id += step
		entries[i].ID = id
	}
	return b, nil
}

func readRuns(entries []Entry, b []byte) ([]byte, error) {
	for i := range entries {
		run, rest, ok := number(b)
		end := uint64(maxID + 1)
		if i+1 < len(entries) {
			end = entries[i+1].ID
		}
		switch {
		case !ok || run > math.MaxUint32:
			return nil, badEntry(i, "the run length is truncated or over 32 bits")
		case run > end-entries[i].ID:
			return nil, badEntry(i, "a run of %d tiles from id %d must end before id %d", run, entries[i].ID, end)
		}
		b = rest
		entries[i].Run = uint32(run)
	}
	return b, nil
}

func readLengths(entries []Entry, b []byte) ([]byte, error) {
	for i := range entries {
		length, rest, ok := number(b)
		switch {
		case !ok || length > math.MaxUint32:
			return nil, badEntry(i, "the length is truncated or over 32 bits")
		case length == 0:
			return nil, badEntry(i, "the length is 0")
		}
		b = rest
		entries[i].Length = uint32(length)
	}
	return b, nil
}

func readOffsets(entries []Entry, b []byte) ([]byte, error) {
	var behind uint64 // the entry before
	for i := range entries {
		offset, rest, ok := number(b) // plus 1; 0 stands for behind
		switch {
		case !ok:
			return nil, badEntry(i, "the offset is truncated or over 64 bits")
		case offset == 0 && i == 0:
			return nil, badEntry(i, "the offset refers to the previous entry, and there is none")
		case offset == 0:
			offset = behind + 1
		}
		if offset > maxOffset {
			return nil, badEntry(i, "the offset is %d, which is too large", offset-1)
		}
		b = rest
		entries[i].Offset = int64(offset - 1)
		behind = offset - 1 + uint64(entries[i].Length)
	}
	return b, nil
}

func badEntry(i int, format string, args ...any) *FormatError {
	return bad("directory", "entry %d: %s", i, fmt.Sprintf(format, args...))
}

// number reads an unsigned varint. It reports whether one was there, of at most 64 bits.
func number(b []byte) (v uint64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 { // most take one byte
		return uint64(b[0]), b[1:], true
	}
	return longNumber(b)
}

func longNumber(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// appendDirectory encodes entries as DecodeDirectory reads them.
func appendDirectory(b []byte, entries []Entry) []byte {
	b = binary.AppendUvarint(b, uint64(len(entries)))
	var id uint64
	for _, e := range entries {
		b = binary.AppendUvarint(b, e.ID-id)
		id = e.ID
	}
	for _, e := range entries {
		b = binary.AppendUvarint(b, uint64(e.Run))
	}
	for _, e := range entries {
		b = binary.AppendUvarint(b, uint64(e.Length))
	}
	for i, e := range entries {
		if i > 0 && e.Offset == entries[i-1].Offset+int64(entries[i-1].Length) {
			b = append(b, 0)
		} else {
			b = binary.AppendUvarint(b, uint64(e.Offset)+1)
		}
	}
	return b
}
