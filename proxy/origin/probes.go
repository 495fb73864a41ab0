package origin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/tile"
)

const (
	probesHold    = time.Second // how long the result of the probes counts
	probesTimeout = 5 * time.Second
)

// probes are shared by all requests of a source that get a 403.
type probes struct {
	mu     sync.Mutex
	latest *probeResult
	denied atomic.Bool // latest says that access is denied
}

// objectRead ends a standing result that access is denied: an object has been read meanwhile.
func (p *probes) objectRead() {
	if !p.denied.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.denied.Swap(false) {
		p.latest = nil
	}
}

// probeResult says what a 403 means for these credentials. missing and reason may be read once done is closed.
type probeResult struct {
	begun   time.Time
	creds   credentials
	done    chan struct{}
	missing bool   // a 403 means that the key does not exist
	reason  string // why it does not mean that
}

// interpretDenied decides what a 403 AccessDenied means: a missing tile, or credentials that may not read
// it. The latter must never look like a hole in the map, and alone asks for new credentials.
func (s *S3) interpretDenied(ctx context.Context, name string, f *fault, creds credentials) *fault {
	reason := ""
	switch {
	case s.MissingOn403 == Always:
		return &fault{class: tile.ErrMissing, status: f.status, text: f.text}
	case s.MissingOn403 == Auto && s.isOneObject():
		// There is no other object to probe with. A probe of this one, if it succeeded, would prove that it is there.
		reason = "; not taken for a missing archive: with s3:ListBucket S3 says NoSuchKey where there is none"
	case s.MissingOn403 == Auto:
		result := s.probeResult(ctx, name, creds)
		select {
		case <-result.done:
		case <-ctx.Done():
			return classifyNoAnswer(ctx, ctx.Err(), nil)
		}
		if result.missing {
			return &fault{class: tile.ErrMissing, status: f.status, text: f.text}
		}
		reason = "; not a missing tile, as " + result.reason
	}
	s.credentials.reportDenied(creds)
	return &fault{class: tile.ErrDenied, code: f.code, status: f.status, text: f.text + reason, hint: f.hint}
}

// probeResult returns the latest result while it counts, joins probes that are under way, or begins new
// ones. Probes belong to no request: they go on when the request that caused them is cancelled.
func (s *S3) probeResult(ctx context.Context, name string, creds credentials) *probeResult {
	p := &s.probes
	p.mu.Lock()
	defer p.mu.Unlock()
	if latest := p.latest; latest != nil && sameCredentials(latest.creds, creds) {
		select {
		case <-latest.done:
			if time.Since(latest.begun) < probesHold {
				return latest
			}
		default:
			return latest
		}
	}
	result := &probeResult{begun: time.Now(), creds: creds, done: make(chan struct{})}
	p.latest = result
	p.denied.Store(false)
	go func() {
		defer close(result.done)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probesTimeout)
		defer cancel()
		result.missing, result.reason = s.runProbes(ctx, name, creds)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.latest == result {
			p.denied.Store(!result.missing)
		}
	}()
	return result
}

// runProbes tells a missing key from a denied one. Without s3:ListBucket, S3 answers 403 for a random key
// too, while an object that exists can still be read.
func (s *S3) runProbes(ctx context.Context, name string, creds credentials) (missing bool, reason string) {
	random := make(chan *fault, 1)
	go func() { random <- s.probe(ctx, randomSibling(name), creds) }()
	unreadable := s.probeReadable(ctx, creds)
	switch f := <-random; {
	case unreadable != "":
		return false, unreadable
	case f == nil:
		return false, "a random key is there"
	case f.code == "AccessDenied":
		return true, ""
	case errors.Is(f, tile.ErrMissing):
		return false, "a random key is answered 404: with s3:ListBucket S3 would say NoSuchKey here too"
	default:
		return false, "a random key could not be asked for: " + f.text
	}
}

// probeReadable probes an object of this source that should be there: one that has been read before, else
// the canary. It returns "" where the object can be read, else what prevents it.
func (s *S3) probeReadable(ctx context.Context, creds credentials) string {
	if name := s.readable.Load(); name != nil {
		f := s.probe(ctx, *name, creds)
		if f == nil {
			return ""
		}
		if !errors.Is(f, tile.ErrMissing) && f.code != "AccessDenied" {
			return fmt.Sprintf("%s could not be asked for: %s", *name, f.text)
		}
		s.readable.CompareAndSwap(name, nil) // deleted or denied: the canary decides
	}
	if s.isBundle() {
		return "no object of this bundle has been read yet"
	}
	canary := s.Key(s.Canary)
	if f := s.probe(ctx, canary, creds); f != nil {
		return fmt.Sprintf("%s, which should be there, can't be read: %s", canary, f.text)
	}
	return ""
}

// probe asks for an object's first byte, and returns nil where it can be read. It bypasses the gate and the
// retries, but is signed a second time where S3's answer has corrected the clock or the region.
func (s *S3) probe(ctx context.Context, name string, creds credentials) *fault {
	r := request{name: name, probe: true, creds: creds}
	resp, f := s.send(ctx, r)
	if f != nil && (f.remedy == newSignature || f.remedy == newRegion) {
		resp, f = s.send(ctx, r)
	}
	if f == nil {
		drainProbe(resp.Body)
		_ = resp.Body.Close()
	}
	return f
}

// randomSibling is a random key next to name and with its extension. A policy that goes by the one or the
// other treats both keys alike.
func randomSibling(name string) string {
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext) + "-" + strings.ToLower(rand.Text()) + ext
}
