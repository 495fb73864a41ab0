package tilecache

import (
	"net/http"
	"slices"
	"unsafe"
)

// What the runtime needs beside a tile's own bytes; TestCostsAreWhatTheRuntimeTakes measures them.
const (
	entryCost   = 608     // entry, its place in the order of use, its share of the map
	absenceCost = 288     // place in the order of use, share of the map
	fillCost    = 8 << 10 // fill, context, channels, its goroutine's stack
	streamCost  = window + 4<<10
	failureCost = 512
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

// entryCost is what an entry of size bytes takes of the budget.
func (c *Cache) entryCost(size int64, h http.Header) int64 {
	return entryCost + c.classes.roundUp(size) + headerCost(h)
}

// headerCost is what h takes: a map of groups of eight slots, a slice for each name, the strings.
func headerCost(h http.Header) int64 {
	if h == nil {
		return 0
	}
	const slot = int64(unsafe.Sizeof("") + unsafe.Sizeof([]string(nil)))
	cost := 48 + (8+8*slot)*int64(len(h)+7)/8
	for name, values := range h {
		cost += int64(len(name)) + 16*int64(len(values))
		for _, v := range values {
			cost += int64(len(v))
		}
	}
	return cost
}

func (s *shard) fixedCost() int64 {
	return int64(unsafe.Sizeof(*s)) + int64(len(s.frequency.words))*8 + failuresKept*failureCost
}
