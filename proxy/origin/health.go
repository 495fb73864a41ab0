package origin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/tile"
)

const (
	maxStartProbes = 8 // sources of one store that are asked at once at start
	logPause       = time.Minute
	failureShown   = 5 * time.Minute // how long after its last failure a source without requests counts as degraded
)

// health is what a source's requests have told about S3.
type health struct {
	answered atomic.Bool             // S3 has answered once
	failing  atomic.Pointer[failure] // nil while the latest request succeeded
	rejected atomic.Pointer[failure] // of the latest object that could not be served; other objects do not end it

	mu         sync.Mutex
	logged     map[error]time.Time // last log line, by class
	suppressed map[error]int       // failures since then
}

// failure is the latest request's.
type failure struct {
	class       error
	since, last time.Time // first and latest failure in a row
}

// reportSuccess notes that S3 answers as it should. name is an object that was read, or empty.
func (s *S3) reportSuccess(name string) {
	if !s.health.answered.Load() {
		s.health.answered.Store(true)
	}
	if name != "" {
		if s.readable.Load() == nil {
			s.readable.Store(&name)
		}
		s.probes.objectRead()
	}
	if f := s.health.failing.Load(); f != nil && s.health.failing.CompareAndSwap(f, nil) {
		s.aws.opt.Logger.Info("origin is healthy again", "source", s.ID, "was", f.class.Error(), "since", f.since.UTC().Format(time.RFC3339))
	}
}

// reportFailure notes and logs a request's final failure, and returns the error for the caller. Answers that
// tell about the object, not about S3, are no failures of S3.
func (s *S3) reportFailure(name string, f *fault) error {
	switch {
	case errors.Is(f, tile.ErrMissing), errors.Is(f, tile.ErrNotModified), errors.Is(f, tile.ErrChanged):
		s.reportSuccess("")
		return f.class
	case errors.Is(f, context.Canceled):
		return fmt.Errorf("GET s3://%s/%s: %w", s.Bucket, name, f.class)
	}
	if f.status > 0 && f.remedy != tryAgain && f.remedy != trySlower {
		s.health.answered.Store(true)
	}
	now := time.Now()
	since := now
	if earlier := s.health.failing.Load(); earlier != nil {
		since = earlier.since
	}
	s.health.failing.Store(&failure{f.class, since, now})
	if skipped, ok := s.health.mayLog(f.class, now); ok {
		s.aws.opt.Logger.Warn("origin request failed", "source", s.ID, "bucket", s.Bucket, "key", name,
			"class", outcome(f), "detail", f.detail(), "skipped", skipped)
	}
	return fmt.Errorf("%w: GET s3://%s/%s: %s", f.class, s.Bucket, name, f.detail())
}

// errRejected is the class of objects that the proxy refuses to serve.
var errRejected = errors.New("objects that cannot be served")

// reportRejected notes and logs that an object which S3 sent as it should cannot be served.
func (s *S3) reportRejected(name, reason string) {
	now := time.Now()
	since := now
	if earlier := s.health.rejected.Load(); earlier != nil && now.Sub(earlier.last) < failureShown {
		since = earlier.since
	}
	s.health.rejected.Store(&failure{errRejected, since, now})
	s.aws.opt.Observe.Body(s.ID, outcome(badAnswer("")))
	if skipped, ok := s.health.mayLog(errRejected, now); ok {
		s.aws.opt.Logger.Warn("an object cannot be served", "source", s.ID, "bucket", s.Bucket, "key", name,
			"class", outcome(badAnswer("")), "reason", sanitize(reason, nil), "skipped", skipped)
	}
}

// mayLog reports whether a failure of this class is to be logged, which is so once in logPause, and how many
// were suppressed since the last one.
func (h *health) mayLog(class error, now time.Time) (skipped int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.logged == nil {
		h.logged, h.suppressed = map[error]time.Time{}, map[error]int{}
	}
	if last, seen := h.logged[class]; seen && now.Sub(last) < logPause {
		h.suppressed[class]++
		return 0, false
	}
	skipped = h.suppressed[class]
	h.logged[class], h.suppressed[class] = now, 0
	return skipped, true
}

// probeAtStart asks for one byte of the canary until S3 has answered anything at all. It waits between two
// tries, and tries at once when there are other credentials.
func (s *S3) probeAtStart(ctx context.Context) {
	for n := 0; ctx.Err() == nil && !s.health.answered.Load(); n++ {
		select {
		case s.store.startSlots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		replaced := s.credentials.replaced()
		bounded, cancel := context.WithTimeout(ctx, refreshTimeout)
		if object, err := s.get(bounded, request{name: s.Key(s.Canary), probe: true}); err == nil {
			drainProbe(object.Body)
			_ = object.Body.Close()
		}
		cancel()
		<-s.store.startSlots
		if s.health.answered.Load() {
			return
		}
		timer := time.NewTimer(jitter(min(maxRefreshPause, minRefreshPause<<min(n, 10)), 1./2, 1))
		select {
		case <-timer.C:
		case <-replaced:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}
