package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// NotReady lists what serving still waits for: it has a line until every key set has been there. Once it is
// empty it stays so, since the last set keeps serving.
func (a *Authenticator) NotReady() []string {
	for _, source := range a.sources {
		if source.set.Load() == nil {
			return []string{ErrKeysUnavailable.Error()}
		}
	}
	return nil
}

// Degraded returns a line for each issuer whose key set could not be refreshed, and for a file of API keys
// that could not be read, with the reason.
func (a *Authenticator) Degraded() []string {
	var lines []string
	if line := a.apiKeys.degraded(); line != "" {
		lines = append(lines, line)
	}
	for _, source := range a.sources {
		if line := source.degraded(); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// KeySetStatus says what became of a fetch of one issuer's key set.
type KeySetStatus struct {
	Issuer  string       // as in Options
	Keys    int          // that can verify tokens; 0 if Err is not nil
	Ignored []IgnoredKey // of the published set: those that are of no use here
	Err     error        // fit for anybody to read
}

// FetchKeySets fetches every key set that Run would keep fresh, once and all at the same time, and
// returns what became of each, in the order of Options.Issuers. A set that arrives is used from then on.
func (a *Authenticator) FetchKeySets(ctx context.Context) []KeySetStatus {
	all := make([]KeySetStatus, len(a.sources))
	var wg sync.WaitGroup
	for i, source := range a.sources {
		wg.Go(func() {
			set, err := source.fetch(ctx)
			source.record(set, err, nil)
			all[i] = KeySetStatus{Issuer: source.issuer}
			if err != nil {
				if empty, ok := errors.AsType[*emptySetError](err); ok {
					all[i].Ignored = empty.ignored
				}
				all[i].Err = fmt.Errorf("its key set could not be fetched: %s", describe(err))
				return
			}
			all[i].Keys, all[i].Ignored = len(set.keys), set.ignored
		})
	}
	wg.Wait()
	return all
}

// degraded returns what is wrong with the key set in one line, "" if nothing is.
func (s *keySource) degraded() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.client == nil || s.failure == "" && s.set.Load() != nil:
		return ""
	case s.set.Load() == nil && s.failure == "":
		return fmt.Sprintf("issuer %s: its key set has not been fetched yet", s.issuer)
	case s.set.Load() == nil:
		return fmt.Sprintf("issuer %s: no key set yet: %s", s.issuer, s.failure)
	}
	return fmt.Sprintf("issuer %s: key set last refreshed %v ago: %s", s.issuer, s.now().Sub(s.fetched).Truncate(time.Second), s.failure)
}
