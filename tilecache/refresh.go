package tilecache

import (
	"math/rand/v2"
	"strings"
	"time"

	"tilegate/internal/tile"
)

const (
	maxRefreshes = 64 // at once; the next stale hit tries again
	firstBackoff = time.Second
	maxBackoff   = time.Minute
	warnEvery    = int64(10 * time.Second)
)

// refresh begins the one conditional fetch that brings a stale tile up to date, unless the last one
// failed too recently. The shard is locked.
func (s *shard) refresh(e *entry, now int64, fetch tile.Fetch) {
	c := s.cache
	if now < e.retryAt || s.closed || s.fills[e.key] != nil {
		return
	}
	if c.refreshing.Add(1) > maxRefreshes {
		c.refreshing.Add(-1)
		return
	}
	s.begin(e.key, e.hash, fetch, e, true)
}

// renew says of the old tile that it is today's, and hands it to those who came too late to be
// served from the cache.
func (f *fill) renew() {
	s, e := f.shard, f.old
	s.mu.Lock()
	e.validated, e.failures, e.retryAt = f.cache.now(), 0, 0
	e.outdated, e.outdateAt = f.outdated, f.outdateAt
	e.refs.Add(int32(f.waiters))
	f.entry = e
	s.forget(f)
	s.counts.Renewed++
	s.mu.Unlock()
	close(f.ready)
}

// postponeRefresh keeps a failing origin from being asked once per request: it is left alone for
// 1 s, then twice as long each time, up to a minute, and a random quarter more so that tiles which
// failed together do not come back together. The shard is locked.
func (s *shard) postponeRefresh(e *entry, err error) {
	c := s.cache
	backoff := min(maxBackoff, firstBackoff<<min(e.failures, 10))
	backoff += rand.N(backoff / 4) //nolint:gosec // jitter
	e.failures++
	now := c.now()
	e.retryAt = now + int64(backoff)
	s.counts.RefreshFailed++

	// Nobody waits for a refresh, so its error goes to the log; but an origin that fails does so
	// for thousands of tiles.
	if last := c.lastWarned.Load(); (last == 0 || now-last >= warnEvery) && c.lastWarned.CompareAndSwap(last, now) {
		where := []any{"tileset", e.key.Tileset, "z", e.key.Z, "x", e.key.X, "y", e.key.Y, "error", err}
		if e.key.Path != "" { // an object of a bundle, or what is made of one
			path, _, _ := strings.Cut(e.key.Path, "\x00")
			where = []any{"tileset", e.key.Tileset, "path", path, "error", err}
		}
		c.opts.Logger.Warn("stale tiles are served because refreshing them fails", where...)
	}
}
