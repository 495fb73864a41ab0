package tilecache

// The shares of a ranking's lists, and how fast its sketch forgets. What was measured for each stands in
// docs/performance.md.
const (
	// The window is this part of a ranking's bytes. A larger one serves tiles that are asked for again at once,
	// but takes room from those that are asked for regularly.
	windowShare = 50
	// The protected list takes four fifths of what a ranking holds at most, as in the paper on W-TinyLFU.
	protectedPart, protectedOf = 4, 5
	// After as many requests as this for each tile that is held, the sketch halves its counters. A longer memory
	// ranks tiles better; what is asked for may change all the same, because the tuner notices that.
	requestsATile = 20
	// The sketch has a counter in each row for this many bytes, so it takes at most a 128th of the budget.
	bytesACounter = 256
	// How many old tiles an eviction passes over at most because they are asked for more often than the young one.
	maxPassedOver = 8
	// As long as this part of the budget is unused, tiles leave the window without a contest.
	slackShare = 16
	// So many slots are not worth giving back.
	fewSlots = 1024
	// How many tiles go from one list to another without a contest in one eviction at most, which bounds its time.
	maxMoved = 256
)

// A tile's list. A tile begins in the window. It goes to probation when it has more requests than what must leave for
// it, and to protected when it is asked for there.
const (
	inWindow = iota
	inProbation
	inProtected
	lists
	unused // the slot is free
)

// ranking says which tile should make room next. It is W-TinyLFU (Einziger, Friedman, Manes: "TinyLFU: A Highly
// Efficient Cache Admission Policy", 2017) for tiles of different sizes (the rule AV of Einziger, Eytan, Friedman,
// Manes: "Lightweight Robust Size Aware Cache Management", 2022). It knows tiles by their hashes and holds no
// bytes of theirs, so that a shard and the tuner's miniature of the cache use the same code. Whoever owns a
// ranking guards it with a lock of its own.
//
// The slots are linked by their indexes: there are no pointers for the garbage collector to follow.
type ranking struct {
	slots     []slot
	free      uint32 // the first of a chain of unused slots; 0 is none
	index     map[uint64]uint32
	bytes     [lists]int64
	count     [lists]int
	frequency sketch
	window    int64 // the most bytes in the window when there is no free room
	large     int64 // bytes in the window of tiles that are large for it

	// growing is true while tiles leave the window without a contest, because there is free room or because the
	// tiles that would have to leave are stale.
	growing bool
}

// slot is a tile's place. The first slots are the ends of the lists.
type slot struct {
	hash       uint64
	used       uint64 // the tuner's time when the tile was last asked for
	added      uint64 // and when it came
	cost       int64
	prev, next uint32 // in the list: the one used earlier, and later
	list       uint8
	large      bool // it takes a good part of the window
}

// init makes an empty ranking for tiles of capacity bytes together, with room for as many as are expected.
func (r *ranking) init(capacity int64, expected int) {
	r.window = capacity / windowShare
	r.frequency.init(capacity / bytesACounter)
	r.clear(expected)
}

// clear forgets all tiles.
func (r *ranking) clear(expected int) {
	r.index = make(map[uint64]uint32, expected)
	r.slots = make([]slot, lists, lists+expected)
	for end := range r.slots {
		r.slots[end] = slot{prev: uint32(end), next: uint32(end), list: unused}
	}
	r.free, r.large, r.bytes, r.count = 0, 0, [lists]int64{}, [lists]int{}
}

// sparse reports whether most slots are unused, as when large tiles have taken the place of small ones.
func (r *ranking) sparse() bool { return len(r.slots) > fewSlots && len(r.slots) > 4*r.tiles() }

// compact gives back the unused slots. It returns where the tile of each slot was before.
func (r *ranking) compact() (from []uint32) {
	before := r.slots
	r.clear(r.tiles())
	from = make([]uint32, lists)
	for list := range uint8(lists) {
		for old := before[list].next; old >= lists; old = before[old].next {
			at := uint32(len(r.slots))
			r.slots = append(r.slots, before[old])
			r.index[before[old].hash] = at
			r.put(at, list)
			from = append(from, old)
		}
	}
	return from
}

func (r *ranking) tiles() int { return r.count[inWindow] + r.count[inProbation] + r.count[inProtected] }

func (r *ranking) total() int64 {
	return r.bytes[inWindow] + r.bytes[inProbation] + r.bytes[inProtected]
}

// oldest returns the least recently used tile of a list.
func (r *ranking) oldest(list uint8) (at uint32, ok bool) {
	at = r.slots[list].next
	return at, at >= lists
}

// put links a slot as the most recently used of a list.
func (r *ranking) put(at uint32, list uint8) {
	s, end := &r.slots[at], uint32(list)
	s.list, s.next, s.prev = list, end, r.slots[end].prev
	r.slots[s.prev].next, r.slots[end].prev = at, at
	r.bytes[list] += s.cost
	r.count[list]++
	if s.large = list == inWindow && s.cost > r.window/4; s.large {
		r.large += s.cost
	}
}

func (r *ranking) take(at uint32) {
	s := &r.slots[at]
	r.slots[s.prev].next, r.slots[s.next].prev = s.next, s.prev
	r.bytes[s.list] -= s.cost
	r.count[s.list]--
	if s.large {
		r.large -= s.cost
	}
}

func (r *ranking) move(at uint32, list uint8) {
	r.take(at)
	r.put(at, list)
}

// add makes a tile that is not there the most recently used of the window.
func (r *ranking) add(hash uint64, cost int64, now uint64) (at uint32) {
	if at = r.free; at != 0 {
		r.free = r.slots[at].next
	} else {
		at = uint32(len(r.slots))
		r.slots = append(r.slots, slot{})
	}
	r.slots[at] = slot{hash: hash, cost: cost, used: now, added: now}
	r.index[hash] = at
	r.put(at, inWindow)
	r.frequency.sizeFor(r.tiles())
	return at
}

func (r *ranking) remove(at uint32) {
	r.take(at)
	delete(r.index, r.slots[at].hash)
	r.slots[at] = slot{list: unused, next: r.free}
	r.free = at
}

// use notes that a tile was asked for at the tuner's time now.
func (r *ranking) use(at uint32, now uint64) {
	s := &r.slots[at]
	s.used = now
	if s.list == inWindow {
		r.move(at, inWindow)
		return
	}
	r.move(at, inProtected)
}

// demote brings the protected list back to its size. Evictions do that, so that hits need not.
func (r *ranking) demote() {
	for range maxMoved {
		old, ok := r.oldest(inProtected)
		if !ok || r.bytes[inProtected]*protectedOf <= r.total()*protectedPart {
			return
		}
		r.move(old, inProbation)
	}
}

// grow lets tiles leave the window without a contest until it has its size; incoming are the bytes that are to
// come into it.
func (r *ranking) grow(incoming int64) {
	for range maxMoved {
		if !r.growing || r.bytes[inWindow]+incoming <= r.window || r.count[inWindow] < 2 {
			return
		}
		young, _ := r.oldest(inWindow)
		r.move(young, inProbation)
	}
}

// victim returns the tile that should make room. Tiles that were last used before the tuner's time stale go first,
// the least recently used of all before the others. Otherwise, when the window with the incoming bytes is larger
// than it should be, its oldest tile has to leave: it takes the place of old tiles if it was asked for more often
// than all of them together, or else it is the victim. So a scraper that walks through a map, asking for each tile
// once, does not get beyond the window.
func (r *ranking) victim(stale uint64, incoming int64) (at uint32, ok bool) {
	if at, ok := r.leastRecent(stale); ok {
		r.growing = true
		return at, true
	}
	// Many fills at once take room from all lists, and leave it to the window. It gives the room back.
	r.growing = r.growing || r.bytes[inWindow]-r.large > 2*r.window
	r.grow(incoming)
	r.growing = false
	r.demote()
	young, hasYoung := r.oldest(inWindow)
	old, hasOld := r.oldest(inProbation)
	if !hasOld {
		old, hasOld = r.oldest(inProtected)
	}
	switch {
	case !hasOld:
		return young, hasYoung
	case !hasYoung:
		return old, true
	case r.bytes[inWindow]+incoming <= r.window/2:
		return r.weaker(young, old), true
	case r.wins(young, old):
		r.move(young, inProbation)
		return old, true
	}
	// The next young tile meets another old one. Without this, one tile that was asked for often in the past would
	// keep the place of all that stand behind it.
	r.move(old, inProbation)
	return young, true
}

// weaker returns the tile that should leave when the window is small: an old one that was asked for no more often than
// the young one, among the oldest, or else the young one.
func (r *ranking) weaker(young, old uint32) uint32 {
	least := r.frequency.estimate(r.slots[young].hash)
	for range maxPassedOver {
		if r.frequency.estimate(r.slots[old].hash) <= least {
			return old
		}
		next := r.slots[old].next
		r.move(old, inProbation)
		if old = next; old < lists {
			break
		}
	}
	return young
}

// leastRecent returns the least recently used tile of all if that was before the time stale. Of tiles with the same
// time, the one in the window came last.
func (r *ranking) leastRecent(stale uint64) (at uint32, ok bool) {
	for _, list := range [...]uint8{inProbation, inProtected, inWindow} {
		if old, has := r.oldest(list); has && r.slots[old].used < stale {
			at, ok, stale = old, true, r.slots[old].used
		}
	}
	return at, ok
}

// wins reports whether the young tile was asked for more often lately than all the old ones that would have to leave
// for it. Counting all of them favors small tiles, of which more can be held.
func (r *ranking) wins(young, old uint32) bool {
	need, worth := r.slots[young].cost, r.frequency.estimate(r.slots[young].hash)
	for list := r.slots[old].list; need > 0 && r.slots[old].list == list; old = r.slots[old].next {
		estimate := r.frequency.estimate(r.slots[old].hash)
		if estimate >= worth {
			return false
		}
		worth -= estimate
		need -= r.slots[old].cost
	}
	return true
}

// sketch estimates how often each key was asked for lately. It is a count-min sketch with four rows of 4-bit counters,
// with conservative update (Estan, Varghese: "New Directions in Traffic Measurement and Accounting", 2002): only the
// lowest of a key's counters are raised, so that the many keys of a scan hardly disturb the others. All counters of
// a key are in one cache line. They are halved now and then, so that the sketch forgets.
type sketch struct {
	words []uint64 // 16 counters each; 8 words are a block
	mask  uint64   // number of blocks - 1
	added int
	every int // halve after as many additions
}

func (s *sketch) init(countersARow int64) {
	blocks := uint64(1)
	for int64(blocks*2*countersABlock) <= countersARow*4 {
		blocks *= 2
	}
	s.words = make([]uint64, blocks*8)
	s.mask = blocks - 1
	s.sizeFor(0)
}

// sizeFor makes the sketch forget in step with the number of tiles held.
func (s *sketch) sizeFor(tiles int) {
	s.every = max(requestsATile*tiles, 4*len(s.words))
}

// block is where all counters of a key are: two words for each row.
type block [8]uint64

const (
	countersABlock = 8 * 16
	largestCount   = 15
	golden         = 0x9E3779B97F4A7C15 // spreads what the choice of the block has left of the hash
)

// of returns the block of a key and what chooses the counters in it. The shard has used up the hash's leading bits.
func (s *sketch) of(hash uint64) (b *block, chosen uint64) {
	return (*block)(s.words[(hash&s.mask)<<3:]), hash * golden >> 24
}

func (b *block) at(chosen uint64, row uint) (word *uint64, shift uint64) {
	chosen >>= row * 8
	return &b[uint64(row)<<1|chosen&1], chosen >> 4 & 15 << 2
}

func (b *block) count(chosen uint64, row uint) uint64 {
	word, shift := b.at(chosen, row)
	return *word >> shift & largestCount
}

// raise adds one to a counter that is at the least.
func (b *block) raise(chosen uint64, row uint, least uint64) {
	if word, shift := b.at(chosen, row); *word>>shift&largestCount == least {
		*word += 1 << shift
	}
}

// The rows are written out, because every request comes here.

func (b *block) least(chosen uint64) uint64 {
	return min(b.count(chosen, 0), b.count(chosen, 1), b.count(chosen, 2), b.count(chosen, 3))
}

func (s *sketch) estimate(hash uint64) uint64 {
	b, chosen := s.of(hash)
	return b.least(chosen)
}

func (s *sketch) add(hash uint64) {
	b, chosen := s.of(hash)
	least := b.least(chosen)
	if least == largestCount {
		return
	}
	b.raise(chosen, 0, least)
	b.raise(chosen, 1, least)
	b.raise(chosen, 2, least)
	b.raise(chosen, 3, least)
	if s.added++; s.added >= s.every {
		s.halve()
	}
}

func (s *sketch) halve() {
	for i, w := range s.words {
		s.words[i] = w >> 1 & 0x7777777777777777
	}
	s.added /= 2
}
