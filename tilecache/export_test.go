package tilecache

import "tilegate/internal/tile"

// Plain turns admission off: what is left is least recently used alone.
func Plain(o Options) Options {
	o.plain = true
	return o
}

// Leftovers sums what the shards and the budget count of an empty cache, which must be nothing.
func Leftovers(c *Cache) int64 {
	c.room.mu.Lock()
	sum := c.room.evictable.Load() + int64(c.room.retired.Len()) + int64(c.refreshing.Load())
	c.room.mu.Unlock()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		sum += s.ranking.total() + s.filling + int64(s.ranking.tiles()+len(s.ranking.index)) + int64(len(s.retired)+len(s.fills))
		s.mu.Unlock()
	}
	return sum
}

// SameHashes makes hashes the same in each run.
func SameHashes(o Options) Options {
	o.hash = func(k tile.Key) uint64 {
		h := uint64(k.X)<<32 | uint64(k.Y)
		for _, b := range []byte(k.Tileset + k.Version) {
			h = (h ^ uint64(b)) * 0x100000001B3
		}
		return mixed(h*0x9E3779B97F4A7C15 + uint64(k.Z)<<8 + uint64(k.Scale))
	}
	return o
}

// mixed is the finalizer of SplitMix64.
func mixed(h uint64) uint64 {
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

// Request does with one request what Get does, without goroutines and without bytes, and reports whether it was a hit.
// It is for a cache with SameHashes that nobody else uses.
func Request(c *Cache, key tile.Key, size int64) (hit bool) {
	hash := c.opts.hash(key)
	s := c.shardOf(hash)
	s.mu.Lock()
	s.ranking.frequency.add(hash)
	e := s.find(key, hash)
	s.mu.Unlock()
	if e != nil {
		c.tuner.saw(hash, e.cost)
		return true
	}
	obj := &tile.Object{Size: size, ETag: `"v1"`}
	if !c.makeRoom(hash, fillCost) {
		return false
	}
	defer c.room.release(fillCost)
	e = c.newEntry(key, hash, obj)
	e.cost = c.entryCost(e.key, obj)
	if !c.makeRoom(hash, e.cost) {
		return false
	}
	s.mu.Lock()
	s.insert(e)
	s.mu.Unlock()
	c.tuner.saw(hash, e.cost)
	return false
}

// Holds reports whether a tile is held, without counting as a request for it.
func Holds(c *Cache, key tile.Key) bool {
	hash := c.opts.hash(key)
	s := c.shardOf(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.ranking.index[hash]
	return ok
}

// FilledTuner returns a tuner that has seen as many tiles of cost bytes, the tiles that each of its miniatures holds and
// may hold, and what it is taken to cost.
func FilledTuner(capacity, cost int64, tiles int) (filled any, ranked, lru, most int, counted int64) {
	t := new(tuner)
	t.init(capacity)
	for i := range uint64(tiles) {
		t.saw(mixed(i), cost)
	}
	return t, t.ranked.tiles(), t.lru.tiles(), t.most, t.fixedCost()
}

// Slots returns how many slots the shards have for tiles.
func Slots(c *Cache) (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += max(cap(s.ranking.slots), cap(s.entries))
		s.mu.Unlock()
	}
	return n
}

// FailedPaths returns the paths that remembered failures hold.
func (c *Cache) FailedPaths() (paths []string) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, key := range s.failures.Keys() {
			paths = append(paths, key.Path)
		}
		s.mu.Unlock()
	}
	return paths
}
