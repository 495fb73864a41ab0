package tilecache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// berlin is an area of which the tests' keys are at zoom 10.
var berlin = tile.NewTiles(tile.ZoomRange{Min: 10, Max: 14}, tile.Box{West: 13, South: 52, East: 14, North: 53})

func at(z uint8, x, y uint32) tile.Key {
	return tile.Key{Tileset: "basemap", Version: "2026-11", Z: z, X: x, Y: y, Scale: 1}
}

var inBerlin = at(10, 550, 335)

func purgeOf(t testing.TB, c *tilecache.Cache, p tile.Purge, want int) {
	t.Helper()
	n, err := c.Purge(context.Background(), p)
	checkErr(t, "purge", err, nil)
	check(t, "entries purged", n, want)
}

func TestPurgeOfAnArea(t *testing.T) {
	world := tile.NewTiles(tile.ZoomRange{Max: 22}, tile.Box{West: -180, South: -90, East: 180, North: 90})
	pacific := tile.NewTiles(tile.AllZooms, tile.Box{West: 170, South: -10, East: -170, North: 10})
	metadata := tile.Key{Tileset: "basemap", Path: "metadata.json"}
	other := inBerlin
	other.Tileset = "roads"
	double := inBerlin
	double.Scale = 2
	kept := []tile.Key{inBerlin, double, at(10, 551, 336), at(10, 10, 335), at(9, 275, 167), at(14, 8802, 5373), at(15, 17604, 10746), at(8, 255, 127), at(8, 0, 128), at(23, 1, 1), metadata, other}
	for _, test := range []struct {
		name  string
		tiles *tile.Tiles
		gone  []int
	}{
		{"berlin", berlin, []int{0, 1, 2, 5}},
		{"the world", world, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}},
		{"across the antimeridian", pacific, []int{7, 8}},
		{"everything", nil, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
	} {
		for _, soft := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCache(t, tilecache.Options{})
					for _, key := range kept {
						look(t, c, key, day, always(pattern(10)))
					}
					purgeOf(t, c, tile.Purge{Tileset: "basemap", Tiles: test.tiles, Soft: soft}, len(test.gone))
					for i, key := range kept {
						want := tilecache.Hit
						for _, gone := range test.gone {
							if i == gone && soft {
								want = tilecache.Stale
							} else if i == gone {
								want = tilecache.Miss
							}
						}
						st, _ := look(t, c, key, day, always(pattern(10)))
						check(t, key.Path+" state", st.State, want)
						synctest.Wait()
					}
				})
			})
		}
	}
}

// A soft purge: the next request gets the old bytes and asks with the validator; an origin that fails does not take them away
// before their time as stale ones is over.
func TestSoftPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, tilecache.Options{})
		o := newOrigin(t, func(_ context.Context, call int, _ tile.Condition) (*tile.Object, error) {
			switch call {
			case 1:
				return object(pattern(10)), nil
			case 2:
				return nil, errDown
			case 3:
				return nil, tile.ErrNotModified
			}
			return object(pattern(20)), nil
		})
		soft := tile.Purge{Tileset: "basemap", Tiles: berlin, Soft: true}
		ask := func(want tilecache.State, size int) {
			t.Helper()
			st, b := look(t, c, inBerlin, day, o.fetch)
			check(t, "state", st.State, want)
			check(t, "bytes", len(b), size)
			synctest.Wait()
		}
		ask(tilecache.Miss, 10)
		bubble.Advance(time.Hour)
		purgeOf(t, c, soft, 1)
		ask(tilecache.Stale, 10) // its refresh fails
		check(t, "If-None-Match", o.cond(2).IfNoneMatch, `"v1"`)
		ask(tilecache.Stale, 10)
		check(t, "asked, with the pause after a failure", o.calls(), 2)
		bubble.Advance(2 * time.Second)
		ask(tilecache.Stale, 10)
		ask(tilecache.Hit, 10) // 304
		purgeOf(t, c, soft, 1)
		ask(tilecache.Stale, 10)
		ask(tilecache.Hit, 20)
		check(t, "asked", o.calls(), 4)
	})
}

func TestSoftPurgeEndsLikeStaleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, tilecache.Options{})
		down := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) { return nil, errDown })
		look(t, c, inBerlin, hourly, always(pattern(10)))
		purgeOf(t, c, tile.Purge{Tileset: "basemap", Soft: true}, 1)
		bubble.Advance(hourly.Stale - time.Second)
		st, _ := look(t, c, inBerlin, hourly, down.fetch)
		check(t, "state", st.State, tilecache.Stale)
		check(t, "ttl", st.TTL, time.Second-hourly.Stale)
		synctest.Wait()
		bubble.Advance(2 * time.Second)
		_, _, err := c.Get(context.Background(), inBerlin, hourly, down.fetch)
		checkErr(t, "after the time of stale tiles", err, errDown)
	})
}

// The origin may have answered before the change that a purge is for. So what is on its way is not kept, or is stale at once.
func TestPurgeWhileATileIsOnItsWay(t *testing.T) {
	for _, soft := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, tilecache.Options{})
			feeds := make(chan feed, 1)
			o := newOrigin(t, func(ctx context.Context, _ int, _ tile.Condition) (*tile.Object, error) {
				f := newFeed(ctx, 100)
				feeds <- f
				return f.object, nil
			})
			reading, _, err := c.Get(context.Background(), inBerlin, day, o.fetch)
			checkErr(t, "Get", err, nil)
			purgeOf(t, c, tile.Purge{Tileset: "basemap", Tiles: berlin, Soft: soft}, 0)
			f := <-feeds
			go func() {
				f.send(t, pattern(100))
				_ = f.Close()
			}()
			b, err := readAll(reading)
			checkErr(t, "reading", err, nil)
			checkBytes(t, b, pattern(100))
			reading.Close()
			synctest.Wait()
			st, b := look(t, c, inBerlin, day, always(pattern(50)))
			if soft {
				check(t, "state", st.State, tilecache.Stale)
				checkBytes(t, b, pattern(100))
			} else {
				check(t, "state", st.State, tilecache.Miss)
				checkBytes(t, b, pattern(50))
			}
			synctest.Wait()
			st, b = look(t, c, inBerlin, day, always(nil))
			check(t, "state afterwards", st.State, tilecache.Hit)
			checkBytes(t, b, pattern(50))
		})
	}
}

// A refresh that began before a soft purge says nothing about what came after it.
func TestSoftPurgeWhileATileIsRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, tilecache.Options{})
		answer := make(chan struct{})
		o := newOrigin(t, func(_ context.Context, call int, _ tile.Condition) (*tile.Object, error) {
			if call == 1 {
				<-answer
			}
			return nil, tile.ErrNotModified
		})
		soft := tile.Purge{Tileset: "basemap", Soft: true}
		look(t, c, inBerlin, day, always(pattern(10)))
		purgeOf(t, c, soft, 1)
		for _, want := range []tilecache.State{tilecache.Stale, tilecache.Stale, tilecache.Hit} {
			st, _ := look(t, c, inBerlin, day, o.fetch)
			check(t, "state", st.State, want)
			if o.calls() == 0 {
				synctest.Wait()
				purgeOf(t, c, soft, 1)
				close(answer)
			}
			synctest.Wait()
		}
		check(t, "asked", o.calls(), 2)
	})
}

// A copy from the level behind that a purge has outdated is stale from the first request on, and what is refreshed is not.
func TestAnOutdatedCopyIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, tilecache.Options{})
		bubble.Advance(time.Hour)
		o := newOrigin(t, func(_ context.Context, call int, _ tile.Condition) (*tile.Object, error) {
			if call > 1 {
				return nil, tile.ErrNotModified
			}
			obj := object(pattern(10))
			obj.Validated, obj.Outdated = time.Now().Add(-time.Minute), time.Now().Add(-30*time.Second)
			return obj, nil
		})
		for _, want := range []tilecache.State{tilecache.Miss, tilecache.Stale, tilecache.Hit} {
			st, _ := look(t, c, inBerlin, day, o.fetch)
			check(t, "state", st.State, want)
			if want == tilecache.Stale {
				check(t, "ttl", st.TTL, -30*time.Second)
			}
			synctest.Wait()
		}
	})
}

func TestPurgeForgetsAbsencesAndFailures(t *testing.T) {
	for _, soft := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, tilecache.Options{})
			for i, want := range []error{tile.ErrMissing, errDown} {
				key := at(10, 550+uint32(i), 335)
				o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) { return nil, want })
				_, _, err := c.Get(context.Background(), key, day, o.fetch)
				checkErr(t, "Get", err, want)
			}
			purgeOf(t, c, tile.Purge{Tileset: "basemap", Tiles: berlin, Soft: soft}, 1)
			for i := range uint32(2) {
				st, _ := look(t, c, at(10, 550+i, 335), day, always(pattern(10)))
				check(t, "state", st.State, tilecache.Miss)
			}
		})
	}
}
