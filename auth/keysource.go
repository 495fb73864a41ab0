package auth

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
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

// keySource holds the current key set of one issuer. One goroutine (run) fetches it. Requests read it, and
// wait for a bounded time for a fetch that an unknown kid has asked for.
type keySource struct {
	set atomic.Pointer[keySet] // nil: never fetched

	issuer     string
	algorithms []string
	jwksURL    string // "": found by OIDC discovery
	// insecureHosts are hosts that may be asked over plain http.
	insecureHosts []string
	refresh       time.Duration
	client        *http.Client // nil: the set is fixed
	now           func() time.Time
	logger        *slog.Logger
	observe       func(issuer string, ok bool)
	wake          chan struct{} // of capacity 1: an unknown kid asks for a fetch
	first         chan struct{} // closed when the first fetch has ended, well or not

	mu       sync.Mutex
	asked    chan struct{} // closed when the fetch that was asked for has ended; nil: none is asked for
	askedAt  time.Time
	waiting  int
	fetched  time.Time // last success
	failure  string    // of the last fetch, fit for anybody to read; "" if it succeeded
	failures int       // in a row
}

// takeOver begins with the key set that an Authenticator has fetched from the same place for the same algorithms.
func (s *keySource) takeOver(before *Authenticator) {
	if before == nil {
		return
	}
	for _, old := range before.sources {
		if old.issuer == s.issuer && old.jwksURL == s.jwksURL && slices.Equal(old.algorithms, s.algorithms) {
			s.set.Store(old.set.Load())
		}
	}
}

// run keeps the set fresh until ctx ends.
func (s *keySource) run(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		asked := s.asked // by requests from before this fetch, which therefore answers them
		select {
		case <-s.wake:
		default:
		}
		s.mu.Unlock()
		set, err := s.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := time.NewTimer(s.record(set, err, asked))
		select {
		case <-ctx.Done():
		case <-pause.C:
		case <-s.wake:
		}
		pause.Stop()
	}
}

// record notes the outcome of a fetch, wakes the requests that wait for it, and returns how long to
// pause. After a success that is 75 to 90 % of the refresh interval, so that the next fetch ends within
// the interval: one interval after a change, a new key is known and a removed one is gone.
func (s *keySource) record(set *keySet, err error, asked chan struct{}) time.Duration {
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
		if !set.equal(s.set.Load()) { // the same keys keep their address, and the tokens that they verified stay in the cache
			s.set.Store(set)
			s.logger.Info("key set changed", "issuer", s.issuer, "keys", len(set.keys), "ignored", len(set.ignored))
			if set.dropped > 0 {
				s.logger.Warn("key set has more keys than are kept; the first ones are used", "issuer", s.issuer, "keys", len(set.keys), "dropped", set.dropped)
			}
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

// jitter returns between low and high percent of d.
func jitter(d time.Duration, low, high int) time.Duration {
	return d * time.Duration(low+rand.IntN(high-low+1)) / 100 //nolint:gosec // G404: it may be predictable
}

// awaitFirst returns the set, nil if there is none yet. A request that arrives while the process starts
// waits for the first fetch, at most 2 s and as one of at most 256.
func (s *keySource) awaitFirst(ctx context.Context) *keySet {
	s.mu.Lock()
	s.await(ctx, s.first)
	return s.set.Load()
}

// awaitFetch asks for a fetch, for a request with an unknown kid, and reports whether it ended within 2 s.
// It returns false at once if 256 requests wait already, or if such a fetch was asked for within the last
// 30 s and has ended.
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

// await waits for done, unless too many requests wait already. The caller holds s.mu; await unlocks it.
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
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// fetch returns the published set, after OIDC discovery (OpenID Connect Discovery section 4) if no URL is configured.
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
	if problem, _ := urlProblem(found, true, s.insecureHosts); problem != "" || strings.HasPrefix(found, "http:") && !s.mayUseHTTP(found) {
		return "", errDiscoveredURL
	}
	return found, nil
}

// mayUseHTTP reports whether the issuer's discovery document may lead to found, a plain http URL.
func (s *keySource) mayUseHTTP(found string) bool {
	issuer, err1 := url.Parse(s.issuer)
	u, err2 := url.Parse(found)
	return err1 == nil && err2 == nil && issuer.Scheme == "http" && (isLoopback(issuer.Hostname()) || !isLoopback(u.Hostname()))
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

// describe returns why a fetch failed, without any address or message of the system.
func describe(err error) string {
	var timeout net.Error
	var status statusError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &status):
		return status.Error()
	}
	for _, known := range []error{errMalformedSet, errEmptySet, errDiscovery, errOtherIssuer, errDiscoveredURL, errTooLong} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "cannot be reached"
}

// fix makes the keys of the configuration the source's set.
func (s *keySource) fix(keys ...crypto.PublicKey) error {
	set, err := newFixedSet(s.algorithms, keys...)
	if err == nil {
		s.set.Store(set)
	}
	return err
}

// fetchClient returns a client that follows no redirect: the operator configures where keys come from,
// nobody else. roots are the authorities that it trusts, nil for the system's.
func fetchClient(from *http.Client, roots *x509.CertPool) (*http.Client, error) {
	client := http.Client{}
	if from != nil {
		client = *from
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	client.Timeout = fetchTimeout
	if roots == nil {
		return &client, nil
	}
	base := client.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	transport, ok := base.(*http.Transport)
	if !ok {
		return nil, errors.New("a certificate authority needs an HTTPClient whose Transport is an *http.Transport")
	}
	transport = transport.Clone()
	if transport.TLSClientConfig == nil {
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	transport.TLSClientConfig.RootCAs = roots
	client.Transport = transport
	return &client, nil
}
