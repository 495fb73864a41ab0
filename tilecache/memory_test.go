package tilecache_test

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// taken returns what the runtime has handed out for objects and stacks that are in use.
func taken() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func TestCostsAreWhatTheRuntimeTakes(t *testing.T) {
	const tiles = 8000
	tiny := always(make([]byte, 110))
	for _, tc := range []struct {
		name  string
		fetch tile.Fetch
	}{
		{"tiny tiles", tiny},
		{"tiles of an awkward size", always(make([]byte, 2050))},
		{"tiles with headers", func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
			obj := object(make([]byte, 110))
			obj.Header = http.Header{}
			for i := range 6 {
				obj.Header["X-Name-"+strconv.Itoa(i)] = []string{strings.Repeat("v", 30)}
			}
			return obj, nil
		}},
		{"absences", func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
			return nil, tile.ErrMissing
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCache(t, tilecache.Options{})
			before, counted := taken(), c.Stats().Bytes
			for i := range uint32(tiles) {
				tl, _, err := c.Get(context.Background(), keyOf(i), day, tc.fetch)
				if err == nil {
					_, _ = readAll(tl)
					tl.Close()
				}
			}
			real, counted := taken()-before, c.Stats().Bytes-counted
			t.Logf("one takes %d bytes, %d are counted", real/tiles, counted/tiles)
			most := 1.05
			if raceDetector { // it takes memory of its own
				most = 1.2
			}
			if r := float64(real) / float64(counted); r > most || r < 0.75 {
				t.Errorf("got %d bytes taken for %d counted", real, counted)
			}
			runtime.KeepAlive(c)
		})
	}
}

func TestFillsUnderWayCostWhatTheRuntimeTakes(t *testing.T) {
	const fills = 2000
	c := newCache(t, tilecache.Options{})
	before, counted := taken(), c.Stats().Bytes
	var began, all sync.WaitGroup
	began.Add(fills)
	fetch := func(ctx context.Context, _ tile.Key, _ tile.Condition) (*tile.Object, error) {
		began.Done()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, leave := context.WithCancel(context.Background())
	for i := range uint32(fills) {
		all.Go(func() { _, _, _ = c.Get(ctx, keyOf(i), day, fetch) })
	}
	began.Wait()
	real, counted := taken()-before, c.Stats().Bytes-counted
	t.Logf("one takes %d bytes with its client's goroutine, %d are counted", real/fills, counted/fills)
	most := 1.5
	if raceDetector { // its stacks are twice as large
		most = 2.5
	}
	if r := float64(real) / float64(counted); r > most || r < 0.7 {
		t.Errorf("got %d bytes taken for %d counted", real, counted)
	}
	leave()
	all.Wait()
}
