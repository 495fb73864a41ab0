package tilecache

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"time"

	"tilegate/internal/tile"
)

const (
	// A fill that nobody waits for any more is finished when it has less than this to go, or half
	// of it behind: the next one to ask is likely near, and stopping costs the origin a connection.
	finishBelow = 64 << 10

	// failurePause is how long a failure answers those who come after it, so that they do not stampede.
	failurePause = 500 * time.Millisecond
)

var (
	errAbandoned = errors.New("tilecache: nobody waits for this fetch any more")
	errEnded     = errors.New("tilecache: the fetch ended its goroutine")
)

// fill brings one tile from the origin, for everyone who wants it. It belongs to the cache: its
// context descends from none of theirs.
type fill struct {
	cache  *Cache
	shard  *shard
	key    tile.Key
	hash   uint64
	fetch  tile.Fetch
	ctx    context.Context
	cancel context.CancelCauseFunc

	old        *entry // what is revalidated, pinned until the end; nil when there is nothing
	background bool   // a refresh: goes on without waiters

	// Run's alone.
	reserved int64         // for the fill itself
	maxWait  time.Duration // how long it may still wait for room; a refresh has none

	ready chan struct{} // closed once entry or err is there
	entry *entry
	err   error

	// Guarded by the shard's lock.
	waiters   int
	filling   int64 // what the shard counts for it
	outdated  bool  // a purge has marked it stale: the origin may have answered before what the purge is for
	outdateAt int64 // and when
	ended     bool  // nothing left to stop
	kept      bool  // entry is in the cache
	exclusive bool  // entry passes through to one reader alone
	taken     bool  // and has found it
}

// failure answers for a short while those who come after a fill that failed.
type failure struct {
	err error
	at  int64
}

// failureKey names what failed. The path of a bundle's object may have a kibibyte, which is not set aside for each failure:
// its hash stands for it.
type failureKey struct {
	tile.Key // without its path
	path     uint64
}

func (s *shard) failureKey(key tile.Key) failureKey {
	k := failureKey{Key: key}
	if key.Path != "" {
		k.Path, k.path = "", maphash.String(s.cache.seed, key.Path)
	}
	return k
}

// begin registers and starts the one fill of key. The shard is locked.
func (s *shard) begin(key tile.Key, hash uint64, fetch tile.Fetch, old *entry, background bool) *fill {
	c := s.cache
	f := &fill{
		cache: c, shard: s, key: key, hash: hash, fetch: fetch, old: old, background: background,
		ready: make(chan struct{}),
	}
	f.ctx, f.cancel = context.WithCancelCause(c.ctx)
	if old != nil {
		old.refs.Add(1)
	}
	if !background {
		f.maxWait = c.opts.Wait
	}
	s.fills[key] = f
	c.fills.Add(1)
	go f.run()
	return f
}

// join counts one more who waits. The shard is locked. Once there is an entry, it is pinned for
// them right here: by the time they look, it may have been evicted.
func (f *fill) join() {
	f.waiters++
	if f.entry != nil {
		f.entry.refs.Add(1)
	}
}

// wait returns the tile to one who has joined. alone reports whether it took a fetch of its own, since the object
// could not be shared.
func (f *fill) wait(ctx context.Context) (t Tile, alone bool, err error) {
	select {
	case <-f.ready:
	case <-ctx.Done():
		f.leave()
		return Tile{}, false, context.Cause(ctx)
	}
	if f.err != nil {
		return Tile{}, false, f.err
	}
	s := f.shard
	s.mu.Lock()
	if f.exclusive {
		first := !f.taken
		f.taken = true
		s.mu.Unlock()
		if !first {
			t, err := f.cache.streamAlone(ctx, f.key, f.hash, f.fetch)
			return t, true, err
		}
		return Tile{cache: f.cache, entry: f.entry}, false, nil
	}
	s.lastID++
	t = Tile{cache: f.cache, entry: f.entry, fill: f, id: s.lastID}
	s.mu.Unlock()
	return t, false, nil
}

// leave is what each waiter and each reader of a fill does once, at its end. The last one decides
// whether the fill goes on.
func (f *fill) leave() {
	s := f.shard
	s.mu.Lock()
	f.waiters--
	if f.waiters == 0 && !f.ended && !f.background && !f.worthFinishing() {
		s.forget(f) // whoever comes now needs a fill that lives
		f.cancel(errAbandoned)
	}
	e := f.entry
	if f.exclusive && (f.taken || f.waiters > 0) {
		e = nil // somebody has it, or will
	}
	s.mu.Unlock()
	if e != nil {
		f.cache.unpin(e)
	}
}

func (f *fill) worthFinishing() bool {
	if f.entry == nil {
		return false
	}
	grown, size := f.entry.grown.Load(), f.entry.size
	return size-grown < finishBelow || grown >= size/2
}

func (f *fill) run() {
	defer f.cache.fills.Done()
	err := errEnded // what remains if fetch calls runtime.Goexit
	defer func() { f.end(err) }()
	err = f.load()
}

// load does the fill's work and returns what prevented it.
func (f *fill) load() (err error) {
	c := f.cache
	defer c.recovered(f.key, &err)
	if err := c.reserve(f.ctx, f.hash, fillCost, &f.maxWait); err != nil {
		return err
	}
	f.reserved = fillCost
	defer func() { c.room.release(f.reserved) }()

	obj, err := f.ask()
	switch {
	case errors.Is(err, tile.ErrNotModified):
		f.renew()
		return nil
	case errors.Is(err, tile.ErrMissing):
		f.remember()
		return tile.ErrMissing
	case err != nil:
		return err
	case obj.Size < 0:
		return f.collect(obj)
	case obj.Size > c.opts.MaxObject || c.entryCost(f.key, obj) > c.room.largest():
		return f.passThrough(obj, 0)
	}

	src := c.newSource(f.ctx, f.key, f.fetch, obj)
	defer src.close()
	e := c.newEntry(f.key, f.hash, obj)
	e.validated = c.validated(obj)
	e.cost = c.entryCost(f.key, obj)
	if err := c.reserve(f.ctx, f.hash, e.cost, &f.maxWait); err != nil {
		return err
	}
	e.data = make([]byte, obj.Size)
	f.publish(e)
	for n := int64(0); ; {
		m, err := src.read(e.data[n:])
		n += int64(m)
		switch {
		case err == nil:
			e.grow(n, false)
		case errors.Is(err, io.EOF):
			if src.resumed > 0 && obj.Check != nil {
				if err := obj.Check(e.data); err != nil {
					return err
				}
			}
			// Only now are the last bytes published: whoever has the whole tile has a good one.
			f.commit(e)
			return nil
		default:
			return err
		}
	}
}

// ask fetches, conditionally where there is something to revalidate.
func (f *fill) ask() (*tile.Object, error) {
	var cond tile.Condition
	switch {
	case f.old == nil:
	case tile.StrongETag(f.old.etag):
		cond.IfNoneMatch = f.old.etag
	default: // services differ in how they compare weak ETags
		cond.IfModifiedSince = f.old.lastModified
	}
	return f.cache.ask(f.ctx, f.key, cond, f.fetch)
}

// publish hands e to all who wait. Each of them holds it from now on, and so does the fill.
func (f *fill) publish(e *entry) {
	s := f.shard
	s.mu.Lock()
	f.filling = e.cost
	s.filling += f.filling
	e.refs.Store(int32(f.waiters) + 1)
	f.entry = e
	s.mu.Unlock()
	close(f.ready)
}

// commit keeps a whole tile. It is found by Get before its readers see its end.
func (f *fill) commit(e *entry) {
	s := f.shard
	s.mu.Lock()
	if s.fills[f.key] == f { // else abandoned or purged
		f.kept = true
		if f.outdated {
			e.outdated, e.outdateAt = true, f.outdateAt
		}
		s.forget(f)
		s.insert(e)
	}
	e.grow(e.size, true)
	s.mu.Unlock()
	if f.kept {
		f.cache.tuner.saw(e.hash, e.cost)
	}
}

// remember keeps a proven absence, in place of whatever tile there was.
func (f *fill) remember() {
	s := f.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fills[f.key] == f {
		s.insertAbsence(f.key, f.hash)
		f.reserved -= absenceCost + f.cache.pathCost(f.key) // less than fillCost: a path has 2 KiB at most
	}
}

// passThrough gives an object that cannot be kept to one of the waiters; the others ask on their own. held is what has
// been reserved for the object already, which its reader gives back if there is no error.
func (f *fill) passThrough(obj *tile.Object, held int64) error {
	c, s := f.cache, f.shard
	if err := c.reserve(f.ctx, f.hash, streamCost, &f.maxWait); err != nil {
		_ = obj.Body.Close() // unread
		return err
	}
	e := c.openStream(f.ctx, func() { f.cancel(nil) }, f.key, f.hash, f.fetch, obj, held)
	s.mu.Lock()
	s.drop(f.hash) // what is held is not what the origin has by now
	s.forget(f)
	f.entry, f.exclusive = e, true
	f.taken = f.waiters == 0
	unwanted := f.taken
	s.mu.Unlock()
	close(f.ready)
	if unwanted {
		c.unpin(e)
	}
	return nil
}

// end answers whoever still waits, and lets go of what the fill held.
func (f *fill) end(err error) {
	c, s := f.cache, f.shard
	s.mu.Lock()
	s.noteFailure(f, err)
	s.forget(f)
	e := f.entry
	if e == nil {
		f.err = err
		close(f.ready)
	}
	if e != nil && e != f.old && !f.exclusive {
		if err != nil {
			e.fail(err)
		}
		if f.kept {
			s.unpin(e)
		} else {
			s.letGo(e, false)
		}
	}
	if f.old != nil {
		s.unpin(f.old)
	}
	s.mu.Unlock()
	if f.background {
		c.refreshing.Add(-1)
	}
	if !f.exclusive { // else the stream owns the context
		f.cancel(err)
	}
}

// noteFailure decides how long a failure is remembered. The shard is locked.
func (s *shard) noteFailure(f *fill, err error) {
	switch {
	case err == nil, errors.Is(err, tile.ErrMissing), errors.Is(err, errAbandoned), errors.Is(err, ErrClosed):
		return
	case f.background:
		s.postponeRefresh(f.old, err)
	case !errors.Is(err, tile.ErrChanged) && !errors.Is(err, ErrOverloaded):
		s.failures.Add(s.failureKey(f.key), failure{err: err, at: s.cache.now()})
	}
	s.counts.Failed++
}
