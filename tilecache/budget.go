package tilecache

import (
	"cmp"
	"container/list"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A reader younger than this is not slow yet.
	slowAfter = 500 * time.Millisecond
	// How often the first in the queue looks for readers that have become slow.
	lookEvery = 100 * time.Millisecond
	// How many of the retired tiles one look compares, oldest first, to find the slowest readers.
	maxCompared = 256
	// A shard has clearly more than another when it has a part of the other's bytes more.
	fairShare = 128
)

// budget counts the bytes held, never more than limit, and lines up those who need more. A hit does
// not touch it.
type budget struct {
	limit     int64
	fixed     int64 // of used, what the cache itself takes
	used      atomic.Int64
	evictable atomic.Int64 // of used, what the shards could let go of; more than they could free, as it may be read

	waiting  atomic.Int32 // length of queue, so that release need not lock
	mu       sync.Mutex
	queue    list.List // of chan struct{}: told when it may be worth looking again
	maxQueue int
	retired  list.List // of *entry: out of the cache but still read, oldest first

	retiredBytes atomic.Int64
}

func (b *budget) init(limit, fixed int64, maxQueue int) {
	b.limit, b.fixed, b.maxQueue = limit, fixed, maxQueue
	b.used.Store(fixed)
}

// largest returns the most that one entry can cost.
func (b *budget) largest() int64 { return b.limit - b.fixed - fillCost }

func (b *budget) slack() bool { return b.used.Load() < b.limit-b.limit/slackShare }

func (b *budget) tryReserve(n int64) bool {
	for {
		used := b.used.Load()
		if used+n > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (b *budget) release(n int64) {
	b.used.Add(-n)
	b.kick()
}

// kick tells the first in the queue that there may be room now.
func (b *budget) kick() {
	if b.waiting.Load() == 0 {
		return
	}
	b.mu.Lock()
	b.kickFirst()
	b.mu.Unlock()
}

func (b *budget) kickFirst() {
	if first := b.queue.Front(); first != nil {
		select {
		case first.Value.(chan struct{}) <- struct{}{}:
		default: // told already
		}
	}
}

// reserve takes n bytes of the budget. Other tiles may have to leave the cache for that. If that is not enough, the caller waits in a queue
// for at most maxWait, from which the time is subtracted, and slow readers are cut off for the first in the queue. It returns
// ErrOverloaded or ctx's cause.
func (c *Cache) reserve(ctx context.Context, hash uint64, n int64, maxWait *time.Duration) error {
	b := &c.room
	if b.waiting.Load() == 0 && c.makeRoom(hash, n) {
		return nil
	}
	if *maxWait <= 0 {
		return ErrOverloaded
	}
	began := time.Now()
	defer func() { *maxWait -= time.Since(began) }()
	wake := make(chan struct{}, 1)
	turn := b.enqueue(wake)
	if turn == nil {
		c.stats.Overloads.Add(1)
		return ErrOverloaded
	}
	defer b.leave(turn)
	deadline := time.NewTimer(*maxWait)
	defer deadline.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		if b.isFirst(turn) {
			if c.makeRoom(hash, n) {
				return nil
			}
			c.cutSlowest(n)
		}
		select {
		case <-wake:
		case <-look.C:
		case <-deadline.C:
			c.stats.Overloads.Add(1)
			return ErrOverloaded
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// makeRoom reserves n bytes and evicts what must go for them; nothing if that cannot be enough.
func (c *Cache) makeRoom(hash uint64, n int64) bool {
	b := &c.room
	for i := 0; ; {
		if b.tryReserve(n) {
			return true
		}
		if b.used.Load()-b.evictable.Load()+n > b.limit {
			return false
		}
		switch {
		case c.evictValue(int64(valueIdle)):
		case i < len(c.shards):
			if !c.fullest((int(hash>>c.shift) + i) % len(c.shards)).evict(n) {
				i++
			}
		case !c.evictValue(0): // tiles alone were not enough
			return b.tryReserve(n)
		}
	}
}

// fullest returns the shard whose tiles have the most bytes; preferred, unless another has clearly more. The room that
// an eviction makes is for whoever comes first, so without this some shards would slowly lose their
// bytes to others.
func (c *Cache) fullest(preferred int) *shard {
	most := &c.shards[preferred]
	limit := most.held.Load()
	limit += limit / fairShare
	for i := range c.shards {
		if held := c.shards[i].held.Load(); held > limit {
			most, limit = &c.shards[i], held
		}
	}
	return most
}

func (b *budget) enqueue(wake chan struct{}) *list.Element {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue.Len() >= b.maxQueue {
		return nil
	}
	b.waiting.Add(1)
	return b.queue.PushBack(wake)
}

func (b *budget) isFirst(turn *list.Element) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queue.Front() == turn
}

func (b *budget) leave(turn *list.Element) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue.Remove(turn)
	b.waiting.Add(-1)
	b.kickFirst()
}

// retire lists e among those whose bytes only their readers hold.
func (b *budget) retire(e *entry) {
	b.mu.Lock()
	e.place = b.retired.PushBack(e)
	b.mu.Unlock()
	b.retiredBytes.Add(e.cost)
}

func (b *budget) unretire(e *entry) {
	b.mu.Lock()
	b.retired.Remove(e.place)
	b.mu.Unlock()
	b.retiredBytes.Add(-e.cost)
}

// restore takes e back from its readers, unless they have just let go or are being cut off.
func (b *budget) restore(e *entry) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.cutting {
		return false
	}
	for n := e.refs.Load(); n > 0; n = e.refs.Load() {
		if e.refs.CompareAndSwap(n, n+1) {
			b.retired.Remove(e.place)
			b.retiredBytes.Add(-e.cost)
			return true
		}
	}
	return false
}

// cutSlowest cuts off readers until n bytes are free or about to be. Bytes are free when the last
// of their readers has let go, so the tiles with the slowest readers go, each with all of its own.
func (c *Cache) cutSlowest(n int64) {
	type candidate struct {
		*entry
		rate float64
	}
	b, now := &c.room, time.Now()
	var found []candidate
	missing := b.used.Load() - b.evictable.Load() + n - b.limit

	b.mu.Lock()
	at := b.retired.Front()
	for range min(maxCompared, b.retired.Len()) {
		e, next := at.Value.(*entry), at.Next()
		if e.cutting {
			missing -= e.cost
		} else if rate, ok := e.pace(now); ok {
			found = append(found, candidate{e, rate})
		} else {
			b.retired.MoveToBack(at) // so that the next look sees others
		}
		at = next
	}
	slices.SortStableFunc(found, func(x, y candidate) int { return cmp.Compare(x.rate, y.rate) })
	for i := range found {
		if missing <= 0 {
			found = found[:i]
			break
		}
		found[i].cutting = true
		missing -= found[i].cost
	}
	b.mu.Unlock()

	for _, f := range found {
		c.stats.CutReaders.Add(f.cut())
	}
}

// pace returns the bytes per second of the fastest reader, and whether all of them can be cut off and
// have had time to show their pace.
func (e *entry) pace(now time.Time) (fastest float64, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if int(e.refs.Load()) > len(e.readers) {
		return 0, false
	}
	for _, r := range e.readers {
		age := now.Sub(r.since)
		if age < slowAfter {
			return 0, false
		}
		fastest = max(fastest, float64(r.off)/age.Seconds())
	}
	return fastest, true
}

// cut interrupts all readers and returns how many they were. It runs under the lock that Close
// needs, so no reader is interrupted after it has closed its tile.
func (e *entry) cut() (n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.readers {
		if !r.dropped {
			r.dropped = true
			r.cut()
			n++
		}
	}
	e.broadcast()
	if e.through != nil {
		e.through.cancel()
	}
	return n
}
