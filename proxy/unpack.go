package proxy

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// unpackedTag is the ETag of a compressed tile's decompressed form. That is another representation, so it has
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

const (
	// maxUnpacking bounds the Brotli and Zstandard decoders at work at the same time. Each may need a window of 16 or
	// 8 MiB, which the stored bytes choose. Gzip's is 32 KiB.
	maxUnpacking = 32
	// maxZstdWindow is what RFC 9659 sets for HTTP, in bytes.
	maxZstdWindow = 8 << 20
	// unpackingWait is how long a request waits for one of them.
	unpackingWait = 2 * time.Second
)

// openUnpacker returns a reader of what source holds in a coding. Its release must be called.
func (p *Proxy) openUnpacker(ctx context.Context, coding string, source *tileReader) (r io.Reader, release func(), err error) {
	switch coding {
	case "br", "zstd":
		wait := time.NewTimer(unpackingWait)
		defer wait.Stop()
		select {
		case p.unpacking <- struct{}{}:
		case <-wait.C:
			return nil, nil, notFetched(tilecache.ErrOverloaded)
		case <-ctx.Done():
			return nil, nil, notFetched(context.Cause(ctx))
		}
		free := func() { <-p.unpacking }
		if coding == "br" {
			return brotli.NewReader(source), free, nil
		}
		decoder, err := newZstdReader(source)
		if err != nil {
			free()
			return nil, nil, source.blame(err)
		}
		return decoder, func() { decoder.Close(); free() }, nil
	case "deflate":
		if r, err = newInflater(bufio.NewReader(source)); err != nil {
			return nil, nil, source.blame(err)
		}
		return r, func() {}, nil
	}
	unpacker := unpackers.Get().(*gzip.Reader) //nolint:forcetypeassert // the pool holds nothing else
	members := &gzipMembers{unpacker: unpacker, from: bufio.NewReaderSize(source, 4<<10)}
	if err := unpacker.Reset(members.from); err != nil {
		unpackers.Put(unpacker)
		return nil, nil, source.blame(err)
	}
	unpacker.Multistream(false)
	return members, func() { unpackers.Put(unpacker) }, nil
}

// newZstdReader returns a decoder that works in Read itself and starts no goroutine, for which its concurrency is 1.
func newZstdReader(source io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
}

// newInflater reads the coding deflate. RFC 9110 means zlib by that name; some mean the bare stream inside.
func newInflater(source *bufio.Reader) (io.Reader, error) {
	if head, _ := source.Peek(2); len(head) == 2 && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(source)
	}
	return flate.NewReader(source), nil
}

// gzipMembers reads the members of a gzip stream, and ends at bytes that begin no other, as browsers do.
type gzipMembers struct {
	unpacker *gzip.Reader
	from     *bufio.Reader
}

func (g *gzipMembers) Read(b []byte) (int, error) {
	n, err := g.unpacker.Read(b)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	head, peeked := g.from.Peek(3) // RFC 1952 section 2.3.1, with its only method
	switch {
	case peeked != nil && !errors.Is(peeked, io.EOF):
		return n, peeked
	case !bytes.Equal(head, []byte{0x1f, 0x8b, 8}):
		return n, io.EOF
	}
	if err := g.unpacker.Reset(g.from); err != nil {
		return n, err
	}
	g.unpacker.Multistream(false)
	return n, nil
}

// writeUnpacked sends a tile to a client that does not accept its coding. It decompresses on the way, so
// there is no length, and there are no ranges.
func (p *Proxy) writeUnpacked(x *exchange, r *http.Request, t tilecache.Tile) error {
	if r.Method == http.MethodHead {
		x.WriteHeader(http.StatusOK)
		return nil
	}
	t.CutWith(x.Interrupt())
	source := &tileReader{ctx: r.Context(), tile: t}
	unpacker, release, err := p.openUnpacker(r.Context(), t.Encoding(), source)
	if err != nil {
		return err
	}
	defer release()
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

// blame distinguishes a tile that could not be read from one whose bytes are not in its coding.
func (r *tileReader) blame(err error) error {
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return notFetched(r.err)
	}
	return fmt.Errorf("%w: stored as %s, but: %w", tile.ErrBadAnswer, r.tile.Encoding(), err)
}
