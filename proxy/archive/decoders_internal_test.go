package archive

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"tilegate/tilecache"
)

// Whatever is asked of how many archives, few decoders are at work, and each archive gets its turn.
func TestAttackManyArchivesAreDecodedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, err := tilecache.New(tilecache.Options{Memory: 4 << 20, MaxObject: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cache.Close(context.Background()) }()
		shared := NewDecoders()
		var all sync.WaitGroup
		var measured, reserved, decoded atomic.Int32
		go1, reserve1, decode1 := make(chan struct{}), make(chan struct{}), make(chan struct{})
		decode := func(a *Archive, need int64) {
			all.Go(func() {
				err := a.decoded(t.Context(), func(int64) error { reserved.Add(1); <-reserve1; return nil }, func() (int64, error) {
					measured.Add(1)
					<-go1
					return need, nil
				}, func() error { decoded.Add(1); <-decode1; return nil })
				if err != nil {
					t.Error(err)
				}
			})
		}
		want := func(what string, n *atomic.Int32, want int32) {
			t.Helper()
			synctest.Wait()
			if got := n.Load(); got != want {
				t.Errorf("%s: got %d, want %d", what, got, want)
			}
		}
		hostile := New(Options{Cache: cache, Decoders: shared})
		for range 100 {
			decode(hostile, 1000)
		}
		want("decoders at work for one archive", &measured, 1)
		for range 20 {
			decode(New(Options{Cache: cache, Decoders: shared}), 1000)
		}
		want("decoders at work for 21", &measured, maxDecoding)
		close(go1)
		want("parts that wait for room, and keep no decoder", &reserved, 21)
		close(reserve1)
		want("decoders at work", &decoded, maxDecoding)
		close(decode1)
		all.Wait()
		if got := decoded.Load(); got != 120 {
			t.Errorf("%d parts were decoded, want 120", got)
		}

		reserved.Store(0)
		decode1 = make(chan struct{})
		for range 3 {
			decode(New(Options{Cache: cache, Decoders: shared}), cache.LargestValue())
		}
		want("parts that take much of the cache at once", &reserved, 1)
		decode(New(Options{Cache: cache, Decoders: shared}), cache.LargestValue()/largePart)
		want("with one that takes little", &reserved, 2)
		close(decode1)
		all.Wait()
	})
}
