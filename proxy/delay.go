package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"
)

const (
	maxDelay        = time.Second // of an answer, by Slow
	maxDelayed      = 1024        // requests that wait at once
	maxDelayedOfOne = 64          // of one caller
)

// afterDelay delays a request whose caller is over a limit, and then answers it. While it waits, the request holds no tile, no
// fetch and no connection to S3. It is authorized again afterwards, because its credential may have ended.
func (p *Proxy) afterDelay(x *exchange, r *http.Request, e *limitedError) error {
	leave, err := p.opt.Limiter.delayed.take(x.caller.id)
	if err != nil || !x.again() {
		return &limitedError{limit: e.limit, wait: e.wait}
	}
	err = sleep(r.Context(), min(e.wait, maxDelay))
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
