package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
	"tilegate/proxy/archive"
	"tilegate/tilecache"
)

const (
	fresh      = time.Hour
	stale      = 24 * time.Hour
	missingFor = time.Minute
)

// store is an object in a bucket, and what it was asked.
type store struct {
	t   testing.TB
	log bytes.Buffer // what the archive logs, which is for one test to read when the archive rests

	mu       sync.Mutex
	body     []byte // nil: there is none
	version  int
	weak     bool // no ETag, only Last-Modified
	none     bool // neither
	undated  bool // an ETag, but no Last-Modified
	asked    []request
	rejected []string
	// before is called with each request, without the lock. Its error is the answer; a number of bytes above 0 is where the
	// body breaks off.
	before func(r request) (breakAt int, err error)
}

type request struct {
	first, length int64
	cond          tile.Condition
}

func (s *store) put(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body, s.version = b, s.version+1
}

func (s *store) remove() { s.put(nil) }

func (s *store) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *store) count() int { return len(s.requests()) }

func (s *store) rejections() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rejected)
}

func (s *store) onRequest(f func(r request) (int, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

func (s *store) read(ctx context.Context, first, length int64, cond tile.Condition) (*tile.Object, error) {
	r := request{first, length, cond}
	s.mu.Lock()
	s.asked = append(s.asked, r)
	before := s.before
	s.mu.Unlock()
	breakAt := 0
	if before != nil {
		var err error
		if breakAt, err = before(r); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == nil {
		return nil, tile.ErrMissing
	}
	etag, modified := fmt.Sprintf(`"v%d"`, s.version), time.Date(2026, 1, 1, 0, 0, s.version, 0, time.UTC)
	if s.weak || s.none {
		etag = ""
	}
	if s.none || s.undated {
		modified = time.Time{}
	}
	switch {
	case cond.IfMatch != "" && cond.IfMatch != etag, !cond.IfUnmodifiedSince.IsZero() && !cond.IfUnmodifiedSince.Equal(modified):
		return nil, tile.ErrChanged
	case cond.IfNoneMatch != "" && cond.IfNoneMatch == etag, !cond.IfModifiedSince.IsZero() && !modified.After(cond.IfModifiedSince):
		return nil, tile.ErrNotModified
	case first+cond.Offset >= int64(len(s.body)):
		return nil, fmt.Errorf("%w: 416", tile.ErrBadAnswer)
	}
	part := s.body[first:min(first+length, int64(len(s.body)))]
	o := &tile.Object{Size: int64(len(part)), Total: int64(len(s.body)), ETag: etag, LastModified: modified}
	o.Reject = func(reason string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rejected = append(s.rejected, reason)
	}
	var body io.Reader = bytes.NewReader(part[cond.Offset:])
	if breakAt > 0 {
		body = io.LimitReader(body, int64(breakAt))
	}
	o.Body = io.NopCloser(body)
	return o, nil
}

// newArchive returns an archive in a bucket that holds b, with its directories in a cache of its own.
func newArchive(t testing.TB, b []byte) (*archive.Archive, *store) {
	t.Helper()
	return newArchiveIn(t, b, tilecache.Options{Memory: 32 << 20, MaxObject: 1 << 20})
}

func newArchiveIn(t testing.TB, b []byte, o tilecache.Options) (*archive.Archive, *store) {
	t.Helper()
	cache, err := tilecache.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	s := &store{t: t}
	s.put(b)
	return archive.New(archive.Options{
		Tileset: "roads", Source: "s3://tiles/roads.pmtiles", Read: s.read, Cache: cache, Fresh: fresh, Stale: stale, MissingFor: missingFor,
		Logger: slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), &s.log), nil)),
	}), s
}

// write makes an archive of the tiles of zooms 0 to maxZoom of which keep says so. content makes their bytes.
func write(t testing.TB, o pmtiles.WriteOptions, maxZoom uint8, keep func(id uint64) bool, content func(id uint64) []byte) []byte {
	t.Helper()
	var all iter.Seq2[uint64, []byte] = func(yield func(uint64, []byte) bool) {
		end, _ := pmtiles.TileID(maxZoom+1, 0, 0)
		for id := range end {
			if keep != nil && !keep(id) {
				continue
			}
			if !yield(id, content(id)) {
				return
			}
		}
	}
	var b bytes.Buffer
	if err := pmtiles.Write(&b, o, all); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func contentOf(mark string) func(id uint64) []byte {
	return func(id uint64) []byte { return fmt.Appendf(nil, "%s tile %d", mark, id) }
}

// roads is an archive of zooms 0 to 6 with leaves, without the tiles whose id is divisible by seven.
func roads(t testing.TB, mark string) []byte {
	t.Helper()
	if b, ok := written.Load(mark); ok {
		return b.([]byte)
	}
	b := write(t, pmtiles.WriteOptions{TileType: pmtiles.MVT, TileCompression: pmtiles.None, LeafEntries: 64, Metadata: []byte(`{"name":"` + mark + `"}`)},
		6, func(id uint64) bool { return id%7 != 0 }, contentOf(mark))
	written.Store(mark, b)
	return b
}

var written sync.Map // what roads has made

func keyOf(g *archive.Generation, z uint8, x, y uint32) tile.Key {
	return tile.Key{Tileset: "roads", Z: z, X: x, Y: y, Scale: 1, Generation: g.ID}
}

// keyOfID is keyOf by a tile's number in the archive.
func keyOfID(g *archive.Generation, id uint64) tile.Key {
	z, x, y, _ := pmtiles.ZXY(id)
	return keyOf(g, z, x, y)
}

func current(t testing.TB, a *archive.Archive) archive.State {
	t.Helper()
	s, err := a.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fetch reads a tile to its end.
func fetch(a *archive.Archive, key tile.Key, cond tile.Condition) (*tile.Object, []byte, error) {
	o, err := a.Fetch(context.Background(), key, cond)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = o.Body.Close() }()
	b, err := io.ReadAll(o.Body)
	return o, b, err
}

func check[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func checkErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}
