package tilecache_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// small is a cache with room for about ten tiles of a hundred thousand bytes.
var small = tilecache.Options{Memory: 1 << 20, MaxObject: 200_000}

func hundredK() tile.Fetch { return always(make([]byte, 100_000)) }

// fillWith opens tiles that stay open until no further one fits, and returns them.
func fillWith(t *testing.T, c *tilecache.Cache, open func(tilecache.Tile)) (tiles []tilecache.Tile) {
	t.Helper()
	for i := range uint32(100) {
		tl, _, err := c.Get(context.Background(), keyOf(i), day, hundredK())
		if errors.Is(err, tilecache.ErrOverloaded) {
			return tiles
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(tl); err != nil {
			t.Fatal(err)
		}
		tiles = append(tiles, tl)
		if open != nil {
			open(tl)
		}
	}
	t.Fatal("got a hundred tiles open, want no room for them")
	return nil
}

func TestNoRoomWhileEverythingIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		tiles := fillWith(t, c, nil) // readers that cannot be cut off
		check(t, "tiles that fit", len(tiles), 9)

		began := time.Now()
		o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
			return object(make([]byte, 100_000)), nil
		})
		_, _, err := c.Get(context.Background(), keyOf(1000), day, o.fetch)
		checkErr(t, "a miss", err, tilecache.ErrOverloaded)
		check(t, "its wait", time.Since(began), 2*time.Second)
		st, _ := look(t, c, keyOf(3), day, o.fetch)
		check(t, "a hit goes on", st.State, tilecache.Hit)
		check(t, "overloads", c.Stats().Overloads, 2)
		check(t, "held", c.Stats().Bytes <= small.Memory, true)

		// As soon as one lets go there is room, for the one who waits.
		time.AfterFunc(300*time.Millisecond, tiles[0].Close)
		began = time.Now()
		look(t, c, keyOf(1000), day, o.fetch)
		check(t, "its wait", time.Since(began), 300*time.Millisecond)
		for _, tl := range tiles[1:] {
			tl.Close()
		}
		synctest.Wait()
		check(t, "bytes that only readers hold", c.Stats().Retired, 0)
		check(t, "waiting", c.Stats().Queued, 0)
	})
}

// A tile that left the cache while it was read is found again, not fetched again.
func TestTileThatIsStillReadIsAHit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, tilecache.Plain(small))
		tl, _, want := get(t, c, keyOf(0), day, always(pattern(100_000)))
		for i := range uint32(50) {
			look(t, c, keyOf(1+i), day, hundredK())
		}
		check(t, "retired", c.Stats().Retired > 100_000, true)
		st, b := look(t, c, keyOf(0), day, always(nil))
		check(t, "state", st.State, tilecache.Hit)
		checkBytes(t, b, want)
		check(t, "back in the cache", c.Stats().Retired, 0)
		tl.Close()
		st, _ = look(t, c, keyOf(0), day, always(nil))
		check(t, "state after", st.State, tilecache.Hit)
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small
		o.Queue, o.Wait = 5, time.Second
		c := newCache(t, o)
		for _, tl := range fillWith(t, c, nil) {
			defer tl.Close()
		}
		var atOnce, later atomic.Int32
		began := time.Now()
		var all sync.WaitGroup
		for i := range uint32(50) {
			all.Go(func() {
				_, _, err := c.Get(context.Background(), keyOf(1000+i), day, hundredK())
				checkErr(t, "Get", err, tilecache.ErrOverloaded)
				if time.Since(began) == 0 {
					atOnce.Add(1)
				} else {
					later.Add(1)
				}
			})
		}
		synctest.Wait()
		check(t, "waiting", c.Stats().Queued, 5)
		all.Wait()
		check(t, "refused at once", atOnce.Load(), 45)
		check(t, "refused after their wait", later.Load(), 5)
		check(t, "the longest wait", time.Since(began), time.Second)
	})
}

// Those who wait are served in their order, so that a large tile is not starved by small ones.
func TestQueueKeepsItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		tiles := fillWith(t, c, nil)
		began := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			_, _, err := c.Get(context.Background(), keyOf(1000), day, hundredK())
			checkErr(t, "the large tile", err, tilecache.ErrOverloaded)
			check(t, "its wait", time.Since(began), 2*time.Second)
		})
		bubble.Advance(1010 * time.Millisecond)
		all.Go(func() {
			look(t, c, keyOf(1001), day, always(make([]byte, 10))) // for which there is room
			check(t, "the small tile's turn came", time.Since(began), 2*time.Second)
		})
		all.Wait()
		for _, tl := range tiles {
			tl.Close()
		}
	})
}

// One who lets go of much makes room for several.
func TestRoomForSeveralIsGivenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(ctx context.Context, _ int, _ tile.Condition) (*tile.Object, error) {
			return newFeed(ctx, 100_000).object, nil
		})
		c := newCache(t, small)
		tiles := fillWith(t, c, nil)
		var all sync.WaitGroup
		began := time.Now()
		for i := range uint32(2) {
			all.Go(func() {
				tl, _, err := c.Get(context.Background(), keyOf(1000+i), day, o.fetch)
				checkErr(t, "Get", err, nil)
				check(t, "wait", time.Since(began), 310*time.Millisecond)
				tl.Close()
			})
		}
		bubble.Advance(310 * time.Millisecond)
		tiles[0].Close()
		tiles[1].Close()
		all.Wait()
		for _, tl := range tiles[2:] {
			tl.Close()
		}
	})
}

// A miss for which there cannot be room must not cost the others their tiles.
func TestMissThatCannotSucceedEvictsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, tilecache.Plain(small))
		tiles := fillWith(t, c, nil)
		tiles[4].Close()
		look(t, c, keyOf(2000), day, always(make([]byte, 50_000)))
		_, _, err := c.Get(context.Background(), keyOf(1000), day, always(make([]byte, 200_000)))
		checkErr(t, "a tile larger than what is free", err, tilecache.ErrOverloaded)
		st, _ := look(t, c, keyOf(2000), day, always(nil))
		check(t, "the tile that would have gone in vain", st.State, tilecache.Hit)
		for i, tl := range tiles {
			if i != 4 {
				tl.Close()
			}
		}
	})
}

func TestSlowestReaderIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small
		o.Wait = 100 * time.Millisecond // less than it takes to be slow
		c := newCache(t, o)
		const slowest = 4
		cut := make(chan int, 100)
		var tiles []tilecache.Tile
		opened := 0
		tiles = fillWith(t, c, func(tl tilecache.Tile) {
			i := opened
			opened++
			tl.CutWith(func() { cut <- i })
			off := int64(50_000 + i)
			if i == slowest {
				off = 10
			}
			if _, err := tl.Next(context.Background(), off); err != nil {
				t.Error(err)
			}
			bubble.Advance(time.Millisecond)
		})
		check(t, "cut off before they were slow", len(cut), 0)
		bubble.Advance(time.Second)

		// The slowest reader's write fails, it closes its tile, and the miss goes on.
		released := make(chan struct{})
		go func() {
			i := <-cut
			check(t, "cut off", i, slowest)
			_, err := tiles[i].Next(context.Background(), 20)
			checkErr(t, "its next read", err, tilecache.ErrCutOff)
			bubble.Advance(50 * time.Millisecond)
			tiles[i].Close()
			close(released)
		}()
		began := time.Now()
		look(t, c, keyOf(1000), day, hundredK())
		check(t, "wait", time.Since(began), 50*time.Millisecond)
		<-released
		check(t, "cut off in all", c.Stats().CutReaders, 1)
		for i, tl := range tiles {
			if i != slowest {
				_, err := tl.Next(context.Background(), 0)
				checkErr(t, "another reader", err, nil)
				tl.Close()
			}
		}
		check(t, "calls of cut", len(cut), 0)
	})
}

// Bytes are free when their last reader lets go: of ten slow readers of one tile, all are cut off.
func TestAllReadersOfATileAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		var cuts atomic.Int32
		var shared []tilecache.Tile
		for range 10 {
			tl, _, _ := get(t, c, keyOf(500), day, hundredK())
			tl.CutWith(func() { cuts.Add(1) })
			shared = append(shared, tl)
		}
		others := fillWith(t, c, nil) // cannot be cut off
		bubble.Advance(time.Second)
		time.AfterFunc(time.Second, func() {
			check(t, "cut off", cuts.Load(), 10)
			for _, tl := range shared {
				tl.Close()
			}
		})
		look(t, c, keyOf(1000), day, hundredK())
		for _, tl := range others {
			tl.Close()
		}
	})
}

func TestCutNeverComesAfterClose(t *testing.T) {
	c := newCache(t, tilecache.Options{Memory: 1 << 20, MaxObject: 200_000, Wait: 20 * time.Millisecond})
	deadline := time.Now().Add(time.Second)
	var all sync.WaitGroup
	for g := range uint32(16) {
		all.Go(func() {
			for i := uint32(0); time.Now().Before(deadline); i++ {
				tl, _, err := c.Get(context.Background(), keyOf(g<<16|i), day, hundredK())
				if errors.Is(err, tilecache.ErrOverloaded) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				var closed atomic.Bool
				tl.CutWith(func() {
					if closed.Load() {
						t.Error("cut off after Close")
					}
				})
				_, _ = readAll(tl) // or ErrCutOff
				tl.Close()
				closed.Store(true)
			}
		})
	}
	all.Wait()
}

// The one thing that must hold whatever happens: never more bytes than were given.
func TestNeverOverBudget(t *testing.T) {
	o := tilecache.Options{Memory: 2 << 20, MaxObject: 300_000, Queue: 8, Wait: 5 * time.Millisecond}
	c := newCache(t, o)
	empty := c.Stats().Bytes
	stop := make(chan struct{})
	var watcher, all sync.WaitGroup
	watcher.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if st := c.Stats(); st.Bytes > o.Memory || st.Bytes < empty || st.Retired < 0 {
				t.Errorf("got %d bytes held, %d retired, want %d to %d", st.Bytes, st.Retired, empty, o.Memory)
				return
			}
		}
	})
	body := pattern(400_000)
	fetch := func(ctx context.Context, k tile.Key, cond tile.Condition) (*tile.Object, error) {
		n := int(k.X*7919) % len(body)
		obj := rest(body[:n], tile.Condition{})
		switch r := rand.IntN(20); {
		case r == 0:
			return nil, errDown
		case r == 1:
			return nil, tile.ErrMissing
		case r == 2:
			panic("now and then")
		case r == 3:
			obj.Size = -1
		case r == 4 && cond.Offset == 0:
			return broken(body[:n], cond, n/2, errReset), nil
		case r == 5 && cond.IfNoneMatch != "":
			return nil, tile.ErrNotModified
		}
		if cond.Offset > 0 {
			return rest(body[:n], cond), nil
		}
		return obj, nil
	}
	deadline := time.Now().Add(2 * time.Second)
	for g := range uint64(16) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(g, 1))
			var held []tilecache.Tile
			for time.Now().Before(deadline) {
				ctx, leave := context.WithCancel(context.Background())
				if r.IntN(5) == 0 {
					leave()
				}
				k := keyOf(uint32(r.IntN(60)))
				policy := tilecache.Policy{Fresh: time.Duration(r.IntN(3)) * time.Millisecond, Stale: time.Millisecond}
				tl, _, err := c.Get(ctx, k, policy, fetch)
				leave()
				if err != nil {
					continue
				}
				if r.IntN(2) == 0 {
					tl.CutWith(func() {})
				}
				if r.IntN(2) == 0 {
					b, err := readAll(tl)
					want := body[:int(k.X*7919)%len(body)]
					if err == nil && !bytes.Equal(b, want) {
						t.Errorf("got %d bytes for a whole tile that differ from the %d wanted", len(b), len(want))
					}
				}
				if r.IntN(100) == 0 {
					purge(t, c, "basemap")
				}
				if held = append(held, tl); len(held) > 3 {
					held[0].Close()
					held = held[1:]
				}
			}
			for _, tl := range held {
				tl.Close()
			}
		})
	}
	all.Wait()
	close(stop)
	watcher.Wait()
}
