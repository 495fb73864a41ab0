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
)

const (
	limiterShards = 64
	// callersInShard bounds the callers that a shard tells apart: 65,536 subjects and as many addresses in all, a few MiB.
	callersInShard = 1024
	// sharedBudgets are for the callers beyond that. Nobody's budget is forgotten to make room for another one.
	sharedBudgets = 16
	// maxTold bounds the callers of a kind that the log names in an hour.
	maxTold = 4096
)

// Limits say how many requests for tiles, archives and presigned URLs a caller may send.
type Limits struct {
	Hourly  int64 // the rate in requests an hour; 0: unlimited
	Burst   int   // how many requests a caller who has sent none for a while may send at once; at least 1
	LogOnly bool  // the log and the metric tell who is over the limit; nobody is refused
}

// interval is the time in which a caller earns one request, and capacity that of a whole burst.
func (l *Limits) interval() time.Duration { return time.Hour / time.Duration(l.Hourly) }
func (l *Limits) capacity() time.Duration { return l.interval() * time.Duration(l.Burst) }

// Limiter counts the requests of each caller: of the subject of the credential, else of the client's address. It outlives
// the limits that it is given, so that new ones do not give anybody a new budget.
type Limiter struct {
	limits   atomic.Pointer[Limits]
	logger   *slog.Logger
	seed     maphash.Seed // a secret: nobody can choose a subject or an address that shares another one's budget
	begun    time.Time
	subjects callers
	clients  callers // apart, so that made-up addresses take no room from subjects
	exceeded [2]atomic.Uint64
}

// NewLimiter makes a Limiter.
func NewLimiter(limits Limits, logger *slog.Logger) *Limiter {
	l := &Limiter{logger: logger, seed: maphash.MakeSeed(), begun: time.Now()}
	l.SetLimits(limits)
	return l
}

// SetLimits replaces the limits. What callers have used stays used.
func (l *Limiter) SetLimits(limits Limits) {
	limits.Burst = max(limits.Burst, 1)
	l.limits.Store(&limits)
}

// callers are the budgets of one kind of caller, by the hash of who it is.
type callers struct {
	shards [limiterShards]callerShard
	mu     sync.Mutex
	told   map[uint64]time.Duration // when the log last named a caller
	swept  time.Duration            // when told was last looked through
}

// callerShard holds for each caller when its budget will be whole again. One whose budget is whole needs no entry.
type callerShard struct {
	mu     sync.Mutex
	whole  map[uint64]time.Duration
	swept  time.Duration
	shared [sharedBudgets]time.Duration
}

// take takes one request from a caller's budget. Where there is none left, wait is the time until there is.
func (c *callers) take(id uint64, now time.Duration, limits *Limits) (wait time.Duration) {
	s := &c.shards[id%limiterShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, known := s.whole[id]
	if !known && len(s.whole) >= callersInShard {
		s.sweep(now)
	}
	other := &s.shared[id/limiterShards%sharedBudgets]
	full := !known && len(s.whole) >= callersInShard
	if full {
		whole = *other
	}
	// A debt is never larger than what the limits of now allow; those of before may have allowed more.
	used := min(max(whole-now, 0), limits.capacity())
	whole = now + used
	if wait = max(used+limits.interval()-limits.capacity(), 0); wait == 0 {
		whole += limits.interval()
	}
	switch {
	case full:
		*other = whole
	case s.whole == nil:
		s.whole = map[uint64]time.Duration{id: whole}
	default:
		s.whole[id] = whole
	}
	return wait
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

// tell reports whether the log should name a caller: once an hour.
func (c *callers) tell(id uint64, now time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.told[id]; ok && now-at < time.Hour {
		return false
	}
	if len(c.told) >= maxTold {
		if now-c.swept < time.Minute && c.swept != 0 {
			return false // a flood of refusals does not pay for a look at all of them each time
		}
		c.swept = now
		for id, at := range c.told {
			if now-at >= time.Hour {
				delete(c.told, id)
			}
		}
		if len(c.told) >= maxTold {
			return false
		}
	}
	if c.told == nil {
		c.told = map[uint64]time.Duration{}
	}
	c.told[id] = now
	return true
}

// limitedError refuses a caller who has used up its budget.
type limitedError struct{ wait time.Duration }

func (e *limitedError) Error() string { return "over limits.requests" }

// retryAfter is the wait in whole seconds, at least one.
func (e *limitedError) retryAfter() int { return int((e.wait + time.Second - 1) / time.Second) }

// limit counts a request that has been authorized. Its error says that the caller is over its limit.
func (p *Proxy) limit(x *exchange, r *http.Request) error {
	l := p.opt.Limiter
	if l == nil || x.counted {
		return nil
	}
	limits := l.limits.Load()
	if limits.Hourly == 0 {
		return nil
	}
	x.counted = true
	subject, client := "", netip.Addr{}
	if x.grant != nil {
		subject = x.grant.Subject
	}
	if subject == "" {
		client = p.client(r)
	}
	return l.count(r.Context(), limits, subject, client, x.start.Sub(l.begun))
}

// limitViewer is limit unless a CDN asks that authorizes its viewers itself.
func (p *Proxy) limitViewer(x *exchange, r *http.Request, edge bool) error {
	if edge {
		return nil
	}
	return p.limit(x, r)
}

// limitFirst is limit for a request that cannot end in a 304. One that can is counted when it does not.
func (p *Proxy) limitFirst(x *exchange, r *http.Request) error {
	if r.Header["If-None-Match"] != nil || r.Header["If-Modified-Since"] != nil {
		return nil
	}
	return p.limit(x, r)
}

func (l *Limiter) count(ctx context.Context, limits *Limits, subject string, client netip.Addr, now time.Duration) error {
	kind, id := &l.subjects, uint64(0)
	if subject != "" {
		id = maphash.String(l.seed, subject)
	} else {
		kind, id = &l.clients, maphash.Comparable(l.seed, network(client))
	}
	wait := kind.take(id, now, limits)
	if wait == 0 {
		return nil
	}
	action := 0
	if limits.LogOnly {
		action = 1
	}
	l.exceeded[action].Add(1)
	if kind.tell(id, now) {
		who := slog.String("subject", subject)
		if subject == "" {
			who = slog.String("client", network(client).String())
		}
		l.logger.LogAttrs(ctx, slog.LevelWarn, "caller is over its limit", who, slog.String("limit", "limits.requests"), slog.String("action", limitActions[action]))
	}
	if limits.LogOnly {
		return nil
	}
	return &limitedError{wait}
}

var limitActions = [2]string{"reject", "log"}

// network is what an address counts as: of IPv6 the /64, which one client has for itself.
func network(client netip.Addr) netip.Addr {
	client = client.Unmap().WithZone("")
	if client.Is6() {
		if prefix, err := client.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return client
}

var limitsExceeded = prometheus.NewDesc("tilegate_limits_exceeded_total", "Requests of callers over a limit under limits.", []string{"limit", "action"}, nil)

// Describe implements prometheus.Collector.
func (l *Limiter) Describe(d chan<- *prometheus.Desc) { d <- limitsExceeded }

// Collect implements prometheus.Collector.
func (l *Limiter) Collect(out chan<- prometheus.Metric) {
	for i, action := range limitActions {
		out <- prometheus.MustNewConstMetric(limitsExceeded, prometheus.CounterValue, float64(l.exceeded[i].Load()), "requests", action)
	}
}

// overLimit is how a limitedError leaves the proxy.
func overLimit(err error) (failure, bool) {
	e, ok := errors.AsType[*limitedError](err)
	if !ok {
		return failure{}, false
	}
	return failure{status: http.StatusTooManyRequests, detail: "You have sent more requests than you may. Send fewer.", retryAfter: e.retryAfter()}, true
}
