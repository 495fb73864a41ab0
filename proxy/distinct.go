package proxy

import (
	"math"
	"net/http"
	"sync"
	"time"

	"tilegate/internal/pmtiles"
)

// A caller who copies a map asks for tile after tile, each once; one who looks at it comes back to the same ones. A DistinctLimit therefore
// bounds how many different tiles of a tileset a caller is sent. Those that it has been sent already it is always sent again.

// DistinctLimit is how many different tiles of a tileset a caller may be sent within a window.
type DistinctLimit struct {
	Window time.Duration // windows are aligned: those of 24h begin at midnight, UTC
	Tiles  int
}

const (
	distinctShards = 16
	// maxDistinctBytes bounds what is remembered of subjects, and of addresses: three to six million tiles each.
	maxDistinctBytes = 32 << 20
	// assumedTileSize is the assumed size of an archive's tile, in bytes, if the header does not have the number of tiles.
	assumedTileSize = 8 << 10
)

// contents are tiles of a tileset that a request asks for: one, or those in a range of an archive. They are told apart by numbers.
type contents struct {
	kind  uint64 // numbers of different kinds are different tiles
	first uint64
	n     uint64 // 0: none
}

// contentOf numbers a tile.
func contentOf(want tilePath) contents {
	return contents{uint64(want.z)<<8 | uint64(want.scale), uint64(want.x)<<30 | uint64(want.y), 1}
}

// contentsOf numbers the tiles in a range of an archive. Only its directories know where one ends, so that each part of the size of the mean
// tile counts as one. The header, directories and metadata hold none.
func contentsOf(h *pmtiles.Header, part byteRange) contents {
	block := uint64(assumedTileSize)
	for _, n := range []uint64{h.TileContents, h.TileEntries, h.AddressedTiles} {
		if n > 0 {
			block = max(1, uint64(h.Tiles.Length)/n)
			break
		}
	}
	begin, end := max(part.offset, h.Tiles.Offset), min(part.offset+part.length, h.Tiles.Offset+h.Tiles.Length)
	if begin >= end {
		return contents{}
	}
	first, last := uint64(begin-h.Tiles.Offset)/block, uint64(end-1-h.Tiles.Offset)/block
	return contents{math.MaxUint64, first, last - first + 1}
}

// hash returns a number for the i-th of the contents that looks like a random one.
func (c *contents) hash(i uint64) uint64 { return mix(mix(c.kind) ^ (c.first + i)) }

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014).
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// distinctTiles remembers what callers of one kind have been sent.
type distinctTiles struct {
	room   room
	shards [distinctShards]distinctShard
}

type distinctShard struct {
	mu    sync.Mutex
	sent  map[sentKey]*sent
	swept time.Time
}

type sentKey struct {
	caller  uint64
	tileset string
	window  time.Duration
}

// sent are the tiles that a caller was sent within a window.
type sent struct {
	period   int64 // number of the window since 1970
	tiles    tileSet
	others   int   // how many more the other instances have sent, as far as it is known
	resentAt int64 // when all tiles were last begun to be sent, in seconds since 1970
	unsent   int   // how many slots are left of it
}

// newSent counts as sent a minute ago, so that what is lost soon is sent again at once.
func newSent(period int64, now time.Time) *sent {
	return &sent{period: period, resentAt: now.Unix() - resendLostEvery}
}

// n is how many tiles all instances have sent.
func (c *sent) n() int { return c.tiles.n + c.others }

// look returns the limit that a caller would exceed with contents, and how long its window lasts; ok if there is none. With take they
// count from now on, and found, unless it is nil, gets those that did not yet. Of a limit that is exceeded it gets what it has counted.
func (d *distinctTiles) look(id uint64, tileset string, limits []DistinctLimit, what *contents, now time.Time, take bool, found *[]newTiles) (wait time.Duration, ok bool) {
	s := &d.shards[id%distinctShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(d, now)
	for i := range limits {
		l := &limits[i]
		if c := s.current(d, sentKey{id, tileset, l.Window}, now, false); !c.fits(what, l.Tiles) {
			wait = max(wait, l.Window-time.Duration(now.UnixNano()%int64(l.Window)))
			if found != nil && c != nil {
				*found = append(*found, newTiles{window: l.Window, period: c.period, own: c.tiles.n})
			}
		}
	}
	if wait > 0 || !take {
		return wait, wait == 0
	}
	for i := range limits {
		key := sentKey{id, tileset, limits[i].Window}
		c := s.current(d, key, now, true)
		if c == nil {
			continue // there is no room: nobody is refused for that
		}
		before := c.tiles.n
		var added []uint32
		for n := range what.n {
			tile, had := uint32(what.hash(n)>>32), c.tiles.n
			if !s.add(d, key, c, tile) {
				break // nor for this
			}
			if found != nil && c.tiles.n > had {
				added = append(added, tile)
			}
		}
		if found != nil && c.tiles.n > before {
			*found = append(*found, newTiles{key.window, c.period, added, c.tiles.n, c.n() >= limits[i].Tiles/10*9})
		}
	}
	return 0, true
}

// newTiles are tiles that a caller is sent for the first time in a window.
type newTiles struct {
	window time.Duration
	period int64
	tiles  []uint32
	own    int  // how many it has been sent by this instance, with these
	near   bool // it is close to its limit
}

// update notes that all instances have sent a caller so many tiles in a window, own of which this one had sent. It returns tiles that are to be
// sent again, because Redis may have lost them.
func (d *distinctTiles) update(id uint64, tileset string, window time.Duration, period, all, own int64, now time.Time) (again newTiles) {
	s := &d.shards[id%distinctShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.sent[sentKey{id, tileset, window}]
	if c == nil || c.period != period {
		return newTiles{}
	}
	lost := all < own-own/10 // far more than the estimate is off
	if !lost {
		c.others = int(min(max(all-own, 0), math.MaxInt32))
	}
	if since := now.Unix() - c.resentAt; since >= resendEvery || lost && since >= resendLostEvery {
		c.resentAt, c.unsent = now.Unix(), len(c.tiles.slots)
	}
	again = newTiles{window: window, period: period, own: c.tiles.n}
	for c.unsent = min(c.unsent, len(c.tiles.slots)); c.unsent > 0 && len(again.tiles) < maxResent; c.unsent-- {
		if tile := c.tiles.slots[c.unsent-1]; tile != 0 {
			again.tiles = append(again.tiles, tile)
		}
	}
	return again
}

// All tiles are sent again now and then, as long as the caller comes: a loss in Redis is invisible if other instances have counted as many tiles.
const (
	resendEvery     = 600     // seconds
	resendLostEvery = 60      // seconds, where it shows
	maxResent       = 1 << 14 // tiles at once; the next ones follow when Redis has answered
)

// current returns what a caller was sent in the window of now; nil if nothing, unless it is to be made and there is room.
func (s *distinctShard) current(d *distinctTiles, key sentKey, now time.Time, make bool) *sent {
	c, period := s.sent[key], now.UnixNano()/int64(key.window)
	if c == nil && make && s.room(d, key, 0, sentCost) {
		if s.sent == nil {
			s.sent = map[sentKey]*sent{}
		}
		c = newSent(period, now)
		s.sent[key] = c
	}
	if c != nil && c.period < period { // a clock that is set back begins no new window
		d.room.used.Add(-c.tiles.bytes())
		*c = *newSent(period, now)
	}
	return c
}

const sentCost = 256 // bytes for an entry in the map, about

// fits reports whether contents are few enough, and those that were sent already always are.
func (c *sent) fits(what *contents, most int) bool {
	left := most
	if c != nil {
		left -= c.n()
	}
	if what.n > uint64(most) {
		return false
	}
	for n := range what.n {
		if c != nil && c.tiles.has(uint32(what.hash(n)>>32)) {
			continue
		}
		if left--; left < 0 {
			return false
		}
	}
	return true
}

// add adds a tile, and reports whether there was room for it.
func (s *distinctShard) add(d *distinctTiles, key sentKey, c *sent, tile uint32) bool {
	ok := s.room(d, key, c.n(), c.tiles.growth())
	if ok {
		c.tiles.add(tile)
	}
	return ok
}

// room takes memory for a caller who has been sent n tiles. Where none is left, callers of the shard are forgotten who have been sent the
// fewest: they are the farthest from their limits. Nobody gets rid of a large count by making small ones.
func (s *distinctShard) room(d *distinctTiles, key sentKey, n int, bytes int64) bool {
	const few = 64 // tiles that a caller may be ahead of a newcomer and still make room for it
	for !d.room.take(bytes) {
		least, of := n+few, sentKey{}
		for k, other := range s.sent {
			if k != key && other.n() <= least {
				least, of = other.n(), k
			}
		}
		if of.window == 0 {
			return false
		}
		s.forget(d, of)
	}
	return true
}

func (s *distinctShard) forget(d *distinctTiles, key sentKey) {
	d.room.used.Add(-s.sent[key].tiles.bytes() - sentCost)
	delete(s.sent, key)
}

// sweep forgets windows that are over, once a minute.
func (s *distinctShard) sweep(d *distinctTiles, now time.Time) {
	if now.Sub(s.swept) < time.Minute {
		return
	}
	s.swept = now
	for key, c := range s.sent {
		if c.period < now.UnixNano()/int64(key.window) {
			s.forget(d, key)
		}
	}
}

// limitTiles looks whether a caller may be sent the contents of an exchange; with take they are about to be sent.
func (p *Proxy) limitTiles(x *exchange, r *http.Request, ts *tileset, take bool) error {
	l := p.opt.Limiter
	if l == nil || x.delayed || x.contents.n == 0 || r.Method != http.MethodGet {
		return nil
	}
	limits := l.limits.Load()
	if len(limits.Distinct) == 0 {
		return nil
	}
	c := p.callerOf(x, r)
	var found []newTiles
	collect := &found
	if l.fleet == nil {
		collect = nil
	}
	wait, ok := c.kind.distinct.look(c.id, ts.ID, limits.Distinct, &x.contents, x.start, take, collect)
	l.sendTiles(c, ts.ID, found)
	if ok || x.overTiles && limits.Action == LogOnly { // in the latter case the log has named it already
		return nil
	}
	x.overTiles = true
	return l.exceed(r.Context(), distinctLimit, c, ts.ID, wait, limits, x.start.Sub(l.begun))
}

// send notes that the contents of an exchange are about to be sent, unless the caller may not have them. HEAD is sent none.
func (p *Proxy) send(x *exchange, r *http.Request, ts *tileset, edge bool) error {
	x.sent = r.Method == http.MethodGet
	if edge {
		return nil
	}
	return p.limitTiles(x, r, ts, true)
}
