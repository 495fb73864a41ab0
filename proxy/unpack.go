package proxy

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// unpackedTag is the ETag of a gzipped tile's decompressed form. That is another representation, so it has
// another strong tag (RFC 9110 section 8.8.3.3).
func unpackedTag(etag string) string {
	if etag == "" {
		return ""
	}
	return strings.TrimSuffix(etag, `"`) + `-identity"`
}

var (
	unpackers     = sync.Pool{New: func() any { return new(gzip.Reader) }}
	unpackBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}
)

// writeUnpacked sends a gzipped tile to a client that does not accept gzip. It decompresses on the way, so
// there is no length, and there are no ranges.
func (p *Proxy) writeUnpacked(x *exchange, r *http.Request, t tilecache.Tile) error {
	if r.Method == http.MethodHead {
		x.WriteHeader(http.StatusOK)
		return nil
	}
	t.CutWith(x.Interrupt())
	unpacker := unpackers.Get().(*gzip.Reader) //nolint:forcetypeassert // the pool holds nothing else
	defer unpackers.Put(unpacker)
	source := &tileReader{ctx: r.Context(), tile: t}
	if err := unpacker.Reset(source); err != nil {
		return source.blame(err)
	}
	buffer := unpackBuffers.Get().(*[32 << 10]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer unpackBuffers.Put(buffer)
	for {
		n, err := unpacker.Read(buffer[:])
		if n > 0 {
			x.ExtendDeadline(time.Now())
			if _, err := x.Write(buffer[:n]); err != nil {
				return err
			}
			if _, whole := t.Bytes(); !whole {
				// The rest has not arrived yet. What there is goes out now.
				if err := x.FlushError(); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			if x.Status() == 0 {
				x.WriteHeader(http.StatusOK)
			}
			return nil
		}
		if err != nil {
			return source.blame(err)
		}
	}
}

// tileReader reads a tile as a stream.
type tileReader struct {
	ctx    context.Context //nolint:containedctx // lives as long as one response
	tile   tilecache.Tile
	offset int64
	err    error // why the tile could not be read on
}

func (r *tileReader) Read(b []byte) (int, error) {
	chunk, err := r.tile.Next(r.ctx, r.offset)
	if err != nil {
		r.err = err
		return 0, err
	}
	n := copy(b, chunk)
	r.offset += int64(n)
	return n, nil
}

// blame distinguishes a tile that could not be read from one whose bytes are not gzip.
func (r *tileReader) blame(err error) error {
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return notFetched(r.err)
	}
	return fmt.Errorf("%w: stored as gzip, but: %w", tile.ErrBadAnswer, err)
}
