package origin

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // see etag.go
	"fmt"
	"hash"
	"io"
	"net/http"
)

// body is the body of an object. It gives read errors their classes. At the end it compares the bytes with the
// checksum that S3 keeps of the object, or with the ETag where that is an MD5.
type body struct {
	io.ReadCloser
	s    *S3
	ctx  context.Context // of the fetch; tells a caller that left from an S3 that failed
	name string          // the object's key

	sum    hash.Hash // of what has been read; nil: there is nothing to compare with
	want   []byte    // the sum of the whole object
	isETag bool      // want is the ETag
}

// verify makes b compare its bytes with what the answer says of the whole object. It reports whether the answer
// says anything.
func (b *body) verify(resp *http.Response) bool {
	if b.sum, b.want = checksumOf(resp.Header); b.sum != nil {
		return true
	}
	if b.want = b.s.md5Of(resp); b.want != nil {
		b.sum, b.isETag = md5.New(), true //nolint:gosec // see etag.go
	}
	return b.sum != nil
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.sum != nil {
		_, _ = b.sum.Write(p[:n]) // never fails
	}
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF:
		return n, b.failed(classifyNoAnswer(b.ctx, err, nil))
	case b.sum != nil:
		if err := b.compare(); err != nil {
			return n, err
		}
	}
	return n, io.EOF
}

// check is tile.Object's Check. The whole object has come in several parts, and this body was the first.
func (b *body) check(whole []byte) error {
	b.sum.Reset()
	_, _ = b.sum.Write(whole) // never fails
	return b.compare()
}

func (b *body) compare() error {
	got := b.sum.Sum(nil)
	switch {
	case !bytes.Equal(got, b.want) && !b.isETag:
		return b.failed(badAnswer("the body does not have the checksum that S3 keeps of it"))
	case !bytes.Equal(got, b.want):
		if f := b.s.judgeMismatch(b.ctx, b.name, got, b.want); f != nil {
			return b.failed(f)
		}
	case b.isETag:
		b.s.etags.CompareAndSwap(etagUnknown, etagIsMD5)
	}
	return nil
}

func (b *body) failed(f *fault) error {
	b.s.aws.opt.Observe.Body(b.s.ID, outcome(f))
	return fmt.Errorf("%s: %w", b.s.ID, f)
}
