package pmtiles

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// MaxTile is the limit to give to NewReader for a tile, in bytes.
const MaxTile = 64 << 20

// maxZstdWindow is what a zstd frame may ask a decoder to hold. RFC 9659 sets the same bound for HTTP.
const maxZstdWindow = 8 << 20

// Reader decompresses a stream. An error of the stream itself comes out unchanged, so that the caller can tell it from
// a FormatError: bytes that are not what the archive says.
type Reader struct {
	source  source
	coding  Compression
	decoder io.Reader // nil before the first Read
	close   func()
	limit   int64
	left    int64 // how many bytes may still come out, plus one that proves that there are too many
	err     error
}

// NewReader returns a Reader of what r holds, decompressed; no more than limit bytes come out, then ErrTooLarge. It
// starts no goroutine.
func NewReader(r io.Reader, c Compression, limit int64) *Reader {
	return &Reader{source: source{r: r}, coding: c, limit: limit, left: limit + 1}
}

// Read implements io.Reader.
func (r *Reader) Read(b []byte) (int, error) {
	if r.err != nil || len(b) == 0 {
		return 0, r.err
	}
	if r.decoder == nil {
		if r.err = r.open(); r.err != nil {
			return 0, r.err
		}
	}
	n, err := r.decoder.Read(b[:min(int64(len(b)), r.left)])
	r.left -= int64(n)
	switch {
	case r.left <= 0:
		n--
		r.err = tooLarge("data", r.limit, "too large when decompressed (%v)", r.coding)
	case err != nil && !errors.Is(err, io.EOF):
		r.err = r.explain(err)
	default:
		r.err = err
	}
	return n, r.err
}

// Close frees the decoder. It does not close the stream.
func (r *Reader) Close() error {
	if r.close != nil {
		r.close()
	}
	r.close, r.decoder = nil, nil
	r.err = errClosed
	return nil
}

var errClosed = errors.New("pmtiles: read after close")

func (r *Reader) open() error {
	if r.coding == Unknown {
		start := make([]byte, 2)
		n, err := io.ReadFull(&r.source, start)
		if err != nil && r.source.err != nil && !errors.Is(r.source.err, io.EOF) {
			return r.source.err
		}
		r.coding = sniff(start[:n])
		r.source.r = io.MultiReader(bytes.NewReader(start[:n]), r.source.r)
	}
	switch r.coding {
	case None:
		r.decoder = &r.source
	case Gzip:
		decoder, err := gzip.NewReader(&r.source)
		if err != nil {
			return r.explain(err)
		}
		r.decoder = decoder
	case Brotli:
		r.decoder = brotli.NewReader(&r.source)
	case Zstd:
		// With a concurrency of 1 it decodes in Read itself and starts no goroutine.
		decoder, err := zstd.NewReader(&r.source,
			zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return r.explain(err)
		}
		r.decoder, r.close = decoder, decoder.Close
	default:
		return bad("data", "%v is not known", r.coding)
	}
	return nil
}

// explain returns the stream's own error if it failed. Otherwise the data is wrong, and that is a FormatError.
func (r *Reader) explain(err error) error {
	if r.source.err != nil && !errors.Is(r.source.err, io.EOF) {
		return r.source.err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // all was read, and it was not enough
	}
	e := bad("data", "it cannot be decompressed (%v)", r.coding)
	e.Err = err
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		e.Err = fmt.Errorf("a zstd window %w of %d bytes", ErrTooLarge, maxZstdWindow)
	}
	return e
}

// source keeps the stream's error, because decoders replace it with their own.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil {
		s.err = err
	}
	return n, err
}

func sniff(b []byte) Compression {
	if len(b) >= 2 && b[0] == 0x1f && b[1] == 0x8b {
		return Gzip
	}
	return None
}

// decompress returns what b holds, at most limit bytes, or b itself if it is not compressed. On the way it allocates
// at most four times the limit.
func decompress(part string, b []byte, c Compression, limit int64) ([]byte, error) {
	if c == Unknown {
		c = sniff(b)
	}
	if c == None {
		if int64(len(b)) > limit {
			return nil, tooLarge(part, limit, "it has %d bytes", len(b))
		}
		return b, nil
	}
	r := NewReader(bytes.NewReader(b), c, limit)
	defer func() { _ = r.Close() }()
	// One byte more than may come out, so that a full buffer ends with Read's EOF or error and not with growing.
	plain := make([]byte, 0, min(4*int64(len(b)), limit)+1)
	for {
		n, err := r.Read(plain[len(plain):cap(plain)])
		plain = plain[:len(plain)+n]
		if errors.Is(err, io.EOF) {
			return plain, nil
		}
		if err != nil {
			var e *FormatError
			if errors.As(err, &e) {
				e.Part = part
			}
			return nil, err
		}
		if len(plain) == cap(plain) {
			grown := make([]byte, len(plain), min(2*int64(cap(plain)), limit+1))
			copy(grown, plain)
			plain = grown
		}
	}
}

// gauge counts what is written to it and keeps the beginning.
type gauge struct {
	start  []byte
	n      int64
	accept func(start []byte) error // judges the beginning, each time there is more of it; may be nil
}

func (g *gauge) Write(b []byte) (int, error) {
	if more := min(len(b), binary.MaxVarintLen64-len(g.start)); more > 0 {
		g.start = append(g.start, b[:more]...)
		if g.accept != nil {
			if err := g.accept(g.start); err != nil {
				return 0, err
			}
		}
	}
	g.n += int64(len(b))
	return len(b), nil
}

// measure decompresses b into a gauge: at most limit bytes.
func measure(part string, b []byte, c Compression, limit int64, g *gauge) error {
	r := NewReader(bytes.NewReader(b), c, limit)
	defer func() { _ = r.Close() }()
	_, err := io.Copy(g, r)
	var e *FormatError
	if errors.As(err, &e) {
		e.Part = part
	}
	return err
}
