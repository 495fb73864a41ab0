package proxy

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tilegate/internal/pmtiles"
)

var day = []DistinctLimit{{Window: 24 * time.Hour, Tiles: 3}}

func tileNumber(n uint64) *contents { return &contents{kind: 10, first: n, n: 1} }

func TestWindowsAreAligned(t *testing.T) {
	d := &distinctTiles{room: room{max: maxDistinctBytes}}
	limits := []DistinctLimit{{Window: time.Hour, Tiles: 2}, {Window: 24 * time.Hour, Tiles: 3}}
	noon := time.Date(2026, 11, 27, 12, 15, 0, 0, time.UTC)
	for _, step := range []struct {
		what string
		tile uint64
		at   time.Time
		wait time.Duration // 0: allowed
	}{
		{"the first", 1, noon, 0},
		{"the second", 2, noon, 0},
		{"the second again", 2, noon, 0},
		{"a third in the hour", 3, noon, 45 * time.Minute},
		{"the first, in the next hour", 1, noon.Add(time.Hour), 0},
		{"a third in the next hour", 3, noon.Add(time.Hour), 0},
		{"over both", 4, noon.Add(time.Hour), 10*time.Hour + 45*time.Minute},
		{"a clock that is set back", 4, noon, 11*time.Hour + 45*time.Minute},
		{"the next day", 4, noon.Add(12 * time.Hour), 0},
	} {
		wait, ok := d.look(1, "basemap", limits, tileNumber(step.tile), step.at, true, nil)
		if wait != step.wait || ok != (step.wait == 0) {
			t.Errorf("%s: got %v, %v, want a wait of %v", step.what, wait, ok, step.wait)
		}
	}
}

// A look alone counts nothing.
func TestLookingIsNotTaking(t *testing.T) {
	d := &distinctTiles{room: room{max: maxDistinctBytes}}
	for n := range uint64(10) {
		if _, ok := d.look(1, "basemap", day, tileNumber(n), time.Unix(0, 0), false, nil); !ok {
			t.Fatalf("tile %d is refused", n)
		}
	}
	if d.room.used.Load() != 0 {
		t.Errorf("%d bytes are held", d.room.used.Load())
	}
}

// Whoever makes up callers does not get a count of their own forgotten, and memory stays bounded.
func TestMadeUpCallersForgetNobodysTiles(t *testing.T) {
	d := &distinctTiles{room: room{max: 1 << 20}}
	limits := []DistinctLimit{{Window: 24 * time.Hour, Tiles: 10_000}}
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	d.look(0, "basemap", limits, &contents{kind: 10, n: 10_000}, now, true, nil)
	for id := range uint64(20_000) {
		d.look(id*distinctShards, "other", limits, &contents{kind: 10, n: 5}, now, true, nil)
	}
	if used := d.room.used.Load(); used > d.room.max {
		t.Errorf("%d bytes are held, over %d", used, d.room.max)
	}
	if _, ok := d.look(0, "basemap", limits, tileNumber(10_001), now, true, nil); ok {
		t.Error("the count of a caller was forgotten")
	}
	held := int64(0)
	for i := range d.shards {
		for _, c := range d.shards[i].sent {
			held += c.tiles.bytes() + sentCost
		}
	}
	if held != d.room.used.Load() {
		t.Errorf("%d bytes are held, %d are counted", held, d.room.used.Load())
	}
	d.look(0, "basemap", limits, tileNumber(1), now.Add(25*time.Hour), true, nil)
	if used := d.room.used.Load(); used > 4096 {
		t.Errorf("%d bytes are held of a day that is over", used)
	}
}

func TestDistinctTilesAreCountedExactly(t *testing.T) {
	d := &distinctTiles{room: room{max: maxDistinctBytes}}
	const most = 100_000
	limits := []DistinctLimit{{Window: 24 * time.Hour, Tiles: most}}
	allowed := 0
	for n := range uint64(most + 2000) {
		if _, ok := d.look(1, "basemap", limits, tileNumber(n), time.Unix(0, 0), true, nil); ok {
			allowed++
		}
	}
	if allowed < most || allowed > most+most/1000 {
		t.Errorf("%d different tiles were allowed, want %d", allowed, most)
	}
}

// usualLimits are those that the documentation advises.
var usualLimits = []DistinctLimit{{Window: time.Hour, Tiles: 20_000}, {Window: 24 * time.Hour, Tiles: 100_000}}

// Somebody looks at one city for an hour, and moves or zooms every two seconds.
func TestPersonWhoLooksAtACityNeverMeetsTheLimit(t *testing.T) {
	for seed := range uint64(20) {
		d := &distinctTiles{room: room{max: maxDistinctBytes}}
		r := rand.New(rand.NewPCG(seed, 1))
		begin := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
		const wide, high = 8, 5 // tiles in a view
		x, y, z := 0.5368, 0.3279, 12.0
		for move := range 1800 {
			if r.IntN(4) == 0 {
				z = min(max(z+float64(r.IntN(3)-1), 10), 18)
			}
			view := 1 / math.Exp2(z)
			x = min(max(x+(r.Float64()-0.5)*view*wide/2, 0.536), 0.538)
			y = min(max(y+(r.Float64()-0.5)*view*high/2, 0.327), 0.329)
			for i := range uint32(wide * high) {
				want := tilePath{z: uint8(z), scale: 1, x: uint32(x/view) + i%wide, y: uint32(y/view) + i/wide}
				what := contentOf(want)
				if _, ok := d.look(1, "basemap", usualLimits, &what, begin.Add(time.Duration(move)*2*time.Second), true, nil); !ok {
					t.Fatalf("seed %d: refused after %d moves", seed, move)
				}
			}
		}
	}
}

// Somebody else copies the map, from zoom 0 on.
func TestScraperIsStoppedAtTheLimit(t *testing.T) {
	d := &distinctTiles{room: room{max: maxDistinctBytes}}
	now, sent := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), 0
	for z := range uint8(13) {
		for x := range min(uint32(1)<<z, 200) {
			for y := range min(uint32(1)<<z, 200) {
				what := contentOf(tilePath{z: z, scale: 1, x: x, y: y})
				if _, ok := d.look(1, "basemap", usualLimits, &what, now, true, nil); ok {
					sent++
				}
			}
		}
	}
	if sent < 20_000 || sent > 20_000+20 { // some tiles are taken for others
		t.Errorf("%d tiles were sent, want 20000", sent)
	}
}

func TestSeenTilesCostNoAllocation(t *testing.T) {
	l := testLimiter(Limits{Distinct: day})
	c := l.caller("alice", netip.Addr{})
	tile, now := tileNumber(1), time.Now()
	c.kind.distinct.look(c.id, "basemap", day, tile, now, true, nil)
	if got := testing.AllocsPerRun(1000, func() { c.kind.distinct.look(c.id, "basemap", day, tile, now, true, nil) }); got > 0 {
		t.Errorf("%v allocations", got)
	}
	u := NewUsage()
	u.add("alice", "basemap", 1, 1, tile, now)
	if got := testing.AllocsPerRun(1000, func() { u.add("alice", "basemap", 1, 1, tile, now) }); got > 0 {
		t.Errorf("usage: %v allocations", got)
	}
}

func TestRangesAreTilesByTheirSize(t *testing.T) {
	h := &pmtiles.Header{Tiles: pmtiles.Range{Offset: 1000, Length: 10_000}, TileContents: 100}
	for _, test := range []struct {
		offset, length int64
		want           uint64
	}{
		{0, 1000, 0}, {0, 1001, 1}, {1000, 100, 1}, {1000, 101, 2}, {1050, 100, 2}, {1000, 10_000, 100}, {0, 20_000, 100}, {11_000, 5, 0},
	} {
		if got := contentsOf(h, byteRange{test.offset, test.length}); got.n != test.want {
			t.Errorf("%d bytes from %d are %d tiles, want %d", test.length, test.offset, got.n, test.want)
		}
	}
	if got := contentsOf(&pmtiles.Header{Tiles: h.Tiles}, byteRange{0, 1 << 20}); got.n != 2 {
		t.Errorf("an archive that says no number: %d tiles", got.n)
	}
	if got := contentsOf(&pmtiles.Header{Tiles: h.Tiles, TileContents: 1 << 60}, byteRange{0, 1 << 20}); got.n != 10_000 {
		t.Errorf("an archive that lies about its number: %d tiles", got.n)
	}
}

// Standard errors of 0.8 %: three of them are allowed here, for numbers of which each is always the same.
func TestSketchCounts(t *testing.T) {
	for _, n := range []int{1, 100, 5000, 20_000, 100_000, 1_000_000} {
		var s sketch
		for i := range uint64(n) {
			for range 2 {
				s.add(mix(i))
			}
		}
		if got := s.count(); got < n-1-n*25/1000 || got > n+1+n*25/1000 {
			t.Errorf("%d tiles are counted as %d", n, got)
		}
	}
}

func TestTileCountIsExactWhileFew(t *testing.T) {
	var c tileCount
	for n := range uint64(10_000) {
		before := c.bytes()
		growth := c.growth()
		c.add((&contents{kind: 1, n: 10_000}).hash(n))
		if c.bytes() != before+growth {
			t.Fatalf("tile %d: took %d bytes, announced %d", n, c.bytes()-before, growth)
		}
		if got := c.count(); n < maxFew && got != int(n)+1 {
			t.Fatalf("%d tiles are counted as %d", n+1, got)
		}
	}
	if got := c.count(); got < 9750 || got > 10_250 {
		t.Errorf("10000 tiles are counted as %d", got)
	}
}
