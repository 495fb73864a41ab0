package tilecache

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"sync"
	"time"

	"tilegate/internal/tile"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// Values that nobody asked for in this time make room before any tile does.
	valueIdle = 10 * time.Minute
	// All values together take no more than this part of the budget, and one of them no more than largestValueShare.
	valueShare        = 2
	largestValueShare = 4
	// valueCost is what a value takes beside itself: its key, its places in the map and in the order of use.
	valueCost = 320
	// Failed loads remembered at once, for failurePause, in a large cache; one for each valueFailureShare bytes in a small one.
	// Where more fail at a time, as in an outage with many leaves asked for, what is remembered of each tile bounds the
	// requests, as it does without archives.
	mostValueFailures, leastValueFailures = 128, 8
	valueFailureShare                     = 256 << 10
)

// Value is something that was decoded, such as a directory of an archive, and that the budget counts. It is immutable.
type Value interface {
	Size() int64 // what it takes in memory, in bytes
}

// ValueKey names a Value.
type ValueKey struct {
	Tileset    string
	Generation uint64 // as in tile.Key: of the archive that the value is a part of
	Part       uint8  // which kind of part, in its owner's numbers
	Offset     int64  // where the part begins in the archive, in bytes
}

// Load makes a Value. It calls reserve for the bytes that it is going to take, before it takes them, and returns
// reserve's error if there is one. What it reserved and the value does not take is given back when it returns. When
// ctx ends, it must return promptly.
type Load func(ctx context.Context, reserve func(n int64) error) (Value, error)

// values holds Values beside the tiles, within the same budget.
type values struct {
	mu       sync.Mutex // the budget's lock may be taken while it is held
	held     map[ValueKey]*heldValue
	order    list.List // of *heldValue, the most recently used first
	loads    map[ValueKey]*valueLoad
	failures *simplelru.LRU[ValueKey, failure]
	bytes    int64
	closed   bool
}

type heldValue struct {
	key   ValueKey
	value Value
	cost  int64
	used  int64 // when it was last asked for
	place *list.Element
}

// valueLoad is the one load of a value, for all who wait.
type valueLoad struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	waiters int           // guarded by values.mu
	done    chan struct{} // closed once value or err is there
	value   Value
	err     error
}

// valueFailures is how many failed loads a cache of that memory remembers.
func valueFailures(memory int64) int {
	return int(min(max(memory/valueFailureShare, leastValueFailures), mostValueFailures))
}

func (v *values) init(memory int64) {
	v.held = map[ValueKey]*heldValue{}
	v.loads = map[ValueKey]*valueLoad{}
	v.failures = newLRU[ValueKey, failure](valueFailures(memory), nil)
}

// LargestValue is the most that one value may take, in bytes. A larger one is returned, but not kept.
func (c *Cache) LargestValue() int64 { return c.opts.Memory / largestValueShare }

// Value returns what is held under key, or loads it. All concurrent calls share one load, which belongs to none of them:
// ctx ends this call's wait alone. A value is evicted like a tile, and may then still be in use.
//
// Errors: what load failed with, also for those who ask within half a second after it; ErrClosed, or ctx's own.
func (c *Cache) Value(ctx context.Context, key ValueKey, load Load) (Value, error) {
	v, now := &c.values, c.now()
	v.mu.Lock()
	if h := v.held[key]; h != nil {
		h.used = now
		v.order.MoveToFront(h.place)
		v.mu.Unlock()
		return h.value, nil
	}
	l := v.loads[key]
	if l == nil {
		var err error
		if failed, ok := v.failures.Get(key); ok && now-failed.at < int64(failurePause) {
			err = failed.err
		} else if v.closed {
			err = ErrClosed
		} else if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			v.mu.Unlock()
			return nil, err
		}
		l = c.beginValue(key, load)
	}
	l.waiters++
	v.mu.Unlock()

	select {
	case <-l.done:
		return l.value, l.err
	case <-ctx.Done():
	}
	v.mu.Lock()
	if l.waiters--; l.waiters == 0 {
		if v.loads[key] == l {
			delete(v.loads, key) // whoever comes now needs a load that lives
		}
		l.cancel(errAbandoned)
	}
	v.mu.Unlock()
	return nil, context.Cause(ctx)
}

// beginValue starts the one load of key. The values are locked.
func (c *Cache) beginValue(key ValueKey, load Load) *valueLoad {
	l := &valueLoad{done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(c.ctx)
	c.values.loads[key] = l
	c.fills.Add(1)
	go func() {
		defer c.fills.Done()
		var reserved int64
		l.err = errEnded // what remains if load calls runtime.Goexit
		defer func() {
			c.endValue(key, l, reserved)
			l.cancel(nil)
		}()
		l.value, l.err = c.loadValue(key, l, load, &reserved)
	}()
	return l
}

// loadValue calls load, and reserves what the value costs.
func (c *Cache) loadValue(key ValueKey, l *valueLoad, load Load, reserved *int64) (value Value, err error) {
	defer func() {
		if r := recover(); r != nil {
			value, err = nil, errPanicked
			c.stats.Panics.Add(1)
			c.opts.Logger.Error("panic while a part of an archive was read", "tileset", key.Tileset, "part", key.Part,
				"offset", key.Offset, "panic", r, "stack", string(debug.Stack()))
		}
	}()
	hash, maxWait := maphash.Comparable(c.seed, key), c.opts.Wait
	reserve := func(n int64) error {
		err := c.reserve(l.ctx, hash, n, &maxWait)
		if err == nil {
			*reserved += n
		}
		return err
	}
	value, err = load(l.ctx, reserve)
	switch {
	case l.ctx.Err() != nil:
		return nil, context.Cause(l.ctx)
	case err != nil:
		return nil, err
	case value == nil:
		return nil, fmt.Errorf("tilecache: part %d of %q was loaded without a value", key.Part, key.Tileset)
	}
	if missing := value.Size() + valueCost - *reserved; missing > 0 {
		if err := reserve(missing); err != nil {
			return nil, err
		}
	}
	return value, nil
}

// endValue keeps what was loaded, or remembers why it was not, gives back what it does not take, and answers all who wait.
func (c *Cache) endValue(key ValueKey, l *valueLoad, reserved int64) {
	v := &c.values
	v.mu.Lock()
	surplus := reserved
	current := v.loads[key] == l // else abandoned or purged
	if current {
		delete(v.loads, key)
	}
	switch {
	case !current:
	case l.err != nil:
		if !errors.Is(l.err, tile.ErrChanged) && !errors.Is(l.err, ErrOverloaded) && !errors.Is(l.err, ErrClosed) {
			v.failures.Add(key, failure{err: l.err, at: c.now()})
		}
	case l.value.Size() <= c.LargestValue():
		h := &heldValue{key: key, value: l.value, cost: l.value.Size() + valueCost, used: c.now()}
		h.place = v.order.PushFront(h)
		v.held[key] = h
		v.bytes += h.cost
		c.room.evictable.Add(h.cost)
		surplus -= h.cost
		for v.bytes > c.opts.Memory/valueShare {
			surplus += v.drop(c, v.order.Back().Value.(*heldValue))
		}
	}
	v.mu.Unlock()
	c.room.release(surplus)
	close(l.done)
}

// drop forgets a value and returns the bytes to release. The values are locked.
func (v *values) drop(c *Cache, h *heldValue) int64 {
	delete(v.held, h.key)
	v.order.Remove(h.place)
	v.bytes -= h.cost
	c.room.evictable.Add(-h.cost)
	return h.cost
}

// evictValue forgets the value that was not asked for the longest, if that is idle nanoseconds or more, and reports
// whether there was one.
func (c *Cache) evictValue(idle int64) bool {
	v := &c.values
	v.mu.Lock()
	oldest := v.order.Back()
	if oldest == nil || c.now()-oldest.Value.(*heldValue).used < idle {
		v.mu.Unlock()
		return false
	}
	freed := v.drop(c, oldest.Value.(*heldValue))
	v.mu.Unlock()
	c.room.release(freed)
	return true
}

// purge forgets a tileset's values. Those of one generation of an archive never change, so that a soft purge, or one of some
// tiles, leaves them. Loads under way reach those who wait, and are not kept.
func (v *values) purge(c *Cache, tileset string) {
	v.mu.Lock()
	var freed int64
	for key, h := range v.held {
		if key.Tileset == tileset {
			freed += v.drop(c, h)
		}
	}
	for key := range v.loads {
		if key.Tileset == tileset {
			delete(v.loads, key)
		}
	}
	for _, key := range v.failures.Keys() {
		if key.Tileset == tileset {
			v.failures.Remove(key)
		}
	}
	v.mu.Unlock()
	c.room.release(freed)
}
