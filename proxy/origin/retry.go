package origin

import (
	"context"
	"slices"
	"sync"
	"time"

	"tilegate/internal/tile"
)

const (
	maxAttempts = 3
	baseBackoff = 50 * time.Millisecond
	mostBackoff = time.Second

	// The gate: requests to S3 of one tileset that wait for an answer at once.
	maxConcurrency = 256
	minConcurrency = 2
	maxQueue       = 1024
	maxGateWait    = 4 * time.Second
	// cutPause is the least time between two halvings: the requests already under way when S3 first
	// says SlowDown will all hear the same, and count once.
	cutPause = time.Second
	// calm is how long after its last SlowDown S3 counts as well again: the next one begins an episode.
	calm = 10 * time.Second

	// The budget: retries beyond a burst are a tenth of the requests, so that an outage of S3's is
	// met with 1.1 times the usual traffic and not with 3 times.
	retryShare = 0.1
	retryBurst = 10
)

// budget is what retries draw from.
type budget struct {
	mu      sync.Mutex
	retries float64
}

// earn is called once per request, not per attempt.
func (b *budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retries = min(retryBurst, b.retries+retryShare)
}

func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.retries < 1 {
		return false
	}
	b.retries--
	return true
}

// backoff waits before the n-th retry: exponential with full jitter, which spreads a crowd of retries
// best. It is false when the caller's time would run out meanwhile.
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
func backoff(ctx context.Context, n int) bool {
	wait := jitter(min(mostBackoff, baseBackoff<<n), 0, 1)
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

// gate limits how many requests of one tileset wait for S3's answer at once. It is halved when S3 says
// SlowDown. Afterwards it doubles with each full round of answers up to what an episode's first halving
// left, and then grows by one a round: what lasts is found slowly, and an outage does not outlive itself.
type gate struct {
	mu    sync.Mutex
	limit float64
	goal  float64 // up to which limit doubles
	busy  int
	queue []chan struct{} // first come, first served; closed when let in
	cut   time.Time       // when limit was last halved
}

// enter waits for a turn, for maxGateWait at most.
func (g *gate) enter(ctx context.Context) *fault {
	g.mu.Lock()
	if g.busy < int(g.limit) && len(g.queue) == 0 {
		g.busy++
		g.mu.Unlock()
		return nil
	}
	if len(g.queue) >= maxQueue {
		g.mu.Unlock()
		return crowded()
	}
	turn := make(chan struct{})
	g.queue = append(g.queue, turn)
	g.mu.Unlock()

	timer := time.NewTimer(maxGateWait)
	defer timer.Stop()
	var f *fault
	select {
	case <-turn:
		return nil
	case <-timer.C:
		f = crowded()
	case <-ctx.Done():
		f = classifySilence(ctx, ctx.Err(), nil)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.queue, turn); i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
		return f
	}
	return nil // let in at the same moment: the caller's ctx tells the rest
}

func crowded() *fault {
	return &fault{class: tile.ErrSlowDown, text: "too many requests to S3 wait for their turn"}
}

// leave ends a turn with what came of it; nil: an object.
func (g *gate) leave(f *fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy--
	switch {
	case f != nil && f.remedy == trySlower:
		if since := time.Since(g.cut); since >= cutPause {
			g.cut = time.Now()
			g.limit = max(minConcurrency, g.limit/2)
			if since >= calm {
				g.goal = g.limit
			}
		}
	case f == nil || f.status > 0 && f.remedy == noRemedy:
		grow := 1.0
		if g.limit >= g.goal {
			grow = 1 / g.limit
		}
		g.limit = min(maxConcurrency, g.limit+grow)
	}
	for len(g.queue) > 0 && g.busy < int(g.limit) {
		close(g.queue[0])
		g.queue = slices.Delete(g.queue, 0, 1)
		g.busy++
	}
}
