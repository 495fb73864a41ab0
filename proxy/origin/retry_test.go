package origin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

func TestShortFailureIsRetried(t *testing.T) {
	for name, fault := range map[string]fakeaws.Fault{
		"503":   {Status: http.StatusServiceUnavailable, Code: "SlowDown", Times: 2},
		"500":   {Status: http.StatusInternalServerError, Times: 2},
		"reset": {Reset: true, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.mustFetch(t)
				fault.Op = "GetObject"
				w.Inject(fault)
				if took := w.mustFetch(t); took > 300*time.Millisecond {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// A request that has not been sent yet can be sent again.
func TestConnectionsThatTakeTooLongAreTriedAgain(t *testing.T) {
	for name, dial := range map[string]func(ctx context.Context) (net.Conn, error){
		"connecting": func(ctx context.Context) (net.Conn, error) {
			select {
			case <-time.After(5 * time.Second):
			case <-ctx.Done():
			}
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
		},
		"TLS": func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			return ours, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				begun := time.Now()
				w.mustFail(t, tile.ErrTimeout)
				if took := time.Since(begun); took < 15*time.Second || took > 16*time.Second {
					t.Errorf("it failed after %s, want three times 5s", took)
				}
			}, func(_ *fakeaws.Role, o *origin.Options) {
				o.Endpoint = "https://localhost"
				o.Sources[0].Role = origin.Role{}
				o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
			})
		})
	}
}

func TestRetriesAreATenthOfTheRequestsBeyondABurst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		w.Inject(fakeaws.Fault{Op: "GetObject", Status: http.StatusInternalServerError})
		const requests = 500
		for range requests {
			w.mustFail(t, tile.ErrUnreachable)
		}
		got := w.Count("GetObject", "", "") - requests
		if got < requests/10 || got > requests/10+10 {
			t.Errorf("%d retries of %d requests, want a tenth and ten at most", got, requests)
		}
		if n := w.seen.count("retry base"); n != got {
			t.Errorf("%d retries were observed of %d", n, got)
		}
	})
}

func TestSlowDownShrinksConcurrencyAndGrowsItBack(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		// atOnce is how many of 300 requests S3 sees before it answers one.
		atOnce := func() int {
			var met atomic.Int64
			release := make(chan struct{})
			remove := w.Inject(fakeaws.Fault{Op: "GetObject", HangBeforeHeaders: true, Release: release, Met: func(fakeaws.Request) { met.Add(1) }})
			var wg sync.WaitGroup
			for range 300 {
				wg.Go(func() { _, _, _ = w.fetch(t.Context(), tile101, tile.Condition{}) })
			}
			synctest.Wait()
			n := int(met.Load())
			remove()
			wg.Wait()
			return n
		}
		usual := atOnce()
		if usual != 256 {
			t.Errorf("%d requests at once before any SlowDown", usual)
		}
		remove := w.Inject(fakeaws.Fault{Op: "GetObject", Status: http.StatusServiceUnavailable, Code: "SlowDown"})
		for range 5 {
			w.mustFail(t, tile.ErrSlowDown)
			pass(2 * time.Second)
		}
		remove()
		least := atOnce()
		if least > usual/16 {
			t.Errorf("%d requests at once after five seconds with SlowDown", least)
		}
		grown := least
		for range 2 {
			more := atOnce()
			if more <= grown {
				t.Errorf("%d requests at once, and %d a round of answers later", grown, more)
			}
			grown = more
		}
	})
}

// An outage with SlowDown has no aftermath: a screen full of tiles arrives right after it.
func TestConcurrencyIsBackSoonAfterAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		remove := w.Inject(fakeaws.Fault{Op: "GetObject", Status: http.StatusServiceUnavailable, Code: "SlowDown"})
		for range 8 {
			w.mustFail(t, tile.ErrSlowDown)
			pass(time.Second)
		}
		remove()
		w.Inject(fakeaws.Fault{Op: "GetObject", Delay: 300 * time.Millisecond})
		var wg sync.WaitGroup
		var failed atomic.Int64
		for range 100 {
			wg.Go(func() {
				if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{}); err != nil {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		if n := failed.Load(); n > 0 {
			t.Errorf("%d of 100 failed", n)
		}
	})
}

func TestWaitAtTheGateIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		defer w.Inject(fakeaws.Fault{Op: "GetObject", HangBeforeHeaders: true})()
		const requests = 256 + 1024 + 20
		begun := time.Now()
		var atOnce, refused atomic.Int64
		ctx := t.Context()
		for range requests {
			go func() {
				_, _, err := w.fetch(ctx, tile101, tile.Condition{})
				if errors.Is(err, tile.ErrSlowDown) {
					refused.Add(1)
					if time.Since(begun) == 0 {
						atOnce.Add(1)
					}
				}
			}()
		}
		synctest.Wait()
		if n := atOnce.Load(); n != 20 {
			t.Errorf("%d were refused at once, want those beyond the queue", n)
		}
		pass(5 * time.Second)
		if n := refused.Load(); n < 1024 {
			t.Errorf("%d gave up waiting within 5 s, want the whole queue", n)
		}
		pass(time.Minute)
	})
}
