package tilecache_test

import (
	"context"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tilegate/internal/testenv"
	"tilegate/internal/tile"
	"tilegate/internal/traces"
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

// resident returns the process's resident set in MiB, as the operating system counts it.
func resident(t testing.TB) float64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		testenv.Missing(t, "/proc/self/statm", "run on Linux")
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

// withMemoryLimit sets what a server with this budget sets: room for the budget and 64 MiB beside it.
func withMemoryLimit(t testing.TB, budget int64) {
	limit := debug.SetMemoryLimit(budget + budget/8 + 64<<20)
	t.Cleanup(func() { debug.SetMemoryLimit(limit) })
}

// BenchmarkScanOfAMillionTiles goes once through a million tiles, many more than fit; with -short
// through a twentieth of them.
func BenchmarkScanOfAMillionTiles(b *testing.B) {
	const memory = 128 << 20
	tiles := 1_000_000
	if testing.Short() {
		tiles = 50_000
	}
	for b.Loop() {
		withMemoryLimit(b, memory)
		c := newCache(b, tilecache.Options{Memory: memory})
		body := make([]byte, 40_000)
		fetch := func(_ context.Context, k tile.Key, _ tile.Condition) (*tile.Object, error) {
			return object(body[:traces.Size(k)]), nil
		}
		peak := 0.0
		for i := range uint32(tiles) {
			look(b, c, keyOf(i), day, fetch)
			if i%1000 == 0 {
				peak = max(peak, resident(b))
			}
		}
		b.ReportMetric(peak, "resident-MiB")
		b.ReportMetric(1.25*memory/(1<<20)+64, "goal-MiB")
		b.ReportMetric(float64(c.Stats().Bytes)/(1<<20), "counted-MiB")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(tiles), "ns/tile")
	}
}

// BenchmarkSlowReaders holds 10,000 tiles open in mid-read: what the cache itself adds to what the
// connections take.
func BenchmarkSlowReaders(b *testing.B) {
	const memory, readers, size = 128 << 20, 10_000, 256 << 10
	for _, tiles := range []uint32{1, 2000} {
		b.Run(strconv.Itoa(int(tiles))+" tiles", func(b *testing.B) {
			for b.Loop() {
				withMemoryLimit(b, memory)
				c := newCache(b, tilecache.Options{Memory: memory, Wait: time.Nanosecond})
				fetch := always(make([]byte, size))
				var held []tilecache.Tile
				refused := 0
				for i := range uint32(readers) {
					tl, _, err := c.Get(context.Background(), keyOf(i%tiles), day, fetch)
					if err != nil {
						refused++
						continue
					}
					tl.CutWith(func() {})
					if _, err := tl.Next(context.Background(), 0); err != nil {
						b.Fatal(err)
					}
					held = append(held, tl)
				}
				b.ReportMetric(resident(b), "resident-MiB")
				b.ReportMetric(float64(c.Stats().Bytes)/(1<<20), "counted-MiB")
				b.ReportMetric(float64(refused), "refused")
				for _, tl := range held {
					tl.Close()
				}
			}
		})
	}
}
