package tilecache_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

func TestHitGivesWhatTheOriginGave(t *testing.T) {
	body := pattern(200_000)
	modified := time.Date(2026, 11, 1, 2, 3, 4, 0, time.UTC)
	o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
		obj := object(body)
		obj.LastModified, obj.Encoding = modified, "gzip"
		obj.Header = http.Header{"Content-Type": {"image/png"}}
		return obj, nil
	})
	c := newCache(t, tilecache.Options{})
	for _, want := range []tilecache.State{tilecache.Miss, tilecache.Hit} {
		tl, st, b := get(t, c, keyOf(1), day, o.fetch)
		check(t, "state", st.State, want)
		checkBytes(t, b, body)
		check(t, "size", tl.Size(), int64(len(body)))
		check(t, "etag", tl.ETag(), `"v1"`)
		check(t, "last modified", tl.LastModified(), modified)
		check(t, "encoding", tl.Encoding(), "gzip")
		check(t, "header", tl.Header().Get("Content-Type"), "image/png")
		whole, ok := tl.Bytes()
		check(t, "whole", ok, true)
		checkBytes(t, whole, body)
		tl.Close()
	}
	check(t, "fetches", o.calls(), 1)
	check(t, "condition", o.cond(1), tile.Condition{})
}

func TestKeysDoNotMix(t *testing.T) {
	c := newCache(t, tilecache.Options{})
	base := keyOf(1)
	others := []tile.Key{base}
	for range 6 {
		others = append(others, base)
	}
	others[1].Tileset, others[2].Version, others[3].Z = "roads", "2026-12", 19
	others[4].X, others[5].Y, others[6].Scale = 2, 8, 2
	for i, k := range others {
		st, _ := look(t, c, k, day, always([]byte{byte(i)}))
		check(t, "state", st.State, tilecache.Miss)
	}
	for i, k := range others {
		st, b := look(t, c, k, day, always(nil))
		check(t, "state", st.State, tilecache.Hit)
		checkBytes(t, b, []byte{byte(i)})
	}
}

func TestNextEndsWhereTheBytesDo(t *testing.T) {
	c := newCache(t, tilecache.Options{})
	body := pattern(100_000)
	tl, _, _ := get(t, c, keyOf(1), day, always(body))
	defer tl.Close()
	for _, tc := range []struct {
		name string
		off  int64
		n    int
		err  error
	}{
		{"start", 0, 64 << 10, nil},
		{"middle", 99_990, 10, nil},
		{"end", 100_000, 0, io.EOF},
		{"beyond", 1 << 40, 0, io.EOF},
	} {
		b, err := tl.Next(context.Background(), tc.off)
		if len(b) != tc.n || err != tc.err { //nolint:errorlint // io.EOF itself
			t.Errorf("%s: got %d bytes, %v, want %d, %v", tc.name, len(b), err, tc.n, tc.err)
		}
		if cap(b) != len(b) {
			t.Errorf("%s: appending to the slice would write into the shared bytes", tc.name)
		}
	}
	if _, err := tl.Next(context.Background(), -1); err == nil {
		t.Error("a negative offset: got no error")
	}
}

func TestEmptyObject(t *testing.T) {
	c := newCache(t, tilecache.Options{})
	for _, want := range []tilecache.State{tilecache.Miss, tilecache.Hit} {
		st, b := look(t, c, keyOf(1), day, always(nil))
		check(t, "state", st.State, want)
		check(t, "length", len(b), 0)
	}
}

func TestZeroTileMayBeClosed(*testing.T) { tilecache.Tile{}.Close() }

func TestHitDoesNotAllocate(t *testing.T) {
	c := newCache(t, tilecache.Options{})
	fetch := always(pattern(20 << 10))
	look(t, c, keyOf(1), day, fetch)
	got := testing.AllocsPerRun(1000, func() {
		tl, _, err := c.Get(context.Background(), keyOf(1), day, fetch)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tl.Next(context.Background(), 0); err != nil {
			t.Fatal(err)
		}
		tl.Close()
	})
	if got > 0 {
		t.Errorf("got %v allocations a hit, want 0", got)
	}
}

func BenchmarkHit(b *testing.B) {
	c := newCache(b, tilecache.Options{})
	keys := make([]tile.Key, 1024)
	fetch := always(make([]byte, 20<<10))
	for i := range keys {
		keys[i] = keyOf(uint32(i))
		look(b, c, keys[i], day, fetch)
	}
	hit := func(b *testing.B, i int) {
		tl, st, err := c.Get(context.Background(), keys[i%len(keys)], day, fetch)
		if err != nil || st.State != tilecache.Hit {
			b.Fatal(st, err)
		}
		tl.Close()
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

func BenchmarkMiss(b *testing.B) {
	c := newCache(b, tilecache.Options{Memory: 64 << 20})
	fetch := always(make([]byte, 20<<10))
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		look(b, c, keyOf(i), day, fetch)
	}
}

func TestTileClosedTwice(t *testing.T) {
	c := newCache(t, tilecache.Options{})
	tl, _, _ := get(t, c, keyOf(1), day, always(nil))
	tl.Close()
	purge(t, c, "basemap")
	defer func() {
		if recover() == nil {
			t.Error("got no panic where the budget would have been miscounted")
		}
	}()
	tl.Close()
}
