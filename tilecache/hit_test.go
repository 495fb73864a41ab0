package tilecache_test

import (
	"context"
	"testing"
	"time"

	"tilegate/tilecache"
)

var day = tilecache.Policy{Fresh: 24 * time.Hour, Stale: 24 * time.Hour, MissingFor: time.Minute}

func BenchmarkHit(b *testing.B) {
	c := newCache(b, tilecache.Options{})
	keys := make([]tilecache.Key, 1024)
	fetch := always(make([]byte, 20<<10))
	for i := range keys {
		keys[i] = tile(uint32(i))
		get(b, c, keys[i], day, fetch).Close()
	}
	hit := func(b *testing.B, i int) {
		t, st, err := c.Get(context.Background(), keys[i%len(keys)], day, fetch)
		if err != nil || st.State != tilecache.Hit {
			b.Fatal(st, err)
		}
		t.Close()
	}
	b.Run("one goroutine", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			hit(b, i)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				hit(b, i)
			}
		})
	})
}
