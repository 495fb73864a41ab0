package tilecache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"tilegate/internal/tile"
)

const (
	maxResumes   = 3
	maxIdleReads = 100 // as in bufio
)

var (
	errPanicked = errors.New("tilecache: a panic ended the fetch")
	errTooLong  = errors.New("tilecache: the body is longer than the origin declared")
)

// source reads one object from front to end. When its body breaks off, it asks for the rest of the
// very same object, and it reports the end only if exactly the declared bytes arrived.
type source struct {
	cache   *Cache
	ctx     context.Context
	key     tile.Key
	fetch   tile.Fetch
	first   *tile.Object  // what each resumption must agree with
	body    io.ReadCloser // nil once closed
	off     int64
	broken  error // came with the last bytes; dealt with by the next read
	resumed int
}

func (c *Cache) newSource(ctx context.Context, key tile.Key, fetch tile.Fetch, obj *tile.Object) *source {
	return &source{cache: c, ctx: ctx, key: key, fetch: fetch, first: obj, body: obj.Body}
}

// ask calls fetch and refuses answers that contradict the question.
func (c *Cache) ask(ctx context.Context, key tile.Key, cond tile.Condition, fetch tile.Fetch) (*tile.Object, error) {
	obj, err := fetch(ctx, key, cond)
	switch {
	case ctx.Err() != nil:
		if obj != nil && obj.Body != nil {
			_ = obj.Body.Close() // nobody waits for its verdict
		}
		return nil, context.Cause(ctx)
	case errors.Is(err, tile.ErrNotModified) && cond.IfNoneMatch == "" && cond.IfModifiedSince.IsZero():
		return nil, errors.New("tilecache: the origin answered 304 to an unconditional request")
	case errors.Is(err, tile.ErrChanged) && cond.IfMatch == "" && key.Generation == 0:
		return nil, errors.New("tilecache: the origin answered 412 to an unconditional request")
	case err != nil:
		return nil, err
	case obj == nil || obj.Body == nil:
		return nil, errors.New("tilecache: the origin answered neither an object nor an error")
	}
	return obj, nil
}

// read fills p from the body. io.EOF comes along with the last bytes, once the body has ended where
// it should; bytes that come along with any other error must not be passed on.
func (s *source) read(p []byte) (int, error) {
	size := s.first.Size
	if size >= 0 {
		p = p[:min(int64(len(p)), size-s.off)]
	}
	for idle := 0; idle < maxIdleReads; idle++ {
		n, err := 0, s.broken
		if err == nil && len(p) > 0 {
			n, err = s.body.Read(p)
		}
		s.off += int64(n)
		switch {
		case s.off == size:
			return n, s.end(err)
		case n > 0:
			s.broken = err
			return n, nil
		case errors.Is(err, io.EOF) && size < 0:
			return 0, io.EOF
		case err != nil:
			if err := s.resume(err); err != nil {
				return 0, err
			}
			s.broken, idle = nil, 0
		}
	}
	return 0, io.ErrNoProgress
}

// end looks behind the last byte: there may be more bytes than declared, and a checksum's verdict
// comes at the end of the body.
func (s *source) end(err error) error {
	for idle := 0; err == nil && idle < maxIdleReads; idle++ {
		var n int
		var one [1]byte
		if n, err = s.body.Read(one[:]); n > 0 {
			return errTooLong
		}
	}
	switch {
	case err == nil:
		return io.ErrNoProgress
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return fmt.Errorf("tilecache: at the body's end: %w", err)
}

// resume asks for the bytes from off on, after cause had ended the body. Only a strong ETag can say
// that the rest belongs to what came before (RFC 9110 section 13.1.1).
func (s *source) resume(cause error) error {
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	for s.ctx.Err() == nil && s.divisible() && s.resumed < maxResumes {
		s.resumed++
		s.cache.stats.Resumed.Add(1)
		s.close()
		if !pause(s.ctx, time.Duration(s.resumed-1)*200*time.Millisecond) {
			break
		}
		err := s.reopen()
		if err == nil || errors.Is(err, tile.ErrChanged) {
			return err
		}
		cause = err
	}
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return fmt.Errorf("tilecache: the body broke off at byte %d of %d: %w", s.off, s.first.Size, cause)
}

// skip goes on at a later byte without reading those between, where that can be asked for.
func (s *source) skip(to int64) error {
	if !s.divisible() || to >= s.first.Size {
		return nil
	}
	s.close()
	s.off, s.broken = to, nil
	return s.reopen()
}

// divisible tells whether a part can be asked for and known to be the same object's.
func (s *source) divisible() bool { return s.first.Size >= 0 && tile.StrongETag(s.first.ETag) }

// reopen asks for the rest of the very same object, from off on.
func (s *source) reopen() error {
	obj, err := s.cache.ask(s.ctx, s.key, tile.Condition{IfMatch: s.first.ETag, Offset: s.off}, s.fetch)
	switch {
	case errors.Is(err, tile.ErrChanged) || errors.Is(err, tile.ErrMissing):
		return tile.ErrChanged
	case err != nil:
		return err
	}
	s.body = obj.Body
	if obj.ETag != s.first.ETag || obj.Size != s.first.Size || obj.Encoding != "" && obj.Encoding != s.first.Encoding {
		return tile.ErrChanged
	}
	return nil
}

func (s *source) close() {
	if s.body != nil {
		_ = s.body.Close() // what mattered about the end, read has said
		s.body = nil
	}
}

// pause waits for d and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// recovered turns a panic of the origin's code into an error, so that it ends one fetch alone. It
// must be deferred directly.
func (c *Cache) recovered(key tile.Key, err *error) {
	if r := recover(); r != nil {
		*err = errPanicked
		c.stats.Panics.Add(1)
		c.opts.Logger.Error("panic while a tile was fetched", "tileset", key.Tileset, "z", key.Z, "x", key.X, "y", key.Y,
			"panic", r, "stack", string(debug.Stack()))
	}
}
