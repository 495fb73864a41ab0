package proxy

import (
	"time"

	"tilegate/internal/tile"
)

// Fleet counts what callers use at all instances. Its methods do not wait; what all have used comes back later, by
// LearnTiles and LearnRequests of the Limiter.
type Fleet interface {
	// AddRequests has n more requests counted, or fewer if n is negative.
	AddRequests(counter tile.Counter, n int64)
	// AddTiles has tiles counted that are new to this instance, own with those that it has had counted before. Without
	// tiles it asks how many all instances have counted. soon is for a caller who is close to a limit.
	AddTiles(counter tile.Counter, tiles []uint32, own int, soon bool)
}

// Share has the limits hold for all instances together. It is called before the first request.
func (l *Limiter) Share(f Fleet) {
	l.fleet = f
	l.subjects.shared, l.clients.shared = true, true
}

// requestsWindow is how long requests of one counter are added up. It has nothing to do with the rate: what matters is
// how the sum grows.
const requestsWindow = time.Hour

// tellRequests counts requests that a caller's budget has paid for.
func (l *Limiter) tellRequests(c *caller, n int64) {
	if l.fleet == nil {
		return
	}
	l.fleet.AddRequests(c.counter("", requestsWindow, time.Now().UnixNano()/int64(requestsWindow)), n)
}

// tellTiles counts tiles that a caller is sent for the first time. For one who is over its limit it asks whether Redis
// still has them.
func (l *Limiter) tellTiles(c *caller, tileset string, news []newTiles) {
	for _, n := range news {
		l.fleet.AddTiles(c.counter(tileset, n.window, n.period), n.tiles, n.own, n.near)
	}
}

// counter is what instances count together of a caller, in a window that has a number since 1970.
func (c *caller) counter(tileset string, window time.Duration, period int64) tile.Counter {
	seconds := int64(window / time.Second)
	return tile.Counter{Subject: c.subject, Client: c.client, Tileset: tileset, Begin: period * seconds, End: (period + 1) * seconds}
}

// LearnTiles takes in that all instances have sent a caller so many different tiles, own of which this one had sent.
// What Redis may have lost meanwhile this one tells again.
func (l *Limiter) LearnTiles(counter tile.Counter, all, own int64) {
	c := l.caller(counter.Subject, counter.Client)
	window := time.Duration(counter.End-counter.Begin) * time.Second
	again := c.kind.distinct.learn(c.id, counter.Tileset, window, counter.Begin/(counter.End-counter.Begin), all, own, time.Now())
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

// charge has a caller use at least n requests more than until a time.
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
