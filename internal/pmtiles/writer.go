package pmtiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxRoot is what the header leaves of the first read.
	maxRoot = FirstRead - HeaderSize
	// smallestLeaf is how many entries a leaf directory has at least, unless the caller wants fewer.
	smallestLeaf = 4096
	// leavesInRoot is how many leaf directories a root has about, at most: their entries take some 4 bytes each.
	leavesInRoot = 3500
)

// WriteOptions describe an archive.
type WriteOptions struct {
	TileType            TileType
	TileCompression     Compression     // how the tiles are compressed already
	InternalCompression Compression     // of directories and metadata; zero: Gzip
	Metadata            json.RawMessage // an object; nil: {}
	Bounds              Bounds          // zero: the world
	LeafEntries         int             // entries of a leaf directory; zero: one root if that fits, else 4096 or more
}

// Write writes an archive: clustered, equal tiles stored once, equal neighbours as one entry.
//
// It goes through the tiles twice, and both times they must be the same, in the order of their ids: first for the
// directories, which come first in the archive, then for the tiles' bytes. A tile has 1 to 2^32-1 bytes. Write keeps no
// tile in memory, but 24 bytes for each entry, the encoded directories, and about 50 bytes for each different tile.
func Write(w io.Writer, o WriteOptions, tiles iter.Seq2[uint64, []byte]) error {
	if o.InternalCompression == Unknown {
		o.InternalCompression = Gzip
	}
	if o.Metadata == nil {
		o.Metadata = json.RawMessage("{}")
	}
	if o.Bounds == (Bounds{}) {
		o.Bounds = world
	}
	d, err := collect(tiles)
	if err != nil {
		return fmt.Errorf("write PMTiles: %w", err)
	}
	root, leaves, err := encodeDirectories(d.entries, o)
	if err != nil {
		return fmt.Errorf("write PMTiles directories: %w", err)
	}
	metadata, err := compress(o.Metadata, o.InternalCompression)
	if err != nil {
		return fmt.Errorf("write PMTiles metadata: %w", err)
	}
	front := d.header(o, len(root), len(metadata), len(leaves)).encode()
	for _, section := range [][]byte{front, root, metadata, leaves} {
		if _, err := w.Write(section); err != nil {
			return fmt.Errorf("write PMTiles: %w", err)
		}
	}
	return d.writeTiles(w, tiles)
}

// contentKey tells contents apart: half of a SHA-256.
type contentKey [16]byte

func keyOf(b []byte) contentKey {
	sum := sha256.Sum256(b)
	return contentKey(sum[:])
}

// collected is what the first pass finds.
type collected struct {
	entries  []Entry
	offsets  map[contentKey]int64
	length   int64 // of all contents
	tiles    uint64
	contents uint64
}

var (
	errNoTiles = errors.New("no tiles")
	errChanged = errors.New("the second pass has other tiles than the first")
)

func collect(tiles iter.Seq2[uint64, []byte]) (*collected, error) {
	c := &collected{offsets: map[contentKey]int64{}}
	next := uint64(0) // the least id that may follow
	for id, b := range tiles {
		if id < next || id > maxID {
			return nil, fmt.Errorf("id %d: ids must ascend up to %d", id, uint64(maxID))
		}
		if len(b) == 0 || len(b) > math.MaxUint32 {
			return nil, fmt.Errorf("id %d: a tile of %d bytes", id, len(b))
		}
		next = id + 1
		c.tiles++
		key := keyOf(b)
		offset, known := c.offsets[key]
		if !known {
			offset = c.length
			c.offsets[key] = offset
			c.length += int64(len(b))
			c.contents++
		}
		if last := len(c.entries) - 1; last >= 0 {
			if e := &c.entries[last]; e.Offset == offset && e.ID+uint64(e.Run) == id && e.Run < math.MaxUint32 {
				e.Run++
				continue
			}
		}
		c.entries = append(c.entries, Entry{ID: id, Offset: offset, Length: uint32(len(b)), Run: 1})
	}
	if len(c.entries) == 0 {
		return nil, errNoTiles
	}
	return c, nil
}

func (c *collected) header(o WriteOptions, root, metadata, leaves int) *Header {
	last := c.entries[len(c.entries)-1]
	minZoom, _, _, _ := ZXY(c.entries[0].ID)
	maxZoom, _, _, _ := ZXY(last.ID + uint64(last.Run) - 1)
	h := &Header{
		Root:           Range{HeaderSize, int64(root)},
		AddressedTiles: c.tiles, TileEntries: uint64(len(c.entries)), TileContents: c.contents,
		Clustered: true, InternalCompression: o.InternalCompression, TileCompression: o.TileCompression, TileType: o.TileType,
		MinZoom: minZoom, MaxZoom: maxZoom, Bounds: o.Bounds,
		Center: Position{Lon: (o.Bounds.West + o.Bounds.East) / 2, Lat: (o.Bounds.South + o.Bounds.North) / 2, Zoom: minZoom},
	}
	h.Metadata = Range{h.Root.End(), int64(metadata)}
	h.Leaves = Range{h.Metadata.End(), int64(leaves)}
	h.Tiles = Range{h.Leaves.End(), c.length}
	return h
}

// writeTiles writes each content where it is seen for the first time.
func (c *collected) writeTiles(w io.Writer, tiles iter.Seq2[uint64, []byte]) error {
	var written int64
	for _, b := range tiles {
		offset, known := c.offsets[keyOf(b)]
		if !known || offset > written {
			return fmt.Errorf("write PMTiles: %w", errChanged)
		}
		if offset < written {
			continue
		}
		n, err := w.Write(b)
		written += int64(n)
		if err != nil {
			return fmt.Errorf("write PMTiles: %w", err)
		}
	}
	if written != c.length {
		return fmt.Errorf("write PMTiles: %w", errChanged)
	}
	return nil
}

// encodeDirectories makes leaf directories larger until the root fits.
func encodeDirectories(entries []Entry, o WriteOptions) (root, leaves []byte, err error) {
	perLeaf := o.LeafEntries
	if perLeaf <= 0 {
		root, err = compress(appendDirectory(nil, entries), o.InternalCompression)
		if err != nil || len(root) <= maxRoot {
			return root, nil, err
		}
		perLeaf = max(smallestLeaf, len(entries)/leavesInRoot)
	}
	for ; ; perLeaf += perLeaf/4 + 1 {
		var pointers []Entry
		leaves = leaves[:0]
		for first := 0; first < len(entries); first += perLeaf {
			part := entries[first:min(first+perLeaf, len(entries))]
			leaf, err := compress(appendDirectory(nil, part), o.InternalCompression)
			if err != nil {
				return nil, nil, err
			}
			pointers = append(pointers, Entry{ID: part[0].ID, Offset: int64(len(leaves)), Length: uint32(len(leaf))})
			leaves = append(leaves, leaf...)
		}
		root, err = compress(appendDirectory(nil, pointers), o.InternalCompression)
		if err != nil || len(root) <= maxRoot {
			return root, leaves, err
		}
	}
}

func compress(b []byte, c Compression) ([]byte, error) {
	var (
		out bytes.Buffer
		w   io.WriteCloser
		err error
	)
	switch c {
	case None:
		return b, nil
	case Gzip:
		w, err = gzip.NewWriterLevel(&out, gzip.BestCompression)
	case Brotli:
		w = brotli.NewWriter(&out)
	case Zstd:
		encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		return encoder.EncodeAll(b, nil), encoder.Close()
	default:
		err = fmt.Errorf("%v cannot be written", c)
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
