package origin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// patience is how old an attempt may be for a request without usable credentials to wait for it:
	// the first ones at start, or new ones after S3 refused what was held.
	patience = 2 * time.Second
	// attemptTimeout leaves room for an STS that takes 30 s.
	attemptTimeout = 40 * time.Second
	minBackoff     = time.Second
	maxBackoff     = 30 * time.Second
	// refusedPause is the time between two refreshes that ExpiredToken and its like force, on average: the second
	// of a pair may come at once, since what replaced the refused credentials may be refused for a reason of its own.
	refusedPause = 5 * time.Second
	// deniedPause is the least time between two that AccessDenied forces.
	deniedPause = time.Minute
	// never is when credentials that do not expire are refreshed, and when the patient give up.
	never = time.Duration(math.MaxInt64)
)

// keeper holds one set of credentials and keeps it fresh in the background. It stands where the SDK
// puts aws.CredentialsCache, in whose expiry window every caller waits for STS, and which fails
// callers when a refresh fails although the credentials at hand are still good.
type keeper struct {
	name    string // for people and metrics: no account, no secret
	fetch   func(context.Context) (aws.Credentials, error)
	log     *slog.Logger
	observe func(name string, err error)
	wake    chan struct{} // an attempt has been asked for; capacity 1

	mu       sync.Mutex
	held     credentials   // zero before the first
	next     chan struct{} // closed when others are held
	attempt  *attempt      // under way or asked for
	refusals [2]time.Time  // of the last two refreshes that a refusal forced
	denial   time.Time     // of the last that a denial forced
	failures int           // in a row
	failed   error         // the last failure, nil after a success
	since    time.Time     // of the first failure in the row
	logged   time.Time     // of the last warning
}

// credentials are one set of them, and what has been said of it since: whoever has a copy learns of it.
type credentials struct {
	aws.Credentials
	dead *atomic.Bool // S3 (or STS) has refused them: anything newer is better; nil with no keys
}

func (c credentials) refused() bool { return c.dead != nil && c.dead.Load() }

// attempt is one call for credentials, shared by all that wait for it.
type attempt struct {
	begun time.Time
	done  chan struct{}
}

func newKeeper(name string, fetch func(context.Context) (aws.Credentials, error), log *slog.Logger, observe func(string, error)) *keeper {
	k := &keeper{name: name, fetch: fetch, log: log, observe: observe, wake: make(chan struct{}, 1), next: make(chan struct{})}
	k.ask(time.Now()) // the earliest requests wait for the first attempt, which run makes
	return k
}

// Retrieve returns what is held, at once while that is valid. Without, it waits for an attempt under
// way until that is patience old. It makes no call of its own. Errors: tile.ErrNoCredentials.
func (k *keeper) Retrieve(ctx context.Context) (credentials, error) {
	return k.retrieve(ctx, patience)
}

// first is Retrieve for what no request waits for: a command, or the refresh of a role. It waits for the attempt
// under way however long that takes.
func (k *keeper) first(ctx context.Context) (credentials, error) { return k.retrieve(ctx, never) }

func (k *keeper) retrieve(ctx context.Context, most time.Duration) (credentials, error) {
	creds, wait, err := k.look(most)
	if wait.done == nil {
		return creds, err
	}
	timer := time.NewTimer(time.Until(wait.begun.Add(most)))
	defer timer.Stop()
	select {
	case <-wait.done:
	case <-timer.C:
	case <-ctx.Done():
		return credentials{}, fmt.Errorf("%w: %w", tile.ErrNoCredentials, ctx.Err())
	}
	creds, _, err = k.look(most)
	return creds, err
}

// look returns what is held, and the attempt that is worth waiting for instead, if there is one.
func (k *keeper) look(most time.Duration) (credentials, attempt, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	valid := k.valid(now)
	if valid && !k.held.refused() {
		return k.held, attempt{}, nil
	}
	if !valid && k.attempt == nil && k.failures == 0 {
		k.ask(now) // the wall clock jumped past the refresh, as after a laptop's sleep
	}
	var wait attempt
	if k.attempt != nil && now.Sub(k.attempt.begun) < most {
		wait = *k.attempt
	}
	if valid {
		return k.held, wait, nil // refused before, and the next best
	}
	why := "not there yet"
	if k.failed != nil {
		why = detail(k.failed)
	}
	return credentials{}, wait, fmt.Errorf("%w: %s: %s", tile.ErrNoCredentials, k.name, why)
}

func (k *keeper) valid(now time.Time) bool {
	return k.held.HasKeys() && (!k.held.CanExpire || now.Before(k.held.Expires))
}

// refused says that S3 (or STS) took these for expired or invalid. All who say so of the same
// credentials share one refresh; requests wait for it, as those credentials won't do.
func (k *keeper) refused(c credentials) {
	c.dead.Store(true)
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if same(c, k.held) && k.attempt == nil && now.Sub(k.refusals[0]) >= 2*refusedPause { // else they have been replaced, or will be
		k.refusals = [2]time.Time{k.refusals[1], now}
		k.ask(now)
	}
}

// denied says that S3 answered AccessDenied. New credentials help where a session has been revoked or
// its role made anew; no request waits for them.
func (k *keeper) denied(c credentials) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if same(c, k.held) && k.attempt == nil && now.Sub(k.denial) >= deniedPause {
		k.denial = now
		k.ask(now)
	}
}

// ask is called with the lock held, and no attempt under way.
func (k *keeper) ask(now time.Time) {
	k.attempt = &attempt{begun: now, done: make(chan struct{})}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run makes every attempt, one at a time, until ctx ends.
func (k *keeper) run(ctx context.Context) {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-timer.C:
		}
		timer.Reset(k.refresh(ctx))
	}
}

// refresh makes one attempt and returns how long to wait before the next.
func (k *keeper) refresh(ctx context.Context) time.Duration {
	k.mu.Lock()
	if k.attempt == nil {
		k.ask(time.Now())
	}
	k.attempt.begun = time.Now()
	select {
	case <-k.wake: // this attempt is the one that was asked for
	default:
	}
	k.mu.Unlock()

	bounded, cancel := context.WithTimeout(ctx, attemptTimeout)
	fetched, err := k.fetch(bounded)
	cancel()

	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() {
		close(k.attempt.done)
		k.attempt = nil
	}()
	if ctx.Err() != nil {
		return never // the end, no failure of STS's
	}
	now := time.Now()
	creds := credentials{fetched, new(atomic.Bool)}
	if same(creds, k.held) {
		creds.dead = k.held.dead
	}
	if err == nil {
		err = usable(creds, now)
	}
	k.observe(k.name, err)
	return k.keep(creds, err, now)
}

// usable tells credentials that are none.
func usable(c credentials, now time.Time) error {
	switch {
	case !c.HasKeys():
		return errors.New("the answer holds no credentials")
	case c.CanExpire && !now.Before(c.Expires):
		return fmt.Errorf("the answer's credentials expired at %s, %s ago: is this machine's clock right?",
			c.Expires.UTC().Format(time.RFC3339), now.Sub(c.Expires).Round(time.Second))
	case c.refused():
		return errors.New("the answer holds the same credentials that were refused")
	}
	return nil
}

// keep takes an attempt's result, and returns the time until the next: between a half and two thirds of
// what is left of a life, so that many instances don't ask together and an STS outage has long to end.
func (k *keeper) keep(creds credentials, err error, now time.Time) time.Duration {
	if err == nil {
		if k.failures > 0 {
			k.log.Info("origin credentials are fresh again", "credentials", k.name, "expires", expiry(creds))
		}
		k.held, k.failures, k.failed = creds, 0, nil
		close(k.next)
		k.next = make(chan struct{})
		if !creds.CanExpire {
			return never
		}
		return max(minBackoff, jitter(creds.Expires.Sub(now), 1./2, 2./3))
	}
	if k.failures == 0 {
		k.since = now
	}
	k.failures++
	k.failed = err
	left := maxBackoff
	if k.valid(now) && k.held.CanExpire {
		left = k.held.Expires.Sub(now) / 4 // try more often as the end nears
	}
	if now.Sub(k.logged) >= time.Minute || k.failures == 1 {
		k.logged = now
		k.log.Warn("origin credentials could not be refreshed", "credentials", k.name, "error", detail(err),
			"failures", k.failures, "valid_until", expiry(k.held))
	}
	backoff := min(maxBackoff, minBackoff<<min(k.failures-1, 10))
	return max(minBackoff, min(left, jitter(backoff, 1./2, 1)))
}

// renewed is closed when other credentials are there than now.
func (k *keeper) renewed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.next
}

// status is for /ready, the metrics and `tilegate check`.
func (k *keeper) status() CredentialsStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := CredentialsStatus{Name: k.name, Valid: k.valid(time.Now()), Source: k.held.Source, Err: k.failed, Since: k.since, held: k.held.HasKeys()}
	if k.held.CanExpire {
		s.Expires = k.held.Expires
	}
	return s
}

// CredentialsStatus says how one set of credentials is.
type CredentialsStatus struct {
	Name    string    // the role's name or "default credential chain"; safe as a metric's label
	Source  string    // where they came from, as the SDK calls it; empty before the first
	Valid   bool      // held, and not expired
	Expires time.Time // zero: never, or none are held
	Err     error     // of the last refresh, nil when it succeeded; for the log
	Since   time.Time // of the first failure in a row, when Err is set
	held    bool      // some have been there, expired or not
}

func same(a, b credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SessionToken == b.SessionToken
}

// detail is for the log, which names the class already.
func detail(err error) string {
	var f *fault
	if errors.As(err, &f) {
		return f.detail()
	}
	return plain(err.Error(), nil)
}

// expiry is for the log.
func expiry(c credentials) string {
	switch {
	case !c.HasKeys():
		return "none held"
	case !c.CanExpire:
		return "never expire"
	}
	return c.Expires.UTC().Format(time.RFC3339)
}

// jitter is a random part of d, from its share low to its share high.
func jitter(d time.Duration, low, high float64) time.Duration {
	return time.Duration(float64(d) * (low + (high-low)*rand.Float64())) //nolint:gosec // spreads load, keeps no secret
}
