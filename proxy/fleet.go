package proxy

import (
	"time"

	"tilegate/internal/tile"
)

// Fleet counts what callers use at all instances. Its methods do not wait; what all have used comes back later, by
// LearnTiles and LearnRequests of the Limiter.
type Fleet interface {
	// AddRequests adds n, which may be negative, to the count of requests.
	AddRequests(counter tile.Counter, n int64)
	// AddTiles counts tiles that are new to this instance; own is their number together with those that it has counted before.
	// Without tiles it asks how many all instances have counted. soon is for a caller who is close to a limit.
	AddTiles(counter tile.Counter, tiles []uint32, own int, soon bool)
}

// Share makes the limits apply to all instances together. It is called before the first request.
func (l *Limiter) Share(f Fleet) {
	l.fleet = f
	l.subjects.shared, l.clients.shared = true, true
}

// requestsWindow is how long requests of one counter are added up. It has nothing to do with the rate: what matters is
// how the sum grows.
const requestsWindow = time.Hour

// sendRequests counts requests that a caller's budget has paid for.
func (l *Limiter) sendRequests(c *caller, n int64) {
	if l.fleet == nil {
		return
	}
	l.fleet.AddRequests(c.counter("", requestsWindow, time.Now().UnixNano()/int64(requestsWindow)), n)
}

// sendTiles counts tiles that a caller is sent for the first time. For one who is over its limit it asks whether Redis
// still has them.
func (l *Limiter) sendTiles(c *caller, tileset string, found []newTiles) {
	for _, n := range found {
		l.fleet.AddTiles(c.counter(tileset, n.window, n.period), n.tiles, n.own, n.near)
	}
}

// counter is what instances count together of a caller, in a window that has a number since 1970.
func (c *caller) counter(tileset string, window time.Duration, period int64) tile.Counter {
	seconds := int64(window / time.Second)
	return tile.Counter{Subject: c.subject, Client: c.client, Tileset: tileset, Begin: period * seconds, End: (period + 1) * seconds}
}

// LearnTiles records how many different tiles all instances have sent a caller; own of them were sent by this instance. It sends
// Redis again what may have been lost there.
func (l *Limiter) LearnTiles(counter tile.Counter, all, own int64) {
	c := l.caller(counter.Subject, counter.Client)
	window := time.Duration(counter.End-counter.Begin) * time.Second
	again := c.kind.distinct.update(c.id, counter.Tileset, window, counter.Begin/(counter.End-counter.Begin), all, own, time.Now())
	if len(again.tiles) > 0 {
		l.fleet.AddTiles(counter, again.tiles, again.own, false)
	}
}

// LearnRequests charges a caller for what all instances have counted since a time: the beginning of the counter's
// window, or what LearnRequests returned before, which is until when its budget was spent. waiting is what this one has
// counted beside that.
//
// When exactly the others answered is not known. Their requests count as if it was at the beginning of that time, so
// that nobody is refused who keeps to the rate.
func (l *Limiter) LearnRequests(counter tile.Counter, n, waiting int64, since time.Time) (until time.Time) {
	limits := l.limits.Load()
	now := time.Since(l.begun)
	if limits.Hourly == 0 {
		return l.begun.Add(now)
	}
	c := l.caller(counter.Subject, counter.Client)
	whole := c.kind.charge(c.id, now, now-time.Since(since), n+waiting, limits)
	return l.begun.Add(max(whole-time.Duration(waiting)*limits.interval(), now))
}

// charge adds n requests to what a caller has used until a time, unless it has used as much already. It returns when the
// caller's budget will be whole again.
func (c *callers) charge(id uint64, now, until time.Duration, n int64, limits *Limits) (whole time.Duration) {
	most := now + limits.capacity() + c.owed(limits)
	until = min(until, most)
	n = min(max(n, 0), int64((most-until)/limits.interval())) // more would not count, and might overflow
	c.change(id, now, func(before time.Duration) time.Duration {
		whole = max(before, until+time.Duration(n)*limits.interval())
		return whole
	})
	return whole
}

// owed is how far a caller may be over its limit by what it has used at other instances, before they knew of each
// other. What it owes it has to wait for, so that it gets no more in the long run than its rate.
func (c *callers) owed(limits *Limits) time.Duration {
	if !c.shared {
		return 0
	}
	return max(maxOwed, minOwed*limits.interval())
}

const (
	maxOwed = 10 * time.Second
	minOwed = 16 // requests
)
