package origin

import (
	"context"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
)

// body is the body of an object. It gives read errors their classes, and compares the bytes with S3's
// checksum at the end.
type body struct {
	io.ReadCloser
	s    *S3
	ctx  context.Context // of the fetch: tells a caller that left from an S3 that failed
	sum  hash.Hash       // nil: S3 told no checksum
	want string
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
	if base64.StdEncoding.EncodeToString(b.sum.Sum(nil)) == b.want {
		return nil
	}
	return b.failed(badAnswer("the body does not have the checksum that S3 keeps of it"))
}

func (b *body) failed(f *fault) error {
	b.s.aws.opt.Observe.Body(b.s.ID, outcome(f))
	return fmt.Errorf("%s: %w", b.s.ID, f)
}
