package pmtiles_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"tilegate/internal/pmtiles"
)

const maxDirectory = 8 << 20 // what the tests allow for one

var compressions = []pmtiles.Compression{pmtiles.None, pmtiles.Gzip, pmtiles.Brotli, pmtiles.Zstd}

// archive is one in memory, read by ranges as if it were in a bucket.
type archive struct {
	bytes  []byte
	header *pmtiles.Header
	root   *pmtiles.Directory
	leaves map[pmtiles.Range]*pmtiles.Directory
	reads  int // ranges after the first, leaves each time
}

func openArchive(b []byte) (*archive, error) {
	first := b[:min(len(b), pmtiles.FirstRead)]
	h, err := pmtiles.ParseHeader(first, int64(len(b)))
	if err != nil {
		return nil, err
	}
	root, err := pmtiles.DecodeDirectory(first[h.Root.Offset:h.Root.End()], h.InternalCompression, maxDirectory)
	if err != nil {
		return nil, err
	}
	return &archive{bytes: b, header: h, root: root, leaves: map[pmtiles.Range]*pmtiles.Directory{}}, nil
}

func open(t testing.TB, b []byte) *archive {
	t.Helper()
	a, err := openArchive(b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *archive) read(r pmtiles.Range) []byte {
	a.reads++
	return a.bytes[r.Offset:r.End()]
}

// tile is a tile's bytes as they are stored, nil if it is absent.
func (a *archive) tile(id uint64) ([]byte, error) {
	directory := a.root
	for depth := 1; ; depth++ {
		found, next, err := a.header.Lookup(directory, id, depth)
		if err != nil {
			return nil, err
		}
		switch found {
		case pmtiles.Absent:
			return nil, nil
		case pmtiles.Tile:
			return a.read(next), nil
		case pmtiles.Leaf:
			b := a.read(next)
			if directory = a.leaves[next]; directory != nil {
				continue
			}
			if directory, err = pmtiles.DecodeDirectory(b, a.header.InternalCompression, maxDirectory); err != nil {
				return nil, err
			}
			a.leaves[next] = directory
		}
	}
}

func (a *archive) metadata() (*pmtiles.Metadata, error) {
	r, err := a.header.MetadataRange()
	if err != nil {
		return nil, err
	}
	return pmtiles.DecodeMetadata(a.read(r), a.header.InternalCompression)
}

// tileset is what an archive is made of, by tile id.
type tileset map[uint64][]byte

func (s tileset) all() iter.Seq2[uint64, []byte] {
	ids := slices.Sorted(maps.Keys(s))
	return func(yield func(uint64, []byte) bool) {
		for _, id := range ids {
			if !yield(id, s[id]) {
				return
			}
		}
	}
}

func write(t testing.TB, o pmtiles.WriteOptions, s tileset) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := pmtiles.Write(&b, o, s.all()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pyramid has every tile from zoom 0 to deepest; all have other bytes.
func pyramid(deepest uint8) tileset {
	s, random := tileset{}, rand.New(rand.NewPCG(1, uint64(deepest)))
	for id := range firstID(deepest + 1) {
		s[id] = fmt.Appendf(nil, "tile %d %0*d", id, random.IntN(100), 0) // directories do not compress to nothing
	}
	return s
}

func firstID(z uint8) uint64 {
	id, _ := pmtiles.TileID(z, 0, 0)
	return id
}

// compress is independent of what the package's own writer does.
func compress(t testing.TB, b []byte, c pmtiles.Compression) []byte {
	t.Helper()
	var (
		out bytes.Buffer
		w   io.WriteCloser
		err error
	)
	switch c {
	case pmtiles.None:
		return b
	case pmtiles.Gzip:
		w, err = gzip.NewWriterLevel(&out, gzip.BestSpeed)
	case pmtiles.Brotli:
		w = brotli.NewWriterLevel(&out, brotli.BestSpeed)
	case pmtiles.Zstd:
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	default:
		t.Fatalf("cannot compress with %v", c)
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err = cmp.Or(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// varints encodes a directory by hand, the way no writer would.
func varints(numbers ...uint64) []byte {
	var b []byte
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var fixtures = []string{"fixture_mlt.pmtiles", "fixture_mvt_gzip.pmtiles", "fixture_unclustered.pmtiles"}

// wantFault checks that what hostile or broken bytes lead to is told as such.
func wantFault(t *testing.T, err error, contains string) {
	t.Helper()
	var fault *pmtiles.FormatError
	if !errors.As(err, &fault) {
		t.Fatalf("got %v, want a FormatError", err)
	}
	if !bytes.Contains([]byte(fault.Error()), []byte(contains)) {
		t.Errorf("got %q, want one that says %q", fault, contains)
	}
}
