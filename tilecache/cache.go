package tilecache

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/tile"
)

// Options configure a Cache. The zero value of each field means its default.
type Options struct {
	Memory    int64            // the most bytes held, bookkeeping included; default 512 MiB
	MaxObject int64            // larger objects stream through and are not kept; default 8 MiB
	Queue     int              // fetches that may wait for room in the budget at once; default 256
	Wait      time.Duration    // how long each of them may wait; default 2 s
	Clock     func() time.Time // what freshness, pauses and backoff are told by; default time.Now
	Logger    *slog.Logger     // default: none

	// PurgeBehind purges the levels of cache behind this one; Purge calls it first. Default: there are none.
	PurgeBehind func(ctx context.Context, p tile.Purge) error

	plain bool                  // tests: least recently used alone, to measure what admission gains
	hash  func(tile.Key) uint64 // tests: the same for each run
}

func (o Options) withDefaults() Options {
	if o.Memory == 0 {
		o.Memory = 512 << 20
	}
	if o.MaxObject == 0 {
		o.MaxObject = 8 << 20
	}
	if o.Queue == 0 {
		o.Queue = 256
	}
	if o.Wait == 0 {
		o.Wait = 2 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Cache is a byte-budgeted cache of tiles; its methods may be called from any goroutine.
type Cache struct {
	opts    Options
	born    time.Time
	seed    maphash.Seed
	classes sizeClasses
	room    budget
	tuner   tuner
	shards  []shard
	values  values
	shift   uint // a hash's leading bits choose the shard

	ctx    context.Context // ends when the cache closes; every fetch's context descends from it
	cancel context.CancelCauseFunc
	fills  sync.WaitGroup

	refreshing atomic.Int32
	lastWarned atomic.Int64
	stats      rareCounts
}

// New returns an empty cache, or an error that names the option at fault.
func New(o Options) (*Cache, error) {
	o = o.withDefaults()
	if o.Memory < 0 || o.MaxObject < 0 || o.Queue < 0 || o.Wait < 0 {
		return nil, fmt.Errorf("tilecache: a negative option: memory %d, max_object %d, queue %d, wait %v",
			o.Memory, o.MaxObject, o.Queue, o.Wait)
	}
	c := &Cache{opts: o, seed: maphash.MakeSeed(), classes: newSizeClasses()}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.born = time.Now()
	if o.Clock != nil {
		c.born = o.Clock()
	}

	n, shift := shardCount(o.Memory)
	c.shift = shift
	c.shards = make([]shard, n)
	for i := range c.shards {
		c.shards[i].init(c, o.Memory/int64(n))
	}
	c.values.init(o.Memory)
	c.tuner.init(o.Memory)
	if o.plain {
		c.tuner.idle = true
		c.tuner.sampleMask.Store(0)
		c.tuner.stale.Store(math.MaxUint64)
		for i := range c.shards {
			c.shards[i].ranking.window = math.MaxInt64
		}
	}
	c.room.init(o.Memory, int64(n)*c.shards[0].fixedCost()+c.tuner.fixedCost()+int64(valueFailures(o.Memory))*failureCost, o.Queue)
	if least := c.room.used.Load() + fillCost + c.entryCost(tile.Key{}, &tile.Object{Size: o.MaxObject}); least > o.Memory {
		return nil, fmt.Errorf("tilecache: memory of %d bytes cannot hold one object of max_object, %d bytes: "+
			"it takes %d; raise memory or lower max_object", o.Memory, o.MaxObject, least)
	}
	return c, nil
}

// MaxObject returns the size of the largest object that is kept, in bytes.
func (c *Cache) MaxObject() int64 { return c.opts.MaxObject }

// now returns nanoseconds since New: only differences count here, and the runtime's own clock is
// read twice as fast as the time of day.
func (c *Cache) now() int64 {
	if c.opts.Clock == nil {
		return int64(time.Since(c.born))
	}
	return int64(c.opts.Clock().Sub(c.born))
}

func (c *Cache) shardOf(hash uint64) *shard { return &c.shards[hash>>c.shift] }

// Purge forgets what is held of a tileset, in all its versions and generations, with its values, and returns the number
// of tiles and remembered absences that this level forgot. Readers keep what they have; a fill under way still reaches
// its readers but is not kept. A soft purge marks tiles stale instead, also those under way: the next Get of each
// revalidates it, as if it had just become stale. The levels behind go first: a fill that begins meanwhile could otherwise
// bring back what they still hold. Their error is returned, and this level is purged nevertheless.
func (c *Cache) Purge(ctx context.Context, p tile.Purge) (entries int, err error) {
	if c.opts.PurgeBehind != nil {
		if err = c.opts.PurgeBehind(ctx, p); err != nil {
			err = fmt.Errorf("purge tileset %q behind the memory: %w", p.Tileset, err)
		}
	}
	return c.Forget(p), err
}

// Forget is Purge of this level alone, for those who have purged the levels behind themselves.
func (c *Cache) Forget(p tile.Purge) (entries int) {
	for i := range c.shards {
		entries += c.shards[i].purge(&p)
	}
	if p.Tiles == nil && !p.Soft {
		c.values.purge(c, p.Tileset)
	}
	return entries
}

// validated returns when the object was last known to be current, on the clock of now.
func (c *Cache) validated(o *tile.Object) int64 {
	if o.Validated.IsZero() {
		return c.now()
	}
	return c.since(o.Validated)
}

// since returns a time of day on the clock of now, and now for one that is yet to come.
func (c *Cache) since(t time.Time) int64 {
	wall := time.Now
	if c.opts.Clock != nil {
		wall = c.opts.Clock
	}
	return c.now() - max(0, int64(wall().Sub(t)))
}

// Close stops every fill, answers its waiters with ErrClosed, and waits until all have ended or ctx
// does, which is then its error. Hits are still served afterwards; fetches are not begun any more.
func (c *Cache) Close(ctx context.Context) error {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.closed = true // a fill registers under this lock, so none can begin after the loop
		s.mu.Unlock()
	}
	c.values.mu.Lock()
	c.values.closed = true
	c.values.mu.Unlock()
	c.cancel(ErrClosed)
	ended := make(chan struct{})
	go func() {
		c.fills.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tilecache: fetches still under way at the end of the wait: %w", context.Cause(ctx))
	}
}
