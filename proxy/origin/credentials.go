package origin

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// maxCredentialWait bounds how long a request without usable credentials waits for the refresh under
	// way: for the first credentials at start, or for new ones after S3 rejected those that were held. It
	// counts from the refresh's beginning.
	maxCredentialWait = 2 * time.Second
	// rejectedPause is the average time between two refreshes that rejected credentials force. The second
	// of a pair may come at once, since S3 may reject the replacement for a reason of its own.
	rejectedPause = 5 * time.Second
	// deniedPause is the least time between two refreshes that AccessDenied forces.
	deniedPause = time.Minute
)

// credentialCache holds one set of credentials and keeps it fresh in the background. It takes the place of
// aws.CredentialsCache, which has two faults: near the expiry every caller waits for STS, and a failed
// refresh fails the callers although the credentials that are held are still valid.
type credentialCache struct {
	name    string // for people and metrics: no account, no secret
	fetch   func(context.Context) (aws.Credentials, error)
	log     *slog.Logger
	observe func(name string, err error)
	wake    chan struct{} // a refresh has been requested; capacity 1

	mu         sync.Mutex
	held       credentials   // zero before the first
	changed    chan struct{} // closed when held is replaced
	refreshing *refresh      // under way or requested, else nil
	rejections [2]time.Time  // of the latest two refreshes that a rejection forced
	denial     time.Time     // of the latest refresh that AccessDenied forced
	failures   int           // in a row
	lastErr    error         // of the latest refresh, nil after a success
	since      time.Time     // of the first failure in the row
	logged     time.Time     // of the latest warning
}

// credentials are one set of them. All copies of a set share whether it was rejected.
type credentials struct {
	aws.Credentials
	rejection *atomic.Bool // true once S3 or STS has rejected them; nil without keys
	anonymous bool         // there are no keys, and requests are not signed
}

// rejected reports whether S3 or STS has called them expired or invalid. Anything newer is better.
func (c credentials) rejected() bool { return c.rejection != nil && c.rejection.Load() }

// isStatic reports whether they are temporary keys that somebody wrote into a variable or a file.
func (c credentials) isStatic() bool { return c.SessionToken != "" && !c.CanExpire }

func sameCredentials(a, b credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SessionToken == b.SessionToken
}

// refresh is one call for credentials. All that wait for it share it.
type refresh struct {
	begun time.Time
	done  chan struct{}
}

// anonymousCredentials are held forever. Nothing refreshes them.
func anonymousCredentials() *credentialCache {
	return &credentialCache{
		name: "anonymous", changed: make(chan struct{}),
		held: credentials{Credentials: aws.Credentials{Source: "none: anonymous"}, anonymous: true},
	}
}

func newCredentialCache(name string, fetch func(context.Context) (aws.Credentials, error), log *slog.Logger, observe func(string, error)) *credentialCache {
	c := &credentialCache{name: name, fetch: fetch, log: log, observe: observe, wake: make(chan struct{}, 1), changed: make(chan struct{})}
	c.requestRefresh(time.Now()) // run makes it; the first requests wait for it
	return c
}

// Retrieve returns the credentials that are held, at once while they are valid. Otherwise it waits for the
// refresh under way, within maxCredentialWait. It never calls for credentials itself. Its error is
// tile.ErrNoCredentials.
func (c *credentialCache) Retrieve(ctx context.Context) (credentials, error) {
	return c.retrieve(ctx, maxCredentialWait)
}

// RetrieveLate is Retrieve for work that no request waits for: a command, or the refresh of a role. It waits
// for the refresh under way to its end.
func (c *credentialCache) RetrieveLate(ctx context.Context) (credentials, error) {
	return c.retrieve(ctx, never)
}

func (c *credentialCache) retrieve(ctx context.Context, maxWait time.Duration) (credentials, error) {
	creds, wait, err := c.look(maxWait)
	if wait.done == nil {
		return creds, err
	}
	timer := time.NewTimer(time.Until(wait.begun.Add(maxWait)))
	defer timer.Stop()
	select {
	case <-wait.done:
	case <-timer.C:
	case <-ctx.Done():
		return credentials{}, fmt.Errorf("%w: %w", tile.ErrNoCredentials, ctx.Err())
	}
	creds, _, err = c.look(maxWait)
	return creds, err
}

// look returns the credentials that are held. It also returns the refresh that is worth waiting for in their
// stead, if there is one.
func (c *credentialCache) look(maxWait time.Duration) (credentials, refresh, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	valid := c.valid(now)
	if valid && !c.held.rejected() {
		return c.held, refresh{}, nil
	}
	if !valid && c.refreshing == nil && c.failures == 0 {
		c.requestRefresh(now) // the clock jumped past the planned refresh, as after a laptop's sleep
	}
	var wait refresh
	if c.refreshing != nil && now.Sub(c.refreshing.begun) < maxWait {
		wait = *c.refreshing
	}
	if valid {
		return c.held, wait, nil // rejected before, but there are no better ones
	}
	reason := "not there yet"
	if c.lastErr != nil {
		reason = errorDetail(c.lastErr)
	}
	return credentials{}, wait, fmt.Errorf("%w: %s: %s", tile.ErrNoCredentials, c.name, reason)
}

func (c *credentialCache) valid(now time.Time) bool {
	return c.held.anonymous || c.held.HasKeys() && (!c.held.CanExpire || now.Before(c.held.Expires))
}

// reportRejected notes that S3 or STS called creds expired or invalid. It forces a refresh, which all that
// report the same credentials share and wait for.
func (c *credentialCache) reportRejected(creds credentials) {
	if creds.anonymous {
		return
	}
	creds.rejection.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	// Otherwise they have been replaced already, or will be soon.
	if sameCredentials(creds, c.held) && c.refreshing == nil && now.Sub(c.rejections[0]) >= 2*rejectedPause {
		c.rejections = [2]time.Time{c.rejections[1], now}
		c.requestRefresh(now)
	}
}

// reportDenied notes that S3 answered AccessDenied. It forces a refresh, for which no request waits: new
// credentials help where a session was revoked or its role was made anew.
func (c *credentialCache) reportDenied(creds credentials) {
	if creds.anonymous {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if sameCredentials(creds, c.held) && c.refreshing == nil && now.Sub(c.denial) >= deniedPause {
		c.denial = now
		c.requestRefresh(now)
	}
}

// replaced returns a channel that is closed when other credentials than now are held.
func (c *credentialCache) replaced() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// status is for /ready, the metrics and `tilegate check`.
func (c *credentialCache) status() CredentialsStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := CredentialsStatus{Name: c.name, Valid: c.valid(time.Now()), Source: c.held.Source, Err: c.lastErr, Since: c.since, held: c.held.HasKeys()}
	if c.held.CanExpire {
		s.Expires = c.held.Expires
	}
	return s
}
