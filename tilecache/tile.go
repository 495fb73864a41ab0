package tilecache

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/tile"
)

// maxNext bounds what Next returns at once, so that a reader's progress can be seen.
const maxNext = 64 << 10

// entry is one version of a tile: its metadata, and its bytes as they grow. They are written once,
// by the fill, from the front; whoever reads sees only what grown has published.
type entry struct {
	key          tile.Key
	hash         uint64
	size         int64 // -1 unknown
	etag         string
	lastModified time.Time
	encoding     string
	header       http.Header

	data     []byte  // its final length from the start; nil when the object passes through
	through  *stream // what an object that is not kept comes from
	grown    atomic.Int64
	complete atomic.Bool // every byte has arrived and the body ended as it should

	// refs counts who holds the bytes: the cache, the fill, each reader. The last one to let go
	// returns cost to the budget.
	refs    atomic.Int32
	cost    int64
	retired bool // no longer in the cache but still read; set before the cache lets go

	mu         sync.Mutex
	wake       chan struct{} // closed when bytes arrive; made by whoever waits
	err        error         // why there will be no more bytes
	readers    map[uint64]*reader
	registered atomic.Int32 // len(readers), so that the others need not lock

	// Guarded by the budget's lock.
	place   *list.Element // among the retired
	cutting bool          // its readers have been told to go

	// Guarded by the shard's lock.
	validated int64 // when the origin last said that these are the bytes
	outdated  bool  // a purge has marked it stale since
	outdateAt int64 // and when
	retryAt   int64 // no refresh before
	failures  int   // refreshes that failed in a row
}

// reader is one that has said how it can be interrupted.
type reader struct {
	cut     func()
	since   time.Time
	off     int64
	dropped bool
}

func (c *Cache) newEntry(key tile.Key, hash uint64, obj *tile.Object) *entry {
	e := &entry{
		key: key, hash: hash, size: obj.Size, etag: obj.ETag, lastModified: obj.LastModified,
		encoding: obj.Encoding, header: obj.Header,
	}
	if !obj.Outdated.IsZero() {
		e.outdated, e.outdateAt = true, c.since(obj.Outdated)
	}
	return e
}

// age is how long ago the tile was validated, as far as that counts for p. One that a purge has marked counts as stale from
// then on. The shard is locked.
func (e *entry) age(p Policy, now int64) time.Duration {
	age := max(0, time.Duration(now-e.validated))
	if e.outdated {
		age = max(age, p.Fresh+max(0, time.Duration(now-e.outdateAt)))
	}
	return age
}

// grow publishes the bytes before to. It changes both under the lock, so that whoever holds it never
// sees the end of the body without its last bytes.
func (e *entry) grow(to int64, complete bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.grown.Store(to)
	e.complete.Store(complete)
	e.broadcast()
}

func (e *entry) fail(err error) {
	e.mu.Lock()
	e.err = err
	e.broadcast()
	e.mu.Unlock()
}

func (e *entry) broadcast() {
	if e.wake != nil {
		close(e.wake)
		e.wake = nil
	}
}

// next waits for the bytes at off. What has arrived is handed out even when the fill failed later.
func (e *entry) next(ctx context.Context, id uint64, off int64) ([]byte, error) {
	for {
		n := e.grown.Load()
		if off < n && e.registered.Load() == 0 {
			return e.slice(off, n), nil
		}
		e.mu.Lock()
		n = e.grown.Load()
		r := e.readers[id]
		if r != nil {
			r.off = off
		}
		err, done := e.err, e.complete.Load()
		var wake chan struct{}
		switch {
		case r != nil && r.dropped:
			err = ErrCutOff
		case off < n:
			e.mu.Unlock()
			return e.slice(off, n), nil
		case done:
			err = io.EOF
		case err == nil:
			if e.wake == nil {
				e.wake = make(chan struct{})
			}
			wake = e.wake
		}
		e.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// slice ends its capacity where it ends, so that appending to it cannot reach the shared bytes.
func (e *entry) slice(off, end int64) []byte {
	end = min(end, off+maxNext)
	return e.data[off:end:end]
}

// Tile is a tile in one reader's hands: it pins the bytes until it is closed. Its methods are for
// one goroutine at a time. The zero Tile may be closed and nothing else.
type Tile struct {
	cache *Cache
	entry *entry
	fill  *fill // the fill that this reader waits for; nil on a hit
	id    uint64
}

// Size is the length in bytes, -1 where it is unknown: of an object that the origin sends without one, and that is
// too large to be kept.
func (t Tile) Size() int64 { return t.entry.size }

// ETag is the origin's validator with its quotes, and W/ where it is weak, or empty.
func (t Tile) ETag() string { return t.entry.etag }

// LastModified is the origin's, or zero.
func (t Tile) LastModified() time.Time { return t.entry.lastModified }

// Encoding is the stored Content-Encoding: "", gzip, br, zstd or deflate.
func (t Tile) Encoding() string { return t.entry.encoding }

// Header is Object.Header, shared by all readers: not to be changed.
func (t Tile) Header() http.Header { return t.entry.header }

// Bytes returns the whole body, shared and not to be changed, if all of it has arrived. A reader
// that is better written in pieces, so that the budget sees its progress, uses Next.
func (t Tile) Bytes() ([]byte, bool) {
	if t.entry.through != nil || !t.entry.complete.Load() {
		return nil, false
	}
	return t.entry.data, true
}

var errOffset = errors.New("tilecache: these bytes have passed, or never were")

// Next waits until there are bytes at off and returns some of them, at most 64 KiB, shared and not
// to be changed; a piece of an object that is not kept is valid until the next call, and off can
// only go forward there. It returns io.EOF at the end of a body that arrived whole, ErrCutOff when
// this reader had to go, ctx's cause, or what broke the body off: the caller then has part of a
// tile and must not let it pass for one.
func (t Tile) Next(ctx context.Context, off int64) ([]byte, error) {
	if off < 0 {
		return nil, errOffset
	}
	if t.entry.through != nil {
		return t.entry.through.next(ctx, t.entry, t.id, off)
	}
	return t.entry.next(ctx, t.id, off)
}

// CutWith registers how to interrupt this reader's blocked write. cut is called at most once, from
// another goroutine and never after Close has returned, when others need the bytes that this
// reader is among the slowest to let go of. It must not block nor call the Tile's methods. A reader
// that never registers is never cut off.
func (t Tile) CutWith(cut func()) {
	e := t.entry
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.readers == nil {
		e.readers = make(map[uint64]*reader)
	}
	e.readers[t.id] = &reader{cut: cut, since: time.Now()}
	e.registered.Store(int32(len(e.readers)))
}

// Close lets go of the bytes. It must be called once.
func (t Tile) Close() {
	e := t.entry
	if e == nil {
		return
	}
	if e.registered.Load() > 0 {
		e.mu.Lock()
		delete(e.readers, t.id)
		e.registered.Store(int32(len(e.readers)))
		e.mu.Unlock()
	}
	if t.fill != nil {
		t.fill.leave()
		return
	}
	t.cache.unpin(e)
}
