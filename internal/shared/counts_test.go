//go:build unix

package shared_test

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tilegate/internal/shared"
	"tilegate/internal/testenv"
	"tilegate/internal/tile"
)

// counter is an instance that keeps what it learns of counts.
type counter struct {
	*instance
	mu       sync.Mutex
	all, own map[tile.Counter]int64
	sums     []sum
	outcomes map[string]int
}

// sum is what OnSum tells.
type sum struct {
	counter tile.Counter
	n       int64
	since   time.Time
}

// untilOf is what OnSum returns when it is called for the n-th time.
func untilOf(n int) time.Time { return time.Unix(int64(n), 0) }

func beginCounter(t *testing.T, address string, change func(*shared.Options)) *counter {
	t.Helper()
	c := &counter{all: map[tile.Counter]int64{}, own: map[tile.Counter]int64{}, outcomes: map[string]int{}}
	c.instance = begin(t, address, func(o *shared.Options) {
		o.Counts = c.options()
		if change != nil {
			change(o)
		}
	})
	return c
}

func (c *counter) options() *shared.CountOptions {
	return &shared.CountOptions{
		OnDistinct: func(what tile.Counter, all, own int64) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.all[what], c.own[what] = all, own
		},
		OnSum: func(what tile.Counter, n, _ int64, since time.Time) time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sums = append(c.sums, sum{what, n, since})
			return untilOf(len(c.sums))
		},
		OnCount: func(outcome string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.outcomes[outcome]++
		},
	}
}

func (c *counter) outcome(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outcomes[what]
}

// distinct waits until what an instance has just added is counted, and returns how many tiles there are at all
// instances.
func (c *counter) distinct(t *testing.T, what tile.Counter, tiles []uint32, own int) int64 {
	t.Helper()
	c.AddTiles(what, tiles, own, false)
	until(t, "the tiles are counted", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.own[what] == int64(own)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[what]
}

// add adds requests and waits until Redis has them.
func (c *counter) add(t *testing.T, what tile.Counter, n int64) {
	t.Helper()
	before := c.outcome("sent")
	c.AddRequests(what, n)
	until(t, "the requests are sent", func() bool { return c.outcome("sent") > before })
}

// learned returns what was learned of requests.
func (c *counter) learned() []sum {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]sum(nil), c.sums...)
}

// window makes the counter of a subject in the window of now.
func window(subject, tileset string) tile.Counter {
	begin := time.Now().Truncate(24 * time.Hour)
	return tile.Counter{Subject: subject, Tileset: tileset, Begin: begin.Unix(), End: begin.Add(48 * time.Hour).Unix()}
}

// numbers are n tiles, the first of which is given.
func numbers(first, n uint32) []uint32 {
	all := make([]uint32, n)
	for i := range all {
		all[i] = (first + uint32(i)) * 2654435761
	}
	return all
}

func TestDistinctTilesAreCountedTogether(t *testing.T) {
	countsTogether(t, testenv.Redis(t).Address, nil)
}

func countsTogether(t *testing.T, address string, change func(*shared.Options)) {
	t.Helper()
	a, b := beginCounter(t, address, change), beginCounter(t, address, change)
	eve, bo := window("eve", "basemap"), window("bo", "basemap")
	if got := a.distinct(t, eve, numbers(0, 60), 60); got != 60 {
		t.Errorf("alone: got %d, want 60", got)
	}
	if got := b.distinct(t, eve, numbers(30, 60), 60); got != 90 {
		t.Errorf("with 30 that the other has: got %d, want 90", got)
	}
	if got := b.distinct(t, bo, numbers(0, 5), 5); got != 5 {
		t.Errorf("another subject: got %d, want 5", got)
	}
	if got := a.distinct(t, window("eve", "other"), numbers(0, 7), 7); got != 7 {
		t.Errorf("another tileset: got %d, want 7", got)
	}
}

// The names and elements follow from the signing key, so that these counts are the same at every run.
func TestDistinctTilesAreCountedWellEnough(t *testing.T) {
	redis := testenv.Redis(t)
	a, b := beginCounter(t, redis.Address, nil), beginCounter(t, redis.Address, nil)
	begin := time.Unix(4_000_000_000, 0)
	for _, n := range []uint32{1000, 20_000, 100_000} {
		what := tile.Counter{Subject: "eve", Tileset: fmt.Sprint("of ", n), Begin: begin.Unix(), End: begin.Add(time.Hour).Unix()}
		a.distinct(t, what, numbers(0, n/2), int(n/2))
		got := b.distinct(t, what, numbers(n/2, n/2), int(n/2))
		if off := math.Abs(float64(got)/float64(n) - 1); off > 0.01 {
			t.Errorf("%d tiles count as %d, %.2f %% off", n, got, 100*off)
		}
	}
}

func TestRequestsAreCountedTogether(t *testing.T) {
	redis := testenv.Redis(t)
	a, b := beginCounter(t, redis.Address, nil), beginCounter(t, redis.Address, nil)
	eve := window("eve", "")
	a.add(t, eve, 10)
	b.add(t, eve, 1)
	a.add(t, eve, 5)
	a.add(t, eve, -2) // given back
	b.add(t, eve, 1)
	begin := time.Unix(eve.Begin, 0)
	for i, c := range []struct {
		instance *counter
		want     []sum
	}{
		{a, []sum{{eve, 10, begin}, {eve, 6, untilOf(1)}, {eve, -2, untilOf(2)}}},
		{b, []sum{{eve, 11, begin}, {eve, 4, untilOf(1)}}},
	} {
		if got := c.instance.learned(); !slices.Equal(got, c.want) {
			t.Errorf("instance %d learned %+v, want %+v", i, got, c.want)
		}
	}
}

// Who reads Redis, or the connection to it, learns neither who was sent tiles nor which ones, and cannot ask whether
// somebody was sent one.
func TestCountersNameNobodyAndNoTile(t *testing.T) {
	redis := testenv.Redis(t)
	seen := &lockedBuffer{}
	a := beginCounter(t, spy(t, redis.Address, seen), nil)
	who := window("subject-eve-of-acme", "basemap")
	a.distinct(t, who, []uint32{0x54494c45}, 1) // "TILE"
	a.add(t, window("subject-eve-of-acme", ""), 1)
	address := window("", "")
	address.Client = netip.MustParseAddr("203.0.113.77")
	a.add(t, address, 1)
	text := seen.String()
	for _, word := range []string{"eve", "acme", "basemap", "203.0", "TILE", "ELIT", "1414089797"} {
		if strings.Contains(text, word) {
			t.Errorf("the connection shows %q", word)
		}
	}
	if got := strings.Count(text, "tilegate:count:{"); got < 6 {
		t.Errorf("the connection shows %d names of counters, so that the test proves nothing", got)
	}
	// The same tile of somebody else is another element.
	keys := strings.Fields(redis.Do(t, "EVAL", "return table.concat(redis.call('KEYS', 'tilegate:count:*'), ' ')", "0"))
	if len(keys) == 0 {
		t.Fatal("there are no counters")
	}
	other := &lockedBuffer{}
	b := beginCounter(t, spy(t, redis.Address, other), nil)
	b.distinct(t, window("bo", "basemap"), []uint32{0x54494c45}, 1)
	if a, b := element(t, text), element(t, other.String()); a == b {
		t.Errorf("a tile is %q for two subjects", a)
	}
}

// element is the first one of the first PFADD in what a connection has sent.
func element(t *testing.T, sent string) string {
	t.Helper()
	_, command, ok := strings.Cut(strings.ToLower(sent), "pfadd\r\n")
	if !ok {
		t.Fatal("nothing was added")
	}
	parts := strings.SplitN(command, "\r\n", 5) // the length and the name, the length and the element
	return parts[3]
}

func TestCountersEndWithTheirWindow(t *testing.T) {
	redis := testenv.Redis(t)
	a := beginCounter(t, redis.Address, nil)
	now := time.Now()
	lasting := tile.Counter{Subject: "eve", Begin: now.Unix() - 1800, End: now.Unix() + 1800}
	tiles := lasting
	tiles.Tileset = "basemap"
	ended := tile.Counter{Subject: "eve", Begin: now.Unix() - 7200, End: now.Unix() - 3600}
	a.AddRequests(ended, 1)
	a.add(t, lasting, 1)
	a.distinct(t, tiles, numbers(0, 3), 3)
	script := `local all = redis.call('KEYS', 'tilegate:count:*') local late = 0
for _, k in ipairs(all) do local ttl = redis.call('TTL', k) if ttl < 1 or ttl > 1800 + 60 then late = late + 1 end end return #all * 100 + late`
	if got := redis.Do(t, "EVAL", script, "0"); got != ":400" {
		t.Errorf("got %s, want :400: a sum and three parts of distinct tiles, all of which end within a minute of their window", got)
	}
}

// Nothing waits for Redis: what is counted while it is away waits to be sent, within a bound.
func TestRedisKilledCountsGoOn(t *testing.T) {
	redis := testenv.Redis(t)
	a, b := beginCounter(t, redis.Address, nil), beginCounter(t, redis.Address, nil)
	eve := window("eve", "")
	b.add(t, eve, 1)
	a.add(t, eve, 1)
	redis.Kill(t)
	a.AddRequests(eve, 1)
	until(t, "an exchange has failed", func() bool { return a.outcome("failed") > 0 })
	a.AddRequests(eve, 40)
	tiles := window("eve", "basemap")
	a.AddTiles(tiles, numbers(0, 9), 9, false)
	redis.Restart(t)
	if got := a.distinct(t, tiles, nil, 10); got != 9 {
		t.Errorf("got %d tiles after the restart, want 9", got)
	}
	until(t, "the requests of meanwhile are sent", func() bool {
		got := a.learned()
		return len(got) == 2 && got[1].n == 40 && got[1].since.Unix() == eve.Begin // Redis has lost the others
	})
}

// A server that is paused takes the connection and does not answer.
func TestRedisPausedNobodyWaits(t *testing.T) {
	redis := testenv.Redis(t)
	a := beginCounter(t, redis.Address, nil)
	eve := window("eve", "")
	a.add(t, eve, 1)
	redis.Pause(t)
	a.AddRequests(eve, 1)
	until(t, "an exchange has failed", func() bool {
		a.AddRequests(eve, 1) // returns at once, or the test never ends
		return a.outcome("failed") > 0
	})
	redis.Resume(t)
	a.add(t, eve, 1)
}

// A Redis that refuses costs one log line, and what it does not refuse is counted.
func TestRedisRefusesToCount(t *testing.T) {
	redis := testenv.Redis(t)
	if got := redis.Do(t, "ACL", "SETUSER", "tiles", "on", ">secret", "~tilegate:*", "+xadd", "+xrange", "+xdel", "+xinfo|stream", "+incrby", "+expireat"); got != "+OK" {
		t.Fatal(got)
	}
	a := beginCounter(t, redis.Address, func(o *shared.Options) { o.Username, o.Password = "tiles", "secret" })
	for range 3 {
		before := a.outcome("failed")
		a.AddTiles(window("eve", "basemap"), numbers(0, 3), 3, false)
		until(t, "it is refused", func() bool { return a.outcome("failed") > before })
	}
	a.add(t, window("eve", ""), 1)
	if got := strings.Count(a.log.String(), "Redis refuses to count"); got != 1 {
		t.Errorf("the log tells %d times, want once:\n%s", got, a.log)
	}
}

// Foreign values under the names of counters count for nothing.
func TestForeignCountersAreIgnored(t *testing.T) {
	redis := testenv.Redis(t)
	a := beginCounter(t, redis.Address, nil)
	eve, tiles := window("eve", ""), window("eve", "basemap")
	a.add(t, eve, 1)
	a.distinct(t, tiles, numbers(0, 3), 3)
	redis.Do(t, "EVAL", "for _, k in ipairs(redis.call('KEYS', 'tilegate:count:*')) do redis.call('SET', k, 'foreign') end return 1", "0")
	before := a.outcome("failed")
	a.AddRequests(eve, 1)
	a.AddTiles(tiles, numbers(3, 1), 4, false)
	until(t, "both have failed", func() bool { return a.outcome("failed") >= before+2 })
	if got := a.learned(); len(got) != 1 {
		t.Errorf("learned of %+v", got[1:])
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all[tiles] != 3 || !a.Up() {
		t.Errorf("got %d tiles, want 3 as before; up: %v", a.all[tiles], a.Up())
	}
}

// Many made-up addresses fill what may wait to be sent; subjects are counted nevertheless.
func TestFloodOfAddressesIsBounded(t *testing.T) {
	c := &counter{outcomes: map[string]int{}}
	client, err := shared.New(shared.Options{
		Addresses: []string{"127.0.0.1:1"}, Prefix: "tilegate:", SigningKeys: [][]byte{signingKey}, Counts: c.options(),
	})
	if err != nil {
		t.Fatal(err)
	}
	const flood = 100_000
	address := window("", "")
	ip := netip.MustParseAddr("10.0.0.0")
	for range flood {
		address.Client, ip = ip, ip.Next()
		client.AddRequests(address, 1)
	}
	if got := c.outcome("dropped"); got < flood-32_768 || got > flood/4*3 {
		t.Errorf("of %d addresses %d were dropped, want all but some 32,000", flood, got)
	}
	address.Tileset = "basemap"
	few := numbers(0, 1024)
	for range 300 {
		client.AddTiles(address, few, len(few), false)
	}
	before := c.outcome("dropped")
	client.AddTiles(address, few, len(few), false)
	if c.outcome("dropped") != before+1 {
		t.Error("tiles of addresses wait without a bound")
	}
	before = c.outcome("dropped")
	client.AddRequests(window("eve", ""), 1)
	client.AddTiles(window("eve", "basemap"), few, len(few), false)
	if c.outcome("dropped") != before {
		t.Error("what a subject uses was dropped for the sake of addresses")
	}
}

func TestAddingARequestAllocatesNothing(t *testing.T) {
	client, err := shared.New(shared.Options{
		Addresses: []string{"127.0.0.1:1"}, Prefix: "tilegate:", SigningKeys: [][]byte{signingKey}, Counts: (&counter{outcomes: map[string]int{}}).options(),
	})
	if err != nil {
		t.Fatal(err)
	}
	eve := window("eve", "")
	client.AddRequests(eve, 1)
	if n := testing.AllocsPerRun(100, func() { client.AddRequests(eve, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a Redis refuses that is full, or still loads, is sent when it takes it.
func TestRedisIsFullCountsAreToldLater(t *testing.T) {
	redis := testenv.Redis(t, "--maxmemory-policy", "noeviction")
	a := beginCounter(t, redis.Address, nil)
	until(t, "it is ready", a.ready)
	redis.Do(t, "CONFIG", "SET", "maxmemory", "1")
	eve, tiles := window("eve", ""), window("eve", "basemap")
	a.AddRequests(eve, 7)
	a.AddTiles(tiles, numbers(0, 3), 3, false)
	until(t, "both have been refused", func() bool { return a.outcome("failed") >= 2 })
	redis.Do(t, "CONFIG", "SET", "maxmemory", "0")
	until(t, "both are sent", func() bool { return a.outcome("sent") >= 2 })
	if got := a.learned(); len(got) != 1 || got[0].n != 7 {
		t.Errorf("learned %+v, want 7 requests", got)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all[tiles] != 3 {
		t.Errorf("got %d tiles, want 3", a.all[tiles])
	}
}
