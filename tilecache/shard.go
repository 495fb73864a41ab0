package tilecache

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/tile"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	maxShards   = 32
	bytesAShard = 8 << 20 // at least, so that a shard's order of use resembles the whole cache's

	// Remembered absences take no more than this part of the budget.
	absentShare = 16
	// Failures remembered at once, for failurePause; the oldest give way.
	failuresKept = 32
)

// shard is a part of the cache with a lock of its own. What a hit needs is found by the key's hash,
// which is looked up three times faster than the key; whoever finds something compares
// the key, and of two tiles with one hash the cache holds the later one.
type shard struct {
	cache *Cache
	held  atomic.Int64 // bytes of the tiles in ranking

	// mu guards what follows. The budget's lock and an entry's may be taken while it is held, the tuner's may not.
	mu       sync.Mutex
	ranking  ranking           // of the tiles that are held
	entries  []*entry          // by their slots in the ranking
	filling  int64             // bytes of fills under way, which count as the youngest in the ranking's window
	retired  map[uint64]*entry // evicted, but somebody still reads them: worth finding again
	absent   *simplelru.LRU[uint64, absence]
	failures *simplelru.LRU[failureKey, failure]
	fills    map[tile.Key]*fill
	lastID   uint64 // of readers
	closed   bool
	counts   counts

	_ [64]byte // keeps neighbours' locks out of one cache line
}

// absence is a tile that there is not.
type absence struct {
	key   tile.Key
	since int64
}

// shardCount returns how many shards there are, a power of two, and how far a hash is shifted right
// to choose one.
func shardCount(memory int64) (n int, shift uint) {
	n, shift = 1, 64
	for n < maxShards && memory/int64(2*n) >= bytesAShard {
		n, shift = 2*n, shift-1
	}
	return n, shift
}

func (s *shard) init(c *Cache, memory int64) {
	s.cache = c
	s.ranking.init(memory, 0)
	s.absent = newLRU(int(max(1, memory/absentShare/absenceCost)), func(_ uint64, a absence) {
		cost := absenceCost + c.pathCost(a.key)
		c.room.evictable.Add(-cost)
		c.room.release(cost)
	})
	s.failures = newLRU[failureKey, failure](failuresKept, nil)
	s.retired = make(map[uint64]*entry)
	s.fills = make(map[tile.Key]*fill)
}

func newLRU[K comparable, V any](size int, onEvict func(K, V)) *simplelru.LRU[K, V] {
	l, err := simplelru.NewLRU(size, simplelru.EvictCallback[K, V](onEvict))
	if err != nil {
		panic(err) // the size is positive
	}
	return l
}

// find returns what is held under key and makes it the most recently used. The shard is locked, as
// for all that follows unless it says otherwise.
func (s *shard) find(key tile.Key, hash uint64) *entry {
	var e *entry
	at, ok := s.ranking.index[hash]
	switch {
	case ok:
		e = s.entries[at]
		s.ranking.use(at, s.cache.tuner.clock.Load())
	case len(s.retired) > 0:
		if e = s.retired[hash]; e != nil && s.cache.room.restore(e) {
			delete(s.retired, hash)
			e.retired = false
			s.link(e)
			ok = true
		}
	}
	if !ok || e.key != key {
		return nil
	}
	return e
}

// findAbsence returns how long ago the origin said that there is no such tile.
func (s *shard) findAbsence(key tile.Key, hash uint64, now int64) (age time.Duration, ok bool) {
	a, ok := s.absent.Get(hash)
	return max(0, time.Duration(now-a.since)), ok && a.key == key
}

// open pins e for one more reader.
func (s *shard) open(e *entry) Tile {
	e.refs.Add(1)
	s.lastID++
	return Tile{cache: s.cache, entry: e, id: s.lastID}
}

// insert keeps e in place of what was there.
func (s *shard) insert(e *entry) {
	if s.drop(e.hash) {
		s.counts.Replaced++
	}
	e.refs.Add(1)
	s.link(e)
	s.ranking.growing = s.ranking.growing || s.cache.room.slack()
	s.ranking.grow(s.filling)
}

// insertAbsence remembers that there is no such tile, in place of what was there. The caller has
// reserved absenceCost and its path's cost for it.
func (s *shard) insertAbsence(key tile.Key, hash uint64) {
	s.drop(hash)
	s.cache.room.evictable.Add(absenceCost + s.cache.pathCost(key))
	s.absent.Add(hash, absence{key, s.cache.now()})
}

// drop forgets what is held under hash; its readers keep it.
func (s *shard) drop(hash uint64) (found bool) {
	if at, ok := s.ranking.index[hash]; ok {
		s.letGo(s.unlink(at), false)
		found = true
	}
	delete(s.retired, hash)
	return s.absent.Remove(hash) || found
}

// link ranks e among the tiles that are held.
func (s *shard) link(e *entry) {
	at := s.ranking.add(e.hash, e.cost, s.cache.tuner.clock.Load())
	if missing := int(at) + 1 - len(s.entries); missing > 0 {
		s.entries = append(s.entries, make([]*entry, missing)...)
	}
	s.entries[at] = e
	s.held.Add(e.cost)
	s.cache.room.evictable.Add(e.cost)
	if s.ranking.sparse() {
		from := s.ranking.compact()
		entries := make([]*entry, len(from))
		for at, before := range from {
			entries[at] = s.entries[before]
		}
		s.entries = entries
	}
}

// unlink ends what link began.
func (s *shard) unlink(at uint32) *entry {
	e := s.entries[at]
	s.ranking.remove(at)
	s.entries[at] = nil
	s.held.Add(-e.cost)
	s.cache.room.evictable.Add(-e.cost)
	return e
}

// evict lets go of what this shard can best do without, for incoming bytes, and reports whether there was anything.
// It locks the shard itself.
func (s *shard) evict(incoming int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.ranking.victim(s.cache.tuner.stale.Load(), s.filling+incoming)
	if !ok {
		_, _, ok := s.absent.RemoveOldest()
		return ok
	}
	s.letGo(s.unlink(at), true)
	s.counts.Evictions++
	return true
}

// letGo gives up the cache's, or a fill's, hold on e. Bytes that are still read stay accounted, where
// the budget can see them and, unless they are outdated, the next one who asks can find them.
func (s *shard) letGo(e *entry, findable bool) {
	if e.refs.Load() > 1 { // it can only fall: readers join under the lock that is held here
		e.retired = true
		s.cache.room.retire(e)
		if findable {
			s.retired[e.hash] = e
		}
	}
	s.unpin(e)
}

// unpin ends one hold on e, and returns the bytes that nobody holds any more.
func (s *shard) unpin(e *entry) {
	if e.refs.Add(-1) > 0 {
		return
	}
	if e.retired {
		s.cache.room.unretire(e)
		if s.retired[e.hash] == e {
			delete(s.retired, e.hash)
		}
	}
	s.cache.room.release(e.cost)
}

// unpin is what a reader does: without the lock, unless it is the last one.
func (c *Cache) unpin(e *entry) {
	n := e.refs.Load()
	for ; n > 1; n = e.refs.Load() {
		if e.refs.CompareAndSwap(n, n-1) {
			return
		}
	}
	if n < 1 {
		panic("tilecache: a Tile was closed twice")
	}
	if e.through != nil {
		e.through.close()
	}
	s := c.shardOf(e.hash)
	s.mu.Lock()
	s.unpin(e)
	s.mu.Unlock()
}

// forget ends f's time as the fill that newcomers join and that may stop when its last waiter leaves.
func (s *shard) forget(f *fill) {
	if s.fills[f.key] == f { // else purged, and perhaps another has taken its place
		delete(s.fills, f.key)
	}
	s.filling -= f.filling
	f.filling = 0
	f.ended = true
}

// purge locks the shard itself. It looks at each entry: what that takes follows from what is held, not from the area.
func (s *shard) purge(p *tile.Purge) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cache.now()
	for _, e := range slices.Concat(s.entries, slices.Collect(maps.Values(s.retired))) {
		switch {
		case e == nil || !p.Holds(&e.key):
		case p.Soft:
			e.outdated, e.outdateAt, e.retryAt = true, now, 0
			n++
		case s.drop(e.hash):
			n++
		}
	}
	for _, hash := range s.absent.Keys() {
		if a, _ := s.absent.Peek(hash); p.Holds(&a.key) && s.drop(hash) {
			n++
		}
	}
	for _, key := range s.failures.Keys() {
		if p.Holds(&key.Key) {
			s.failures.Remove(key)
		}
	}
	for key, f := range s.fills {
		switch {
		case !p.Holds(&key):
		case p.Soft:
			f.outdated, f.outdateAt = true, now
		default:
			delete(s.fills, key) // it goes on for its readers; commit finds it unregistered
		}
	}
	return n
}
