package tilecache_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

func TestCloseStopsFillsAndAnswersTheirWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(ctx context.Context, call int, _ tile.Condition) (*tile.Object, error) {
			if call == 1 {
				return newFeed(ctx, 1000).object, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		c := newCache(t, tilecache.Options{})
		look(t, c, keyOf(3), day, always(pattern(10)))
		reading, _, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
		if err != nil {
			t.Fatal(err)
		}
		var waiters sync.WaitGroup
		for range 10 {
			waiters.Go(func() {
				_, _, err := c.Get(context.Background(), keyOf(2), day, o.fetch)
				checkErr(t, "a waiter", err, tilecache.ErrClosed)
			})
		}
		waiters.Go(func() {
			_, err := reading.Next(context.Background(), 0)
			checkErr(t, "a reader", err, tilecache.ErrClosed)
			reading.Close()
		})
		synctest.Wait()
		if err := c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		waiters.Wait()
		_, _, err = c.Get(context.Background(), keyOf(9), day, o.fetch)
		checkErr(t, "a miss afterwards", err, tilecache.ErrClosed)
		st, _ := look(t, c, keyOf(3), day, o.fetch)
		check(t, "a hit afterwards", st.State, tilecache.Hit)
		bubble.Advance(30 * time.Hour)
		st, _ = look(t, c, keyOf(3), day, o.fetch)
		check(t, "a stale one", st.State, tilecache.Stale)
		check(t, "fetches", o.calls(), 2)
	})
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		c := newCache(t, tilecache.Options{})
		go func() {
			_, _, err := c.Get(context.Background(), keyOf(1), day,
				func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
					<-hang // whatever its context says
					return nil, errDown
				})
			checkErr(t, "Get", err, tilecache.ErrClosed)
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		checkErr(t, "Close", c.Close(ctx), context.DeadlineExceeded)
		close(hang)
	})
}

// The bubble ends when every goroutine in it has; one that stays behind fails the test.
func TestGoroutinesReturnToWhereTheyWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, tilecache.Options{Memory: 1 << 20, MaxObject: 100_000})
		o := newOrigin(t, func(_ context.Context, call int, _ tile.Condition) (*tile.Object, error) {
			bubble.Advance(time.Millisecond)
			return object(make([]byte, 1000*(call%120))), nil
		})
		policy := tilecache.Policy{Fresh: time.Millisecond, Stale: time.Hour}
		var all sync.WaitGroup
		for i := range uint32(300) {
			all.Go(func() {
				bubble.Advance(time.Duration(i/100) * 10 * time.Millisecond)
				ctx, leave := context.WithTimeout(context.Background(), time.Duration(i%3)*time.Millisecond)
				defer leave()
				tl, _, err := c.Get(ctx, keyOf(i%50), policy, o.fetch)
				if err == nil {
					_, _ = tl.Next(ctx, 0)
					tl.Close()
				}
			})
		}
		all.Wait()
		if err := c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		check(t, "some fetches", o.calls() > 50, true)
	})
}
