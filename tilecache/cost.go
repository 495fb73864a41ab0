package tilecache

import (
	"slices"
	"unsafe"

	"tilegate/internal/tile"
)

// What the runtime needs beside a tile's own bytes, as TestCostsAreWhatTheRuntimeTakes and
// TestFillsUnderWayCostWhatTheRuntimeTakes measure it.
const (
	entryCost   = 448     // the entry, its place in the order of use, its share of the map
	absenceCost = 192     // its place in the order of use, its share of the map
	fillCost    = 8 << 10 // fill, context, channels, its goroutine's stack
	streamCost  = window + fillCost
	failureCost = 512 // an error with its text, its place in the list: an upper bound, set aside from the start
)

// sizeClasses are the sizes, in ascending order, that the runtime gives to small byte slices. A
// slice of 20,481 bytes takes 21,760: the budget counts what is taken.
type sizeClasses []int64

func newSizeClasses() (classes sizeClasses) {
	const largest = 32 << 10
	for n := 1; n <= largest; n++ {
		n = cap(append([]byte(nil), make([]byte, n)...))
		classes = append(classes, int64(n))
	}
	return classes
}

func (c sizeClasses) roundUp(n int64) int64 {
	if n <= c[len(c)-1] {
		i, _ := slices.BinarySearch(c, n)
		return c[i]
	}
	const page = 8 << 10 // the runtime's
	return (n + page - 1) &^ (page - 1)
}

// pathCost is what the path in a key takes beside what holds the key.
func (c *Cache) pathCost(key tile.Key) int64 {
	if key.Path == "" {
		return 0
	}
	return c.classes.roundUp(int64(len(key.Path)))
}

// entryCost is what obj takes of the budget when it is kept under key.
func (c *Cache) entryCost(key tile.Key, obj *tile.Object) int64 {
	cost := entryCost + c.classes.roundUp(obj.Size) + c.pathCost(key)
	if obj.ETag != "" {
		cost += c.classes.roundUp(int64(len(obj.ETag)))
	}
	if h := obj.Header; h != nil {
		// A map of groups of eight slots, a slice for each name, the strings.
		const slot = int64(unsafe.Sizeof("") + unsafe.Sizeof([]string(nil)))
		cost += 48 + (8+8*slot)*int64((len(h)+7)/8)
		for name, values := range h {
			cost += c.classes.roundUp(int64(len(name)))
			for _, v := range values {
				cost += int64(unsafe.Sizeof(v)) + c.classes.roundUp(int64(len(v)))
			}
		}
	}
	return cost
}

func (s *shard) fixedCost() int64 {
	return int64(unsafe.Sizeof(*s)) + int64(len(s.ranking.frequency.words))*8 + failuresKept*failureCost
}
