package origin_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// clients lets n clients ask the cache for one tile at once, and returns what each got.
func (w *world) clients(t *testing.T, cache *tilecache.Cache, n int) (bodies [][]byte, errs []error) {
	bodies, errs = make([][]byte, n), make([]error, n)
	policy := tilecache.Policy{Fresh: time.Hour}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			tl, _, err := cache.Get(t.Context(), tile101, policy, w.tiles.Fetch)
			for err == nil {
				var piece []byte
				piece, err = tl.Next(t.Context(), int64(len(bodies[i])))
				bodies[i] = append(bodies[i], piece...)
			}
			tl.Close()
			if !errors.Is(err, io.EOF) {
				errs[i] = err
			}
		})
	}
	all.Wait()
	return bodies, errs
}

// No client sees a single failure: the cache sends one request for all of them, and this package repeats it.
func Test200ClientsWhenTheFirstRequestFails(t *testing.T) {
	for name, fault := range map[string]fakeaws.Fault{
		"503":   {Status: http.StatusServiceUnavailable, Code: "SlowDown"},
		"500":   {Status: http.StatusInternalServerError},
		"reset": {Reset: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waitReady(t)
				fault.Op, fault.Times = "GetObject", 1
				w.Inject(fault)
				cache, err := tilecache.New(tilecache.Options{})
				if err != nil {
					t.Fatal(err)
				}
				bodies, errs := w.clients(t, cache, 200)
				for i := range bodies {
					if errs[i] != nil || !bytes.Equal(bodies[i], content(1)) {
						t.Fatalf("a client got %d bytes and %v", len(bodies[i]), errs[i])
					}
				}
				if n := w.Count("GetObject", "", ""); n > 2 {
					t.Errorf("%d GETs", n)
				}
			})
		})
	}
}

// A failure that lasts causes the attempts of one request, however many clients wait.
func TestAFailureThatLastsIsTriedThreeTimesForAll(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		w.Inject(fakeaws.Fault{Op: "GetObject", Status: http.StatusInternalServerError})
		cache, err := tilecache.New(tilecache.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, errs := w.clients(t, cache, 200)
		for _, err := range errs {
			if !errors.Is(err, tile.ErrUnreachable) {
				t.Fatalf("a client got %v", err)
			}
		}
		if n := w.Count("GetObject", "", ""); n != 3 {
			t.Errorf("%d GETs, want 3", n)
		}
	})
}
