package origin

import (
	"context"
	"slices"
	"sync"
	"time"

	"tilegate/internal/tile"
)

const (
	maxConcurrency = 256
	minConcurrency = 2
	maxQueue       = 1024
	maxGateWait    = 4 * time.Second
	// cutPause is the least time between two halvings. All requests that are under way when S3 first says
	// SlowDown get the same answer, and count once.
	cutPause = time.Second
	// episodeGap is how long after a SlowDown the next one counts as the beginning of another episode.
	episodeGap = 10 * time.Second
)

// gate limits how many requests of one source wait for S3's answer at once. Each source has its own, since S3 limits the
// rate of each prefix, and since no store may hold up another's sources. SlowDown halves the limit.
// Afterwards the limit doubles with each full round of answers until it is back at half of what it was
// before the episode, and then grows by one with each round. So a limit that S3 keeps up is approached
// slowly, and an outage has no long aftermath.
type gate struct {
	mu       sync.Mutex
	limit    float64
	regain   float64         // the limit doubles up to this
	inFlight int             // requests that wait for S3's answer
	queue    []chan struct{} // of requests that wait to enter, in order of arrival; closed to let one in
	cut      time.Time       // when limit was last halved
}

// enter waits until the request may be sent, for maxGateWait at most.
func (g *gate) enter(ctx context.Context) *fault {
	g.mu.Lock()
	if g.inFlight < int(g.limit) && len(g.queue) == 0 {
		g.inFlight++
		g.mu.Unlock()
		return nil
	}
	if len(g.queue) >= maxQueue {
		g.mu.Unlock()
		return gateFull()
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
		f = gateFull()
	case <-ctx.Done():
		f = classifyNoAnswer(ctx, ctx.Err(), nil)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.queue, turn); i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
		return f
	}
	return nil // let in at the same moment; where ctx has ended, sending will fail
}

func gateFull() *fault {
	return &fault{class: tile.ErrSlowDown, text: "too many requests to S3 wait for their turn"}
}

// leave is called once S3 has answered. f is nil for an object.
func (g *gate) leave(f *fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	switch {
	case f != nil && f.remedy == trySlower:
		if since := time.Since(g.cut); since >= cutPause {
			g.cut = time.Now()
			g.limit = max(minConcurrency, g.limit/2)
			if since >= episodeGap {
				g.regain = g.limit
			}
		}
	case f == nil || f.status > 0 && f.remedy == noRemedy:
		grow := 1.0
		if g.limit >= g.regain {
			grow = 1 / g.limit
		}
		g.limit = min(maxConcurrency, g.limit+grow)
	}
	for len(g.queue) > 0 && g.inFlight < int(g.limit) {
		close(g.queue[0])
		g.queue = slices.Delete(g.queue, 0, 1)
		g.inFlight++
	}
}
