package origin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"tilegate/internal/tile"
)

const (
	verdictHolds = time.Second
	probeTimeout = 5 * time.Second
)

// verdict is the shared answer to what a 403 means.
type verdict struct {
	mu     sync.Mutex
	latest *question
}

// question is asked once for all who get a 403 with the same credentials meanwhile.
type question struct {
	asked   time.Time
	creds   credentials
	done    chan struct{}
	missing bool   // valid once done is closed, as is
	why     string // not
}

// forbidden decides on a 403 AccessDenied: a missing tile, or broken credentials, which must never
// look like a hole in the map. Only the latter asks for new credentials.
func (s *S3) forbidden(ctx context.Context, name string, f *fault, creds credentials) *fault {
	why := ""
	switch s.Forbid {
	case True:
		return &fault{class: tile.ErrMissing, status: f.status, text: f.text}
	case Ask:
		q := s.ask(ctx, name, creds)
		select {
		case <-q.done:
		case <-ctx.Done():
			return classifySilence(ctx, ctx.Err(), nil)
		}
		if q.missing {
			return &fault{class: tile.ErrMissing, status: f.status, text: f.text}
		}
		why = "; not a missing tile, as " + q.why
	}
	s.keeper.denied(creds)
	return &fault{class: tile.ErrDenied, code: f.code, status: f.status, text: f.text + why, hint: f.hint}
}

// ask joins the latest question when it is fresh enough, else asks anew. The probes are nobody's
// request: they go on when the one that caused them leaves.
func (s *S3) ask(ctx context.Context, name string, creds credentials) *question {
	v := &s.verdict
	v.mu.Lock()
	defer v.mu.Unlock()
	if q := v.latest; q != nil && same(q.creds, creds) {
		select {
		case <-q.done:
			if time.Since(q.asked) < verdictHolds {
				return q
			}
		default:
			return q
		}
	}
	q := &question{asked: time.Now(), creds: creds, done: make(chan struct{})}
	v.latest = q
	go func() {
		defer close(q.done)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		q.missing, q.why = s.probe403(ctx, name, creds)
	}()
	return q
}

// probe403 asks S3 what tells a missing key from a denial: without s3:ListBucket, S3 answers 403 for a
// random key too, while an object that is there can still be read.
func (s *S3) probe403(ctx context.Context, name string, creds credentials) (missing bool, why string) {
	random := make(chan *fault, 1)
	go func() { random <- s.touch(ctx, neighbour(name), creds) }()
	read, how := s.readsAnything(ctx, creds)
	switch f := <-random; {
	case !read:
		return false, how
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

// readsAnything says whether an object of this source can be read: one that was read before, else
// the canary.
func (s *S3) readsAnything(ctx context.Context, creds credentials) (bool, string) {
	if known := s.known.Load(); known != nil {
		f := s.touch(ctx, *known, creds)
		if f == nil {
			return true, ""
		}
		if !errors.Is(f, tile.ErrMissing) && f.code != "AccessDenied" {
			return false, fmt.Sprintf("%s could not be asked for: %s", *known, f.text)
		}
		s.known.CompareAndSwap(known, nil) // deleted, or denied: the canary decides
	}
	canary := s.Key(s.Canary)
	if f := s.touch(ctx, canary, creds); f != nil {
		return false, fmt.Sprintf("%s, which should be there, can't be read: %s", canary, f.text)
	}
	return true, ""
}

// touch reads an object's first byte; nil: it can be read.
func (s *S3) touch(ctx context.Context, name string, creds credentials) *fault {
	r := request{name: name, bytes: firstByte, creds: creds}
	answer, f := s.send(ctx, r)
	if f != nil && f.remedy == newSignature {
		answer, f = s.send(ctx, r)
	}
	if f == nil {
		taste(answer.Body)
		_ = answer.Body.Close()
	}
	return f
}

// neighbour is a random key beside name and with its extension, so that a policy which goes by either
// treats both alike.
func neighbour(name string) string {
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext) + "-" + strings.ToLower(rand.Text()) + ext
}
