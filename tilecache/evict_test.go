package tilecache_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := newCache(t, tilecache.Plain(tilecache.Options{Memory: 1 << 20, MaxObject: 64 << 10}))
	fetch := always(make([]byte, 60_000))
	const hot = 5
	for i := range uint32(100) {
		look(t, c, keyOf(1000+i), day, fetch)
		for j := range uint32(hot) {
			look(t, c, keyOf(j), day, fetch)
		}
	}
	for j := range uint32(hot) {
		st, _ := look(t, c, keyOf(j), day, fetch)
		check(t, "a tile in use", st.State, tilecache.Hit)
	}
	st, _ := look(t, c, keyOf(1099), day, fetch)
	check(t, "a young tile", st.State, tilecache.Hit)
	st, _ = look(t, c, keyOf(1000), day, fetch)
	check(t, "an old tile", st.State, tilecache.Miss)
	check(t, "evictions counted", c.Stats().Evictions > 80, true)
}

func TestMaxObjectFits(t *testing.T) {
	for _, tc := range []struct{ memory, object int64 }{
		{512 << 20, 8 << 20}, {16 << 20, 8 << 20}, {1 << 20, 900_000}, {100_000, 10_000},
	} {
		t.Run(fmt.Sprintf("%d in %d", tc.object, tc.memory), func(t *testing.T) {
			c := newCache(t, tilecache.Options{Memory: tc.memory, MaxObject: tc.object})
			for i := range uint32(200) {
				look(t, c, keyOf(i), day, always(make([]byte, tc.object/100)))
			}
			look(t, c, keyOf(1000), day, always(make([]byte, tc.object)))
			tl, st, err := c.Get(context.Background(), keyOf(1000), day, always(nil))
			if err != nil {
				t.Fatal(err)
			}
			check(t, "state", st.State, tilecache.Hit)
			check(t, "size", tl.Size(), tc.object)
			tl.Close()
		})
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    tilecache.Options
		want string
	}{
		{"an object that does not fit", tilecache.Options{Memory: 8 << 20}, "raise memory or lower max_object"},
		{"negative", tilecache.Options{Memory: -1}, "negative"},
	} {
		if _, err := tilecache.New(tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want one that says %q", tc.name, err, tc.want)
		}
	}
}

func TestAbsencesAreBounded(t *testing.T) {
	const memory = 4 << 20
	c := newCache(t, tilecache.Options{Memory: memory, MaxObject: 64 << 10})
	missing := func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
		return nil, tile.ErrMissing
	}
	fetch := always(make([]byte, 3000))
	for range 2 {
		for i := range uint32(500) {
			look(t, c, keyOf(i), day, fetch)
		}
	}
	before := c.Stats()
	for i := range uint32(5000) {
		_, _, err := c.Get(context.Background(), keyOf(10_000+i), day, missing)
		checkErr(t, "Get", err, tile.ErrMissing)
	}
	after := c.Stats()
	check(t, "some are remembered", after.Absences > 100, true)
	check(t, "in less than a sixteenth of the budget", after.Bytes-before.Bytes <= memory/16, true)
	check(t, "tiles lost to them", before.Entries-after.Entries, 0)
}

func TestHeadersCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, tilecache.Options{})
		taken := func(i uint32, header http.Header) int64 {
			before := c.Stats().Bytes
			look(t, c, keyOf(i), day, func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
				obj := object(make([]byte, 1000))
				obj.Header = header
				return obj, nil
			})
			synctest.Wait() // the fill has returned what it took for itself
			return c.Stats().Bytes - before
		}
		plain := taken(1, nil)
		more := taken(2, http.Header{"X-Long": {strings.Repeat("x", 5000)}}) - plain
		check(t, "a long header is counted", more >= 5000 && more < 6000, true)
	})
}

func TestPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, tilecache.Options{})
		before := c.Stats().Bytes
		roads := func(k tile.Key) tile.Key { k.Tileset = "roads"; return k }
		for i := range uint32(10) {
			look(t, c, keyOf(i), day, always(nil))
			look(t, c, roads(keyOf(i)), day, always(nil))
		}
		other := keyOf(3)
		other.Version = "2027"
		look(t, c, other, day, always(nil))
		missing := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
			return nil, tile.ErrMissing
		})
		_, _, err := c.Get(context.Background(), keyOf(99), day, missing.fetch)
		checkErr(t, "Get", err, tile.ErrMissing)

		feeds := make(chan feed, 1)
		o := newOrigin(t, func(ctx context.Context, _ int, _ tile.Condition) (*tile.Object, error) {
			f := newFeed(ctx, 1000)
			feeds <- f
			return f.object, nil
		})
		reading, _, err := c.Get(context.Background(), keyOf(50), day, o.fetch)
		if err != nil {
			t.Fatal(err)
		}

		check(t, "purged", purge(t, c, "basemap"), 12)
		check(t, "purged again", purge(t, c, "basemap"), 0)

		f := <-feeds
		f.send(t, pattern(1000))
		f.Close()
		b, err := readAll(reading)
		if err != nil {
			t.Fatal(err)
		}
		checkBytes(t, b, pattern(1000))
		reading.Close()
		synctest.Wait()
		st, _ := look(t, c, keyOf(50), day, always(nil))
		check(t, "a tile that was on its way", st.State, tilecache.Miss)
		st, _ = look(t, c, keyOf(1), day, always(nil))
		check(t, "a purged tile", st.State, tilecache.Miss)
		st, _ = look(t, c, keyOf(99), day, always(nil))
		check(t, "a purged absence", st.State, tilecache.Miss)
		st, _ = look(t, c, roads(keyOf(1)), day, always(nil))
		check(t, "another tileset's tile", st.State, tilecache.Hit)
		purge(t, c, "basemap")
		purge(t, c, "roads")
		synctest.Wait()
		check(t, "bytes held", c.Stats().Bytes, before)
	})
}
