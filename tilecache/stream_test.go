package tilecache_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// counted counts what is read of a body.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func TestObjectsThatAreNotKept(t *testing.T) {
	body := pattern(1 << 20)
	for _, tc := range []struct {
		name  string
		size  int64
		ahead int64 // what is read before there is a reader, which is held until it has left
	}{{"larger than max_object", 1 << 20, 0}, {"of unknown length", -1, 128 << 10}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var read atomic.Int64
				o := newOrigin(t, func(_ context.Context, _ int, cond tile.Condition) (*tile.Object, error) {
					obj := rest(body, cond)
					obj.Size = tc.size
					obj.Body = io.NopCloser(counted{obj.Body, &read})
					return obj, nil
				})
				c := newCache(t, tilecache.Options{Memory: 4 << 20, MaxObject: 100_000})
				before := c.Stats().Bytes
				tl, st, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
				if err != nil {
					t.Fatal(err)
				}
				check(t, "state", st.State, tilecache.Miss)
				check(t, "size", tl.Size(), tc.size)
				synctest.Wait()
				check(t, "held", c.Stats().Bytes-before < 80<<10+tc.ahead, true)

				// Back-pressure: the origin is asked for no more than the reader has taken and a window.
				for off := int64(0); ; {
					check(t, "read ahead in bounds", read.Load() <= max(off, tc.ahead)+64<<10, true)
					b, err := tl.Next(context.Background(), off)
					if err == io.EOF { //nolint:errorlint // io.EOF itself
						check(t, "length", off, int64(len(body)))
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					checkBytes(t, b, body[off:off+int64(len(b))])
					off += int64(len(b))
				}
				if _, ok := tl.Bytes(); ok {
					t.Error("Bytes: got a whole object that is not held")
				}
				if _, err := tl.Next(context.Background(), 0); err == nil {
					t.Error("Next at bytes that have passed: got no error")
				}
				tl.Close()
				synctest.Wait()
				check(t, "held after", c.Stats().Bytes, before)
				st, _ = look(t, c, keyOf(1), day, o.fetch)
				check(t, "state of the next", st.State, tilecache.Miss)
				check(t, "streams", c.Stats().Streams, 2)
				synctest.Wait()
			})
		})
	}
}

func TestStreamSkipsForward(t *testing.T) {
	body := pattern(300_000)
	for _, etag := range []string{`"v1"`, ""} { // without one, no part can be asked for
		c := newCache(t, tilecache.Options{MaxObject: 1000})
		tl, _, err := c.Get(context.Background(), keyOf(1), day,
			func(_ context.Context, _ tile.Key, cond tile.Condition) (*tile.Object, error) {
				obj := rest(body, cond)
				obj.ETag = etag
				return obj, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		defer tl.Close()
		for _, off := range []int64{5, 70, 200_000} {
			b, err := tl.Next(context.Background(), off)
			if err != nil {
				t.Fatal(err)
			}
			checkBytes(t, b, body[off:off+int64(len(b))])
		}
		if _, err := tl.Next(context.Background(), 300_000); err != io.EOF { //nolint:errorlint // io.EOF itself
			t.Errorf("at the end: got %v, want EOF", err)
		}
	}
}

// What cannot be shared is fetched once for each who wants it: none gets half, none waits for a slower one.
// The last bytes of a large object cost the origin those bytes.
func TestStreamAsksForAPartFarAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := pattern(1 << 20)
		var read atomic.Int64
		o := newOrigin(t, func(_ context.Context, _ int, cond tile.Condition) (*tile.Object, error) {
			obj := rest(body, cond)
			obj.Body = io.NopCloser(counted{obj.Body, &read})
			return obj, nil
		})
		c := newCache(t, tilecache.Options{Memory: 4 << 20, MaxObject: 100_000})
		tl, _, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
		if err != nil {
			t.Fatal(err)
		}
		defer tl.Close()
		const from = 1<<20 - 10
		b, err := tl.Next(context.Background(), from)
		checkErr(t, "Next", err, nil)
		checkBytes(t, b, body[from:])
		check(t, "fetches", o.calls(), 2)
		check(t, "second condition", o.cond(2), tile.Condition{IfMatch: `"v1"`, Offset: from})
		check(t, "little is read", read.Load() <= 64<<10, true)
	})
}

func TestSeveralReadersOfAnObjectThatIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := pattern(500_000)
		o := newOrigin(t, func(_ context.Context, _ int, cond tile.Condition) (*tile.Object, error) {
			bubble.Advance(time.Millisecond)
			return rest(body, cond), nil
		})
		c := newCache(t, tilecache.Options{MaxObject: 1000})
		before := c.Stats().Bytes
		errs, bodies := crowd(c, 5, day, o.fetch)
		for i := range errs {
			checkErr(t, "a client", errs[i], nil)
			checkBytes(t, bodies[i], body)
		}
		check(t, "fetches", o.calls(), 5)
		synctest.Wait()
		check(t, "held after", c.Stats().Bytes, before)
	})
}

// Without a length nobody can tell where to resume, or that what came is all.
func TestStreamOfUnknownLengthBreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(_ context.Context, _ int, cond tile.Condition) (*tile.Object, error) {
			obj := broken(pattern(5000), cond, 3000, errReset)
			obj.Size = -1
			return obj, nil
		})
		c := newCache(t, tilecache.Options{})
		errs, _ := crowd(c, 1, day, o.fetch)
		checkErr(t, "the reader", errs[0], errReset)
		check(t, "fetches", o.calls(), 1)
	})
}

func TestSecondReadersOwnFetchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(_ context.Context, call int, cond tile.Condition) (*tile.Object, error) {
			bubble.Advance(time.Millisecond)
			if call > 1 {
				return nil, errDown
			}
			return rest(pattern(5000), cond), nil
		})
		c := newCache(t, tilecache.Options{MaxObject: 1000})
		errs, _ := crowd(c, 2, day, o.fetch)
		check(t, "one has it, one does not", (errs[0] == nil) != (errs[1] == nil), true)
		checkErr(t, "the error", errors.Join(errs...), errDown)
		synctest.Wait()
	})
}

func TestSecondReaderLeavesDuringItsOwnFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(ctx context.Context, call int, cond tile.Condition) (*tile.Object, error) {
			bubble.Advance(time.Millisecond)
			if call > 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return rest(pattern(5000), cond), nil
		})
		c := newCache(t, tilecache.Options{MaxObject: 1000})
		ctx, leave := context.WithTimeout(context.Background(), time.Second)
		defer leave()
		errs := make([]error, 2)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() {
				tl, _, err := c.Get(ctx, keyOf(1), day, o.fetch)
				errs[i] = err
				tl.Close()
			})
		}
		all.Wait()
		checkErr(t, "one of them", errors.Join(errs...), context.DeadlineExceeded)
		check(t, "fetches", o.calls(), 2)
	})
}

// A tile that has become too large to keep is not kept in its old version either.
func TestRefreshFindsATileThatIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &versions{body: pattern(10), etag: `"a"`}
		o := newOrigin(t, v.answer)
		c := newCache(t, tilecache.Options{MaxObject: 1000})
		look(t, c, keyOf(1), hourly, o.fetch)
		bubble.Advance(2 * time.Hour)
		v.body, v.etag = pattern(5000), `"b"`
		look(t, c, keyOf(1), hourly, o.fetch)
		synctest.Wait()
		st, b := look(t, c, keyOf(1), hourly, o.fetch)
		check(t, "state", st.State, tilecache.Miss)
		checkBytes(t, b, pattern(5000))
		synctest.Wait()
	})
}

func TestStreamIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := pattern(500_000)
		o := newOrigin(t, func(_ context.Context, _ int, cond tile.Condition) (*tile.Object, error) {
			return broken(body, cond, 150_000, io.EOF), nil
		})
		c := newCache(t, tilecache.Options{MaxObject: 1000})
		_, b := look(t, c, keyOf(1), day, o.fetch)
		checkBytes(t, b, body)
		check(t, "fetches", o.calls(), 4)
		check(t, "last condition", o.cond(4), tile.Condition{IfMatch: `"v1"`, Offset: 450_000})
		synctest.Wait()
	})
}

func TestStreamsReaderLeaves(t *testing.T) {
	for _, tc := range []struct {
		name  string
		leave func(t *testing.T, c *tilecache.Cache, fetch tile.Fetch)
	}{
		{"before the headers", func(t *testing.T, c *tilecache.Cache, fetch tile.Fetch) {
			ctx, leave := context.WithTimeout(context.Background(), time.Millisecond)
			defer leave()
			_, _, err := c.Get(ctx, keyOf(1), day, fetch)
			checkErr(t, "Get", err, context.DeadlineExceeded)
		}},
		{"without reading", func(t *testing.T, c *tilecache.Cache, fetch tile.Fetch) {
			tl, _, err := c.Get(context.Background(), keyOf(1), day, fetch)
			checkErr(t, "Get", err, nil)
			tl.Close()
		}},
		{"while the origin hangs mid-body", func(t *testing.T, c *tilecache.Cache, fetch tile.Fetch) {
			tl, _, err := c.Get(context.Background(), keyOf(1), day, fetch)
			checkErr(t, "Get", err, nil)
			ctx, leave := context.WithTimeout(context.Background(), time.Second)
			defer leave()
			_, err = tl.Next(ctx, 50)
			checkErr(t, "Next", err, context.DeadlineExceeded)
			tl.Close()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fetchCtx context.Context
				o := newOrigin(t, func(ctx context.Context, _ int, _ tile.Condition) (*tile.Object, error) {
					fetchCtx = ctx
					select {
					case <-time.After(5 * time.Millisecond):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					return newFeed(ctx, 1<<20).object, nil
				})
				c := newCache(t, tilecache.Options{MaxObject: 1000})
				before := c.Stats().Bytes
				tc.leave(t, c, o.fetch)
				synctest.Wait()
				check(t, "the fetch is stopped", fetchCtx.Err() != nil, true)
				check(t, "held after", c.Stats().Bytes, before)
			})
		})
	}
}

func TestSlowStreamIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small)
		tl, _, err := c.Get(context.Background(), keyOf(500), day, always(make([]byte, 300_000)))
		if err != nil {
			t.Fatal(err)
		}
		cut := false
		tl.CutWith(func() { cut = true })
		if _, err := tl.Next(context.Background(), 0); err != nil {
			t.Fatal(err)
		}
		tiles := fillWith(t, c, nil) // waits for room for two seconds in the end
		check(t, "cut off", cut, true)
		_, err = tl.Next(context.Background(), 65536)
		checkErr(t, "its next read", err, tilecache.ErrCutOff)
		tl.Close()
		for _, tl := range tiles {
			tl.Close()
		}
	})
}
