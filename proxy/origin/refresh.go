package origin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"

	"tilegate/internal/tile"
)

const (
	// refreshTimeout bounds one call for credentials. It leaves room for an STS that takes 30 s.
	refreshTimeout = 40 * time.Second
	// After a failed refresh the next one follows after a pause. It grows between these bounds.
	minRefreshPause = time.Second
	maxRefreshPause = 30 * time.Second
	// never is the pause before the refresh of credentials that do not expire.
	never = time.Duration(math.MaxInt64)
)

// requestRefresh makes run call for credentials. The caller holds the lock and has seen that no refresh is
// under way.
func (c *credentialCache) requestRefresh(now time.Time) {
	c.refreshing = &refresh{begun: now, done: make(chan struct{})}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run makes all calls for credentials, one at a time, until ctx ends.
func (c *credentialCache) run(ctx context.Context) {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		timer.Reset(c.refresh(ctx))
	}
}

// refresh calls for credentials once, and returns the pause before the next call.
func (c *credentialCache) refresh(ctx context.Context) time.Duration {
	c.mu.Lock()
	if c.refreshing == nil {
		c.requestRefresh(time.Now())
	}
	c.refreshing.begun = time.Now()
	select {
	case <-c.wake: // this call is the one that was requested
	default:
	}
	c.mu.Unlock()

	bounded, cancel := context.WithTimeout(ctx, refreshTimeout)
	fetched, err := c.fetch(bounded)
	cancel()

	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		close(c.refreshing.done)
		c.refreshing = nil
	}()
	if ctx.Err() != nil {
		return never // run ends; this is no failure of STS
	}
	now := time.Now()
	creds := credentials{Credentials: fetched, rejection: new(atomic.Bool)}
	if sameCredentials(creds, c.held) {
		creds.rejection = c.held.rejection
	}
	if err == nil {
		err = checkUsable(creds, now)
	}
	c.observe(c.name, err)
	return c.store(creds, err, now)
}

// checkUsable returns an error for an answer without usable credentials.
func checkUsable(c credentials, now time.Time) error {
	switch {
	case !c.HasKeys():
		return errors.New("the answer holds no credentials")
	case c.CanExpire && !now.Before(c.Expires):
		return fmt.Errorf("the answer's credentials expired at %s, %s ago: is this machine's clock right?",
			c.Expires.UTC().Format(time.RFC3339), now.Sub(c.Expires).Round(time.Second))
	case c.rejected():
		return errors.New("the answer holds the same credentials that were rejected")
	}
	return nil
}

// store takes the result of a refresh, and returns the pause before the next. Credentials are refreshed
// after a half to two thirds of their life: the random part keeps many instances from calling together, and
// an outage of STS may last for the rest of the life.
func (c *credentialCache) store(creds credentials, err error, now time.Time) time.Duration {
	if err == nil {
		if c.failures > 0 {
			c.log.Info("origin credentials are fresh again", "credentials", c.name, "expires", expiry(creds))
		}
		c.held, c.failures, c.lastErr = creds, 0, nil
		close(c.changed)
		c.changed = make(chan struct{})
		if !creds.CanExpire {
			return never
		}
		return max(minRefreshPause, jitter(creds.Expires.Sub(now), 1./2, 2./3))
	}
	if c.failures == 0 {
		c.since = now
	}
	c.failures++
	c.lastErr = err
	if c.held.Source == ec2rolecreds.ProviderName && c.held.HasKeys() && !c.held.rejected() {
		c.held.Credentials = extended(c.held.Credentials, now, 2*maxRefreshPause)
	}
	most := maxRefreshPause
	if c.valid(now) && c.held.CanExpire {
		most = c.held.Expires.Sub(now) / 4 // try more often as the end comes nearer
	}
	if now.Sub(c.logged) >= time.Minute || c.failures == 1 {
		c.logged = now
		c.log.Warn("origin credentials could not be refreshed", "credentials", c.name, "error", errorDetail(err),
			"failures", c.failures, "valid_until", expiry(c.held))
	}
	pause := min(maxRefreshPause, minRefreshPause<<min(c.failures-1, 10))
	return max(minRefreshPause, min(most, jitter(pause, 1./2, 1)))
}

// errorDetail is an error's text for a log line that names the class already.
func errorDetail(err error) string {
	var f *fault
	if errors.As(err, &f) {
		return f.detail()
	}
	// A role's credentials fail with those that it is assumed with, whose text has been sanitized and ends with what to do.
	return sanitizeTo(strings.TrimPrefix(err.Error(), tile.ErrNoCredentials.Error()+": "), 2*maxCauses)
}

// expiry is the end of the credentials' life, for the log.
func expiry(c credentials) string {
	switch {
	case !c.HasKeys():
		return "none held"
	case !c.CanExpire:
		return "never expire"
	}
	return c.Expires.UTC().Format(time.RFC3339)
}
