package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultRefresh  = 10 * time.Minute
	minRefresh      = time.Second
	fetchTimeout    = 10 * time.Second
	firstRetry      = time.Second
	maxDocument     = 1 << 20 // bytes of a key set, or of a discovery document
	unknownKIDPause = 30 * time.Second
	maxWait         = 2 * time.Second // of a request, for a fetch
	maxWaiting      = 256             // requests, for each issuer
)

// keySource holds the current key set of one issuer. One goroutine (run) fetches; requests only
// ever read the set, or wait a bounded while for a fetch that an unknown kid asked for.
type keySource struct {
	set atomic.Pointer[keySet] // nil: never fetched

	issuer     string
	algorithms []string
	jwksURL    string // "": found by OIDC discovery
	refresh    time.Duration
	client     *http.Client // nil: the set is fixed
	now        func() time.Time
	logger     *slog.Logger
	observe    func(issuer string, ok bool)
	wake       chan struct{} // of one place: an unknown kid asks for a fetch
	first      chan struct{} // closed when the first fetch has ended, whatever came of it

	mu       sync.Mutex
	asked    chan struct{} // closed when the fetch that was asked for is done; nil: none was
	askedAt  time.Time
	waiting  int
	fetched  time.Time // last success
	failure  string    // of the last fetch, fit for strangers; "" if it succeeded
	failures int       // in a row
}

// run keeps the set fresh until ctx ends.
func (s *keySource) run(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		asked := s.asked // by requests that came before this fetch began: it is their answer
		select {
		case <-s.wake:
		default:
		}
		s.mu.Unlock()
		set, err := s.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := time.NewTimer(s.settle(set, err, asked))
		select {
		case <-ctx.Done():
		case <-pause.C:
		case <-s.wake:
		}
		pause.Stop()
	}
}

// settle takes the outcome of a fetch, lets the requests go that wait for it, and says how long
// to pause. On success that is 75 to 90 % of the refresh interval, so that a fetch has also ended
// within one interval: a new key is known, and a removed one gone, one interval after it changed.
func (s *keySource) settle(set *keySet, err error, asked chan struct{}) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	pause := jitter(s.refresh, 75, 90)
	if err != nil {
		s.failures++
		s.failure = describe(err)
		s.logger.Warn("key set refresh failed; the last good set stays", "issuer", s.issuer, "error", err, "failures", s.failures)
		pause = min(pause, jitter(firstRetry<<min(s.failures-1, 16), 50, 100))
	} else {
		s.failures, s.failure, s.fetched = 0, "", s.now()
		if !set.equal(s.set.Load()) { // the same keys keep their address, and what they verified is still remembered
			s.set.Store(set)
			s.logger.Info("key set changed", "issuer", s.issuer, "keys", len(set.keys), "ignored", set.ignored)
		}
	}
	if asked != nil {
		s.asked = nil
		close(asked)
	}
	select {
	case <-s.first:
	default:
		close(s.first)
	}
	if s.observe != nil {
		s.observe(s.issuer, err == nil)
	}
	return pause
}

// jitter is between low and high percent of d.
func jitter(d time.Duration, low, high int) time.Duration {
	return d * time.Duration(low+rand.IntN(high-low+1)) / 100 //nolint:gosec // G404: nothing hangs on foreseeing it
}

// awaitFirst returns the set once there is one. A request that comes while the process starts waits
// for the first fetch, for 2 s at most and as one of 256; nil means that there still is none.
func (s *keySource) awaitFirst(ctx context.Context) *keySet {
	s.mu.Lock()
	s.await(ctx, s.first)
	return s.set.Load()
}

// awaitFetch lets a request with an unknown kid wait until the set has been fetched anew. It says
// false at once if one was asked for within the last 30 s and is over, or 256 requests wait
// already; else after at most 2 s.
func (s *keySource) awaitFetch(ctx context.Context) bool {
	if s.client == nil {
		return false
	}
	s.mu.Lock()
	if s.waiting >= maxWaiting || s.asked == nil && !s.askedAt.IsZero() && s.now().Sub(s.askedAt) < unknownKIDPause {
		s.mu.Unlock()
		return false
	}
	if s.asked == nil {
		s.asked, s.askedAt = make(chan struct{}), s.now()
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return s.await(ctx, s.asked)
}

// await waits for done, unless too many wait already. It is called with the lock held, and gives it up.
func (s *keySource) await(ctx context.Context, done <-chan struct{}) bool {
	if s.waiting >= maxWaiting {
		s.mu.Unlock()
		return false
	}
	s.waiting++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	}()
	patience := time.NewTimer(maxWait)
	defer patience.Stop()
	select {
	case <-done:
		return true
	case <-patience.C:
	case <-ctx.Done():
	}
	return false
}

// degraded says in one line what is wrong, "" if nothing is.
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

// fetch gets the set, after OIDC discovery (OpenID Connect Discovery section 4) if no URL is configured.
func (s *keySource) fetch(ctx context.Context) (*keySet, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	from := s.jwksURL
	if from == "" {
		document, err := s.get(ctx, strings.TrimSuffix(s.issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return nil, err
		}
		if from, err = s.discover(document); err != nil {
			return nil, err
		}
	}
	data, err := s.get(ctx, from)
	if err != nil {
		return nil, err
	}
	return parseKeySet(data, s.algorithms)
}

var (
	errDiscovery     = errors.New("the discovery document is malformed")
	errOtherIssuer   = errors.New("the discovery document is another issuer's")
	errDiscoveredURL = errors.New("the discovery document's jwks_uri is not https")
	errTooLong       = errors.New("the answer is longer than 1 MiB")
)

func (s *keySource) discover(document []byte) (string, error) {
	members, err := parseObject(document, maxDocumentValues)
	if err != nil {
		return "", errDiscovery
	}
	if members["issuer"] != s.issuer {
		return "", errOtherIssuer
	}
	found, _ := members["jwks_uri"].(string)
	// Plain http only if the issuer itself is on loopback: no remote document may send us to a
	// service on this machine.
	if err := checkURL(found); err != nil || strings.HasPrefix(s.issuer, "https:") && !strings.HasPrefix(found, "https:") {
		return "", errDiscoveredURL
	}
	return found, nil
}

type statusError int

func (e statusError) Error() string { return fmt.Sprintf("the answer's status is %d, not 200", int(e)) }

func (s *keySource) get(ctx context.Context, from string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK { // redirects among them
		return nil, statusError(res.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxDocument {
		return nil, errTooLong
	}
	return data, nil
}

// describe says why a fetch failed without an address or a system's message in it.
func describe(err error) string {
	var timeout net.Error
	var status statusError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &status):
		return status.Error()
	}
	for _, plain := range []error{errMalformedSet, errEmptySet, errDiscovery, errOtherIssuer, errDiscoveredURL, errTooLong} {
		if errors.Is(err, plain) {
			return plain.Error()
		}
	}
	return "cannot be reached"
}

// checkURL wants an absolute URL, https or http on loopback, and no password in it.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("not an absolute URL")
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme == "https" || u.Scheme == "http" && loopback {
		return nil
	}
	return errors.New("must be https, or http on loopback")
}
