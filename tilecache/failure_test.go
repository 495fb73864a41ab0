package tilecache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// crowd lets n clients ask for one tile at once and returns their errors and what they read.
func crowd(c *tilecache.Cache, n int, p tilecache.Policy, fetch tile.Fetch) (errs []error, bodies [][]byte) {
	errs, bodies = make([]error, n), make([][]byte, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			tl, _, err := c.Get(context.Background(), keyOf(1), p, fetch)
			if err == nil {
				defer tl.Close()
				bodies[i], err = readAll(tl)
			}
			errs[i] = err
		})
	}
	all.Wait()
	return errs, bodies
}

func Test200ClientsWhenEveryAnswerIs503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := false
		o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
			if up {
				return object(nil), nil
			}
			return nil, errDown
		})
		c := newCache(t, tilecache.Options{})
		errs, _ := crowd(c, 200, day, o.fetch)
		for _, err := range errs {
			checkErr(t, "a client", err, errDown)
		}
		check(t, "fetches", o.calls(), 1)

		_, st, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
		checkErr(t, "within the pause", err, errDown)
		check(t, "state within the pause", st.State, tilecache.Joined)
		look(t, c, keyOf(2), day, always(nil)) // other tiles do not pause
		check(t, "fetches within the pause", o.calls(), 1)

		up = true
		bubble.Advance(time.Second) // the longest pause
		look(t, c, keyOf(1), day, o.fetch)
		check(t, "fetches after the pause", o.calls(), 2)
	})
}

func TestAbsenceIsAnAnswer(t *testing.T) {
	o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
		return nil, fmt.Errorf("GetObject: NoSuchKey: %w", tile.ErrMissing)
	})
	c := newCache(t, tilecache.Options{})
	for _, want := range []tilecache.State{tilecache.Miss, tilecache.Hit} {
		tl, st, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
		checkErr(t, "Get", err, tile.ErrMissing)
		check(t, "state", st.State, want)
		check(t, "ttl in range", st.TTL > day.MissingFor-10*time.Second && st.TTL <= day.MissingFor, true)
		tl.Close()
	}
	check(t, "fetches", o.calls(), 1)
}

func TestAnswersThatContradictTheQuestion(t *testing.T) {
	for _, tc := range []struct {
		name string
		obj  *tile.Object
		err  error
	}{
		{"304 to an unconditional GET", nil, tile.ErrNotModified},
		{"412 to an unconditional GET", nil, tile.ErrChanged},
		{"nothing at all", nil, nil},
		{"an object without a body", &tile.Object{Size: 3}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
					return tc.obj, tc.err
				})
				c := newCache(t, tilecache.Options{})
				_, _, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
				if err == nil || errors.Is(err, tile.ErrNotModified) || errors.Is(err, tile.ErrChanged) {
					t.Errorf("got error %v, want one of its own", err)
				}
				check(t, "fetches", o.calls(), 1)
				check(t, "tiles kept", c.Stats().Entries, 0)
			})
		})
	}
}
