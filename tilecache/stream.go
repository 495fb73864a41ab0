package tilecache

import (
	"context"
	"errors"
	"io"

	"tilegate/internal/tile"
)

// window is how much of an object that is not kept is held for its reader.
const window = 64 << 10

// stream passes an object through to its only reader, at that reader's pace: nothing is read from
// the origin before it is asked for, so memory stays bounded whatever the object's size.
type stream struct {
	source *source
	cancel context.CancelFunc
	buf    []byte
	pos    int64 // of buf[0] in the object
	err    error // sticky
}

// openStream makes the entry for obj, of which the caller has reserved streamCost, and held for bytes that have been
// read already. It owns the context from now on.
func (c *Cache) openStream(ctx context.Context, cancel context.CancelFunc, key tile.Key, hash uint64, fetch tile.Fetch, obj *tile.Object, held int64) *entry {
	e := c.newEntry(key, hash, obj)
	e.through = &stream{source: c.newSource(ctx, key, fetch, obj), cancel: cancel, buf: make([]byte, 0, window)}
	e.cost = streamCost + held
	e.refs.Store(1)
	c.stats.Streams.Add(1)
	// Nobody else can ever be served from it: the budget may cut its reader from the start.
	e.retired = true
	c.room.retire(e)
	return e
}

// streamAlone fetches an object that cannot be shared, for one of several that wanted it. The fetch
// is that reader's own, so its ctx ends it.
func (c *Cache) streamAlone(ctx context.Context, key tile.Key, hash uint64, fetch tile.Fetch) (t Tile, err error) {
	maxWait := c.opts.Wait
	if err := c.reserve(ctx, hash, streamCost, &maxWait); err != nil {
		return Tile{}, err
	}
	own, cancel := context.WithCancelCause(c.ctx)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer stop()
	defer func() {
		if err != nil {
			cancel(err)
			c.room.release(streamCost)
		}
	}()
	defer c.recovered(key, &err)
	obj, err := c.ask(own, key, tile.Condition{}, fetch)
	if err != nil {
		return Tile{}, err
	}
	e := c.openStream(own, func() { cancel(nil) }, key, hash, fetch, obj, 0)
	return Tile{cache: c, entry: e}, nil
}

func (s *stream) next(ctx context.Context, e *entry, id uint64, off int64) (b []byte, err error) {
	if off < s.pos {
		return nil, errOffset
	}
	if s.note(e, id, off) {
		return nil, ErrCutOff
	}
	// A blocked read of the body can be interrupted by its own context alone.
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	if gap := off - s.pos - int64(len(s.buf)); gap > window && s.err == nil {
		s.skip(e.key, off)
	}
	for off >= s.pos+int64(len(s.buf)) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if s.err != nil {
			return nil, s.err
		}
		s.pos += int64(len(s.buf))
		s.fill(e.key)
	}
	if s.note(e, id, off) {
		return nil, ErrCutOff
	}
	return s.buf[off-s.pos:], nil
}

// skip goes to a part far into the object: what comes before it would be fetched to be thrown away.
func (s *stream) skip(key tile.Key, off int64) {
	defer s.source.cache.recovered(key, &s.err)
	s.err = s.source.skip(off)
	s.pos, s.buf = s.source.off, s.buf[:0]
}

// fill replaces the buffer's content by what follows it.
func (s *stream) fill(key tile.Key) {
	s.buf = s.buf[:0]
	defer s.source.cache.recovered(key, &s.err)
	n, err := s.source.read(s.buf[:cap(s.buf)])
	if err == nil || errors.Is(err, io.EOF) {
		s.buf = s.buf[:n]
	}
	s.err = err
}

// note records the reader's progress and reports whether it was cut off meanwhile.
func (s *stream) note(e *entry, id uint64, off int64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.readers[id]
	if r == nil {
		return false
	}
	r.off = off
	return r.dropped
}

func (s *stream) close() {
	s.cancel()
	s.source.close()
}
