package tilecache_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"

	"tilegate/internal/traces"
	"tilegate/tilecache"
)

// replay returns the hit ratios of a cache on a trace, the same in each run.
func replay(t testing.TB, o tilecache.Options, trace traces.Trace) traces.Ratios {
	t.Helper()
	c := newCache(t, tilecache.SameHashes(o))
	return trace.Replay(func(q traces.Request) bool { return tilecache.Request(c, q.Key, q.Size) })
}

// Request stands for Get in the tests of hit ratios, so it must do the same.
func TestRequestIsWhatGetDoes(t *testing.T) {
	o := tilecache.SameHashes(tilecache.Options{Memory: 2 << 20, MaxObject: 64 << 10})
	for trace := range traces.All(traces.Options{Tiles: 600, Requests: 6000, Seed: 1}) {
		synctest.Test(t, func(t *testing.T) {
			got, asked := newCache(t, o), newCache(t, o)
			body := make([]byte, 40_000)
			for i, q := range trace.Requests {
				st, _ := look(t, got, q.Key, day, always(body[:q.Size]))
				synctest.Wait() // the fill has returned what it took for itself
				if hit := tilecache.Request(asked, q.Key, q.Size); hit != (st.State == tilecache.Hit) {
					t.Fatalf("%s: request %d: Get has state %v, Request says hit: %t", trace.Name, i, st.State, hit)
				}
			}
			check(t, "evictions", asked.Stats().Evictions, got.Stats().Evictions)
			check(t, "there were many", got.Stats().Evictions > 50, true)
		})
	}
}

// Tiles that are asked for several times outlive a scan, however the requests came.
func TestTilesOutliveAScan(t *testing.T) {
	const popular, times, size = 200, 3, 3500
	for _, memory := range []int64{2 << 20, 4 << 20, 32 << 20} {
		for _, inARow := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d MiB, in a row: %t", memory>>20, inARow), func(t *testing.T) {
				c := newCache(t, tilecache.SameHashes(tilecache.Options{Memory: memory, MaxObject: 64 << 10}))
				for i := range uint32(popular * times) {
					if inARow {
						i /= times
					}
					tilecache.Request(c, keyOf(i%popular), size)
				}
				for i := range uint32(6 * memory / size) {
					tilecache.Request(c, keyOf(1_000_000+i), size)
				}
				held := 0
				for i := range uint32(popular) {
					if tilecache.Holds(c, keyOf(i)) {
						held++
					}
				}
				t.Logf("%d of %d", held, popular)
				if held < popular*95/100 {
					t.Errorf("got %d of %d tiles that are held, want 95 %%", held, popular)
				}
			})
		}
	}
}

// When large tiles take the place of many small ones, what was needed to rank those is given back.
func TestSlotsAreGivenBack(t *testing.T) {
	c := newCache(t, tilecache.SameHashes(tilecache.Options{Memory: 8 << 20, MaxObject: 64 << 10}))
	for i := range uint32(20_000) {
		tilecache.Request(c, keyOf(i), 100)
	}
	many := tilecache.Slots(c)
	check(t, "many small tiles", c.Stats().Entries > 10_000, true)
	for range 3 { // so that the large ones win
		for i := range uint32(200) {
			for range 4 {
				tilecache.Request(c, keyOf(1_000_000+i), 40_000)
			}
		}
	}
	few := c.Stats().Entries
	check(t, "the small ones have left", few < 2_000, true)
	if got := tilecache.Slots(c); got > many/4 || got > 8*few+2048 {
		t.Errorf("got %d slots for %d tiles, after %d", got, few, many)
	}
	for i := range uint32(200) {
		key := keyOf(1_000_000 + i)
		if tilecache.Holds(c, key) != tilecache.Request(c, key, 40_000) {
			t.Errorf("tile %d is not where the ranking has it", i)
		}
	}
}

// What the tuner takes is in the budget, and it holds no more tiles than it may, however small they are.
func TestTunerCost(t *testing.T) {
	for _, capacity := range []int64{1 << 20, 16 << 20, 512 << 20} {
		before := taken()
		filled, ranked, lru, most, counted := tilecache.FilledTuner(capacity, 600, 1_000_000)
		real := taken() - before
		t.Logf("%d MiB: %d and %d tiles of %d take %d bytes, %d are counted", capacity>>20, ranked, lru, most, real, counted)
		if ranked > most || lru > most || ranked < most/4 || lru < most/4 {
			t.Errorf("got %d and %d tiles, want %d at most and a good part of that", ranked, lru, most)
		}
		if r := float64(real) / float64(counted); r > 1.05 || r < 0.6 {
			t.Errorf("got %d bytes taken for %d counted", real, counted)
		}
		if counted > capacity/20 {
			t.Errorf("got %d bytes of %d, want a twentieth at most", counted, capacity)
		}
		runtime.KeepAlive(filled)
	}
}

// A scraper that walks through more tiles than the cache can hold must leave people theirs.
func TestScraperDoesNotEmptyTheCache(t *testing.T) {
	const people, scraped = 400, 2000
	body := make([]byte, 3500)
	left := func(o tilecache.Options) (hits int) {
		c := newCache(t, o)
		for range 3 {
			for i := range uint32(people) {
				look(t, c, keyOf(i), day, always(body))
			}
		}
		for i := range uint32(scraped) {
			look(t, c, keyOf(1_000_000+i), day, always(body))
		}
		for i := range uint32(people) {
			if st, _ := look(t, c, keyOf(i), day, always(body)); st.State == tilecache.Hit {
				hits++
			}
		}
		return hits
	}
	o := tilecache.Options{Memory: 4 << 20, MaxObject: 64 << 10}
	check(t, "tiles that survive in plain LRU", left(tilecache.Plain(o)), 0)
	// The cache hashes at random. In one of a hundred caches of this size, hashes that collide make a scan look like a change of what is
	// popular. Three of five never are.
	var got []int
	good := 0
	for range 5 {
		got = append(got, left(o))
		if got[len(got)-1] >= people*9/10 {
			good++
		}
	}
	if good < 3 {
		t.Errorf("got %d of %d tiles that survive, want nine in ten", got, people)
	}
}

// While there is room, whatever comes is kept, however seldom it was asked for.
func TestBurstIsKeptWhileThereIsRoom(t *testing.T) {
	const tiles = 1500
	c := newCache(t, tilecache.Options{Memory: 8 << 20, MaxObject: 64 << 10})
	fetch := always(make([]byte, 4000))
	for i := range uint32(tiles) {
		look(t, c, keyOf(i), day, fetch)
	}
	for i := range uint32(tiles) {
		st, _ := look(t, c, keyOf(i), day, fetch)
		check(t, "state", st.State, tilecache.Hit)
	}
	check(t, "evictions", c.Stats().Evictions, 0)
}

// When people move on, so does the cache, as the sketch forgets: it does not cling for ever to what
// was popular once.
func TestYesterdaysTilesGiveWay(t *testing.T) {
	const tiles = 400
	fetch := always(make([]byte, 3500))
	c := newCache(t, tilecache.Options{Memory: 2 << 20, MaxObject: 64 << 10})
	hits := func(from uint32, rounds int) (last int) {
		for range rounds {
			last = 0
			for i := range uint32(tiles) {
				if st, _ := look(t, c, keyOf(from+i), day, fetch); st.State == tilecache.Hit {
					last++
				}
			}
		}
		return last
	}
	if got := hits(0, 20); got < tiles*9/10 {
		t.Fatalf("got %d hits in the last of many rounds, want nine in ten of %d", got, tiles)
	}
	if got := hits(1_000_000, 32); got < tiles*9/10 {
		t.Errorf("got %d hits in the last of many rounds elsewhere, want nine in ten of %d", got, tiles)
	}
}

func BenchmarkAdmission(b *testing.B) {
	const tiles = 6000
	for trace := range traces.All(traces.Options{Tiles: tiles, Requests: 10 * tiles, Seed: 1}) {
		b.Run(trace.Name, func(b *testing.B) {
			for b.Loop() {
				o := tilecache.Options{Memory: 24 << 20, MaxObject: 64 << 10}
				plain, ours := replay(b, tilecache.Plain(o), trace), replay(b, o, trace)
				b.ReportMetric(plain.All, "plain-LRU-percent")
				b.ReportMetric(ours.All, "hit-percent")
			}
		})
	}
}
