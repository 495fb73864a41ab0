package tilecache_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

var (
	day     = tilecache.Policy{Fresh: 24 * time.Hour, Stale: 24 * time.Hour, MissingFor: time.Minute}
	errDown = errors.New("503 from a fake origin")
)

// newCache returns a cache that must have returned every byte when the test ends.
func newCache(t testing.TB, o tilecache.Options) *tilecache.Cache {
	t.Helper()
	c, err := tilecache.New(o)
	if err != nil {
		t.Fatal(err)
	}
	empty := c.Stats().Bytes
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
		purge(t, c, "basemap")
		purge(t, c, "roads")
		st := c.Stats()
		check(t, "bytes held when all is forgotten", st.Bytes, empty)
		check(t, "bytes held by readers that are gone", st.Retired, 0)
		check(t, "waiting for room", st.Queued, 0)
		check(t, "left over in the books", tilecache.Leftovers(c), 0)
	})
	return c
}

func keyOf(x uint32) tile.Key {
	return tile.Key{Tileset: "basemap", Version: "2026-11", Z: 20, X: x, Y: 7, Scale: 1}
}

// pattern returns n bytes of which no two neighbourhoods are alike.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func object(body []byte) *tile.Object {
	return &tile.Object{Body: io.NopCloser(bytes.NewReader(body)), Size: int64(len(body)), ETag: `"v1"`}
}

func always(body []byte) tile.Fetch {
	return func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
		return object(body), nil
	}
}

// origin is a Fetch that a test scripts, call by call, and that knows what it was asked.
type origin struct {
	t      testing.TB
	script func(ctx context.Context, call int, cond tile.Condition) (*tile.Object, error)

	mu    sync.Mutex
	conds []tile.Condition
	open  atomic.Int32 // bodies handed out and not closed
}

func newOrigin(t testing.TB, script func(ctx context.Context, call int, cond tile.Condition) (*tile.Object, error)) *origin {
	o := &origin{t: t, script: script}
	t.Cleanup(func() {
		// A reader has the end of a body before its fetch has closed it. A bubble's time would not move here.
		for range 1_000_000 {
			if o.open.Load() == 0 {
				return
			}
			runtime.Gosched()
		}
		t.Errorf("%d bodies were never closed", o.open.Load())
	})
	return o
}

func (o *origin) fetch(ctx context.Context, _ tile.Key, cond tile.Condition) (*tile.Object, error) {
	o.mu.Lock()
	o.conds = append(o.conds, cond)
	call := len(o.conds)
	o.mu.Unlock()
	obj, err := o.script(ctx, call, cond)
	if obj != nil && obj.Body != nil {
		o.open.Add(1)
		obj.Body = &closeOnce{ReadCloser: obj.Body, open: &o.open, t: o.t}
	}
	return obj, err
}

func (o *origin) calls() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conds)
}

func (o *origin) cond(call int) tile.Condition {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conds[call-1]
}

type closeOnce struct {
	io.ReadCloser
	open   *atomic.Int32
	closed atomic.Bool
	t      testing.TB
}

func (c *closeOnce) Close() error {
	if c.closed.Swap(true) {
		c.t.Error("a body was closed twice")
		return nil
	}
	c.open.Add(-1)
	return c.ReadCloser.Close()
}

// feed is a body whose bytes arrive when the test says so. Like a network's, its reads end with ctx.
type feed struct {
	*io.PipeWriter
	object *tile.Object
}

func newFeed(ctx context.Context, size int64) feed {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	return feed{w, &tile.Object{Body: r, Size: size, ETag: `"v1"`}}
}

func (f feed) send(t testing.TB, b []byte) {
	t.Helper()
	if _, err := f.Write(b); err != nil {
		t.Errorf("the body was not read to its end: %v", err)
	}
}

// breaking is a body that yields b and then err.
func breaking(b []byte, err error) io.ReadCloser {
	return io.NopCloser(io.MultiReader(bytes.NewReader(b), failing{err}))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// get opens a tile and reads all of it.
func get(t testing.TB, c *tilecache.Cache, key tile.Key, p tilecache.Policy, fetch tile.Fetch) (tilecache.Tile, tilecache.Status, []byte) {
	t.Helper()
	tl, st, err := c.Get(context.Background(), key, p, fetch)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	b, err := readAll(tl)
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	return tl, st, b
}

// look gets a tile, closes it, and returns what happened to it and its bytes.
func look(t testing.TB, c *tilecache.Cache, key tile.Key, p tilecache.Policy, fetch tile.Fetch) (tilecache.Status, []byte) {
	t.Helper()
	tl, st, b := get(t, c, key, p, fetch)
	tl.Close()
	return st, b
}

func readAll(tl tilecache.Tile) ([]byte, error) {
	var got []byte
	for {
		b, err := tl.Next(context.Background(), int64(len(got)))
		if err == io.EOF { //nolint:errorlint // Next promises io.EOF itself
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, b...)
	}
}

func check[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func checkErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func checkBytes(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("got %d bytes that differ from the %d wanted", len(got), len(want))
	}
}

func purge(t testing.TB, c *tilecache.Cache, tileset string) int {
	t.Helper()
	n, err := c.Purge(context.Background(), tile.Purge{Tileset: tileset})
	if err != nil {
		t.Errorf("purge %s: %v", tileset, err)
	}
	return n
}
