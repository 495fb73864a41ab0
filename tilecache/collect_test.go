package tilecache_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// unsized is an object of which the origin does not tell the length.
func unsized(body io.Reader) *tile.Object {
	return &tile.Object{Body: io.NopCloser(body), Size: -1, ETag: `"v1"`}
}

// Objects of unknown length are shared and kept like any other.
func TestObjectsOfUnknownLength(t *testing.T) {
	for _, size := range []int{0, 1, 20_000, 64 << 10, 100_000, 128 << 10} {
		synctest.Test(t, func(t *testing.T) {
			body := pattern(size)
			o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
				bubble.Advance(time.Second)
				return unsized(&slices{body}), nil
			})
			c := newCache(t, tilecache.Options{Memory: 4 << 20, MaxObject: 128 << 10})
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					_, b := look(t, c, keyOf(1), day, o.fetch)
					checkBytes(t, b, body)
				})
			}
			all.Wait()
			st, b := look(t, c, keyOf(1), day, o.fetch)
			check(t, "state afterwards", st.State, tilecache.Hit)
			checkBytes(t, b, body)
			check(t, "fetches", o.calls(), 1)
			tl, _, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
			checkErr(t, "Get", err, nil)
			check(t, "size", tl.Size(), int64(size))
			tl.Close()
		})
	}
}

// A body that breaks off is not kept, and its bytes are given back.
func TestAnObjectOfUnknownLengthThatBreaksOff(t *testing.T) {
	o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
		return unsized(io.MultiReader(&slices{pattern(100_000)}, failing{errDown})), nil
	})
	c := newCache(t, tilecache.Options{})
	_, _, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
	checkErr(t, "Get", err, errDown)
}

// Where there is no room for more of it, an object passes through with what has been read.
func TestAnObjectOfUnknownLengthWithoutRoom(t *testing.T) {
	body := pattern(1900 << 10)
	o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
		return unsized(&slices{body}), nil
	})
	c := newCache(t, tilecache.Options{Memory: 4 << 20, MaxObject: 2 << 20, Wait: time.Nanosecond})
	st, b := look(t, c, keyOf(1), day, o.fetch)
	check(t, "state", st.State, tilecache.Miss)
	checkBytes(t, b, body)
}

// Whoever makes a fetch of its own has not joined another.
func TestARequestThatFetchesAloneHasNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
			bubble.Advance(time.Second)
			return unsized(&slices{pattern(5000)}), nil
		})
		c := newCache(t, tilecache.Options{MaxObject: 1000})
		var all sync.WaitGroup
		var mu sync.Mutex
		states := map[tilecache.State]int{}
		for range 20 {
			all.Go(func() {
				st, _ := look(t, c, keyOf(1), day, o.fetch)
				mu.Lock()
				states[st.State]++
				mu.Unlock()
			})
		}
		all.Wait()
		check(t, "fetches", o.calls(), 20)
		check(t, "joined at most one", states[tilecache.Joined] <= 1, true)
		st := c.Stats()
		check(t, "counted as joined", st.Joined, uint64(states[tilecache.Joined]))
		check(t, "counted as misses", st.Misses, uint64(states[tilecache.Miss]))
		synctest.Wait()
	})
}

// slices is a body that comes in pieces of odd lengths.
type slices struct{ left []byte }

func (s *slices) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.left[:min(len(s.left), 7001)])
	s.left = s.left[n:]
	return n, nil
}

// A tile without a strong ETag is revalidated by its date.
func TestRevalidationByDate(t *testing.T) {
	modified := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for etag, want := range map[string]tile.Condition{
		`"strong"`: {IfNoneMatch: `"strong"`}, `W/"weak"`: {IfModifiedSince: modified}, "": {IfModifiedSince: modified},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := newOrigin(t, func(_ context.Context, call int, _ tile.Condition) (*tile.Object, error) {
				if call > 1 {
					return nil, tile.ErrNotModified
				}
				obj := object(pattern(10))
				obj.ETag, obj.LastModified = etag, modified
				return obj, nil
			})
			c := newCache(t, tilecache.Options{})
			look(t, c, keyOf(1), hourly, o.fetch)
			bubble.Advance(2 * time.Hour)
			look(t, c, keyOf(1), hourly, o.fetch)
			synctest.Wait()
			check(t, "condition", o.cond(2), want)
			check(t, "renewed", c.Stats().Renewed, 1)
			if _, _, err := c.Get(context.Background(), keyOf(2), day, o.fetch); err == nil || errors.Is(err, tile.ErrNotModified) {
				t.Errorf("304 to an unconditional request: %v", err)
			}
		})
	}
}
