//go:build unix

package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

// startLimited starts instances whose callers have limits, and returns a token that all of them accept.
func startLimited(t *testing.T, redis, limits string, n int) (f *fleet, members []*member, token string) {
	t.Helper()
	f = newFleet(t, redis)
	f.more = "limits: " + limits + "\n"
	for x := range 50 {
		f.bucket.Put("tiles", fmt.Sprintf("basemap/9/%d/0.png", x), fakeaws.Object{Body: randomTiles(1)["9/0/0"]})
	}
	for range n {
		members = append(members, f.start(t))
	}
	token = mintToken(t, members[0].config, "--tilesets", "basemap")
	for _, m := range members {
		m.waitReady(t, `"ready"`)
	}
	return f, members, token
}

// walk asks an instance for the tiles from first on, and returns how many it answers.
func (m *member) walk(t *testing.T, token string, first, n int) (answered int) {
	t.Helper()
	for x := first; x < first+n; x++ {
		answer, body := get(t, fmt.Sprintf("%s/tiles/basemap/9/%d/0", m.url, x), "Authorization", "Bearer "+token)
		switch answer.StatusCode {
		case http.StatusOK:
			answered++
		case http.StatusTooManyRequests:
		default:
			t.Fatalf("got %s: %s", answer.Status, body)
		}
	}
	return answered
}

// told waits until an instance has told Redis at least n counts, and has learned what the others have counted.
func (m *member) told(t *testing.T, n int) {
	t.Helper()
	eventually(t, "counts are told", func() error {
		if got := m.metric(t, `tilegate_shared_counts_total{outcome="sent"}`); got < n {
			return fmt.Errorf("got %d, want %d", got, n)
		}
		return nil
	})
}

// counted waits until Redis has counted n tiles (PFCOUNT) or requests (GET) for the only caller, and does something
// before each look. What an instance has just counted may need more than one batch.
func counted(t *testing.T, redis *testenv.RedisServer, command string, n int, before func()) {
	t.Helper()
	least := n
	if command == "PFCOUNT" {
		least -= n / 10 // it is an estimate
	}
	eventually(t, fmt.Sprintf("Redis has counted %d", n), func() error {
		before()
		got := redis.Do(t, "EVAL", `local n = 0
for _, k in ipairs(redis.call('KEYS', 'tilegate:count:*')) do n = n + redis.call('`+command+`', k) end return n`, "0")
		if n, err := strconv.Atoi(strings.TrimPrefix(got, ":")); err != nil || n < least {
			return fmt.Errorf("got %s", got)
		}
		return nil
	})
}

// metric reads one whole number of an instance's metrics.
func (m *member) metric(t *testing.T, series string) (value int) {
	t.Helper()
	_, body := get(t, "http://"+m.admin+"/metrics")
	for line := range strings.Lines(string(body)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			value, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("the metrics have no %s", series)
	return 0
}

// A scraper who walks the map from zoom 0 on, over four instances at once, is stopped within a hundredth of its budget. The signing key is always the
// same, and with it the error of Redis' estimate.
func TestScraperOverFourInstancesIsStoppedWithinAHundredth(t *testing.T) {
	const budget = 10_000
	redis := testenv.Redis(t)
	f := newFleet(t, redis.Address)
	f.key = writeFile(t, "tilegate.key", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("scraper!"), 4)))
	f.more = fmt.Sprintf("limits: {distinct_tiles: {168h: %d}}\nlogging: {access: false}\n", budget)
	png := randomTiles(1)["9/0/0"]
	var tiles []string
	for z := 0; len(tiles) < budget+budget/5; z++ {
		for i := 0; i < 1<<(2*z) && len(tiles) < budget+budget/5; i++ {
			tiles = append(tiles, fmt.Sprintf("basemap/%d/%d/%d", z, i>>z, i&(1<<z-1)))
			f.bucket.Put("tiles", tiles[len(tiles)-1]+".png", fakeaws.Object{Body: png})
		}
	}
	var members []*member
	for range 4 {
		members = append(members, f.start(t))
	}
	token := mintToken(t, members[0].config, "--tilesets", "basemap")
	for _, m := range members {
		m.waitReady(t, `"ready"`)
	}
	var sent atomic.Int64
	var walking sync.WaitGroup
	for w := range 4 {
		walking.Go(func() {
			for i := w; i < len(tiles); i += 4 {
				answer, body, err := try(t.Context(), members[w].url+"/tiles/"+tiles[i], "Authorization", "Bearer "+token)
				switch {
				case err != nil || answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusTooManyRequests:
					t.Errorf("%s: got %s, %v", tiles[i], body, err)
					return
				case answer.StatusCode == http.StatusOK:
					sent.Add(1)
				}
			}
		})
	}
	walking.Wait()
	t.Logf("%d tiles were sent", sent.Load())
	if n := sent.Load(); n < budget-budget/100 || n > budget+budget/100 {
		t.Errorf("%d tiles were sent, want %d, or a hundredth more or less", n, budget)
	}
}

// A scraper who has used up its budget at one instance has none at another, nor at one that starts later.
func TestScraperWhoGoesToAnotherInstanceIsStopped(t *testing.T) {
	redis := testenv.Redis(t)
	f, members, token := startLimited(t, redis.Address, "{distinct_tiles: {168h: 20}}", 2)
	a, b := members[0], members[1]
	if got := a.walk(t, token, 0, 25); got != 20 {
		t.Fatalf("the first sends %d tiles, want 20", got)
	}
	counted(t, redis, "PFCOUNT", 20, func() {})
	for i, m := range []*member{b, f.start(t)} {
		m.waitReady(t, `"ready"`)
		sent := m.walk(t, token, 25, 3) // it may learn of the first one's meanwhile
		m.told(t, 1)
		if got := m.walk(t, token, 28, 10); got != 0 {
			t.Errorf("instance %d sends %d tiles beyond the budget", i+1, got)
		}
		if got := m.walk(t, token, 25, sent); got != sent {
			t.Errorf("instance %d sends %d of %d tiles that it has sent before", i+1, got, sent)
		}
	}
	if other := mintToken(t, b.config, "--tilesets", "basemap", "--subject", "bo"); b.walk(t, other, 28, 10) != 10 {
		t.Error("somebody else is refused")
	}
}

func TestRequestsAreLimitedAcrossInstances(t *testing.T) {
	redis := testenv.Redis(t)
	hour := time.Now().Unix() / 3600
	_, members, token := startLimited(t, redis.Address, `{requests: {rate: 1/h, burst: 30}}`, 2)
	a, b := members[0], members[1]
	if got := a.walk(t, token, 0, 35); got != 30 {
		t.Fatalf("the first answers %d requests, want 30", got)
	}
	counted(t, redis, "GET", 30, func() {})
	b.walk(t, token, 0, 1)
	b.told(t, 1)
	if got := b.walk(t, token, 0, 20); got > 1 && time.Now().Unix()/3600 == hour { // sums begin anew each hour
		t.Errorf("the second answers %d requests more, want 1 at most", got)
	}
}

// Redis dies: nobody waits, and each instance's own limits hold. It is back, empty: the budget is that of all again.
func TestLimitsHoldWhileRedisIsDown(t *testing.T) {
	redis := testenv.Redis(t)
	_, members, token := startLimited(t, redis.Address, "{distinct_tiles: {168h: 20}}", 2)
	a, b := members[0], members[1]
	if got := a.walk(t, token, 0, 10); got != 10 {
		t.Fatalf("got %d of 10 tiles", got)
	}
	counted(t, redis, "PFCOUNT", 10, func() {})
	redis.Kill(t)
	if got := a.walk(t, token, 0, 20); got != 20 {
		t.Errorf("without Redis, %d tiles are sent, want the 20 of this instance's own budget", got)
	}
	if got := b.walk(t, token, 20, 3); got != 3 { // too few to hide that those of the first one are lost
		t.Errorf("without Redis, the other sends %d tiles, want 3", got)
	}
	if got := a.walk(t, token, 20, 5); got != 0 {
		t.Errorf("without Redis, %d tiles are sent beyond this instance's own budget", got)
	}
	redis.Restart(t)
	counted(t, redis, "PFCOUNT", 23, func() {
		a.walk(t, token, 20, 1) // is refused, and has the first one look whether Redis still has its tiles
	})
	before := b.metric(t, `tilegate_shared_counts_total{outcome="sent"}`)
	b.walk(t, token, 39, 1)
	b.told(t, before+1)
	b.walk(t, token, 38, 1)
	b.told(t, before+2) // one of both at least is learned
	if got := b.walk(t, token, 30, 8); got != 0 {
		t.Errorf("the other sends %d tiles beyond the budget of all", got)
	}
}
