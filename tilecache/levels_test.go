package tilecache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// A copy from another level says as of when it was validated; passing it on must not make it younger.
func TestACopyKeepsItsAge(t *testing.T) {
	for name, test := range map[string]struct {
		age   time.Duration
		ttl   time.Duration
		state tilecache.State
	}{
		"of this moment":         {0, 5 * time.Minute, tilecache.Hit},
		"two minutes old":        {2 * time.Minute, 3 * time.Minute, tilecache.Hit},
		"from a clock that errs": {-time.Hour, 5 * time.Minute, tilecache.Hit},
		"older than fresh":       {6 * time.Minute, -time.Minute, tilecache.Stale},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
			c, err := tilecache.New(tilecache.Options{Clock: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
				obj := object(pattern(100))
				obj.Validated = now.Add(-test.age)
				return obj, nil
			})
			p := tilecache.Policy{Fresh: 5 * time.Minute, Stale: time.Hour}
			look(t, c, keyOf(1), p, o.fetch)
			st, _ := look(t, c, keyOf(1), p, o.fetch)
			check(t, "state", st.State, test.state)
			check(t, "ttl", st.TTL, test.ttl)
			if err := c.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// What the level behind still holds must not come back through a fill that begins while it is purged.
func TestPurgeReachesTheLevelBehindFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		behind := pattern(100)
		var c *tilecache.Cache
		fetch := func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) { return object(behind), nil }
		c, err := tilecache.New(tilecache.Options{PurgeBehind: func(_ context.Context, p tile.Purge) error {
			check(t, "purge", p, tile.Purge{Tileset: "basemap"})
			look(t, c, keyOf(2), day, fetch) // somebody asks before the level behind has forgotten
			behind = pattern(50)
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		look(t, c, keyOf(1), day, fetch)
		check(t, "purged", purge(t, c, "basemap"), 2)
		for _, key := range []tile.Key{keyOf(1), keyOf(2)} {
			_, b := look(t, c, key, day, fetch)
			checkBytes(t, b, pattern(50))
		}
		if err := c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAPurgeThatFailsBehindStillForgetsHere(t *testing.T) {
	down := errors.New("connection refused")
	c, err := tilecache.New(tilecache.Options{PurgeBehind: func(context.Context, tile.Purge) error { return down }})
	if err != nil {
		t.Fatal(err)
	}
	look(t, c, keyOf(1), day, always(pattern(10)))
	n, err := c.Purge(context.Background(), tile.Purge{Tileset: "basemap"})
	check(t, "purged", n, 1)
	checkErr(t, "Purge", err, down)
	st, _ := look(t, c, keyOf(1), day, always(pattern(10)))
	check(t, "state afterwards", st.State, tilecache.Miss)
	if err := c.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}
