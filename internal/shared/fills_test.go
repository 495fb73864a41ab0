//go:build unix

package shared_test

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tilegate/internal/shared"
	"tilegate/internal/testenv"
	"tilegate/internal/tile"
)

// slowS3 answers when it is told to.
type slowS3 struct {
	asked   chan *level // each that asks
	unblock chan struct{}
}

func newSlowS3() *slowS3 { return &slowS3{asked: make(chan *level, 100), unblock: make(chan struct{})} }

// serve has the level ask s, which then answers as answer does.
func (s *slowS3) serve(l *level, answer func() (*tile.Object, error)) {
	l.answer = func(tile.Condition) (*tile.Object, error) {
		s.asked <- l
		<-s.unblock
		return answer()
	}
}

// readers has every level read a tile, and returns what waits for their answers.
func readers(t *testing.T, levels []*level, key tile.Key) (wait func() (bodies []string, errs []error)) {
	t.Helper()
	bodies, errs := make([]string, len(levels)), make([]error, len(levels))
	var all sync.WaitGroup
	for n, l := range levels {
		all.Go(func() {
			o, err := l.fetch(t.Context(), key, tile.Condition{})
			if errs[n] = err; err != nil {
				return
			}
			body, err := io.ReadAll(o.Body)
			bodies[n], errs[n] = string(body), err
			_ = o.Body.Close()
		})
	}
	return func() ([]string, []error) {
		all.Wait()
		return bodies, errs
	}
}

func four(t *testing.T, address string) []*level {
	t.Helper()
	var levels []*level
	for range 4 {
		levels = append(levels, beginLevel(t, address, nil))
	}
	return levels
}

// asks is how many requests the levels made of S3.
func asks(levels []*level) (n int) {
	for _, l := range levels {
		n += l.askedS3()
	}
	return n
}

// waiting is when n levels have found that Redis does not have the tile.
func waiting(t *testing.T, levels []*level, n int) {
	t.Helper()
	until(t, "all have missed", func() bool {
		missed := 0
		for _, l := range levels {
			missed += l.counted("lookup miss")
		}
		return missed >= n
	})
}

// renewed waits until the lease of the only tile has been renewed, so that it would have ended by itself otherwise.
func renewed(t *testing.T, redis *testenv.RedisServer) {
	t.Helper()
	last, rises := -1, 0
	until(t, "the lease has been renewed five times", func() bool {
		left, err := strconv.Atoi(strings.TrimPrefix(redis.Do(t, "EVAL",
			`local k = redis.call('KEYS', 'tilegate:fill:*') return redis.call('PTTL', k[1] or '')`, "0"), ":"))
		if err != nil {
			t.Fatal(err)
		}
		if left > last && last >= 0 {
			rises++
		}
		last = left
		return rises >= 5
	})
}

func TestOneFillForTheFleet(t *testing.T) {
	for name, answer := range map[string]func() (*tile.Object, error){
		"a tile":     func() (*tile.Object, error) { return stored([]byte("tile")), nil },
		"an absence": func() (*tile.Object, error) { return nil, tile.ErrMissing },
	} {
		t.Run(name, func(t *testing.T) {
			redis := testenv.Redis(t)
			levels, s3 := four(t, redis.Address), newSlowS3()
			for _, l := range levels {
				s3.serve(l, answer)
			}
			wait := readers(t, levels, wanted)
			<-s3.asked
			waiting(t, levels, 4)
			renewed(t, redis)
			close(s3.unblock)
			bodies, errs := wait()
			for n := range levels {
				if name == "a tile" && (errs[n] != nil || bodies[n] != "tile") || name != "a tile" && !errors.Is(errs[n], tile.ErrMissing) {
					t.Errorf("instance %d got %q, %v", n, bodies[n], errs[n])
				}
			}
			if n := asks(levels); n != 1 {
				t.Errorf("S3 was asked %d times, want once", n)
			}
			joined := 0
			for _, l := range levels {
				joined += l.counted("lookup joined")
			}
			if joined != 3 {
				t.Errorf("%d look-ups joined, want 3", joined)
			}
			until(t, "the lease is gone", func() bool {
				return redis.Do(t, "EVAL", `return #redis.call('KEYS', 'tilegate:fill:*')`, "0") == ":0"
			})
		})
	}
}

// sharesTiles has two instances miss many tiles at the same time, of which each is fetched by one of them.
func sharesTiles(t *testing.T, address string, change func(*shared.Options)) {
	t.Helper()
	levels := []*level{beginLevel(t, address, change), beginLevel(t, address, change)}
	const tiles = 40
	for n := range tiles {
		key, s3 := wanted, newSlowS3()
		key.X = uint32(n)
		for _, l := range levels {
			s3.serve(l, func() (*tile.Object, error) { return stored([]byte("tile")), nil })
		}
		wait := readers(t, levels, key)
		<-s3.asked
		waiting(t, levels, 2*(n+1))
		close(s3.unblock)
		wait()
	}
	joined := levels[0].counted("lookup joined") + levels[1].counted("lookup joined")
	if n := asks(levels); n != tiles || joined != tiles {
		t.Errorf("S3 was asked %d times for %d tiles, and %d look-ups joined", n, tiles, joined)
	}
}

// What one could not get or does not write is not waited for: all others ask at once, and not one after the other.
func TestNobodyWaitsForWhatWillNotBeWritten(t *testing.T) {
	for name, answer := range map[string]func() (*tile.Object, error){
		"S3 fails":  func() (*tile.Object, error) { return nil, tile.ErrUnreachable },
		"too large": func() (*tile.Object, error) { return stored(make([]byte, 1<<20+1)), nil },
		"breaks off": func() (*tile.Object, error) {
			o := stored([]byte("half"))
			o.Size = 8
			return o, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			redis := testenv.Redis(t)
			levels, s3 := four(t, redis.Address), newSlowS3()
			first := levels[0]
			first.answer = func(tile.Condition) (*tile.Object, error) {
				s3.asked <- first
				<-s3.unblock
				return answer()
			}
			together := make(chan struct{}, 3) // all others are with S3 at the same time, or the test ends by its timeout
			all := make(chan struct{})
			for _, l := range levels[1:] {
				l.answer = func(tile.Condition) (*tile.Object, error) {
					together <- struct{}{}
					if len(together) == 3 {
						close(all)
					}
					<-all
					return answer()
				}
			}
			holder := readers(t, levels[:1], wanted)
			<-s3.asked
			others := readers(t, levels[1:], wanted)
			waiting(t, levels, 4)
			close(s3.unblock)
			holder()
			others()
			if n := asks(levels); n != 4 {
				t.Errorf("S3 was asked %d times, want once by each", n)
			}
		})
	}
}

// A holder that dies says nothing more. The next one takes over when its lease ends.
func TestTheFillOfADeadInstanceIsTakenOver(t *testing.T) {
	redis := testenv.Redis(t)
	levels, s3 := four(t, redis.Address), newSlowS3()
	dead := levels[0]
	s3.serve(dead, func() (*tile.Object, error) { return nil, tile.ErrUnreachable })
	first := readers(t, levels[:1], wanted)
	<-s3.asked
	dead.stop()
	wait := readers(t, levels[1:], wanted)
	bodies, errs := wait()
	for n := range bodies {
		if errs[n] != nil || bodies[n] != "tile" {
			t.Errorf("got %q, %v; want the tile", bodies[n], errs[n])
		}
	}
	if n := asks(levels[1:]); n != 1 {
		t.Errorf("the others asked S3 %d times, want once", n)
	}
	close(s3.unblock)
	first()
}

// A lease that this service did not write, and one of another tile, make nobody wait.
func TestForeignLeasesAreNotWaitedFor(t *testing.T) {
	redis := testenv.Redis(t)
	a, b := beginLevel(t, redis.Address, nil), beginLevel(t, redis.Address, nil)
	s3 := newSlowS3()
	s3.serve(a, func() (*tile.Object, error) { return nil, tile.ErrUnreachable })
	wait := readers(t, []*level{a}, wanted)
	<-s3.asked
	plant := func(value string) {
		redis.Do(t, "EVAL", `local k = redis.call('KEYS', 'tilegate:fill:*') local v = `+value+` redis.call('SET', k[1], v) return 1`, "0")
	}
	plant(`'fetching'`)
	before := time.Now()
	if _, body, err := b.read(t, wanted, tile.Condition{}); err != nil || body != "tile" {
		t.Fatalf("got %q, %v", body, err)
	}
	if waited := b.counted("lookup joined"); waited != 0 || b.askedS3() != 1 {
		t.Errorf("after %v: joined %d, asked S3 %d times; want that it asks at once", time.Since(before), waited, b.askedS3())
	}
	close(s3.unblock)
	wait()
}

// Redis goes away while instances wait for another: each asks S3.
func TestRedisGoesAwayWhileOthersWait(t *testing.T) {
	redis := testenv.Redis(t)
	relay := testenv.NewRelay(t, redis.Address)
	holder := beginLevel(t, redis.Address, nil)
	other := beginLevel(t, relay.Address, func(o *shared.Options) { o.Tiles.Timeout = 50 * time.Millisecond })
	s3 := newSlowS3()
	s3.serve(holder, func() (*tile.Object, error) { return nil, tile.ErrUnreachable })
	first := readers(t, []*level{holder}, wanted)
	<-s3.asked
	wait := readers(t, []*level{other}, wanted)
	waiting(t, []*level{other}, 1)
	relay.Cut(true)
	if bodies, errs := wait(); errs[0] != nil || bodies[0] != "tile" {
		t.Errorf("got %q, %v; want the tile of S3", bodies[0], errs[0])
	}
	close(s3.unblock)
	first()
}
