package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"

	"tilegate/internal/tile"
)

// maxSkipped is how much of an object is read to reach a span where the store ignores Range. Such a store is
// good enough for small objects; for an archive it would send gigabytes for each tile.
const maxSkipped = 16 << 20

// span is a part of an object, such as a tile in an archive. The zero value is the whole object.
type span struct {
	first  int64 // first byte, counted from 0
	length int64 // in bytes; 0: up to the object's end
}

// last is the last byte of the span in an object of that size.
func (p span) last(size int64) int64 {
	if p.length == 0 {
		return size - 1
	}
	return min(p.first+p.length, size) - 1
}

// valid reports whether the span exists in some object, and has a byte at offset.
func (p span) valid(offset int64) bool {
	return p.first >= 0 && p.length >= 0 && offset >= 0 && p.first <= math.MaxInt64-max(p.length, offset) &&
		(p.length == 0 || offset < p.length)
}

// readSpan gets a part of an object, with the same retries as Fetch. cond.Offset counts from the first byte of
// the part. The Object's Size is the length of the part, or less where the object ends before; the caller
// compares. ErrChanged also means that the object of cond.IfMatch has no such bytes.
func (s *S3) readSpan(ctx context.Context, name string, part span, cond tile.Condition) (*tile.Object, error) {
	if !part.valid(cond.Offset) {
		return nil, fmt.Errorf("%w: byte %d of the %d bytes from %d of s3://%s/%s cannot exist", tile.ErrBadAnswer, cond.Offset, part.length, part.first, s.Bucket, name)
	}
	return s.get(ctx, request{name: name, span: part, cond: cond})
}

// byteRange is the value of the Range header (RFC 9110 section 14.2), "" where the whole object is wanted.
func (r *request) byteRange() string {
	first := r.first()
	switch {
	case r.probe:
		return "bytes=0-0"
	case r.span.length > 0:
		return "bytes=" + strconv.FormatInt(first, 10) + "-" + strconv.FormatInt(r.span.last(math.MaxInt64), 10)
	case first > 0:
		return "bytes=" + strconv.FormatInt(first, 10) + "-"
	}
	return ""
}

// first is the first byte of the object that is wanted.
func (r *request) first() int64 { return r.span.first + r.cond.Offset }

// cutToSpan makes o, whose Body is S3's answer to a request with a Range, an object of the bytes that the
// request asked for.
func (r *request) cutToSpan(o *tile.Object, b *body, resp *http.Response) *fault {
	contentRange := resp.Header.Get("Content-Range")
	if resp.StatusCode == http.StatusOK && contentRange == "" {
		return r.cutWhole(o, b)
	}
	var first, last, size int64
	if _, err := fmt.Sscanf(contentRange, "bytes %d-%d/%d", &first, &last, &size); err != nil ||
		first != r.first() || last < first || last != r.span.last(size) || o.Size >= 0 && o.Size != last-first+1 {
		return badAnswer("Content-Range %q for %s", sanitize(contentRange, nil), r.byteRange())
	}
	o.Size, o.Total = last-r.span.first+1, size
	return nil
}

// cutWhole is cutToSpan for the answer of a store that ignores Range and sends the whole object.
func (r *request) cutWhole(o *tile.Object, b *body) *fault {
	if r.span.first > maxSkipped {
		return badAnswer("the whole object instead of %s: archives need a store that supports ranges", r.byteRange())
	}
	_, err := io.CopyN(io.Discard, b.ReadCloser, r.first())
	switch {
	case errors.Is(err, io.EOF), err == nil && o.Size >= 0 && o.Size <= r.first():
		return badAnswer("the whole object instead of %s, and it ended early", r.byteRange())
	case err != nil:
		return classifyNoAnswer(b.ctx, err, nil)
	}
	if o.Size >= 0 {
		o.Total = o.Size
		o.Size = r.span.last(o.Size) - r.span.first + 1
	}
	if r.span.length > 0 {
		b.ReadCloser = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(b.ReadCloser, r.span.length-r.cond.Offset), b.ReadCloser}
	}
	return nil
}
