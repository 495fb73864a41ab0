// Package traces makes up sequences of requests for tiles, to compare what caches make of them. Each is the
// same in every run: it depends on its seed alone.
//
// The traces have the shapes that publications on caches measure with (Zipf's law with several exponents, a loop, scans,
// popularity that changes at once or slowly), and those of a tile server: people who pan and zoom, alone and beside a
// scraper. A trace is made for a cache's size in tiles, because its shape only means something in relation to that: a
// loop that is a tenth larger than the cache, for example.
package traces

import (
	"iter"
	"math"
	"math/rand/v2"
	"sort"

	"tilegate/internal/tile"
)

// Trace is a sequence of requests.
type Trace struct {
	Name     string
	Requests []Request
}

// Request is for one tile.
type Request struct {
	Key     tile.Key
	Size    int64 // of the tile, in bytes
	Scraper bool  // its hits do not count
}

// Options says what traces are for.
type Options struct {
	Tiles    int    // how many the cache holds, about
	Requests int    // in a trace
	Seed     uint64 // of the random numbers
	OneSize  bool   // all tiles have MeanSize; otherwise sizes differ as those of vector tiles do
}

// MeanSize is about the mean size of a tile in bytes.
const MeanSize = 3000

// generate returns the number of the i-th tile that is asked for.
type generate func(r *rand.Rand, i int) uint64

// All makes a trace of each kind, one after the other.
func All(o Options) iter.Seq[Trace] {
	n, total := o.Tiles, o.Requests
	const apart = 1 << 40 // numbers from here on are no other generator's
	popular := zipf(10*n, 0.9)
	fewer := zipf(3*n, 0.9)
	made := []struct {
		name string
		next generate
	}{
		{"zipf 0.7", zipf(10*n, 0.7)},
		{"zipf 0.9", popular},
		{"zipf 1.1", zipf(10*n, 1.1)},
		{"loop, a tenth larger", func(_ *rand.Rand, i int) uint64 { return uint64(i % (n * 11 / 10)) }},
		{"loop, twice as large", func(_ *rand.Rand, i int) uint64 { return uint64(i % (n * 2)) }},
		{"zipf 0.9, and scans now and then", func(r *rand.Rand, i int) uint64 {
			if i/(2*n)%3 == 1 && r.IntN(4) > 0 {
				return apart + uint64(i)
			}
			return popular(r, i)
		}},
		{"zipf 0.9, and a scan all the time", func(r *rand.Rand, i int) uint64 {
			if i%2 == 1 {
				return apart + uint64(i)
			}
			return popular(r, i)
		}},
		// All tiles are replaced by others after each two tenths.
		{"zipf 0.9, replaced", replaced(popular, total)},
		{"zipf 1.1, replaced", replaced(zipf(10*n, 1.1), total)},
		{"zipf 0.9 of fewer, replaced", replaced(fewer, total)},
		// What is popular moves on by two thirds of the tiles in each ninth of the trace.
		{"zipf 0.9, sliding", func(r *rand.Rand, i int) uint64 {
			return fewer(r, i)*7919%uint64(3*n) + uint64(6*n*i/total)
		}},
		// A third of the requests are for new tiles, the others for tiles that were asked for lately.
		{"recent tiles", func(r *rand.Rand, i int) uint64 {
			if r.IntN(3) == 0 {
				return uint64(i)
			}
			return uint64(max(0, i-int(r.ExpFloat64()*0.6*float64(n))))
		}},
		{"zipf 0.9 and a loop in turn", func(r *rand.Rand, i int) uint64 {
			if i*5/total%2 == 0 {
				return apart + popular(r, i)
			}
			return uint64(i % (n * 3 / 2))
		}},
	}
	return func(yield func(Trace) bool) {
		for i, m := range made {
			r := rand.New(rand.NewPCG(o.Seed, uint64(i))) //nolint:gosec // traces are the same in each run
			t := Trace{Name: m.name, Requests: make([]Request, total)}
			for i := range t.Requests {
				number := m.next(r, i)
				key := tile.Key{Tileset: "basemap", Z: 30, X: uint32(number), Y: uint32(number >> 32), Scale: 1}
				t.Requests[i] = Request{Key: key, Size: o.size(key)}
			}
			if !yield(t) {
				return
			}
		}
		_ = yield(o.people("people", false)) && yield(o.people("people and a scraper", true))
	}
}

// zipf draws the numbers from 0 to n-1 with probabilities that fall with the power s of their rank.
func zipf(n int, s float64) generate {
	below := make([]float64, n) // the weight of this number and of all before it
	sum := 0.0
	for i := range below {
		sum += math.Pow(float64(i+1), -s)
		below[i] = sum
	}
	return func(r *rand.Rand, _ int) uint64 {
		return uint64(sort.SearchFloat64s(below, r.Float64()*sum))
	}
}

func replaced(next generate, total int) generate {
	return func(r *rand.Rand, i int) uint64 { return next(r, i) + uint64(i*5/total)<<32 }
}

func (o Options) size(k tile.Key) int64 {
	if o.OneSize {
		return MeanSize
	}
	return Size(k)
}

// Size draws a tile's size in bytes from its key, at most 40,000. A quarter of the tiles are empty oceans of 110 bytes, the
// others have a few kilobytes.
func Size(k tile.Key) int64 {
	r := rand.New(rand.NewPCG(uint64(k.X)<<32|uint64(k.Y), uint64(k.Z))) //nolint:gosec // likewise
	if r.IntN(4) == 0 {
		return 110
	}
	return int64(min(40_000, MeanSize*math.Exp(r.NormFloat64()*0.7)))
}

// people is what a tile server sees. People open a map at places that a few share and most do not, pan and zoom there,
// and each move asks for the tiles that come into view. When there is a scraper, every second request is its: it
// walks through whole zoom levels row by row.
func (o Options) people(name string, scraper bool) Trace {
	const (
		places   = 1000
		sessions = 50 // at once
		moves    = 15 // in a session, on average
		columns  = 5
		rows     = 4
	)
	type session struct {
		x, y float64 // of the center, 0 to 1
		z    int
		left int               // moves
		seen map[tile.Key]bool // the browser's own cache
	}
	type place struct {
		x, y float64
		z    int
	}
	r := rand.New(rand.NewPCG(o.Seed, 7)) //nolint:gosec // likewise
	popular := rand.NewZipf(r, 1.1, 2, places-1)
	var at [places]place
	for i := range at {
		at[i] = place{r.Float64(), r.Float64(), 5 + r.IntN(8)}
	}
	key := func(z, x, y int) tile.Key {
		return tile.Key{Tileset: "basemap", Z: uint8(z), X: uint32(x), Y: uint32(y), Scale: 1}
	}
	t := Trace{Name: name, Requests: make([]Request, 0, o.Requests+1)}
	open := make([]session, sessions)
	scrapeZ, scraped := 9, 0
	for {
		s := &open[r.IntN(sessions)]
		if s.left == 0 {
			p := at[popular.Uint64()]
			*s = session{x: p.x, y: p.y, z: p.z, left: 1 + r.IntN(2*moves), seen: map[tile.Key]bool{}}
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
			k := key(s.z, x, y)
			if s.seen[k] {
				continue
			}
			s.seen[k] = true
			t.Requests = append(t.Requests, Request{Key: k, Size: o.size(k)})
			if scraper {
				width := 1 << scrapeZ
				k := key(scrapeZ, scraped%width, scraped/width)
				if scraped++; scraped == width*width {
					scrapeZ, scraped = scrapeZ+1, 0
				}
				t.Requests = append(t.Requests, Request{Key: k, Size: o.size(k), Scraper: true})
			}
			if len(t.Requests) >= o.Requests {
				t.Requests = t.Requests[:o.Requests]
				return t
			}
		}
	}
}

// Ratios are hits by requests, in percent.
type Ratios struct {
	All    float64
	Tenths [10]float64 // of each tenth of the trace
}

// Replay returns the hit ratios of a cache whose function hit takes one request and reports whether it was a hit.
func (t Trace) Replay(hit func(Request) bool) Ratios {
	var hits, asked [10]float64
	for i, q := range t.Requests {
		was := hit(q)
		if q.Scraper {
			continue
		}
		tenth := i * 10 / len(t.Requests)
		asked[tenth]++
		if was {
			hits[tenth]++
		}
	}
	var r Ratios
	var allHits, allAsked float64
	for i := range hits {
		r.Tenths[i] = 100 * hits[i] / max(1, asked[i])
		allHits += hits[i]
		allAsked += asked[i]
	}
	r.All = 100 * allHits / max(1, allAsked)
	return r
}

// Behind returns by how many points r is at most behind other in a tenth of the trace; negative when it is ahead in
// all of them.
func (r Ratios) Behind(other Ratios) float64 {
	most := -100.0
	for i := range r.Tenths {
		most = max(most, other.Tenths[i]-r.Tenths[i])
	}
	return most
}
