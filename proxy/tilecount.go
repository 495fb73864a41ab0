package proxy

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// room is memory that several counts share.
type room struct {
	used atomic.Int64 // bytes
	max  int64
}

// take reserves memory, or reports that there is none left.
func (r *room) take(bytes int64) bool {
	if bytes > 0 && r.used.Add(bytes) > r.max {
		r.used.Add(-bytes)
		return false
	}
	return true
}

// tileSet is a set of tiles, by 32 bits of their hashes: of a hundred thousand tiles one is taken for another, about.
type tileSet struct {
	slots []uint32 // a power of two of them, with linear probing; 0 is empty
	n     int
}

const firstSlots = 32

func (s *tileSet) bytes() int64 { return 4 * int64(len(s.slots)) }

// growth is how many bytes more the set takes with another tile.
func (s *tileSet) growth() int64 {
	switch {
	case len(s.slots) == 0:
		return 4 * firstSlots
	case s.n >= len(s.slots)/4*3:
		return s.bytes()
	}
	return 0
}

// slot returns the place of a tile, or the one that it would have.
func (s *tileSet) slot(tile uint32) *uint32 {
	mask := uint32(len(s.slots) - 1)
	for i := tile & mask; ; i = (i + 1) & mask {
		if at := &s.slots[i]; *at == tile || *at == 0 {
			return at
		}
	}
}

func (s *tileSet) has(tile uint32) bool {
	return len(s.slots) > 0 && *s.slot(max(tile, 1)) != 0
}

func (s *tileSet) add(tile uint32) {
	tile = max(tile, 1) // 0 is empty
	if s.growth() > 0 {
		old := s.slots
		s.slots = make([]uint32, max(firstSlots, 2*len(old)))
		for _, t := range old {
			if t != 0 {
				*s.slot(t) = t
			}
		}
	}
	if at := s.slot(tile); *at == 0 {
		*at = tile
		s.n++
	}
}

// sketch counts different tiles in 16 KiB, with a standard error of 0.8 %: a HyperLogLog of 2^14 registers (Flajolet, Fusy, Gandouet and
// Meunier, 2007), with the estimator of Ertl, New cardinality estimation algorithms for HyperLogLog sketches, 2017, algorithm 6.
type sketch [1 << sketchBits]uint8

const sketchBits = 14

func (s *sketch) add(hash uint64) {
	register := &s[hash>>(64-sketchBits)]
	*register = max(*register, uint8(bits.LeadingZeros64(hash<<sketchBits|1<<(sketchBits-1))+1))
}

func (s *sketch) count() int {
	const most = 64 - sketchBits // leading zeros that are told apart
	var of [most + 2]int
	for _, register := range s {
		of[register]++
	}
	m := float64(len(s))
	z := m * tau(1-float64(of[most+1])/m)
	for k := most; k >= 1; k-- {
		z = 0.5 * (z + float64(of[k]))
	}
	z += m * sigma(float64(of[0])/m)
	return int(math.Round(m * m / (2 * math.Ln2) / z))
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		before := z
		z += x * y
		y += y
		if z == before {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		before := z
		y *= 0.5
		z -= (1 - x) * (1 - x) * y
		if z == before {
			return z / 3
		}
	}
}

// tileCount counts different tiles: exactly as long as they are few.
type tileCount struct {
	few  tileSet
	many *sketch
}

const maxFew = 3072 // then a sketch is smaller

func (c *tileCount) bytes() int64 {
	if c.many != nil {
		return int64(len(c.many))
	}
	return c.few.bytes()
}

// growth is how many bytes more it takes with another tile.
func (c *tileCount) growth() int64 {
	switch {
	case c.many != nil:
		return 0
	case c.few.n >= maxFew:
		return int64(len(sketch{})) - c.few.bytes()
	}
	return c.few.growth()
}

func (c *tileCount) add(hash uint64) {
	if c.many == nil && c.few.n < maxFew {
		c.few.add(uint32(hash >> 32))
		return
	}
	if c.many == nil {
		c.many = &sketch{}
		for _, tile := range c.few.slots {
			if tile != 0 {
				c.many.add(spread(tile))
			}
		}
		c.few = tileSet{}
	}
	c.many.add(spread(uint32(hash >> 32)))
}

// spread makes 64 bits of those that a tileSet keeps, so that a tile is the same in a sketch whenever it comes.
func spread(tile uint32) uint64 { return mix(uint64(max(tile, 1))) }

func (c *tileCount) count() int {
	if c.many != nil {
		return c.many.count()
	}
	return c.few.n
}
