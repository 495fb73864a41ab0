package tilecache

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	// Each miniature has room for this many tiles in a large cache; in a small one, what both take is bounded by
	// this part of the budget.
	maxSampled  = 2048
	sampleShare = 32
	sampledCost = 224 // a slot and its share of the map, in both miniatures, as TestTunerCost measures them
	// What a tile is taken to cost when the first sample is chosen. If tiles are smaller, the sample shrinks.
	typicalCost = 4 << 10

	// Plain LRU is followed when its miniature is ahead by one hit for this many of its tiles, but at least by
	// minLead hits, and no more when its lead has shrunk to a quarter of that. Leads are forgotten in the time
	// of as many requests as the miniature holds tiles, and are counted up to twice what is needed, those of the
	// other miniature up to half of it.
	tilesALead = 256
	minLead    = 8

	// A change is taken for proven when the requests are e^12 times as likely with it as without.
	proof = 12
	// A tile counts as new for an eighth of the time in which a miniature sees as many requests as it holds tiles.
	newFor = 8
	// Changes are only looked for while this part of the requests are hits of old tiles.
	minOldHits = 1.0 / 8
)

// tuner watches a sample of the requests on two miniatures of the cache and tells the shards which tiles are stale
// (Waldspurger, Saemundsson, Ahmad, Park: "Cache Modeling and Optimization using Miniature Simulations", 2017). The
// sample is a part of all keys, chosen by their hashes, and a miniature has the same part of the bytes, so that it
// has about the hits that the whole cache would have. One miniature ranks as the shards do, the other by
// plain LRU. There are two ways in which tiles become stale:
//
//   - What people ask for changes at once: hits of the tiles that were asked for before stop, and new tiles are asked
//     for again. Frequencies say nothing then. Tiles that were last used before the change are stale,
//     unless they are asked for again after all.
//   - Plain LRU has clearly more hits, as it does when each tile is asked for a few times within a short time and then
//     never again. All tiles are stale until that ends, so the least recently used one goes first.
//
// Its lock is taken alone, never together with a shard's.
type tuner struct {
	sampleMask atomic.Uint64 // of the hash's bits from sampleShift on: those of a sampled key are 0
	clock      atomic.Uint64 // sampled requests until now: the time that rankings know
	stale      atomic.Uint64 // tiles that were last used before this time go first

	mu       sync.Mutex
	idle     bool  // tests: plain LRU alone
	capacity int64 // the whole cache's
	most     int   // tiles in a miniature
	ranked   miniature
	lru      miniature
	lead     float64 // recent hits of lru beyond those of ranked
	followed bool    // plain LRU is

	changed  uint64 // the time of the last change; 0 when there was none, or when it turned out to be none
	oldHits  drop   // of all requests, those that hit old tiles
	oldShare drop   // of the hits, those that hit old tiles
	suspect  uint64 // since when oldHits has been falling
	before   float64
	since    int // requests since the change was noticed
	refuted  int // of these, those that hit tiles from before the change
}

const sampleShift = 32

// miniature is a ranking with a capacity of its own.
type miniature struct {
	ranking
	capacity int64
}

// drop is Page's test (CUSUM: "Continuous Inspection Schemes", 1954) of whether the probability of an event has
// fallen to a part of what it was.
type drop struct {
	to    float64 // the part
	usual float64 // the probability until now, an exponential mean
	sum   float64 // the logarithm of how much likelier what was seen is if it has fallen
	yes   float64 // what the event adds to the sum
	no    float64 // what its absence adds
	fresh int     // how many times more yes and no are used before they are computed anew
}

func (d *drop) note(event bool, horizon float64) {
	if d.fresh--; d.fresh < 0 {
		const often = 32
		d.fresh = often
		p := min(0.99, max(0.01, d.usual))
		d.yes, d.no = math.Log(d.to), math.Log((1-p*d.to)/(1-p))
	}
	if event {
		d.sum += d.yes
		d.usual += (1 - d.usual) / horizon
	} else {
		d.sum += d.no
		d.usual -= d.usual / horizon
	}
	d.sum = min(max(d.sum, 0), 1.5*proof)
}

// restart forgets what was usual.
func (d *drop) restart() { *d = drop{to: d.to} }

func (t *tuner) init(capacity int64) {
	t.capacity = capacity
	t.most = int(max(1, min(maxSampled, capacity/sampleShare/sampledCost)))
	t.oldHits.to, t.oldShare.to = 1.0/8, 1.0/3
	tiles := uint64(max(1, capacity/typicalCost))
	halvings := bits.Len64((tiles - 1) / uint64(t.most))
	for _, m := range []*miniature{&t.ranked, &t.lru} {
		m.init(capacity>>halvings, t.most)
	}
	t.lru.frequency.init(0) // plain LRU knows none
	t.sample(halvings)
}

// sample makes the sample one in 2^halvings of all keys, of which the miniatures may hold more now.
func (t *tuner) sample(halvings int) {
	t.sampleMask.Store(1<<halvings - 1)
	t.ranked.window = t.capacity >> halvings / windowShare
	t.lru.window = math.MaxInt64 // all tiles stay in the one list
	for _, m := range []*miniature{&t.ranked, &t.lru} {
		m.capacity = t.capacity >> halvings
		for hash, at := range m.index {
			if !t.samples(hash) {
				m.remove(at)
			}
		}
	}
}

// samples reports whether a key is in the sample. It needs no lock.
func (t *tuner) samples(hash uint64) bool { return hash>>sampleShift&t.sampleMask.Load() == 0 }

// saw is told of each request for a tile that is held or has just come. It needs no lock.
func (t *tuner) saw(hash uint64, cost int64) {
	if t.samples(hash) {
		t.play(hash, cost)
	}
}

// play plays a sampled request on the miniatures.
func (t *tuner) play(hash uint64, cost int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Add(1)
	if t.idle {
		return
	}
	if t.ranked.tiles() >= t.most || t.lru.tiles() >= t.most {
		t.sample(bits.Len64(t.sampleMask.Load()) + 1)
	}
	held := float64(max(32, t.ranked.tiles()))

	isNew := func(s slot) bool { return float64(now-s.added) < held/newFor }
	recent, again := t.lru.index[hash]
	ofNew := again && isNew(t.lru.slots[recent]) && t.lru.slots[recent].used == t.lru.slots[recent].added
	at, hit := t.ranked.index[hash]
	ofOld := hit && t.ranked.slots[at].list != inWindow && !isNew(t.ranked.slots[at])
	if hit && t.ranked.slots[at].used < t.changed {
		t.refuted++
	}
	t.ranked.request(hash, cost, now, t.changed)
	t.lru.request(hash, cost, now, math.MaxUint64)

	t.compare(hit, again, held)
	t.detect(ofOld, ofNew, now, held)
	if t.followed {
		t.stale.Store(math.MaxUint64)
	} else {
		t.stale.Store(t.changed)
	}
}

// request plays one request, with the eviction that it leads to.
func (m *miniature) request(hash uint64, cost int64, now, stale uint64) {
	m.frequency.add(hash)
	if at, ok := m.index[hash]; ok {
		m.use(at, now)
		return
	}
	m.growing = m.growing || m.total() < m.capacity-m.capacity/slackShare
	m.add(hash, cost, now)
	m.grow(0)
	for m.total() > m.capacity {
		at, ok := m.victim(stale, 0)
		if !ok {
			return
		}
		m.remove(at)
	}
}

// compare decides whether plain LRU is followed, after a request that was a hit of the ranked miniature, of the one by
// plain LRU, of both or of none.
func (t *tuner) compare(ranked, lru bool, held float64) {
	needed := max(minLead, held/tilesALead)
	t.lead *= 1 - 1/held
	switch {
	case lru && !ranked:
		t.lead = min(2*needed, t.lead+1)
	case ranked && !lru:
		t.lead = max(-needed/2, t.lead-1)
	}
	if t.followed {
		t.followed = t.lead >= needed/4
	} else {
		t.followed = t.lead > needed
	}
}

// detect notices a change of what people ask for. Both must have fallen: the part of the requests that hit old
// tiles, which also falls when a scraper comes, and their part of the hits, which also falls when many ask for the same
// new tiles for a while.
func (t *tuner) detect(ofOld, ofNew bool, now uint64, held float64) {
	t.oldHits.note(ofOld, held)
	if t.oldHits.sum == 0 {
		t.suspect = now
	}
	if ofOld || ofNew {
		t.oldShare.note(ofOld, held/2)
	}
	if t.oldHits.sum > proof && t.oldShare.sum > proof && t.oldHits.usual > minOldHits {
		t.changed, t.before = t.suspect, t.oldHits.usual
		t.since, t.refuted = 0, 0
		t.oldHits.restart()
		t.oldShare.restart()
	}
	// If tiles from before are still asked for, nothing has changed for good.
	if t.since++; t.changed > 0 && float64(t.refuted) > 3+float64(t.since)*t.before/4 {
		t.changed = 0
	}
}

// fixedCost is what the tuner takes of the budget.
func (t *tuner) fixedCost() int64 {
	return int64(t.most)*sampledCost + int64(len(t.ranked.frequency.words))*8
}
