package tilecache_test

import (
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"tilegate/internal/tile"
	"tilegate/internal/traces"
	"tilegate/tilecache"
)

// resident returns the process's resident set in MiB, as the operating system counts it.
func resident(t testing.TB) float64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
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
