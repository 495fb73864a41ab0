package tilecache

import "sync/atomic"

// Stats is a snapshot of the cache. What has happened counts from New on.
type Stats struct {
	Hits       uint64 // tiles served from memory, fresh
	Stale      uint64 // tiles served from memory, past their freshness
	AbsentHits uint64 // remembered absences served
	Misses     uint64 // calls that began a fetch
	Joined     uint64 // calls that wait for another's fetch, or were answered by its failure

	// A call that has joined a fetch and then needs one of its own, since the object is too large to be shared, is
	// moved from Joined to Misses.

	Evictions     uint64 // tiles that made room for others
	Replaced      uint64 // answers that took the place of an older one
	Renewed       uint64 // tiles of which the origin said that they still hold
	RefreshFailed uint64 // refreshes that left a tile stale
	Failed        uint64 // fetches that failed, absences and abandoned ones not counted
	Resumed       uint64 // bodies that broke off and were asked for from there
	Streams       uint64 // objects passed through because they could not be kept
	Panics        uint64 // fetches that panicked
	Overloads     uint64 // fetches refused because there was no room
	CutReaders    uint64 // readers cut off because they were slow and there was no room

	Bytes    int64 // held, bookkeeping included; never above Limit
	Limit    int64 // Options.Memory
	Retired  int64 // of Bytes, what left the cache but is still read
	Entries  int   // tiles
	Absences int   // remembered
	Values   int   // decoded parts of archives
	Fills    int   // under way
	Queued   int   // fills that wait for room
}

// Usage is what the cache holds of one tileset.
type Usage struct {
	Entries  int   // tiles
	Bytes    int64 // of them, bookkeeping included
	Absences int   // remembered
}

// Usage returns what is held, by tileset. It looks at each entry, one shard after the other, and is for people who ask now
// and then.
func (c *Cache) Usage() map[string]Usage {
	by := map[string]Usage{}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, e := range s.entries {
			if e != nil {
				u := by[e.key.Tileset]
				u.Entries++
				u.Bytes += e.cost
				by[e.key.Tileset] = u
			}
		}
		for _, hash := range s.absent.Keys() {
			a, _ := s.absent.Peek(hash)
			u := by[a.key.Tileset]
			u.Absences++
			by[a.key.Tileset] = u
		}
		s.mu.Unlock()
	}
	return by
}

// counts are a shard's part of Stats, under its lock.
type counts struct {
	Hits, Stale, AbsentHits, Misses, Joined             uint64
	Evictions, Replaced, Renewed, RefreshFailed, Failed uint64
}

// rareCounts are what need not be counted under a lock that is held anyway.
type rareCounts struct {
	Resumed, Streams, Panics, Overloads, CutReaders atomic.Uint64
}

// Stats returns a snapshot; its parts may be some requests apart. It costs about a microsecond.
func (c *Cache) Stats() Stats {
	r := &c.stats
	st := Stats{
		Resumed: r.Resumed.Load(), Streams: r.Streams.Load(), Panics: r.Panics.Load(),
		Overloads: r.Overloads.Load(), CutReaders: r.CutReaders.Load(),
		Bytes: c.room.used.Load(), Limit: c.room.limit, Queued: int(c.room.waiting.Load()),
		Retired: c.room.retiredBytes.Load(),
	}
	c.values.mu.Lock()
	st.Values = len(c.values.held)
	c.values.mu.Unlock()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st.Hits += s.counts.Hits
		st.Stale += s.counts.Stale
		st.AbsentHits += s.counts.AbsentHits
		st.Misses += s.counts.Misses
		st.Joined += s.counts.Joined
		st.Evictions += s.counts.Evictions
		st.Replaced += s.counts.Replaced
		st.Renewed += s.counts.Renewed
		st.RefreshFailed += s.counts.RefreshFailed
		st.Failed += s.counts.Failed
		st.Entries += s.ranking.tiles()
		st.Absences += s.absent.Len()
		st.Fills += len(s.fills)
		s.mu.Unlock()
	}
	return st
}
