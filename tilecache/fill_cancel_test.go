package tilecache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

func TestLastWaiterLeavesBeforeTheHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := make(chan time.Time, 1)
		o := newOrigin(t, func(ctx context.Context, call int, _ tile.Condition) (*tile.Object, error) {
			if call > 1 {
				return object(pattern(10)), nil
			}
			<-ctx.Done()
			stopped <- time.Now()
			return nil, ctx.Err()
		})
		c := newCache(t, tilecache.Options{})
		ctx, leave := context.WithCancel(context.Background())
		time.AfterFunc(3*time.Second, leave)
		_, _, err := c.Get(ctx, keyOf(1), day, o.fetch)
		checkErr(t, "Get", err, context.Canceled)
		check(t, "time until the fetch stopped", time.Until(<-stopped), 0)

		// Nothing of it is remembered.
		st, _ := look(t, c, keyOf(1), day, o.fetch)
		check(t, "state", st.State, tilecache.Miss)
		check(t, "fetches", o.calls(), 2)
	})
}

func TestClientThatHasLeftAlreadyCausesNoFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) { return object(nil), nil })
		c := newCache(t, tilecache.Options{})
		ctx, leave := context.WithCancel(context.Background())
		leave()
		_, _, err := c.Get(ctx, keyOf(1), day, o.fetch)
		checkErr(t, "Get", err, context.Canceled)
		synctest.Wait()
		check(t, "fetches", o.calls(), 0)
	})
}

func TestLastReaderLeaves(t *testing.T) {
	const size = 1 << 20
	for _, tc := range []struct {
		name    string
		size    int
		arrived int
		goesOn  bool
	}{
		{"nothing of a large tile", size, 0, false},
		{"a little of a large tile", size, 1000, false},
		{"nearly half", size, size/2 - 1, false},
		{"half", size, size / 2, true},
		{"nothing of a small tile", 64<<10 - 1, 0, true},
		{"nothing of the smallest that is not small", 64 << 10, 0, false},
		{"less than 64 KiB left", 100_000, 100_000 - 64<<10 + 1, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := pattern(tc.size)
				feeds := make(chan feed, 1)
				var fetchCtx context.Context
				o := newOrigin(t, func(ctx context.Context, call int, _ tile.Condition) (*tile.Object, error) {
					if call > 1 {
						return object(body), nil
					}
					fetchCtx = ctx
					f := newFeed(ctx, int64(len(body)))
					feeds <- f
					return f.object, nil
				})
				c := newCache(t, tilecache.Options{})
				tl, _, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
				if err != nil {
					t.Fatal(err)
				}
				f := <-feeds
				f.send(t, body[:tc.arrived])
				synctest.Wait()
				tl.Close()
				synctest.Wait() // time stands still: whatever stops does so at once
				check(t, "goes on", fetchCtx.Err() == nil, tc.goesOn)
				want := tilecache.Miss
				if tc.goesOn {
					want = tilecache.Hit
					f.send(t, body[tc.arrived:])
					f.Close()
					synctest.Wait()
				}
				st, b := look(t, c, keyOf(1), day, o.fetch)
				check(t, "state of the next", st.State, want)
				checkBytes(t, b, body)
			})
		})
	}
}

// One who comes while an abandoned fetch is still ending must not be given its error.
func TestNewcomerAfterAbandonedFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		linger := make(chan struct{})
		o := newOrigin(t, func(ctx context.Context, call int, _ tile.Condition) (*tile.Object, error) {
			if call == 1 {
				<-ctx.Done()
				<-linger
				return nil, ctx.Err()
			}
			return object(pattern(10)), nil
		})
		c := newCache(t, tilecache.Options{})
		ctx, leave := context.WithCancel(context.Background())
		go func() {
			synctest.Wait()
			leave()
		}()
		_, _, err := c.Get(ctx, keyOf(1), day, o.fetch)
		checkErr(t, "Get", err, context.Canceled)
		look(t, c, keyOf(1), day, o.fetch)
		close(linger)
		synctest.Wait()
		st, _ := look(t, c, keyOf(1), day, o.fetch)
		check(t, "state", st.State, tilecache.Hit)
		check(t, "fills left", c.Stats().Fills, 0)
	})
}
