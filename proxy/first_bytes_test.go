package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"tilegate/internal/tile"
)

var errConnectionReset = errors.New("connection reset by the store")

// breaksOnce answers with the stored tiles, but its first body breaks off at a byte.
func breaksOnce(o *origin, key tile.Key, at int) {
	broken := false
	o.respond(func(ctx context.Context, asked tile.Key, cond tile.Condition) (*tile.Object, error) {
		o.mu.Lock()
		v := o.tiles[key]
		first := !broken
		broken = true
		o.mu.Unlock()
		rest := io.Reader(strings.NewReader(v.body[cond.Offset:]))
		if first {
			rest = io.MultiReader(strings.NewReader(v.body[:at]), failingReader{errConnectionReset})
		}
		return &tile.Object{Body: io.NopCloser(rest), Size: int64(len(v.body)), ETag: v.etag, Encoding: v.encoding}, nil
	})
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// Wherever a body breaks off, clients get the tile: the one that S3 stored, in the encoding that it has.
func TestBodyThatBreaksOffAnywhereIsMended(t *testing.T) {
	packed := zip(t, vectorTile)
	for _, test := range []struct {
		name, tileset, accept string
		object                object
		body                  string
	}{
		{"an image", "basemap", "", object{body: pngBody(5000)}, pngBody(5000)},
		{"gzip without metadata, asked plain", "roads", "", object{body: packed}, vectorTile},
		{"gzip without metadata, asked gzip", "roads", "gzip", object{body: packed}, packed},
		{"gzip with metadata, asked plain", "roads", "", object{body: packed, encoding: "gzip"}, vectorTile},
	} {
		for _, at := range []int{0, 1, 2, 3, 15, 16, 17, 1000} {
			t.Run(fmt.Sprintf("%s/at byte %d", test.name, at), func(t *testing.T) {
				w := start(t)
				test.object.etag = `"stored"`
				key := tile.Key{Tileset: test.tileset, Z: 1, Scale: 1}
				w.origin.putKey(key, test.object)
				breaksOnce(w.origin, key, at)
				for _, ask := range []string{"a miss", "a hit"} {
					got := w.get("/tiles/"+test.tileset+"/1/0/0", w.as("Accept-Encoding", test.accept)...)
					if got.status != 200 || got.body != test.body || got.err != nil {
						t.Errorf("%s: got %d, %d bytes, %v", ask, got.status, len(got.body), got.err)
					}
				}
				w.origin.wantAsked(t, 2)
			})
		}
	}
}

// What cannot be a tile is no tile, however its body came and whatever its metadata say.
func TestWrongBodyIsNeverKept(t *testing.T) {
	const document = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code></Error>`
	for name, test := range map[string]struct {
		encoding string
		breakAt  int
	}{
		"whole":                 {"", -1},
		"broken off at byte 3":  {"", 3},
		"broken off at byte 20": {"", 20},
		"said to be gzip":       {"gzip", -1},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			key := tile.Key{Tileset: "basemap", Z: 1, Scale: 1}
			w.origin.putKey(key, object{body: document, etag: `"x"`, encoding: test.encoding})
			if test.breakAt >= 0 {
				breaksOnce(w.origin, key, test.breakAt)
			}
			if got := w.get("/tiles/basemap/1/0/0", w.as("Accept-Encoding", "gzip")...); got.status != 502 {
				t.Errorf("got %d with %q", got.status, got.body)
			}
			if kept := w.cache.Stats().Entries; kept != 0 {
				t.Errorf("%d are kept", kept)
			}
		})
	}
}
