package proxy

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tilegate/proxy/wire"
)

const (
	limiterShards = 64
	// callersInShard bounds the callers that a shard tells apart: 65,536 subjects and as many addresses in all, a few MiB.
	callersInShard = 1024
	// sharedBudgets are for the callers beyond that. Nobody's budget is forgotten to make room for another one.
	sharedBudgets = 16
	// maxNamed bounds the callers of a kind that the log names in an hour.
	maxNamed = 4096
)

// Limits say how much a caller may ask for.
type Limits struct {
	Hourly   int64           // the rate of requests for tiles, archives and presigned URLs, in requests an hour; 0: unlimited
	Burst    int             // how many requests a caller who has sent none for a while may send at once; at least 1
	Distinct []DistinctLimit // of different tiles, each for another window
	Action   Action
}

// Action is what becomes of the requests of a caller who is over a limit.
type Action uint8

// The actions.
const (
	Reject  Action = iota // 429
	Slow                  // the answer is delayed by up to a second
	LogOnly               // nothing but a line in the log, and the metric
)

var actionNames = [...]string{"reject", "slow", "log"}

// interval is the time in which a caller earns one request, and capacity that of a whole burst.
func (l *Limits) interval() time.Duration { return time.Hour / time.Duration(l.Hourly) }
func (l *Limits) capacity() time.Duration { return l.interval() * time.Duration(l.Burst) }

// overdraft is the budget of conditional requests of a caller who has no other left, until it is known whether they end in a 304.
func (l *Limits) overdraft() *Limits {
	return &Limits{Hourly: l.Hourly, Burst: max(l.Burst, minOverdraft)}
}

// overdraftOf is the id of that budget.
func overdraftOf(id uint64) uint64 { return mix(id) }

const minOverdraft = 64 // requests

// Limiter counts what each caller asks for: the subject of the credential, else the client's address. It outlives the limits
// that it is given, so that new ones do not give anybody a new budget.
type Limiter struct {
	limits   atomic.Pointer[Limits]
	logger   *slog.Logger
	seed     maphash.Seed // a secret: nobody can choose a subject or an address that shares another one's budget
	begun    time.Time
	subjects callers
	clients  callers        // apart, so that made-up addresses take no room from subjects
	delayed  places[uint64] // requests that wait because their caller is over a limit
	fleet    Fleet          // nil: this instance counts by itself
	exceeded [len(limitNames)][len(actionNames)]atomic.Uint64
}

// The limits, for the log and the metric.
const (
	requestLimit = iota
	distinctLimit
)

var limitNames = [...]string{"requests", "distinct_tiles"}

// NewLimiter makes a Limiter.
func NewLimiter(limits Limits, logger *slog.Logger) *Limiter {
	l := &Limiter{logger: logger, seed: maphash.MakeSeed(), begun: time.Now(), delayed: places[uint64]{all: maxDelayed, each: maxDelayedOfOne}}
	l.subjects.distinct.room.max = maxDistinctBytes
	l.clients.distinct.room.max = maxDistinctBytes
	l.SetLimits(limits)
	return l
}

// SetLimits replaces the limits. What callers have used stays used.
func (l *Limiter) SetLimits(limits Limits) {
	limits.Burst = max(limits.Burst, 1)
	l.limits.Store(&limits)
}

// caller is whoever a request counts for.
type caller struct {
	kind    *callers // nil: not known yet
	id      uint64
	subject string     // "": the address counts
	client  netip.Addr // an IPv6 one stands for its network
}

func (l *Limiter) caller(subject string, client netip.Addr) caller {
	if subject != "" {
		return caller{&l.subjects, maphash.String(l.seed, subject), subject, netip.Addr{}}
	}
	client = wire.ClientNetwork(client)
	return caller{&l.clients, maphash.Comparable(l.seed, client), "", client}
}

// callerOf returns whom a request that has been authorized counts for.
func (p *Proxy) callerOf(x *exchange, r *http.Request) *caller {
	if x.caller.kind == nil {
		subject, client := x.subject(), netip.Addr{}
		if subject == "" {
			client = p.client(r)
		}
		x.caller = p.opt.Limiter.caller(subject, client)
	}
	return &x.caller
}

// callers are the budgets of one kind of caller, by the hash of who it is.
type callers struct {
	shards     [limiterShards]callerShard
	mu         sync.Mutex
	lastLogged map[uint64]time.Duration // when the log last named a caller
	swept      time.Duration            // when lastLogged was last looked through

	distinct distinctTiles

	shared bool // requests at other instances are charged as well
}

// callerShard holds for each caller when its budget will be whole again. One whose budget is whole needs no entry.
type callerShard struct {
	mu     sync.Mutex
	whole  map[uint64]time.Duration
	swept  time.Duration
	shared [sharedBudgets]time.Duration
}

// take takes one request from a caller's budget. Where there is none left, wait is the time until there is. The request is taken
// nevertheless if that is no longer than ahead.
func (c *callers) take(id uint64, now time.Duration, limits *Limits, ahead time.Duration) (wait time.Duration) {
	interval, capacity := limits.interval(), limits.capacity()
	c.change(id, now, func(whole time.Duration) time.Duration {
		// A debt is never larger than what the limits of now allow; those of before may have allowed more.
		used := min(max(whole-now, 0), capacity+max(ahead, c.owed(limits)))
		if wait = max(used+interval-capacity, 0); wait <= ahead {
			used += interval
		}
		return now + used
	})
	return wait
}

// giveBack gives back a request that has been taken.
func (c *callers) giveBack(id uint64, now time.Duration, limits *Limits) {
	c.change(id, now, func(whole time.Duration) time.Duration { return whole - limits.interval() })
}

// change changes the time when a caller's budget will be whole again.
func (c *callers) change(id uint64, now time.Duration, to func(whole time.Duration) time.Duration) {
	s := &c.shards[id%limiterShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, known := s.whole[id]
	if !known && len(s.whole) >= callersInShard {
		s.sweep(now)
	}
	switch {
	case !known && len(s.whole) >= callersInShard:
		other := &s.shared[id/limiterShards%sharedBudgets]
		*other = to(*other)
	case s.whole == nil:
		s.whole = map[uint64]time.Duration{id: to(0)}
	default:
		s.whole[id] = to(whole)
	}
}

// sweep forgets those whose budget is whole, once a second at most.
func (s *callerShard) sweep(now time.Duration) {
	if now-s.swept < time.Second {
		return
	}
	s.swept = now
	for id, whole := range s.whole {
		if whole <= now {
			delete(s.whole, id)
		}
	}
}

// mayLog reports whether the log should name a caller: once an hour.
func (c *callers) mayLog(id uint64, now time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.lastLogged[id]; ok && now-at < time.Hour {
		return false
	}
	if len(c.lastLogged) >= maxNamed {
		if now-c.swept < time.Minute && c.swept != 0 {
			return false // a flood of refusals does not pay for a look at all of them each time
		}
		c.swept = now
		for id, at := range c.lastLogged {
			if now-at >= time.Hour {
				delete(c.lastLogged, id)
			}
		}
		if len(c.lastLogged) >= maxNamed {
			return false
		}
	}
	if c.lastLogged == nil {
		c.lastLogged = map[uint64]time.Duration{}
	}
	c.lastLogged[id] = now
	return true
}

// limitedError refuses a caller who has used up its budget, or has it wait.
type limitedError struct {
	limit int
	wait  time.Duration
	delay bool // the request is answered after that, by Slow
}

func (e *limitedError) Error() string { return "over limits." + limitNames[e.limit] }

// retryAfter is the wait in whole seconds, at least one.
func (e *limitedError) retryAfter() int { return max(1, int((e.wait+time.Second-1)/time.Second)) }

// limit counts a request that has been authorized. Its error says that the caller is over its limit.
func (p *Proxy) limit(x *exchange, r *http.Request) error {
	l := p.opt.Limiter
	if l == nil || x.delayed {
		return nil
	}
	limits := l.limits.Load()
	if x.advance {
		x.advance = false
		if x.overdrawn == 0 {
			return nil
		}
		return l.exceed(r.Context(), requestLimit, &x.caller, "", x.overdrawn, limits, x.start.Sub(l.begun))
	}
	if x.counted || limits.Hourly == 0 {
		return nil
	}
	x.counted = true
	return l.count(r.Context(), limits, p.callerOf(x, r), x.start.Sub(l.begun))
}

func (l *Limiter) count(ctx context.Context, limits *Limits, c *caller, now time.Duration) error {
	ahead := time.Duration(0)
	if limits.Action == Slow {
		ahead = maxDelay
	}
	wait := c.kind.take(c.id, now, limits, ahead)
	if wait <= ahead {
		l.sendRequests(c, 1)
	}
	if wait == 0 {
		return nil
	}
	return l.exceed(ctx, requestLimit, c, "", wait, limits, now)
}

// limitViewer is limit unless a CDN asks that authorizes its viewers itself.
func (p *Proxy) limitViewer(x *exchange, r *http.Request, edge bool) error {
	if edge {
		return nil
	}
	return p.limit(x, r)
}

// limitFirst is limit before anything is asked for. A request that can end in a 304 is counted in advance, even where the budget is used
// up, and given back if it does: with made-up conditions a caller cannot have S3 asked without end.
func (p *Proxy) limitFirst(x *exchange, r *http.Request) error {
	if !conditional(r) {
		return p.limit(x, r)
	}
	l := p.opt.Limiter
	if l == nil || x.counted || x.delayed {
		return nil
	}
	limits := l.limits.Load()
	if limits.Hourly == 0 || limits.Action == LogOnly {
		return nil // counted where it is known that it is no 304
	}
	x.counted = true
	c, now := p.callerOf(x, r), x.start.Sub(l.begun)
	wait := c.kind.take(c.id, now, limits, 0)
	if wait == 0 {
		l.sendRequests(c, 1)
	} else if c.kind.take(overdraftOf(c.id), now, limits.overdraft(), 0) > 0 {
		return l.exceed(r.Context(), requestLimit, c, "", wait, limits, now)
	}
	x.advance, x.overdrawn = true, wait
	return nil
}

func conditional(r *http.Request) bool {
	return r.Header["If-None-Match"] != nil || r.Header["If-Modified-Since"] != nil
}

// notModified answers 304, for which nobody pays.
func (p *Proxy) notModified(x *exchange) {
	if x.advance {
		x.advance = false
		if limits := p.opt.Limiter.limits.Load(); limits.Hourly > 0 {
			id := x.caller.id
			if x.overdrawn > 0 {
				id = overdraftOf(id)
			} else {
				p.opt.Limiter.sendRequests(&x.caller, -1)
			}
			x.caller.kind.giveBack(id, x.start.Sub(p.opt.Limiter.begun), limits)
		}
	}
	x.WriteHeader(http.StatusNotModified)
}

// exceed tells that a caller is over a limit, and returns what becomes of its request. tileset is that of distinct_tiles.
func (l *Limiter) exceed(ctx context.Context, limit int, c *caller, tileset string, wait time.Duration, limits *Limits, now time.Duration) error {
	l.exceeded[limit][limits.Action].Add(1)
	whom := c.id
	if limit == distinctLimit {
		whom ^= maphash.String(l.seed, tileset)
	}
	if c.kind.mayLog(whom, now) {
		attrs := make([]slog.Attr, 0, 4)
		if c.subject != "" {
			attrs = append(attrs, slog.String("subject", c.subject))
		} else {
			attrs = append(attrs, slog.String("client", c.client.String()))
		}
		if limit == distinctLimit {
			attrs = append(attrs, slog.String("tileset", tileset))
		}
		attrs = append(attrs, slog.String("limit", "limits."+limitNames[limit]), slog.String("action", actionNames[limits.Action]))
		l.logger.LogAttrs(ctx, slog.LevelWarn, "caller is over its limit", attrs...)
	}
	if limits.Action == LogOnly {
		return nil
	}
	return &limitedError{limit, wait, limits.Action == Slow}
}

var limitsExceeded = prometheus.NewDesc("tilegate_limits_exceeded_total", "Requests of callers over a limit under limits.", []string{"limit", "action"}, nil)

// Describe implements prometheus.Collector.
func (l *Limiter) Describe(d chan<- *prometheus.Desc) { d <- limitsExceeded }

// Collect implements prometheus.Collector.
func (l *Limiter) Collect(out chan<- prometheus.Metric) {
	for limit, name := range limitNames {
		for action, done := range actionNames {
			out <- prometheus.MustNewConstMetric(limitsExceeded, prometheus.CounterValue, float64(l.exceeded[limit][action].Load()), name, done)
		}
	}
}

// overLimit is how a limitedError leaves the proxy.
func overLimit(err error) (failure, bool) {
	e, ok := errors.AsType[*limitedError](err)
	if !ok {
		return failure{}, false
	}
	detail := "You have sent more requests than you may. Send fewer."
	if e.limit == distinctLimit {
		detail = "You have been sent as many different tiles of this tileset as you may have. Those that you were sent already, you may have again."
	}
	return failure{status: http.StatusTooManyRequests, detail: detail, retryAfter: e.retryAfter()}, true
}
