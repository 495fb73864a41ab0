package tilecache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

func Example() {
	cache, err := tilecache.New(tilecache.Options{Memory: 64 << 20})
	if err != nil {
		panic(err)
	}
	defer cache.Close(context.Background())

	fetch := func(_ context.Context, key tile.Key, _ tile.Condition) (*tile.Object, error) {
		body := []byte(fmt.Sprintf("the bytes of %d/%d/%d", key.Z, key.X, key.Y))
		return &tile.Object{
			Body: io.NopCloser(bytes.NewReader(body)), Size: int64(len(body)), ETag: `"5eb63bbb"`,
		}, nil
	}
	policy := tilecache.Policy{Fresh: 5 * time.Minute, Stale: 24 * time.Hour, MissingFor: 30 * time.Second}
	key := tile.Key{Tileset: "basemap", Version: "2026-11", Z: 7, X: 66, Y: 44, Scale: 1}

	for range 2 {
		tile, status, err := cache.Get(context.Background(), key, policy, fetch)
		if err != nil {
			panic(err)
		}
		for off := int64(0); ; {
			b, err := tile.Next(context.Background(), off)
			if err != nil {
				break // io.EOF, or else the client must not take what it has for a tile
			}
			fmt.Printf("%s, from memory: %t\n", b, status.State == tilecache.Hit)
			off += int64(len(b))
		}
		tile.Close()
	}
	// Output:
	// the bytes of 7/66/44, from memory: false
	// the bytes of 7/66/44, from memory: true
}
