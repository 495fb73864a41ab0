package tilecache

// bytesACounter relates the budget to the sketch: one counter a row for this many bytes, so that the
// sketch costs a 512th of the budget and has a counter for each tile of a kilobyte.
const bytesACounter = 1 << 10

// sketch estimates how often each key was asked for lately: a count-min sketch with four rows of
// 4-bit counters, all of a key's in one cache line, halved now and then so that it forgets
// (Einziger, Friedman, Manes: TinyLFU, 2017).
type sketch struct {
	words []uint64 // 16 counters each; 8 words are a block
	mask  uint64   // number of blocks - 1
	added int
	every int // halve after as many additions
}

const (
	countersABlock = 8 * 16
	requestsATile  = 8
)

func (s *sketch) init(counters int64) {
	blocks := uint64(1)
	for int64(blocks*2*countersABlock) <= counters*4 {
		blocks *= 2
	}
	s.words = make([]uint64, blocks*8)
	s.mask = blocks - 1
	s.sizeFor(0)
}

// sizeFor makes the sketch forget in step with the number of tiles held. A longer memory ranks them
// better while the map is used as it was, a shorter one finds its way sooner when that changes; in
// TestAdmission's traces eight requests a tile is near the best in both.
func (s *sketch) sizeFor(tiles int) {
	s.every = max(requestsATile*tiles, 4*len(s.words))
}

// at returns where row's counter for hash is. The shard has used up the hash's leading bits.
func (s *sketch) at(hash uint64, row uint) (word uint64, shift uint) {
	h := hash * 0x9E3779B97F4A7C15 >> (row * 8) // the golden ratio: spreads what the block's choice left
	return (hash&s.mask)<<3 + uint64(row)<<1 + h>>24&1, uint(h>>28&15) << 2
}

func (s *sketch) add(hash uint64) {
	grew := false
	for row := range uint(4) {
		i, shift := s.at(hash, row)
		if s.words[i]>>shift&15 < 15 {
			s.words[i] += 1 << shift
			grew = true
		}
	}
	if !grew {
		return
	}
	if s.added++; s.added >= s.every {
		s.halve()
	}
}

func (s *sketch) estimate(hash uint64) uint64 {
	least := uint64(15)
	for row := range uint(4) {
		i, shift := s.at(hash, row)
		least = min(least, s.words[i]>>shift&15)
	}
	return least
}

func (s *sketch) halve() {
	for i, w := range s.words {
		s.words[i] = w >> 1 & 0x7777777777777777
	}
	s.added /= 2
}
