//go:build unix

package shared_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tilegate/internal/shared"
	"tilegate/internal/testenv"
	"tilegate/internal/tile"
)

// level is an instance with a second level of tiles before an S3 that counts what it is asked.
type level struct {
	*instance
	fetch tile.Fetch

	mu       sync.Mutex
	asked    int
	answer   func(cond tile.Condition) (*tile.Object, error)
	epoch    shared.Epoch
	outcomes map[string]int
}

func beginLevel(t *testing.T, address string, change func(*shared.Options)) *level {
	t.Helper()
	l := &level{outcomes: map[string]int{}, answer: func(tile.Condition) (*tile.Object, error) { return stored([]byte("tile")), nil }}
	l.instance = begin(t, address, func(o *shared.Options) {
		o.Tiles = &shared.TileOptions{Timeout: time.Second, MaxObject: 1 << 20, OnLookup: l.count("lookup "), OnWrite: l.count("write ")}
		if change != nil {
			change(o)
		}
	})
	l.from("s3://a/")
	return l
}

// from makes the level that of a tileset with another source.
func (l *level) from(source string) {
	l.fetch = l.Tiles(func(_ context.Context, _ tile.Key, cond tile.Condition) (*tile.Object, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.asked++
		answer := l.answer
		l.mu.Unlock()
		o, err := answer(cond)
		l.mu.Lock()
		return o, err
	}, shared.Level{Source: source, Keep: time.Hour, MissingFor: time.Minute, Epoch: func(*tile.Key) shared.Epoch {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.epoch
	}})
}

func (l *level) count(what string) func(string) {
	return func(outcome string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.outcomes[what+outcome]++
	}
}

func (l *level) counted(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outcomes[what]
}

func (l *level) askedS3() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

func (l *level) written(t *testing.T, n int) {
	t.Helper()
	until(t, "it is written", func() bool { return l.counted("write written") >= n })
}

var modified = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func stored(body []byte) *tile.Object {
	return &tile.Object{
		Body: io.NopCloser(bytes.NewReader(body)), Size: int64(len(body)), ETag: `"v1"`, LastModified: modified, Encoding: "gzip", Total: 7,
		Header: http.Header{"Etag": {`"v1"`}, "Content-Type": {"image/png"}},
	}
}

var wanted = tile.Key{Tileset: "basemap", Version: "1", Z: 7, X: 66, Y: 44, Scale: 1}

// read fetches a tile whole.
func (l *level) read(t *testing.T, key tile.Key, cond tile.Condition) (*tile.Object, string, error) {
	t.Helper()
	o, err := l.fetch(t.Context(), key, cond)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(o.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = o.Body.Close()
	return o, string(body), nil
}

// ask is read for those who want to know what it does to Redis.
func (l *level) ask(t *testing.T, key tile.Key, cond tile.Condition) {
	t.Helper()
	_, _, _ = l.read(t, key, cond)
}

func TestATileOfOneIsTakenByTheOthers(t *testing.T) {
	redis := testenv.Redis(t)
	a, b := beginLevel(t, redis.Address, nil), beginLevel(t, redis.Address, nil)
	before := time.Now()
	a.ask(t, wanted, tile.Condition{})
	a.written(t, 1)
	after := time.Now()
	o, body, err := b.read(t, wanted, tile.Condition{})
	if err != nil || body != "tile" || b.askedS3() != 0 {
		t.Fatalf("got %q, %v after %d requests to S3; want the tile without one", body, err, b.askedS3())
	}
	if o.Size != 4 || o.ETag != `"v1"` || !o.LastModified.Equal(modified) || o.Encoding != "gzip" || o.Total != 7 || o.Header.Get("Content-Type") != "image/png" {
		t.Errorf("got %+v", o)
	}
	if o.Validated.Before(before) || o.Validated.After(after) {
		t.Errorf("validated %v, want when S3 was asked, %v", o.Validated, before)
	}

	// Absences, too.
	missing := wanted
	missing.X++
	a.answer = func(tile.Condition) (*tile.Object, error) { return nil, tile.ErrMissing }
	if _, _, err := a.read(t, missing, tile.Condition{}); !errors.Is(err, tile.ErrMissing) {
		t.Fatal(err)
	}
	a.written(t, 2)
	if _, _, err := b.read(t, missing, tile.Condition{}); !errors.Is(err, tile.ErrMissing) || b.askedS3() != 0 {
		t.Errorf("got %v after %d requests, want that it is missing", err, b.askedS3())
	}
}

// Each field of the key names another tile, and so does a purge.
func TestOtherTilesAreNotTaken(t *testing.T) {
	redis := testenv.Redis(t)
	a := beginLevel(t, redis.Address, nil)
	a.ask(t, wanted, tile.Condition{})
	a.written(t, 1)
	others := map[string]func(*tile.Key){
		"tileset": func(k *tile.Key) { k.Tileset = "roads" }, "version": func(k *tile.Key) { k.Version = "2" },
		"z": func(k *tile.Key) { k.Z++ }, "x": func(k *tile.Key) { k.X++ }, "y": func(k *tile.Key) { k.Y++ },
		"scale": func(k *tile.Key) { k.Scale = 2 }, "generation": func(k *tile.Key) { k.Generation = 1 }, "path": func(k *tile.Key) { k.Path = "x" },
	}
	asked := a.askedS3()
	for name, change := range others {
		key := wanted
		change(&key)
		a.ask(t, key, tile.Condition{})
		if asked++; a.askedS3() != asked {
			t.Errorf("another %s: taken from Redis", name)
		}
	}
	a.mu.Lock()
	a.epoch.Forgotten = 1
	a.mu.Unlock()
	a.ask(t, wanted, tile.Condition{})
	if asked++; a.askedS3() != asked {
		t.Error("after a purge: taken from Redis")
	}
	a.from("s3://b/")
	a.ask(t, wanted, tile.Condition{})
	if asked++; a.askedS3() != asked {
		t.Error("of another source: taken from Redis")
	}
}

// A refresh must learn what S3 has now; that it found the tile unchanged makes the copy young again.
func TestARefreshAsksS3(t *testing.T) {
	redis := testenv.Redis(t)
	a, b := beginLevel(t, redis.Address, nil), beginLevel(t, redis.Address, nil)
	a.ask(t, wanted, tile.Condition{})
	a.written(t, 1)
	first, _, _ := b.read(t, wanted, tile.Condition{})
	a.answer = func(tile.Condition) (*tile.Object, error) { return nil, tile.ErrNotModified }
	if _, _, err := a.read(t, wanted, tile.Condition{IfNoneMatch: `"v1"`}); !errors.Is(err, tile.ErrNotModified) || a.askedS3() != 2 {
		t.Fatalf("got %v after %d requests, want that S3 was asked", err, a.askedS3())
	}
	a.written(t, 2)
	second, body, _ := b.read(t, wanted, tile.Condition{})
	if body != "tile" || !second.Validated.After(first.Validated) {
		t.Errorf("validated %v, then %v; want that the refresh renewed it", first.Validated, second.Validated)
	}
	for _, cond := range []tile.Condition{{Offset: 2, IfMatch: `"v1"`}, {IfModifiedSince: modified}} {
		before := b.askedS3()
		b.ask(t, wanted, cond)
		if b.askedS3() != before+1 {
			t.Errorf("%+v: answered from Redis", cond)
		}
	}
}

// A confirmation of one version must not make another young: the instance that asked may hold what Redis no longer has.
func TestARefreshRenewsNoOtherVersion(t *testing.T) {
	redis := testenv.Redis(t)
	a, b := beginLevel(t, redis.Address, nil), beginLevel(t, redis.Address, nil)
	a.ask(t, wanted, tile.Condition{})
	a.written(t, 1)
	first, _, _ := b.read(t, wanted, tile.Condition{})
	a.answer = func(tile.Condition) (*tile.Object, error) { return nil, tile.ErrNotModified }
	for n, cond := range []tile.Condition{{IfNoneMatch: `"v2"`}, {IfModifiedSince: modified.Add(time.Hour)}} {
		a.ask(t, wanted, cond)
		until(t, "the renewal is dropped", func() bool { return a.counted("write dropped") == n+1 || a.counted("write written") > 1 })
		if second, body, _ := b.read(t, wanted, tile.Condition{}); body != "tile" || !second.Validated.Equal(first.Validated) {
			t.Errorf("%+v: validated %v, then %v; want that v1 is as old as it was", cond, first.Validated, second.Validated)
		}
	}
	a.ask(t, wanted, tile.Condition{IfModifiedSince: modified})
	a.written(t, 2)
}

// What somebody else has put under a tile's name is a miss: noise, a tile that was changed, and another tile as it is.
func TestForeignAndCorruptTilesAreMisses(t *testing.T) {
	redis := testenv.Redis(t)
	a := beginLevel(t, redis.Address, nil)
	other := wanted
	other.X++
	a.ask(t, wanted, tile.Condition{})
	a.written(t, 1)
	for name, script := range map[string]string{
		"noise":              `redis.call('SET', k[1], 'noise')`,
		"nothing":            `redis.call('SET', k[1], '')`,
		"cut short":          `redis.call('SET', k[1], string.sub(redis.call('GET', k[1]), 1, -2))`,
		"a byte changed":     `redis.call('SETRANGE', k[1], 30, 'x')`,
		"another type":       `redis.call('DEL', k[1]) redis.call('LPUSH', k[1], 'x')`,
		"larger than a tile": `redis.call('SET', k[1], string.rep('x', 4000000))`,
	} {
		asked, writes := a.askedS3(), a.counted("write written")
		if got := redis.Do(t, "EVAL", `local k = redis.call('KEYS', 'tilegate:tile:*') `+script+` return #k`, "0"); got != ":1" {
			t.Fatalf("%s: %s", name, got)
		}
		if _, body, err := a.read(t, wanted, tile.Condition{}); err != nil || body != "tile" || a.askedS3() != asked+1 {
			t.Errorf("%s: got %q, %v after %d requests, want the tile of S3", name, body, err, a.askedS3()-asked)
		}
		if name == "another type" { // it counts as a failure, and nothing is written for a second
			redis.Do(t, "FLUSHALL")
			until(t, "the breaker closes", func() bool {
				a.ask(t, wanted, tile.Condition{})
				return a.counted("write written") > writes
			})
			continue
		}
		a.written(t, writes+1)
	}
	// One tile in the place of another.
	writes := a.counted("write written")
	a.ask(t, other, tile.Condition{})
	a.written(t, writes+1)
	script := `local k = redis.call('KEYS', 'tilegate:tile:*') local v = redis.call('GET', k[1])
		redis.call('SET', k[1], redis.call('GET', k[2])) redis.call('SET', k[2], v) return #k`
	if got := redis.Do(t, "EVAL", script, "0"); got != ":2" {
		t.Fatal(got)
	}
	before := a.askedS3()
	a.ask(t, wanted, tile.Condition{})
	a.ask(t, other, tile.Condition{})
	if got := a.askedS3() - before; got != 2 {
		t.Errorf("%d of two exchanged tiles asked S3, want both", got)
	}
}

func TestWhatIsNotKept(t *testing.T) {
	redis := testenv.Redis(t)
	a := beginLevel(t, redis.Address, func(o *shared.Options) { o.Tiles.MaxObject = 100 })
	for name, answer := range map[string]*tile.Object{
		"too large":                       stored(make([]byte, 101)),
		"too large, of unknown length":    {Body: io.NopCloser(strings.NewReader(strings.Repeat("x", 101))), Size: -1},
		"broken off":                      {Body: io.NopCloser(strings.NewReader("half")), Size: 8},
		"longer than announced":           {Body: io.NopCloser(strings.NewReader("longer")), Size: 3},
		"already as old as it may become": {Body: io.NopCloser(strings.NewReader("old")), Size: 3, Validated: time.Now().Add(-2 * time.Hour)},
	} {
		a.answer = func(tile.Condition) (*tile.Object, error) { return answer, nil }
		a.ask(t, wanted, tile.Condition{})
		if got := redis.Do(t, "EVAL", `return #redis.call('KEYS', 'tilegate:tile:*')`, "0"); got != ":0" {
			t.Errorf("%s: it is written", name)
		}
	}
	// One that is closed before its end.
	a.answer = func(tile.Condition) (*tile.Object, error) { return stored([]byte("whole")), nil }
	o, err := a.fetch(t.Context(), wanted, tile.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	_ = o.Body.Close()
	// The next one is kept: none of those before has left anything behind.
	a.ask(t, wanted, tile.Condition{})
	a.written(t, 1)
	if got := a.counted("write written"); got != 1 {
		t.Errorf("%d tiles were written, want the last one alone", got)
	}
}

// Whatever Redis does, S3 answers, and one look-up in a second at most pays for it.
func TestTilesAreServedWhateverRedisDoes(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *testenv.RedisServer, *testenv.Relay){
		"killed":    func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) { r.Kill(t) },
		"paused":    func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) { r.Pause(t) },
		"cut off":   func(_ *testing.T, _ *testenv.RedisServer, r *testenv.Relay) { r.Cut(true) },
		"slow":      func(_ *testing.T, _ *testenv.RedisServer, r *testenv.Relay) { r.Delay(3 * time.Second) },
		"corrupt":   func(_ *testing.T, _ *testenv.RedisServer, r *testenv.Relay) { r.Corrupt(true) },
		"read-only": func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) { r.Do(t, "REPLICAOF", "127.0.0.1", "1") },
		"full": func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) {
			r.Do(t, "CONFIG", "SET", "maxmemory", "1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			redis := testenv.Redis(t)
			relay := testenv.NewRelay(t, redis.Address)
			a := beginLevel(t, relay.Address, func(o *shared.Options) { o.Tiles.Timeout = 50 * time.Millisecond })
			until(t, "it is ready", a.ready)
			spoil(t, redis, relay)
			key := wanted
			for n := range 200 {
				key.X = uint32(n)
				if _, body, err := a.read(t, key, tile.Condition{}); err != nil || body != "tile" {
					t.Fatalf("got %q, %v; want the tile", body, err)
				}
			}
			if failed := a.counted("lookup failed"); name != "read-only" && name != "full" && name != "corrupt" && (failed == 0 || failed > 20) {
				t.Errorf("%d of 200 look-ups waited for Redis in vain; want one a second", failed)
			}
		})
	}
}

// A soft purge leaves the copy, as one that is stale, until S3 has been asked by somebody who knew of the purge.
func TestOutdatedTiles(t *testing.T) {
	redis := testenv.Redis(t)
	a := beginLevel(t, redis.Address, nil)
	purge := func(at int64) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.epoch.Outdated = at
	}
	isOutdated := func(want int64) {
		t.Helper()
		before := a.askedS3()
		o, body, err := a.read(t, wanted, tile.Condition{})
		if err != nil || body != "tile" || a.askedS3() != before {
			t.Fatalf("got %q, %v after %d requests; want the copy", body, err, a.askedS3()-before)
		}
		if want == 0 && !o.Outdated.IsZero() || want != 0 && o.Outdated.UnixNano() != want {
			t.Errorf("outdated at %v, want %d", o.Outdated, want)
		}
	}
	a.ask(t, wanted, tile.Condition{})
	a.written(t, 1)
	isOutdated(0)
	purge(7)
	isOutdated(7)

	// What S3 has answered before a purge says nothing about it, whenever it is written.
	notModified := func(before func()) {
		a.answer = func(tile.Condition) (*tile.Object, error) { return nil, tile.ErrNotModified }
		fetch := a.answer
		a.answer = func(cond tile.Condition) (*tile.Object, error) {
			before()
			return fetch(cond)
		}
		a.ask(t, wanted, tile.Condition{IfNoneMatch: `"v1"`})
	}
	notModified(func() { purge(8) })
	a.written(t, 2)
	isOutdated(8)
	notModified(func() {})
	a.written(t, 3)
	isOutdated(0)

	// S3 having found another version unchanged says nothing about this one.
	purge(9)
	a.ask(t, wanted, tile.Condition{IfNoneMatch: `"v2"`})
	until(t, "it is dropped", func() bool { return a.counted("write dropped") == 1 })
	isOutdated(9)

	// An absence is none any more.
	missing := wanted
	missing.X++
	a.answer = func(tile.Condition) (*tile.Object, error) { return nil, tile.ErrMissing }
	a.ask(t, missing, tile.Condition{})
	a.written(t, 4)
	purge(10)
	before := a.askedS3()
	if _, _, err := a.read(t, missing, tile.Condition{}); !errors.Is(err, tile.ErrMissing) || a.askedS3() != before+1 {
		t.Errorf("got %v after %d requests, want that S3 is asked", err, a.askedS3()-before)
	}
}
