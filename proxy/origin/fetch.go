package origin

import (
	"context"
	"net/http"
	"time"

	"tilegate/internal/tile"
)

// Fetch gets a tile's object; it is a tile.Fetch. ctx bounds the body too. Its errors are those of
// tile.Fetch, in the classes of package tile. Their text is for the log: it tells what S3 said and what to
// do about it, and holds no secret.
func (s *S3) Fetch(ctx context.Context, key tile.Key, cond tile.Condition) (*tile.Object, error) {
	return s.readSpan(ctx, s.Key(key), span{}, cond)
}

// get sends a request until its answer is final, each time with the credentials that are valid by then.
// The package comment has the bound of this loop.
func (s *S3) get(ctx context.Context, r request) (*tile.Object, error) {
	s.retries.earn()
	creds, err := s.credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	renewed := false
	var tried [remedies]bool
	for n := 1; ; n++ {
		r.creds = creds
		object, f := s.attempt(ctx, r)
		if r.plain && (f == nil || f.status < http.StatusInternalServerError && !f.unexplained && f.status > 0) {
			s.store.noteNoChecksums(s.ID)
		}
		if f == nil {
			return object, nil
		}
		retry := false
		switch f.remedy {
		case newCredentials:
			s.credentials.reportRejected(creds)
			if !renewed {
				newer, err := s.credentials.Retrieve(ctx)
				renewed, retry = true, err == nil && !sameCredentials(newer, creds)
				creds = newer
			}
		case newSignature, newRegion, noChecksum, noCondition:
			retry, tried[f.remedy] = !tried[f.remedy], true
			switch f.remedy {
			case noChecksum:
				r.plain = true
			case noCondition:
				r.cond.IfNoneMatch, r.cond.IfModifiedSince = "", time.Time{}
			}
		case tryAgain, trySlower:
			retry = n < s.aws.attempts && s.retries.spend() && backoff(ctx, n)
		}
		if ctx.Err() != nil {
			retry, f = false, classifyNoAnswer(ctx, ctx.Err(), nil)
		}
		if f.remedy == newCredentials && creds.isStatic() {
			f.hint = "the token of these credentials has expired or is wrong, and nothing renews it: replace AWS_SESSION_TOKEN and its keys where they are written, or use a role"
		}
		if !retry {
			return nil, s.reportFailure(r.name, f)
		}
		s.aws.opt.Observe.Retry(s.ID)
	}
}

// attempt sends a request once, and judges the answer. It leaves the gate as soon as S3 has answered, since
// S3's SlowDown is about requests and not about bodies.
func (s *S3) attempt(ctx context.Context, r request) (*tile.Object, *fault) {
	if f := s.gate.enter(ctx); f != nil {
		return nil, f
	}
	begun := time.Now()
	resp, f := s.send(ctx, r)
	took := time.Since(begun)
	if f != nil {
		f = conditional(f, r)
	}
	s.gate.leave(f)
	var object *tile.Object
	switch {
	case f != nil && f.code == "AccessDenied":
		f = s.interpretDenied(ctx, r.name, f, r.creds)
	case f == nil:
		if object, f = s.object(ctx, resp, r); f != nil {
			_ = resp.Body.Close()
		}
	}
	if !r.probe {
		s.aws.opt.Observe.Request(s.ID, outcome(f), took)
	}
	switch {
	case f == nil && r.trial:
		s.reportSuccess("")
	case f == nil:
		s.reportSuccess(r.name)
	}
	return object, f
}

// noteNoChecksums remembers that the store refuses requests that ask for a checksum.
func (st *store) noteNoChecksums(source string) {
	if st.noChecksums.CompareAndSwap(false, true) {
		st.aws.opt.Logger.Info("the store refuses x-amz-checksum-mode: bodies are compared with their ETags only", "store", st.title(), "source", source)
	}
}
