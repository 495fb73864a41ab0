package tilecache

import (
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	maxShards   = 32
	bytesAShard = 8 << 20 // at least, so that a shard's order of use resembles the whole cache's

	// What a shard keeps for the youngest tiles, in parts of its bytes. The rest is for tiles that
	// were asked for more often than those they displaced.
	recentShare = 8
	// Remembered absences take no more than this part of the budget.
	absentShare = 16
	// Failures remembered at once, for failurePause; the oldest give way.
	failuresKept = 32
	// As long as this part of the budget is unused, young tiles need not earn their place.
	slackShare = 16
)

// shard is a part of the cache with a lock of its own. A tile is in recent when it is young and in
// kept when it has earned its place, each in the order of last use.
type shard struct {
	cache *Cache

	mu          sync.Mutex
	recent      *simplelru.LRU[Key, *entry]
	kept        *simplelru.LRU[Key, *entry]
	recentBytes int64
	filling     int64                      // bytes of fills under way: the youngest part of recent
	target      int64                      // for recentBytes + filling
	retired     map[Key]*entry             // evicted, but somebody still reads them: worth finding again
	absent      *simplelru.LRU[Key, int64] // since when
	failures    *simplelru.LRU[Key, failure]
	fills       map[Key]*fill
	frequency   sketch
	lastID      uint64 // of readers
	closed      bool
	counts      counts

	_ [64]byte // keeps neighbours' locks out of one cache line
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
	s.target = memory / recentShare
	if c.opts.plain {
		s.target = math.MaxInt64
	}
	s.recent = newLRU[*entry](math.MaxInt, nil)
	s.kept = newLRU[*entry](math.MaxInt, nil)
	s.absent = newLRU(int(max(1, memory/absentShare/absenceCost)), func(Key, int64) {
		c.room.evictable.Add(-absenceCost)
		c.room.release(absenceCost)
	})
	s.failures = newLRU[failure](failuresKept, nil)
	s.retired = make(map[Key]*entry)
	s.fills = make(map[Key]*fill)
	s.frequency.init(memory / bytesACounter)
}

func newLRU[V any](size int, onEvict func(Key, V)) *simplelru.LRU[Key, V] {
	l, err := simplelru.NewLRU(size, simplelru.EvictCallback[Key, V](onEvict))
	if err != nil {
		panic(err) // the size is positive
	}
	return l
}

// find returns what is held under key and makes it the most recently used. The shard is locked, as
// for all that follows unless it says otherwise.
func (s *shard) find(key Key) *entry {
	if e, ok := s.kept.Get(key); ok {
		return e
	}
	if e, ok := s.recent.Get(key); ok {
		return e
	}
	if e := s.retired[key]; e != nil && s.cache.room.restore(e) {
		delete(s.retired, key)
		e.retired = false
		s.link(s.recent, e)
		return e
	}
	return nil
}

// open pins e for one more reader.
func (s *shard) open(e *entry) Tile {
	e.refs.Add(1)
	s.lastID++
	return Tile{cache: s.cache, entry: e, id: s.lastID}
}

// insert keeps e in place of what was there.
func (s *shard) insert(e *entry) {
	list := s.recent
	if s.kept.Contains(e.key) {
		list = s.kept // an update inherits what its tile has earned
	}
	if s.drop(e.key) {
		s.counts.Replaced++
	}
	e.refs.Add(1)
	s.link(list, e)
	for s.recentBytes+s.filling > s.target && s.cache.room.slack() {
		_, young, ok := s.recent.GetOldest()
		if !ok {
			break
		}
		s.unlink(young)
		s.link(s.kept, young)
	}
	s.cache.room.kick() // something to evict, for whoever waits for room
}

// insertAbsence remembers that there is no such tile, in place of what was there. It reports whether
// that costs absenceCost more than before.
func (s *shard) insertAbsence(key Key) bool {
	s.drop(key)
	more := !s.absent.Contains(key)
	if more {
		s.cache.room.evictable.Add(absenceCost)
	}
	s.absent.Add(key, s.cache.now())
	return more
}

// drop forgets what is held under key; its readers keep it.
func (s *shard) drop(key Key) (found bool) {
	for _, list := range []*simplelru.LRU[Key, *entry]{s.recent, s.kept} {
		if e, ok := list.Peek(key); ok {
			s.unlink(e)
			s.letGo(e, false)
			found = true
		}
	}
	delete(s.retired, key)
	return s.absent.Remove(key) || found
}

// link and unlink keep the sums right, which simplelru's Add does not on a key that it has.
func (s *shard) link(list *simplelru.LRU[Key, *entry], e *entry) {
	list.Add(e.key, e)
	if list == s.recent {
		s.recentBytes += e.cost
	}
	s.cache.room.evictable.Add(e.cost)
}

func (s *shard) unlink(e *entry) {
	if s.recent.Remove(e.key) {
		s.recentBytes -= e.cost
	} else {
		s.kept.Remove(e.key)
	}
	s.cache.room.evictable.Add(-e.cost)
}

// evict lets go of what this shard can best do without, and reports whether there was anything. An
// old tile has to go only for a young one that was asked for more often: a scraper that walks
// through the map asks for each tile once.
func (s *shard) evict() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, young, hasYoung := s.recent.GetOldest()
	_, old, hasOld := s.kept.GetOldest()
	loser := old
	switch {
	case !hasYoung && !hasOld:
		_, _, ok := s.absent.RemoveOldest()
		return ok
	case !hasOld:
		loser = young
	case hasYoung && s.recentBytes+s.filling > s.target:
		if s.frequency.estimate(young.hash) > s.frequency.estimate(old.hash) {
			s.unlink(young)
			s.link(s.kept, young)
		} else {
			loser = young
		}
	}
	s.unlink(loser)
	s.letGo(loser, true)
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
			s.retired[e.key] = e
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
		if s.retired[e.key] == e {
			delete(s.retired, e.key)
		}
	}
	s.cache.room.release(e.cost)
}

// unpin is what a reader does: without the lock, unless it is the last one.
func (c *Cache) unpin(e *entry) {
	for n := e.refs.Load(); n > 1; n = e.refs.Load() {
		if e.refs.CompareAndSwap(n, n-1) {
			return
		}
	}
	if e.through != nil {
		e.through.close()
	}
	s := c.shardOf(e.hash)
	s.mu.Lock()
	s.unpin(e)
	s.mu.Unlock()
}

// forget unregisters f, unless another has taken its place.
func (s *shard) forget(f *fill) {
	if s.fills[f.key] == f {
		delete(s.fills, f.key)
	}
}

// purge locks the shard itself.
func (s *shard) purge(tileset string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := slices.Concat(s.recent.Keys(), s.kept.Keys(), s.absent.Keys(), slices.Collect(maps.Keys(s.retired)))
	for _, key := range keys {
		if key.Tileset == tileset && s.drop(key) {
			n++
		}
	}
	for _, key := range s.failures.Keys() {
		if key.Tileset == tileset {
			s.failures.Remove(key)
		}
	}
	for key := range s.fills {
		if key.Tileset == tileset {
			delete(s.fills, key) // it goes on for its readers; commit finds it unregistered
		}
	}
	return n
}
