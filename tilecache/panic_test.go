package tilecache_test

import (
	"context"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

type panicking struct{ after int }

func (p *panicking) Read(b []byte) (int, error) {
	if p.after == 0 {
		panic("a panic in Read")
	}
	n := min(p.after, len(b))
	p.after -= n
	return n, nil
}

func (p *panicking) Close() error { return nil }

func TestPanicFailsOneFillAlone(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fetch  func() (*tile.Object, error)
		logged string
	}{
		{"in Fetch", func() (*tile.Object, error) { panic("a panic in Fetch") }, "a panic in Fetch"},
		{"in Read", func() (*tile.Object, error) {
			return &tile.Object{Body: &panicking{1000}, Size: 5000, ETag: `"v1"`}, nil
		}, "a panic in Read"},
		{"in Read of an object that is not kept", func() (*tile.Object, error) {
			return &tile.Object{Body: &panicking{1000}, Size: -1}, nil
		}, "a panic in Read"},
		{"Goexit in Fetch", func() (*tile.Object, error) { runtime.Goexit(); return nil, nil }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lockedBuilder
				healthy := false
				o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
					if healthy {
						return object(pattern(10)), nil
					}
					bubble.Advance(time.Millisecond) // let them all join
					return tc.fetch()
				})
				c := newCache(t, tilecache.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
				before := c.Stats().Bytes
				const clients = 3
				errs, _ := crowd(c, clients, day, o.fetch)
				for _, err := range errs {
					if err == nil || err == io.EOF { //nolint:errorlint // io.EOF itself
						t.Errorf("got error %v, want one", err)
					}
				}
				synctest.Wait()
				check(t, "bytes held", c.Stats().Bytes, before)
				if got := log.String(); !strings.Contains(got, tc.logged) || tc.logged != "" && !strings.Contains(got, "panic_test.go") {
					t.Errorf("got log %q, want the panic %q and its stack", got, tc.logged)
				}
				look(t, c, keyOf(2), day, always(nil))
				healthy = true
				bubble.Advance(time.Second)
				look(t, c, keyOf(1), day, o.fetch)
			})
		})
	}
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
