package proxy

import (
	"math"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
)

// c0 is nobody's address: subjects are what is counted.
var c0 netip.Addr

// fleet is what instances have counted together, as Redis does.
type fleet struct {
	sums  map[tile.Counter]int64
	tiles map[tile.Counter]map[uint32]bool
}

func newFleet() *fleet {
	return &fleet{sums: map[tile.Counter]int64{}, tiles: map[tile.Counter]map[uint32]bool{}}
}

// member is an instance of a fleet, of whose limiter everything is told and learned by exchange.
type member struct {
	*Limiter
	fleet *fleet
	n     map[tile.Counter]int64
	tiles map[tile.Counter][]uint32
	own   map[tile.Counter]int
	sums  map[tile.Counter]int64
	until map[tile.Counter]time.Time
}

func (f *fleet) member(limits Limits) *member {
	m := &member{
		Limiter: testLimiter(limits), fleet: f, n: map[tile.Counter]int64{}, tiles: map[tile.Counter][]uint32{}, own: map[tile.Counter]int{},
		sums: map[tile.Counter]int64{}, until: map[tile.Counter]time.Time{},
	}
	m.Share(m)
	return m
}

func (m *member) AddRequests(counter tile.Counter, n int64) { m.n[counter] += n }

func (m *member) AddTiles(counter tile.Counter, tiles []uint32, own int, _ bool) {
	m.tiles[counter] = append(m.tiles[counter], tiles...)
	m.own[counter] = own
}

// exchange tells what is new, and has the limiter learn what all have counted.
func (m *member) exchange() {
	n, tiles := m.n, m.tiles
	m.n, m.tiles = map[tile.Counter]int64{}, map[tile.Counter][]uint32{}
	for counter, n := range n {
		m.fleet.sums[counter] += n
		if _, known := m.until[counter]; !known {
			m.until[counter] = time.Unix(counter.Begin, 0)
		}
		total := m.fleet.sums[counter]
		m.until[counter] = m.LearnRequests(counter, total-m.sums[counter], 0, m.until[counter])
		m.sums[counter] = total
	}
	for counter, tiles := range tiles {
		if m.fleet.tiles[counter] == nil {
			m.fleet.tiles[counter] = map[uint32]bool{}
		}
		for _, t := range tiles {
			m.fleet.tiles[counter][t] = true
		}
		m.LearnTiles(counter, int64(len(m.fleet.tiles[counter])), int64(m.own[counter]))
	}
}

// ask asks n times at once and returns how many requests are answered.
func (m *member) ask(t *testing.T, subject string, n int) int {
	t.Helper()
	return n - m.over(t, subject, "", time.Since(m.begun), n)
}

// A scraper that floods all instances at once gets the rate of one, beside a burst from each at the beginning.
func TestScraperOfAllInstancesGetsOneRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const members, seconds, rate, burst = 4, 60, 50, 100
		f := newFleet()
		var all []*member
		for range members {
			all = append(all, f.member(Limits{Hourly: rate * 3600, Burst: burst}))
		}
		answered := 0
		for range seconds * 20 {
			for _, m := range all {
				answered += m.ask(t, "eve", 20)
			}
			bubble.Advance(50 * time.Millisecond)
			if time.Now().UnixMilli()%250 == 0 {
				for _, m := range all {
					m.exchange()
				}
			}
		}
		if least, most := rate*seconds*9/10, rate*seconds*11/10+members*burst; answered < least || answered > most {
			t.Errorf("got %d answers in a minute, want %d to %d", answered, least, most)
		}
		if got := all[0].ask(t, "bo", burst); got != burst {
			t.Errorf("somebody else gets %d answers, want %d", got, burst)
		}
	})
}

// One who keeps to the rate is never refused, whichever instances answer.
func TestCallerAtItsRateIsNotRefusedByAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		limits := Limits{Hourly: 20 * 3600, Burst: 10}
		all := []*member{f.member(limits), f.member(limits), f.member(limits)}
		for i := range 20 * 60 * 10 {
			m := all[i/700%3] // 35 seconds at each, then back
			if m.ask(t, "alice", 1) != 1 {
				t.Fatalf("request %d is refused", i)
			}
			bubble.Advance(50 * time.Millisecond)
			if i%5 == 0 {
				for _, m := range all {
					m.exchange()
				}
			}
		}
	})
}

// A caller who goes to another instance when the first has had enough finds itself over its limit there, too.
func TestInstanceThatStartsLearnsWhatWasUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		limits := Limits{Hourly: 10, Burst: 20}
		a := f.member(limits)
		if got := a.ask(t, "eve", 30); got != 20 {
			t.Fatalf("got %d answers, want 20", got)
		}
		a.exchange()
		b := f.member(limits)
		b.ask(t, "eve", 1)
		b.exchange()
		if got := b.ask(t, "eve", 30); got > 1 {
			t.Errorf("after one request that told it, the other answers %d more", got)
		}
	})
}

// What is given back is given back at all instances.
func TestRequestsGivenBackAreNotCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		limits := Limits{Hourly: 1, Burst: 10}
		a, b := f.member(limits), f.member(limits)
		a.ask(t, "alice", 8)
		c := a.caller("alice", c0)
		for range 8 {
			c.kind.giveBack(c.id, time.Since(a.begun), &limits)
			a.sendRequests(&c, -1)
		}
		a.exchange()
		b.ask(t, "alice", 1)
		b.exchange()
		if got := b.ask(t, "alice", 20); got != 9 {
			t.Errorf("got %d more answers, want 9", got)
		}
	})
}

// Whoever can write to Redis locks nobody out for longer than a burst takes, and 16 requests or ten seconds.
func TestForgedSumsLockNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := Limits{Hourly: 3600, Burst: 30}
		m := newFleet().member(limits)
		c := m.caller("alice", c0)
		for _, n := range []int64{math.MaxInt64, 1 << 40, -1, math.MinInt64} {
			m.LearnRequests(c.counter("", requestsWindow, 0), n, 0, time.Unix(0, 0))
			m.LearnRequests(c.counter("", requestsWindow, 0), n, 3, time.Now().Add(time.Hour))
		}
		if got := m.ask(t, "alice", 1); got != 0 {
			t.Error("sums are not charged at all, so that the test proves nothing")
		}
		bubble.Advance(17 * time.Second)
		if got := m.ask(t, "alice", 1); got != 1 {
			t.Error("a forged sum locks somebody out")
		}
	})
}

// take asks for tiles of a tileset and returns how many are sent.
func (m *member) take(subject string, tiles ...uint64) (sent int) {
	c := m.caller(subject, c0)
	for _, n := range tiles {
		var found []newTiles
		if _, ok := c.kind.distinct.look(c.id, "basemap", m.limits.Load().Distinct, tileNumber(n), time.Now(), true, &found); ok {
			sent++
		}
		m.sendTiles(&c, "basemap", found)
	}
	return sent
}

func upTo(first, n uint64) []uint64 {
	var all []uint64
	for i := range n {
		all = append(all, first+i)
	}
	return all
}

// A scraper that walks a map by all instances gets the tiles of one budget, and still has those that an instance has
// sent it.
func TestScraperOfAllInstancesGetsOneBudgetOfTiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		limits := Limits{Distinct: []DistinctLimit{{Window: time.Hour, Tiles: 1000}, {Window: 24 * time.Hour, Tiles: 100}}}
		a, b := f.member(limits), f.member(limits)
		sent := 0
		for i := range uint64(50) {
			sent += a.take("eve", upTo(20*i, 10)...) + b.take("eve", upTo(20*i+10, 10)...)
			a.exchange()
			b.exchange()
		}
		if sent < 100 || sent > 120 {
			t.Errorf("got %d tiles, want 100 and at most those of one exchange more", sent)
		}
		if got := b.take("eve", upTo(10, 10)...); got != 10 {
			t.Errorf("got %d of 10 tiles that were sent before", got)
		}
		if got := a.take("eve", 7777) + b.take("eve", 7777); got != 0 {
			t.Error("a new tile is sent although the budget is used up")
		}
		if got := a.take("bo", 7777); got != 1 {
			t.Error("somebody else is refused")
		}
		bubble.Advance(24 * time.Hour)
		if got := a.take("eve", 8888) + b.take("eve", 8888); got != 2 {
			t.Error("what others have sent counts in the next window, too")
		}
	})
}

// Tiles that several instances send are counted once.
func TestSameTilesAtAllInstancesCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		limits := Limits{Distinct: []DistinctLimit{{Window: time.Hour, Tiles: 50}}}
		a, b := f.member(limits), f.member(limits)
		for i := range uint64(50) {
			if a.take("alice", i) != 1 || b.take("alice", i) != 1 {
				t.Fatalf("tile %d is refused", i)
			}
			a.exchange()
			b.exchange()
		}
	})
}

// What Redis has lost, or was not told while it was away, is told again, once a minute; until then what the others have
// sent is not forgotten.
func TestTilesThatRedisLostAreToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		limits := Limits{Distinct: []DistinctLimit{{Window: 24 * time.Hour, Tiles: 100}}}
		a, b := f.member(limits), f.member(limits)
		a.take("eve", upTo(0, 50)...)
		a.exchange()
		b.take("eve", upTo(50, 40)...)
		b.exchange() // it knows of 90
		clear(f.tiles)
		b.take("eve", 90)
		b.exchange()
		if got := b.take("eve", upTo(100, 20)...); got != 9 {
			t.Errorf("after Redis has lost all, %d tiles more are sent, want 9", got)
		}
		b.exchange()
		counter := tile.Counter{Subject: "eve", Tileset: "basemap", Begin: time.Now().Unix(), End: time.Now().Unix() + 86400}
		if got := len(f.tiles[counter]); got != 50 {
			t.Errorf("Redis has %d tiles, want the 50 of the second instance", got)
		}
		clear(f.tiles)
		own := int64(b.own[counter])
		b.LearnTiles(counter, 1, own)
		if len(b.tiles[counter]) != 0 {
			t.Error("all tiles are told again within a minute")
		}
		bubble.Advance(time.Minute)
		b.LearnTiles(counter, 1, own)
		if got := len(b.tiles[counter]); got != int(own) {
			t.Errorf("%d tiles are told again after a minute, want %d", got, own)
		}
	})
}

// Where one instance has told as many tiles as were lost of another, the count does not show it.
func TestTilesAreToldAgainNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3 * maxResent
		f := newFleet()
		limits := Limits{Distinct: []DistinctLimit{{Window: 24 * time.Hour, Tiles: 2 * n}}}
		a, b := f.member(limits), f.member(limits)
		a.take("eve", upTo(0, n)...)
		a.exchange()
		clear(f.tiles)
		b.take("eve", upTo(n, n-1)...)
		b.exchange()
		a.take("eve", 2*n)
		a.exchange()
		if got := len(a.tiles); got != 0 {
			t.Fatalf("it is noticed that tiles are lost, so that the test proves nothing")
		}
		bubble.Advance(10 * time.Minute)
		a.take("eve", 2*n+1)
		exchanges := 0
		for ; len(a.tiles) > 0 && exchanges < 10; exchanges++ {
			a.exchange()
		}
		for _, tiles := range f.tiles {
			if got := len(tiles); got < 2*n || exchanges < 4 { // some are the same to 32 bits
				t.Errorf("Redis has %d tiles after %d exchanges, want %d after 4 at least", got, exchanges, 2*n+1)
			}
		}
	})
}
