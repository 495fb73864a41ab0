package origin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/tile"
)

const (
	maxReaching = 8 // sources asked at once at the start
	logPause    = time.Minute
	illFor      = 5 * time.Minute // how long a source counts as degraded that nobody asks for any more
)

// health is what is known of S3 from one source's requests.
type health struct {
	reached atomic.Bool // S3 has answered once
	ill     atomic.Pointer[illness]

	mu     sync.Mutex
	logged map[error]time.Time // by class
	silent map[error]int       // failures since, not logged
}

// illness is the latest request's failure.
type illness struct {
	class       error
	since, last time.Time
}

// well notes an answer as it should be; name is an object that was read, or empty.
func (s *S3) well(name string) {
	if !s.health.reached.Load() {
		s.health.reached.Store(true)
	}
	if name != "" && s.known.Load() == nil {
		s.known.Store(&name)
	}
	if ill := s.health.ill.Load(); ill != nil && s.health.ill.CompareAndSwap(ill, nil) {
		s.aws.opt.Logger.Info("origin is well again", "source", s.ID, "was", ill.class.Error(), "since", ill.since.UTC().Format(time.RFC3339))
	}
}

// settle ends a request that failed: notes and logs what an operator should know of (once a minute of
// each class), and returns the error for the caller.
func (s *S3) settle(name string, f *fault) error {
	switch {
	case errors.Is(f, tile.ErrMissing), errors.Is(f, tile.ErrNotModified), errors.Is(f, tile.ErrChanged):
		s.well("")
		return f.class
	case errors.Is(f, context.Canceled):
		return fmt.Errorf("GET s3://%s/%s: %w", s.Bucket, name, f.class)
	}
	if f.status > 0 && f.remedy != tryAgain && f.remedy != trySlower {
		s.health.reached.Store(true)
	}
	now := time.Now()
	since := now
	if ill := s.health.ill.Load(); ill != nil {
		since = ill.since
	}
	s.health.ill.Store(&illness{f.class, since, now})
	if skipped, ok := s.health.mayLog(f.class, now); ok {
		s.aws.opt.Logger.Warn("origin request failed", "source", s.ID, "bucket", s.Bucket, "key", name,
			"class", outcome(f), "detail", f.detail(), "skipped", skipped)
	}
	return fmt.Errorf("%w: GET s3://%s/%s: %s", f.class, s.Bucket, name, f.detail())
}

// mayLog lets one line a minute pass of each class, and tells how many it held back before.
func (h *health) mayLog(class error, now time.Time) (skipped int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.logged == nil {
		h.logged, h.silent = map[error]time.Time{}, map[error]int{}
	}
	if last, seen := h.logged[class]; seen && now.Sub(last) < logPause {
		h.silent[class]++
		return 0, false
	}
	skipped = h.silent[class]
	h.logged[class], h.silent[class] = now, 0
	return skipped, true
}

// reach asks for the canary until S3 answers anything at all: after a backoff, or with new credentials at once.
func (s *S3) reach(ctx context.Context, places chan struct{}) {
	for n := 0; ctx.Err() == nil && !s.health.reached.Load(); n++ {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		renewed := s.keeper.renewed()
		bounded, cancel := context.WithTimeout(ctx, attemptTimeout)
		if object, err := s.get(bounded, request{name: s.Key(s.Canary), bytes: firstByte}); err == nil {
			taste(object.Body)
			_ = object.Body.Close()
		}
		cancel()
		<-places
		if s.health.reached.Load() {
			return
		}
		timer := time.NewTimer(jitter(min(maxBackoff, minBackoff<<min(n, 10)), 1./2, 1))
		select {
		case <-timer.C:
		case <-renewed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// Ready is nil once all credentials have been there and S3 has answered for every source; from then
// on it stays nil, since warm tiles are served through an outage. The error's lines tell what is missing;
// they hold no names of buckets or accounts, and are fit for /ready.
func (a *AWS) Ready() error {
	var missing []error
	for _, k := range a.keepers {
		if s := k.status(); !s.held {
			missing = append(missing, fmt.Errorf("no credentials from the %s yet%s", s.Name, brief(": ", s.Err)))
		}
	}
	var silent []string
	for id, s := range a.sources {
		if !s.health.reached.Load() {
			silent = append(silent, id)
		}
	}
	if len(silent) > 0 {
		slices.Sort(silent)
		missing = append(missing, fmt.Errorf("S3 has not answered yet for %s", list(silent)))
	}
	return errors.Join(missing...)
}

// Degraded tells, in lines fit for /ready, what does not work right now although Ready is nil.
func (a *AWS) Degraded() []string {
	var lines []string
	for _, k := range a.keepers {
		s := k.status()
		switch {
		case s.Err == nil:
		case !s.Valid:
			lines = append(lines, fmt.Sprintf("credentials from the %s: none valid%s; retrying since %s", s.Name, brief(", ", s.Err), clockTime(s.Since)))
		case s.Expires.IsZero():
			lines = append(lines, fmt.Sprintf("credentials from the %s: refresh failing%s; retrying since %s", s.Name, brief(", ", s.Err), clockTime(s.Since)))
		default:
			lines = append(lines, fmt.Sprintf("credentials from the %s: refresh failing%s; retrying since %s, valid until %s", s.Name, brief(", ", s.Err), clockTime(s.Since), clockTime(s.Expires)))
		}
	}
	ill := map[string][]string{}
	for id, s := range a.sources {
		if i := s.health.ill.Load(); i != nil && time.Since(i.last) < illFor {
			ill[i.class.Error()] = append(ill[i.class.Error()], id)
		}
	}
	for class, ids := range ill {
		slices.Sort(ids)
		lines = append(lines, class+": "+list(ids)+" (the log tells more)")
	}
	slices.Sort(lines)
	return lines
}

// Credentials tells how each set of credentials is.
func (a *AWS) Credentials() []CredentialsStatus {
	statuses := make([]CredentialsStatus, 0, len(a.keepers))
	for _, k := range a.keepers {
		statuses = append(statuses, k.status())
	}
	return statuses
}

// brief is what of an error may be seen in public: AWS's code, or the class.
func brief(before string, err error) string {
	var f *fault
	switch {
	case err == nil:
		return ""
	case errors.As(err, &f) && f.code != "":
		return before + f.code
	case errors.As(err, &f):
		return before + f.class.Error()
	}
	return before + "the log tells why"
}

// list names a few of many.
func list(ids []string) string {
	const most = 5
	if len(ids) <= most {
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(ids[:most], ", "), len(ids)-most)
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05Z") }
