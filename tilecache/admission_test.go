package tilecache_test

import (
	"context"
	"hash/fnv"
	"iter"
	"math"
	"math/rand/v2"
	"testing"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// mapUse is what a tile server sees: people open a map at places that a few share and most do not,
// pan and zoom there, and each move asks for the tiles that come into view. Meanwhile a scraper,
// when there is one, walks whole zoom levels row by row and asks for every second tile of the trace.
type mapUse struct {
	seed     uint64
	requests int
	scraper  bool
}

// all yields the tiles asked for and whether a person did.
func (u mapUse) all() iter.Seq2[tile.Key, bool] {
	const (
		places   = 1000
		sessions = 50 // at once
		moves    = 15 // in a session
		columns  = 5
		rows     = 4
	)
	type session struct {
		x, y float64 // of the centre, 0 to 1
		z    int
		left int
		seen map[tile.Key]bool // the browser's own cache
	}
	return func(yield func(tile.Key, bool) bool) {
		r := rand.New(rand.NewPCG(u.seed, 7))
		popular := rand.NewZipf(r, 1.1, 2, places-1)
		type place struct {
			x, y float64
			z    int
		}
		var at [places]place
		for i := range at {
			at[i] = place{r.Float64(), r.Float64(), 5 + r.IntN(8)}
		}
		people := make([]session, sessions)
		left := u.requests
		send := func(k tile.Key, person bool) bool {
			left--
			return left >= 0 && yield(k, person)
		}
		scrapeZ, scrapeI := 9, uint32(0)
		for {
			s := &people[r.IntN(sessions)]
			if s.left == 0 {
				p := at[popular.Uint64()]
				*s = session{
					x: p.x, y: p.y, z: p.z, left: 1 + r.IntN(2*moves),
					seen: map[tile.Key]bool{},
				}
			}
			s.left--
			n := float64(uint32(1) << s.z)
			switch r.IntN(5) {
			case 0:
				s.z = min(s.z+1, 14)
			case 1:
				s.z = max(s.z-1, 3)
			case 2:
				s.x += 1 / n
			case 3:
				s.x -= 1 / n
			default:
				s.y += float64(r.IntN(3)-1) / n
			}
			n = float64(uint32(1) << s.z)
			cx, cy := int(s.x*n), int(s.y*n)
			for i := range columns * rows {
				x, y := cx+i%columns-columns/2, cy+i/columns-rows/2
				if x < 0 || y < 0 || x >= int(n) || y >= int(n) {
					continue
				}
				k := tile.Key{Tileset: "basemap", Z: uint8(s.z), X: uint32(x), Y: uint32(y), Scale: 1}
				if s.seen[k] {
					continue
				}
				s.seen[k] = true
				if !send(k, true) {
					return
				}
				if u.scraper {
					width := uint32(1) << scrapeZ
					k := tile.Key{Tileset: "basemap", Z: uint8(scrapeZ), X: scrapeI % width, Y: scrapeI / width, Scale: 1}
					if scrapeI++; scrapeI == width*width {
						scrapeZ, scrapeI = scrapeZ+1, 0
					}
					if !send(k, false) {
						return
					}
				}
			}
		}
	}
}

// tileBytes is a tile's size, drawn from its key: most are a few kilobytes, oceans next to nothing.
func tileBytes(k tile.Key) int {
	h := fnv.New64a()
	h.Write([]byte{k.Z, byte(k.X), byte(k.X >> 8), byte(k.X >> 16), byte(k.Y), byte(k.Y >> 8), byte(k.Y >> 16)})
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	if r.IntN(4) == 0 {
		return 110
	}
	return int(min(40_000, 3000*math.Exp(r.NormFloat64()*0.7)))
}

// ratios replays u and returns the part of people's requests that were hits, by number and by bytes.
func (u mapUse) ratios(t testing.TB, o tilecache.Options) (byNumber, byBytes float64) {
	t.Helper()
	c := newCache(t, o)
	body := make([]byte, 40_000)
	fetch := func(_ context.Context, k tile.Key, _ tile.Condition) (*tile.Object, error) {
		return object(body[:tileBytes(k)]), nil
	}
	var hits, all, hitBytes, allBytes float64
	for k, person := range u.all() {
		tl, st, err := c.Get(context.Background(), k, day, fetch)
		if err != nil {
			t.Fatal(err)
		}
		if st.State == tilecache.Miss {
			if _, err := readAll(tl); err != nil {
				t.Fatal(err)
			}
		}
		if person {
			n := float64(tl.Size())
			all++
			allBytes += n
			if st.State == tilecache.Hit {
				hits++
				hitBytes += n
			}
		}
		tl.Close()
	}
	return hits / all, hitBytes / allBytes
}

// TestAdmission holds the cache against one that only knows who was used least recently, at equal
// bytes, on the same requests.
func TestAdmission(t *testing.T) {
	for _, tc := range []struct {
		name string
		use  mapUse
		gain float64 // at least, in hits for each hit of plain LRU
	}{
		{"people alone", mapUse{seed: 1, requests: 12_000}, 1.1},
		{"people and a scraper", mapUse{seed: 1, requests: 24_000, scraper: true}, 1.3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := tilecache.Options{Memory: 4 << 20, MaxObject: 64 << 10}
			plain, plainBytes := tc.use.ratios(t, tilecache.Plain(o))
			ours, oursBytes := tc.use.ratios(t, o)
			t.Logf("hit ratio: plain LRU %.3f (bytes %.3f), with admission %.3f (bytes %.3f)", plain, plainBytes, ours, oursBytes)
			if ours < tc.gain*plain {
				t.Errorf("got hit ratio %.3f where plain LRU has %.3f, want %.1f times that", ours, plain, tc.gain)
			}
		})
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
	if got := left(o); got < people*9/10 {
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
	for _, u := range []struct {
		name string
		mapUse
	}{
		{"people alone", mapUse{seed: 1, requests: 40_000}},
		{"people and a scraper", mapUse{seed: 1, requests: 80_000, scraper: true}},
	} {
		b.Run(u.name, func(b *testing.B) {
			for b.Loop() {
				o := tilecache.Options{Memory: 24 << 20, MaxObject: 64 << 10}
				plain, _ := u.ratios(b, tilecache.Plain(o))
				ours, _ := u.ratios(b, o)
				b.ReportMetric(plain, "plain-LRU-hit-ratio")
				b.ReportMetric(ours, "hit-ratio")
			}
		})
	}
}
