package tilecache_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

var hourly = tilecache.Policy{Fresh: time.Hour, Stale: 24 * time.Hour, MissingFor: time.Minute}

// versions answers as S3 does for an object whose ETag the test can change.
type versions struct {
	body []byte
	etag string
	err  error         // instead of an answer
	gate chan struct{} // when set, answers wait for it
}

func (v *versions) answer(_ context.Context, _ int, cond tile.Condition) (*tile.Object, error) {
	if v.gate != nil {
		<-v.gate
	}
	switch {
	case v.err != nil:
		return nil, v.err
	case cond.IfNoneMatch == v.etag:
		return nil, tile.ErrNotModified
	}
	obj := object(v.body)
	obj.ETag = v.etag
	return obj, nil
}

func TestFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &versions{body: pattern(10), etag: `"a"`}
		o := newOrigin(t, v.answer)
		c := newCache(t, tilecache.Options{})
		look(t, c, keyOf(1), hourly, o.fetch)

		bubble.Advance(time.Hour - time.Second)
		st, _ := look(t, c, keyOf(1), hourly, o.fetch)
		check(t, "fresh", st, tilecache.Status{State: tilecache.Hit, TTL: time.Second})

		bubble.Advance(3 * time.Second)
		st, _ = look(t, c, keyOf(1), hourly, o.fetch)
		check(t, "stale", st, tilecache.Status{State: tilecache.Stale, TTL: -2 * time.Second})
		synctest.Wait()
		check(t, "fetches", o.calls(), 2)
		check(t, "the refresh's condition", o.cond(2), tile.Condition{IfNoneMatch: `"a"`})

		st, b := look(t, c, keyOf(1), hourly, o.fetch)
		check(t, "renewed by 304", st, tilecache.Status{State: tilecache.Hit, TTL: time.Hour})
		checkBytes(t, b, pattern(10))
		check(t, "renewed", c.Stats().Renewed, 1)

		st, _ = look(t, c, keyOf(1), tilecache.Policy{Fresh: time.Minute, Stale: time.Hour}, o.fetch)
		check(t, "another policy", st.TTL, time.Minute)
	})
}

func TestManyStaleHitsAreOneRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &versions{body: pattern(10), etag: `"a"`}
		o := newOrigin(t, v.answer)
		c := newCache(t, tilecache.Options{})
		look(t, c, keyOf(1), hourly, o.fetch)
		bubble.Advance(2 * time.Hour)
		v.gate = make(chan struct{})
		for range 100 {
			st, _ := look(t, c, keyOf(1), hourly, o.fetch)
			check(t, "state", st.State, tilecache.Stale)
		}
		close(v.gate)
		synctest.Wait()
		check(t, "fetches", o.calls(), 2)
	})
}

func TestChangedETagReplacesTheTile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &versions{body: pattern(10), etag: `"a"`}
		o := newOrigin(t, v.answer)
		c := newCache(t, tilecache.Options{})
		old, _, _ := get(t, c, keyOf(1), hourly, o.fetch)
		bubble.Advance(2 * time.Hour)
		v.body, v.etag = pattern(500), `"b"`
		st, b := look(t, c, keyOf(1), hourly, o.fetch)
		check(t, "state", st.State, tilecache.Stale)
		checkBytes(t, b, pattern(10))
		synctest.Wait()

		fresh, st, b := get(t, c, keyOf(1), hourly, o.fetch)
		check(t, "status", st, tilecache.Status{State: tilecache.Hit, TTL: time.Hour})
		checkBytes(t, b, pattern(500))
		check(t, "etag", fresh.ETag(), `"b"`)
		fresh.Close()

		b, err := readAll(old)
		if err != nil {
			t.Fatal(err)
		}
		checkBytes(t, b, pattern(10))
		check(t, "an old reader's etag", old.ETag(), `"a"`)
		check(t, "old bytes are counted while read", c.Stats().Retired > 0, true)
		old.Close()
		check(t, "and returned after", c.Stats().Retired, 0)
		check(t, "replaced", c.Stats().Replaced, 1)
	})
}

func TestStaleIsServedWhileRefreshingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &versions{body: pattern(10), etag: `"a"`}
		o := newOrigin(t, v.answer)
		c := newCache(t, tilecache.Options{})
		look(t, c, keyOf(1), hourly, o.fetch)
		bubble.Advance(time.Hour)
		v.err = errDown

		// For ten minutes somebody asks ten times a second.
		const asks = 6000
		var gaps []time.Duration
		last, calls := time.Now(), o.calls()
		for range asks {
			st, b := look(t, c, keyOf(1), hourly, o.fetch)
			check(t, "state", st.State, tilecache.Stale)
			checkBytes(t, b, pattern(10))
			synctest.Wait()
			if n := o.calls(); n != calls {
				check(t, "refreshes at once", n-calls, 1)
				gaps = append(gaps, time.Since(last))
				last, calls = time.Now(), n
			}
			bubble.Advance(100 * time.Millisecond)
		}
		want := time.Second
		for i, gap := range gaps[1:] {
			if gap < want || gap > want*5/4+100*time.Millisecond {
				t.Errorf("pause %d: got %v, want %v to a quarter more", i+1, gap, want)
			}
			want = min(2*want, time.Minute)
		}
		if n := len(gaps); n < 10 || n > 20 {
			t.Errorf("got %d refreshes in ten minutes, want 10 to 20", n)
		}

		v.err = nil
		bubble.Advance(2 * time.Minute)
		look(t, c, keyOf(1), hourly, o.fetch)
		synctest.Wait()
		st, _ := look(t, c, keyOf(1), hourly, o.fetch)
		check(t, "once the origin is back", st.State, tilecache.Hit)

		v.err = errDown
		bubble.Advance(25 * time.Hour)
		_, _, err := c.Get(context.Background(), keyOf(1), hourly, o.fetch)
		checkErr(t, "once stale has run out", err, errDown)
	})
}

func TestRefreshFindsTheTileGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &versions{body: pattern(10), etag: `"a"`}
		o := newOrigin(t, v.answer)
		c := newCache(t, tilecache.Options{})
		look(t, c, keyOf(1), hourly, o.fetch)
		bubble.Advance(2 * time.Hour)
		v.err = tile.ErrMissing
		look(t, c, keyOf(1), hourly, o.fetch)
		synctest.Wait()
		_, st, err := c.Get(context.Background(), keyOf(1), hourly, o.fetch)
		checkErr(t, "Get", err, tile.ErrMissing)
		check(t, "status", st, tilecache.Status{State: tilecache.Hit, TTL: time.Minute})
		check(t, "tiles", c.Stats().Entries, 0)

		v.err = nil
		bubble.Advance(time.Minute)
		st, _ = look(t, c, keyOf(1), hourly, o.fetch)
		check(t, "when it is back", st.State, tilecache.Miss)
		check(t, "absences", c.Stats().Absences, 0)
	})
}

// What has outlived even its staleness is not served without the origin's word, but that may be a 304.
func TestExpiredTileIsRevalidatedInTheForeground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &versions{body: pattern(10), etag: `"a"`}
		o := newOrigin(t, v.answer)
		c := newCache(t, tilecache.Options{})
		look(t, c, keyOf(1), hourly, o.fetch)
		bubble.Advance(48 * time.Hour)
		errs, bodies := crowd(c, 50, hourly, o.fetch)
		for i := range errs {
			checkErr(t, "a client", errs[i], nil)
			checkBytes(t, bodies[i], pattern(10))
		}
		check(t, "fetches", o.calls(), 2)
		check(t, "condition", o.cond(2), tile.Condition{IfNoneMatch: `"a"`})
		st, _ := look(t, c, keyOf(1), hourly, o.fetch)
		check(t, "state after", st, tilecache.Status{State: tilecache.Hit, TTL: time.Hour})
	})
}

func TestRefreshThatIsStillRunningWhenStaleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &versions{body: pattern(10), etag: `"a"`}
		o := newOrigin(t, v.answer)
		c := newCache(t, tilecache.Options{})
		look(t, c, keyOf(1), hourly, o.fetch)
		bubble.Advance(2 * time.Hour)
		v.gate = make(chan struct{})
		look(t, c, keyOf(1), hourly, o.fetch)
		synctest.Wait()
		bubble.Advance(24 * time.Hour)
		ctx, leave := context.WithTimeout(context.Background(), time.Second)
		defer leave()
		_, _, err := c.Get(ctx, keyOf(1), hourly, o.fetch)
		checkErr(t, "one who does not wait", err, context.DeadlineExceeded)
		time.AfterFunc(time.Second, func() { close(v.gate) })
		st, b := look(t, c, keyOf(1), hourly, o.fetch)
		check(t, "state of one who does", st.State, tilecache.Joined)
		checkBytes(t, b, pattern(10))
		check(t, "fetches", o.calls(), 2)
	})
}

// Nothing is ever served without asking when the policy says so, and yet nothing is fetched twice.
func TestNoFreshnessAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &versions{body: pattern(10), etag: `"a"`}
		o := newOrigin(t, v.answer)
		c := newCache(t, tilecache.Options{})
		for call := range 3 {
			st, b := look(t, c, keyOf(1), tilecache.Policy{}, o.fetch)
			check(t, "state", st.State, tilecache.Miss)
			checkBytes(t, b, pattern(10))
			synctest.Wait()
			check(t, "fetches", o.calls(), call+1)
		}
		check(t, "condition", o.cond(3), tile.Condition{IfNoneMatch: `"a"`})
	})
}

func TestClockOption(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	c := newCache(t, tilecache.Options{Clock: func() time.Time { return now }})
	look(t, c, keyOf(1), hourly, always(nil))
	now = now.Add(time.Minute)
	st, _ := look(t, c, keyOf(1), hourly, always(nil))
	check(t, "a minute later", st, tilecache.Status{State: tilecache.Hit, TTL: 59 * time.Minute})
	now = now.Add(-time.Hour)
	st, _ = look(t, c, keyOf(1), hourly, always(nil))
	check(t, "when the clock was set back", st, tilecache.Status{State: tilecache.Hit, TTL: time.Hour})
}

func TestRefreshesAtOnceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &versions{body: pattern(10), etag: `"a"`}
		o := newOrigin(t, v.answer)
		c := newCache(t, tilecache.Options{})
		const tiles = 500
		for i := range uint32(tiles) {
			look(t, c, keyOf(i), hourly, o.fetch)
		}
		bubble.Advance(2 * time.Hour)
		v.gate = make(chan struct{})
		for i := range uint32(tiles) {
			look(t, c, keyOf(i), hourly, o.fetch)
		}
		synctest.Wait()
		check(t, "refreshes at once", o.calls()-tiles, 64)
		close(v.gate)
		synctest.Wait()
		look(t, c, keyOf(tiles-1), hourly, o.fetch)
		synctest.Wait()
		check(t, "refreshes after", o.calls()-tiles, 65)
	})
}

// The warning of a stale object of a bundle says which object it is, and not the zoom of a tile that it is not.
func TestStaleObjectIsNamedByItsPath(t *testing.T) {
	for _, test := range []struct {
		key  tile.Key
		want string
	}{
		{tile.Key{Tileset: "roads", Path: "fonts/Noto Sans/0-255.pbf"}, `tileset=roads path="fonts/Noto Sans/0-255.pbf" error=`},
		{tile.Key{Tileset: "roads", Path: "style.json\x00facts"}, `tileset=roads path=style.json error=`},
		{keyOf(1), "z="},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			v := &versions{body: pattern(10), etag: `"a"`}
			o := newOrigin(t, v.answer)
			c := newCache(t, tilecache.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			look(t, c, test.key, hourly, o.fetch)
			v.err = tile.ErrUnreachable
			bubble.Advance(time.Hour + time.Second)
			look(t, c, test.key, hourly, o.fetch)
			synctest.Wait()
			if got := log.String(); !strings.Contains(got, test.want) || strings.Contains(got, "path=") != (test.key.Path != "") {
				t.Errorf("%+v: got %s, want %s", test.key, got, test.want)
			}
		})
	}
}

// A failure of one object of a bundle pauses that object alone, and remembers no path, which may have a kibibyte.
func TestFailuresRememberNoPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) { return nil, tile.ErrUnreachable })
		c := newCache(t, tilecache.Options{})
		long := strings.Repeat("x", 1<<10)
		for i, path := range []string{long + "a", long + "b", long + "a", long + "b"} {
			if _, _, err := c.Get(t.Context(), tile.Key{Tileset: "roads", Path: path}, hourly, o.fetch); !errors.Is(err, tile.ErrUnreachable) {
				t.Errorf("%d: got %v", i, err)
			}
		}
		check(t, "fetches", o.calls(), 2)
		for _, path := range c.FailedPaths() {
			if path != "" {
				t.Errorf("a failure keeps a path of %d bytes", len(path))
			}
		}
		if _, err := c.Purge(t.Context(), tile.Purge{Tileset: "roads"}); err != nil {
			t.Fatal(err)
		}
		check(t, "failures after a purge", len(c.FailedPaths()), 0)
	})
}
