package fakeaws

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Request is one that arrived, whatever became of it.
type Request struct {
	Op          string // GetObject, HeadObject, ListObjectsV2, AssumeRole, …; "" when it could not be told
	Bucket, Key string
	AccessKeyID string // "" for an anonymous request, and until the signature has been looked at
	Principal   string // ARN of the verified caller; a role session's ends with its session name
	Header      http.Header
	Form        url.Values // an STS request's parameters
	Time        time.Time  // of arrival, by the server's clock
	Status      int        // 0: none has been sent
	Done        bool       // answered, cut off by a fault, or left by its client; shortly after the client has the end
	Bytes       int64      // of the body handed to the network, once done
}

// entry is a Request in the log; its lock is the log's.
type entry struct{ Request }

type opBucket struct{ op, bucket string }

// requestLog remembers the latest requests in a ring, and counts all of them by operation and bucket.
type requestLog struct {
	mu      sync.Mutex
	limit   int
	ring    []*entry
	next    int // where the ring is overwritten once it is full
	lost    int
	counts  map[opBucket]int
	waiters map[chan struct{}]struct{}
}

func (l *requestLog) arrived(r Request) *entry {
	e := &entry{r}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = map[opBucket]int{}
	}
	l.counts[opBucket{r.Op, r.Bucket}]++
	switch {
	case len(l.ring) < l.limit:
		l.ring = append(l.ring, e)
	case l.limit > 0:
		l.ring[l.next] = e
		l.next = (l.next + 1) % l.limit
		l.lost++
	default:
		l.lost++
	}
	l.wake()
	return e
}

func (l *requestLog) verified(e *entry, who *identity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.AccessKeyID, e.Principal = who.accessKeyID, who.arn
}

func (l *requestLog) answered(e *entry, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Status = status
}

func (l *requestLog) copy(e *entry) Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return e.Request
}

func (l *requestLog) done(e *entry, sent int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Done, e.Bytes = true, sent
	l.wake()
}

// wake is called with the lock held.
func (l *requestLog) wake() {
	for ch := range l.waiters {
		select {
		case ch <- struct{}{}:
		default: // one is waiting there already
		}
	}
}

// Requests are those remembered, oldest first.
func (s *Server) Requests() []Request {
	l := &s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	requests := make([]Request, 0, len(l.ring))
	for i := range l.ring {
		requests = append(requests, l.ring[(l.next+i)%len(l.ring)].Request)
	}
	return requests
}

// ResetRequests forgets what has arrived so far.
func (s *Server) ResetRequests() {
	l := &s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring, l.next, l.lost, l.counts = nil, 0, 0, nil
}

// Count is how many requests have arrived, those under way and those refused included; "" matches
// all. By key it can only tell while the log remembers every request, else it is -1.
func (s *Server) Count(op, bucket, key string) int {
	l := &s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	if key == "" {
		for k, count := range l.counts {
			if (op == "" || op == k.op) && (bucket == "" || bucket == k.bucket) {
				n += count
			}
		}
		return n
	}
	if l.lost > 0 {
		return -1
	}
	for _, e := range l.ring {
		if (op == "" || op == e.Op) && (bucket == "" || bucket == e.Bucket) && key == e.Key {
			n++
		}
	}
	return n
}

// Wait returns nil once condition holds; it is asked at once, and after each request's arrival and
// end. When ctx ends first, its error is returned.
func (s *Server) Wait(ctx context.Context, condition func() bool) error {
	woken := make(chan struct{}, 1)
	l := &s.log
	l.mu.Lock()
	if l.waiters == nil {
		l.waiters = map[chan struct{}]struct{}{}
	}
	l.waiters[woken] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiters, woken)
		l.mu.Unlock()
	}()
	for !condition() {
		select {
		case <-woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
