package tilecache

import (
	"context"
	"errors"
	"hash/maphash"
	"time"

	"tilegate/internal/tile"
)

// Policy is a tileset's freshness. It is applied when a tile is asked for, so a new one counts at once.
type Policy struct {
	Fresh      time.Duration // how long a tile is served without asking the origin
	Stale      time.Duration // how much longer it is served while a refresh runs, or when that fails
	MissingFor time.Duration // how long a proven absence is remembered

	// Validated is when the archive that a tile is a part of was last known to be current. It is zero for tiles that
	// are objects of their own. All tiles of the archive are as fresh as it is, and so are absences: none of them is
	// refreshed by itself.
	Validated time.Time
}

// archiveAge is the time since the archive that p tells of was last known to be current.
func (c *Cache) archiveAge(p Policy, now int64) time.Duration {
	return max(0, time.Duration(now)-p.Validated.Sub(c.born))
}

// State is how a Get was answered.
type State uint8

// The states of a Get.
const (
	Hit    State = iota // held and fresh, or remembered to be absent
	Stale               // held and past its freshness
	Miss                // this call began the fetch, or made one of its own
	Joined              // a fetch was under way and shared, or had just failed
)

// Status is what happened to one Get.
type Status struct {
	State State
	TTL   time.Duration // until the tile, or its remembered absence, is stale; negative when it is
	Held  bool          // a tile was held that is too old to be served; of a Miss or Joined
	// Outdated says of a Stale tile that a purge has marked it: what the origin has may be another one by now.
	Outdated bool
}

// Get returns the tile as soon as its metadata are known; its bytes may still be arriving. A fresh
// tile comes from memory; so does a stale one, while one conditional fetch runs in the background.
// Else all concurrent calls for a key share one fetch, which belongs to none of them: ctx ends this
// call's wait alone. The Tile must be closed unless there is an error.
//
// Errors: ErrMissing, what fetch failed with, ErrOverloaded, ErrClosed, or ctx's own.
func (c *Cache) Get(ctx context.Context, key tile.Key, p Policy, fetch tile.Fetch) (Tile, Status, error) {
	hash := maphash.Comparable(c.seed, key)
	if c.opts.hash != nil {
		hash = c.opts.hash(key)
	}
	s := c.shardOf(hash)
	now := c.now()

	s.mu.Lock()
	s.ranking.frequency.add(hash)
	held := s.find(key, hash)
	if held != nil {
		age := held.age(p, now)
		if !p.Validated.IsZero() {
			age = c.archiveAge(p, now)
		}
		st := Status{State: Hit, TTL: p.Fresh - age}
		switch {
		case st.TTL > 0:
			s.counts.Hits++
			t := s.open(held)
			s.mu.Unlock()
			c.tuner.saw(hash, held.cost)
			return t, st, nil
		case -st.TTL < p.Stale || !p.Validated.IsZero():
			st.State, st.Outdated = Stale, held.outdated
			s.counts.Stale++
			t := s.open(held)
			if p.Validated.IsZero() {
				s.refresh(held, now, fetch)
			}
			s.mu.Unlock()
			c.tuner.saw(hash, held.cost)
			return t, st, nil
		}
	} else if age, ok := s.findAbsence(key, hash, now); ok && (age < p.MissingFor || !p.Validated.IsZero()) {
		s.counts.AbsentHits++
		s.mu.Unlock()
		st := Status{State: Hit, TTL: p.MissingFor - age}
		if !p.Validated.IsZero() {
			st.TTL = p.Fresh - c.archiveAge(p, now)
		}
		return Tile{}, st, tile.ErrMissing
	}

	st := Status{State: Joined, TTL: p.Fresh, Held: held != nil}
	f := s.fills[key]
	if f == nil {
		if ctx.Err() != nil {
			s.mu.Unlock()
			return Tile{}, st, context.Cause(ctx) // not worth a fetch that nobody would wait for
		}
		if failed, ok := s.failures.Get(s.failureKey(key)); ok && now-failed.at < int64(failurePause) {
			s.counts.Joined++
			s.mu.Unlock()
			return Tile{}, st, failed.err
		}
		if s.closed {
			s.mu.Unlock()
			return Tile{}, st, ErrClosed
		}
		st.State = Miss
		s.counts.Misses++
		f = s.begin(key, hash, fetch, held, false)
	} else {
		s.counts.Joined++
	}
	f.join()
	s.mu.Unlock()

	t, alone, err := f.wait(ctx)
	if alone && st.State == Joined {
		st.State = Miss
		s.mu.Lock()
		s.counts.Joined--
		s.counts.Misses++
		s.mu.Unlock()
	}
	if errors.Is(err, tile.ErrMissing) {
		st.TTL = p.MissingFor
	}
	return t, st, err
}
