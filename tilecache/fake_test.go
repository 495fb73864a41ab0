package tilecache_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"tilegate/tilecache"
)

func newCache(t testing.TB, o tilecache.Options) *tilecache.Cache {
	t.Helper()
	c, err := tilecache.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func tile(x uint32) tilecache.Key {
	return tilecache.Key{Tileset: "basemap", Version: "2026-11", Z: 20, X: x, Y: 7, Scale: 1}
}

func object(body []byte) *tilecache.Object {
	return &tilecache.Object{Body: io.NopCloser(bytes.NewReader(body)), Size: int64(len(body)), ETag: `"v1"`}
}

func always(body []byte) tilecache.Fetch {
	return func(context.Context, tilecache.Key, tilecache.Condition) (*tilecache.Object, error) {
		return object(body), nil
	}
}

// get opens a tile and waits until it has arrived.
func get(t testing.TB, c *tilecache.Cache, key tilecache.Key, p tilecache.Policy, fetch tilecache.Fetch) tilecache.Tile {
	t.Helper()
	tl, _, err := c.Get(context.Background(), key, p, fetch)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if _, err := readAll(tl); err != nil {
		t.Fatalf("reading: %v", err)
	}
	return tl
}

func readAll(tl tilecache.Tile) ([]byte, error) {
	var got []byte
	for {
		b, err := tl.Next(context.Background(), int64(len(got)))
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, b...)
	}
}
