package tilecache_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

var errReset = errors.New("connection reset by peer")

// broken is an object whose body stops after n bytes from cond.Offset on.
func broken(body []byte, cond tile.Condition, n int, err error) *tile.Object {
	rest := body[cond.Offset:]
	return &tile.Object{Body: breaking(rest[:min(n, len(rest))], err), Size: int64(len(body)), ETag: `"v1"`}
}

func rest(body []byte, cond tile.Condition) *tile.Object {
	return &tile.Object{
		Body: io.NopCloser(bytes.NewReader(body[cond.Offset:])), Size: int64(len(body)), ETag: `"v1"`,
	}
}

func TestBodyThatBreaksOffIsResumed(t *testing.T) {
	body := pattern(500)
	for _, tc := range []struct {
		name string
		err  error
	}{{"reset", errReset}, {"truncated", io.EOF}, {"truncated, as net/http says it", io.ErrUnexpectedEOF}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, tilecache.Options{})
				for at := range len(body) {
					o := newOrigin(t, func(_ context.Context, call int, cond tile.Condition) (*tile.Object, error) {
						if call == 1 {
							return broken(body, cond, at, tc.err), nil
						}
						return rest(body, cond), nil
					})
					_, b := look(t, c, keyOf(uint32(at)), day, o.fetch)
					checkBytes(t, b, body)
					check(t, "fetches", o.calls(), 2)
					check(t, "second condition", o.cond(2), tile.Condition{IfMatch: `"v1"`, Offset: int64(at)})
					st, b := look(t, c, keyOf(uint32(at)), day, o.fetch)
					check(t, "state", st.State, tilecache.Hit)
					checkBytes(t, b, body)
				}
				synctest.Wait()
			})
		})
	}
}

// What the origin said of the whole object is held against a body that came in two parts: its own
// check at the end has seen the first alone.
func TestResumedBodyIsCheckedAsAWhole(t *testing.T) {
	errSum := errors.New("another checksum")
	body := pattern(3000)
	for _, verdict := range []error{nil, errSum} {
		synctest.Test(t, func(t *testing.T) {
			o := newOrigin(t, func(_ context.Context, call int, cond tile.Condition) (*tile.Object, error) {
				if call > 1 {
					return rest(body, cond), nil
				}
				obj := broken(body, cond, 1000, errReset)
				obj.Check = func(whole []byte) error {
					checkBytes(t, whole, body)
					return verdict
				}
				return obj, nil
			})
			c := newCache(t, tilecache.Options{})
			tl, _, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
			checkErr(t, "Get", err, nil)
			_, err = readAll(tl)
			checkErr(t, "the body", err, verdict)
			tl.Close()
			synctest.Wait()
			check(t, "tiles kept", c.Stats().Entries, map[bool]int{true: 1}[verdict == nil])
		})
	}
}

// The remaining faults fail the tile: its readers learn of it and nothing is kept.
func TestBodiesThatCannotBeMended(t *testing.T) {
	body := pattern(3000)
	type script func(call int, cond tile.Condition) (*tile.Object, error)
	change := func(change func(*tile.Object)) script {
		return func(call int, cond tile.Condition) (*tile.Object, error) {
			if call == 1 {
				return broken(body, cond, 1000, errReset), nil
			}
			obj := rest(body, cond)
			change(obj)
			return obj, nil
		}
	}
	then := func(err error) script {
		return func(call int, cond tile.Condition) (*tile.Object, error) {
			if call == 1 {
				return broken(body, cond, 1000, errReset), nil
			}
			return nil, err
		}
	}
	first := func(change func(*tile.Object)) script {
		return func(_ int, cond tile.Condition) (*tile.Object, error) {
			obj := broken(body, cond, 1000, errReset)
			change(obj)
			return obj, nil
		}
	}
	for _, tc := range []struct {
		name    string
		script  script
		want    error // nil: any
		fetches int
	}{
		{"412", then(tile.ErrChanged), tile.ErrChanged, 2},
		{"gone", then(tile.ErrMissing), tile.ErrChanged, 2},
		{"another ETag", change(func(o *tile.Object) { o.ETag = `"v2"` }), tile.ErrChanged, 2},
		{"another length", change(func(o *tile.Object) { o.Size++ }), tile.ErrChanged, 2},
		{"another encoding", change(func(o *tile.Object) { o.Encoding = "gzip" }), tile.ErrChanged, 2},
		{"no ETag", first(func(o *tile.Object) { o.ETag = "" }), errReset, 1},
		{"a weak ETag", first(func(o *tile.Object) { o.ETag = `W/"v1"` }), errReset, 1},
		{"every resumption refused", then(errDown), errDown, 4},
		{"every resumption broken", func(_ int, cond tile.Condition) (*tile.Object, error) {
			return broken(body, cond, 500, errReset), nil
		}, errReset, 4},
		{"the whole body where the rest was asked for", change(func(o *tile.Object) {
			o.Body = io.NopCloser(bytes.NewReader(body))
		}), nil, 2},
		{"longer than declared", func(_ int, cond tile.Condition) (*tile.Object, error) {
			obj := rest(append(body[:3000:3000], 'x'), cond)
			obj.Size = 3000
			return obj, nil
		}, nil, 1},
		{"an error at the end, where a checksum's is", func(_ int, cond tile.Condition) (*tile.Object, error) {
			return broken(body, cond, 3000, errReset), nil
		}, errReset, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOrigin(t, func(_ context.Context, call int, cond tile.Condition) (*tile.Object, error) {
					bubble.Advance(time.Millisecond) // let them all join
					return tc.script(call, cond)
				})
				c := newCache(t, tilecache.Options{})
				before := c.Stats().Bytes
				errs, bodies := crowd(c, 3, day, o.fetch)
				for i, err := range errs {
					if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
						t.Errorf("got error %v, want %v", err, tc.want)
					}
					if len(bodies[i]) >= len(body) {
						t.Error("a reader was given a whole tile")
					}
				}
				synctest.Wait()
				check(t, "fetches", o.calls(), tc.fetches)
				check(t, "tiles kept", c.Stats().Entries, 0)
				check(t, "bytes kept", c.Stats().Bytes, before)
			})
		})
	}
}

// A tile that changed while it was read is there again at once: only failures pause.
func TestChangedTileIsFetchedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := pattern(3000)
		o := newOrigin(t, func(_ context.Context, call int, cond tile.Condition) (*tile.Object, error) {
			switch call {
			case 1:
				return broken(body, cond, 1000, errReset), nil
			case 2:
				return nil, tile.ErrChanged
			}
			return object(pattern(77)), nil
		})
		c := newCache(t, tilecache.Options{})
		errs, _ := crowd(c, 1, day, o.fetch)
		checkErr(t, "first", errs[0], tile.ErrChanged)
		synctest.Wait()
		_, b := look(t, c, keyOf(1), day, o.fetch)
		checkBytes(t, b, pattern(77))
	})
}
