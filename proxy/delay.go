package proxy

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	maxDelay       = time.Second // of an answer, by Slow
	maxWaiting     = 1024        // requests that wait at once
	maxWaitingOfMe = 64          // of one caller
)

// waiting counts the requests that wait because their callers are over a limit.
type waiting struct {
	mu  sync.Mutex
	all int
	of  map[uint64]int
}

// enter counts one more until leave is called, or reports that there are too many.
func (w *waiting) enter(id uint64) (leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= maxWaiting || w.of[id] >= maxWaitingOfMe {
		return nil, false
	}
	if w.of == nil {
		w.of = map[uint64]int{}
	}
	w.all++
	w.of[id]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all--
		if w.of[id]--; w.of[id] == 0 {
			delete(w.of, id)
		}
	}, true
}

// afterDelay answers a request once it has waited for its caller's being over a limit. Whatever it held has been given back before: it waits
// without a tile, a fetch or a connection to S3. It begins anew, so that a credential that ended meanwhile is refused.
func (p *Proxy) afterDelay(x *exchange, r *http.Request, e *limitedError) error {
	leave, ok := p.opt.Limiter.waiting.enter(x.caller.id)
	if !ok || !x.again() {
		return &limitedError{limit: e.limit, wait: e.wait}
	}
	err := sleep(r.Context(), min(e.wait, maxDelay))
	leave()
	if err != nil {
		return err
	}
	x.delayed = true
	return p.route(x, r)
}

// sleep waits for d, or until ctx ends, and then returns why.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mustWait returns the error of a request that is to be answered later.
func mustWait(err error) (*limitedError, bool) {
	e, ok := errors.AsType[*limitedError](err)
	return e, ok && e.delay
}
