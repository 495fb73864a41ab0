package origin

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	maxAttempts = 3 // of one request; AWS_MAX_ATTEMPTS overrides it
	baseBackoff = 50 * time.Millisecond
	maxBackoff  = time.Second

	// The retries of a source beyond a burst are a tenth of its requests. So S3 gets 1.1 times the usual
	// number of requests during an outage, and not 3 times.
	retryShare = 0.1
	retryBurst = 10
)

// retryBudget limits the retries of one source. No store's outage takes from the budget of another's sources.
type retryBudget struct {
	mu   sync.Mutex
	left float64 // retries
}

// earn is called once for each request, not for each attempt.
func (b *retryBudget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(retryBurst, b.left+retryShare)
}

// spend takes one retry from the budget, and reports whether there was one.
func (b *retryBudget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// backoff waits before the n-th retry: exponentially longer, with full jitter, which spreads many clients
// best. It reports whether the wait is over. It returns false at once where the deadline of ctx is nearer.
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
func backoff(ctx context.Context, n int) bool {
	wait := jitter(min(maxBackoff, baseBackoff<<n), 0, 1)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter returns a random part of d, between the shares low and high of it.
func jitter(d time.Duration, low, high float64) time.Duration {
	return time.Duration(float64(d) * (low + (high-low)*rand.Float64())) //nolint:gosec // spreads load, keeps no secret
}
