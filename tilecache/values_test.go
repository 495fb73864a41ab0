package tilecache_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// directory is a value of so many bytes.
type directory []byte

func (d directory) Size() int64 { return int64(len(d)) }

func valueKey(offset int64) tilecache.ValueKey {
	return tilecache.ValueKey{Tileset: "roads", Generation: 1, Offset: offset}
}

// loading returns a Load of a value of size bytes, and how often it was called.
func loading(size int) (tilecache.Load, *atomic.Int32) {
	var calls atomic.Int32
	return func(_ context.Context, reserve func(int64) error) (tilecache.Value, error) {
		calls.Add(1)
		if err := reserve(int64(3 * size)); err != nil {
			return nil, err
		}
		return make(directory, size), nil
	}, &calls
}

func TestValueIsLoadedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		before := c.Stats().Bytes
		release := make(chan struct{})
		load, calls := loading(10_000)
		slow := func(ctx context.Context, reserve func(int64) error) (tilecache.Value, error) {
			<-release
			return load(ctx, reserve)
		}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				v, err := c.Value(t.Context(), valueKey(0), slow)
				if err != nil || v.Size() != 10_000 {
					t.Errorf("got %v, error %v", v, err)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
		check(t, "loads", calls.Load(), 1)
		check(t, "values", c.Stats().Values, 1)
		if took := c.Stats().Bytes - before; took < 10_000 || took > 11_000 {
			t.Errorf("%d bytes are counted for 10,000", took)
		}
		v, err := c.Value(t.Context(), valueKey(0), nil)
		if err != nil || v.Size() != 10_000 {
			t.Errorf("a held one: got %v, error %v", v, err)
		}
	})
}

func TestValueThatNobodyWaitsForIsNotLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		ctx, leave := context.WithCancel(t.Context())
		var left atomic.Bool
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				_, err := c.Value(ctx, valueKey(0), func(ctx context.Context, _ func(int64) error) (tilecache.Value, error) {
					<-ctx.Done()
					left.Store(true)
					return nil, ctx.Err()
				})
				checkErr(t, "who left", err, context.Canceled)
			})
		}
		synctest.Wait()
		leave()
		all.Wait()
		synctest.Wait()
		check(t, "the load ended", left.Load(), true)
		load, calls := loading(100)
		_, err := c.Value(t.Context(), valueKey(0), load)
		checkErr(t, "the next one", err, nil)
		check(t, "its load", calls.Load(), 1)
	})
}

func TestFailedValueAnswersForHalfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		var calls int
		failing := func(context.Context, func(int64) error) (tilecache.Value, error) {
			calls++
			return nil, errDown
		}
		for range 5 {
			_, err := c.Value(t.Context(), valueKey(0), failing)
			checkErr(t, "a failing load", err, errDown)
		}
		check(t, "loads", calls, 1)
		bubble.Advance(500 * time.Millisecond)
		_, err := c.Value(t.Context(), valueKey(0), failing)
		checkErr(t, "later", err, errDown)
		check(t, "loads later", calls, 2)
		for range 3 {
			_, err = c.Value(t.Context(), valueKey(1), func(context.Context, func(int64) error) (tilecache.Value, error) {
				calls++
				return nil, tile.ErrChanged
			})
			checkErr(t, "a changed one", err, tile.ErrChanged)
		}
		check(t, "loads, as a change is not remembered", calls, 5)
	})
}

// An outage makes many directories of an archive fail at a time: asking for them in turn does not ask S3 in turn.
func TestManyFailedValuesAnswerForHalfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, tilecache.Options{Memory: 32 << 20, MaxObject: 1 << 20})
		calls := 0
		for range 5 {
			for leaf := range int64(100) {
				_, err := c.Value(t.Context(), valueKey(leaf), func(context.Context, func(int64) error) (tilecache.Value, error) {
					calls++
					return nil, errDown
				})
				checkErr(t, "a failing load", err, errDown)
			}
		}
		check(t, "loads of 100 that fail, asked for five times", calls, 100)
	})
}

func TestPanicAndGoexitOfALoadAreErrors(t *testing.T) {
	c := newCache(t, small)
	before := c.Stats().Bytes
	for i, load := range []tilecache.Load{
		func(_ context.Context, reserve func(int64) error) (tilecache.Value, error) {
			_ = reserve(50_000)
			panic("by the test")
		},
		func(_ context.Context, reserve func(int64) error) (tilecache.Value, error) {
			_ = reserve(50_000)
			runtime.Goexit()
			return nil, nil
		},
		func(context.Context, func(int64) error) (tilecache.Value, error) { return nil, nil },
	} {
		if _, err := c.Value(t.Context(), valueKey(int64(i)), load); err == nil {
			t.Errorf("load %d: got no error", i)
		}
	}
	check(t, "bytes that stay reserved", c.Stats().Bytes, before)
}

// Tiles push out values that nobody asks for, and not those that are asked for.
func TestValuesAreEvictedByUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		for i := range int64(4) {
			load, _ := loading(50_000)
			_, err := c.Value(t.Context(), valueKey(i), load)
			checkErr(t, "Value", err, nil)
		}
		tiles := uint32(0)
		scan := func() {
			for range 20 {
				look(t, c, keyOf(tiles), day, hundredK())
				tiles++
			}
		}
		scan()
		check(t, "values that were asked for of late", c.Stats().Values, 4)
		bubble.Advance(9 * time.Minute)
		if _, err := c.Value(t.Context(), valueKey(2), nil); err != nil {
			t.Fatal(err)
		}
		bubble.Advance(time.Minute)
		scan()
		check(t, "values after ten minutes", c.Stats().Values, 1)
		if _, err := c.Value(t.Context(), valueKey(2), nil); err != nil {
			t.Errorf("the one that was asked for: %v", err)
		}
	})
}

// Values never take more than half of the budget, and give way to a tile that needs the room.
func TestValuesTakeHalfOfTheBudgetAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		for i := range int64(30) {
			load, _ := loading(50_000)
			_, err := c.Value(t.Context(), valueKey(i), load)
			checkErr(t, "Value", err, nil)
		}
		if n := c.Stats().Values; n < 8 || n > 10 {
			t.Errorf("%d values of 50,000 bytes are held in 1 MiB", n)
		}
		open := fillWith(t, c, nil) // tiles that cannot be evicted
		if n := c.Stats().Values; n > 1 {
			t.Errorf("%d values are held while tiles wait for room", n)
		}
		load, _ := loading(50_000)
		_, err := c.Value(t.Context(), valueKey(100), load)
		checkErr(t, "no room for a value", err, tilecache.ErrOverloaded)
		for _, tl := range open {
			tl.Close()
		}
		_, err = c.Value(t.Context(), valueKey(100), load)
		checkErr(t, "room for it", err, nil)
	})
}

func TestLargeValueIsReturnedAndNotKept(t *testing.T) {
	c := newCache(t, small)
	before := c.Stats().Bytes
	v, err := c.Value(t.Context(), valueKey(0), func(context.Context, func(int64) error) (tilecache.Value, error) {
		return make(directory, c.LargestValue()+1), nil
	})
	if err != nil || v.Size() != c.LargestValue()+1 {
		t.Errorf("got error %v", err)
	}
	check(t, "values", c.Stats().Values, 0)
	check(t, "bytes", c.Stats().Bytes, before)
}

func TestPurgeForgetsValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		load, calls := loading(100)
		_, err := c.Value(t.Context(), valueKey(0), load)
		checkErr(t, "Value", err, nil)
		other := valueKey(0)
		other.Tileset = "basemap"
		_, err = c.Value(t.Context(), other, load)
		checkErr(t, "Value", err, nil)

		release := make(chan struct{})
		got := make(chan error)
		go func() {
			_, err := c.Value(t.Context(), valueKey(7), func(ctx context.Context, reserve func(int64) error) (tilecache.Value, error) {
				<-release
				return load(ctx, reserve)
			})
			got <- err
		}()
		synctest.Wait()
		purge(t, c, "roads")
		close(release)
		checkErr(t, "who waited during the purge", <-got, nil)
		check(t, "values of other tilesets", c.Stats().Values, 1)
		_, err = c.Value(t.Context(), valueKey(7), load)
		checkErr(t, "Value", err, nil)
		check(t, "loads", calls.Load(), 4)
	})
}

func TestCloseEndsLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		got := make(chan error)
		go func() {
			_, err := c.Value(context.Background(), valueKey(0), func(ctx context.Context, _ func(int64) error) (tilecache.Value, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			got <- err
		}()
		synctest.Wait()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		checkErr(t, "who waited", <-got, tilecache.ErrClosed)
		_, err := c.Value(t.Context(), valueKey(0), nil)
		checkErr(t, "afterwards", err, tilecache.ErrClosed)
	})
}

// All tiles of an archive are as fresh as the archive, and none of them is refreshed by itself.
func TestTilesAreAsFreshAsTheirArchive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		o := newOrigin(t, func(_ context.Context, _ int, _ tile.Condition) (*tile.Object, error) {
			return object([]byte("tile")), nil
		})
		missing := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) { return nil, tile.ErrMissing })
		key, absent := keyOf(1), keyOf(2)
		key.Generation, absent.Generation = 9, 9
		p := day
		p.Validated = time.Now()
		look(t, c, key, p, o.fetch)
		_, _, err := c.Get(t.Context(), absent, p, missing.fetch)
		checkErr(t, "an absence", err, tile.ErrMissing)
		for n := range 5 {
			bubble.Advance(20 * time.Hour)
			p.Validated = time.Now().Add(-time.Hour)
			st, _ := look(t, c, key, p, o.fetch)
			check(t, "state", st, tilecache.Status{State: tilecache.Hit, TTL: 23 * time.Hour})
			_, st, err := c.Get(t.Context(), absent, p, missing.fetch)
			checkErr(t, "the absence", err, tile.ErrMissing)
			check(t, "its state", st, tilecache.Status{State: tilecache.Hit, TTL: 23 * time.Hour})
			if n == 4 {
				p.Validated = time.Now().Add(-30 * time.Hour)
				st, _ = look(t, c, key, p, o.fetch)
				check(t, "state of a stale archive's", st, tilecache.Status{State: tilecache.Stale, TTL: -6 * time.Hour})
			}
		}
		synctest.Wait()
		check(t, "fetches of the tile", o.calls(), 1)
		check(t, "fetches of the absence", missing.calls(), 1)
		key.Generation = 10
		look(t, c, key, p, o.fetch)
		check(t, "fetches for another generation", o.calls(), 2)
	})
}

// Only a tile of an archive may be told that it has changed without having said from what.
func TestChangedAnswersAreForArchivesAlone(t *testing.T) {
	c := newCache(t, small)
	changed := func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) { return nil, tile.ErrChanged }
	key := keyOf(1)
	_, _, err := c.Get(t.Context(), key, day, changed)
	if errors.Is(err, tile.ErrChanged) {
		t.Error("an unconditional fetch was told that the object has changed")
	}
	key.Generation = 3
	_, _, err = c.Get(t.Context(), key, day, changed)
	checkErr(t, "a tile of an archive", err, tile.ErrChanged)
}
