package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"tilegate/internal/tile"
)

// Fetch gets a tile's object; it is a tile.Fetch. ctx bounds the body too. Errors: those of
// tile.Fetch and tile's classes. Their text is for the log: it tells what S3 said and what to do,
// and holds no secret.
func (s *S3) Fetch(ctx context.Context, key tile.Key, cond tile.Condition) (*tile.Object, error) {
	return s.get(ctx, request{name: s.Key(key), cond: cond})
}

// get sends a request until it has an answer, with the credentials that are good by then.
func (s *S3) get(ctx context.Context, r request) (*tile.Object, error) {
	s.budget.earn()
	creds, err := s.keeper.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	renewed, resigned := false, false
	for n := 1; ; n++ {
		r.creds = creds
		object, f := s.attempt(ctx, r)
		if f == nil {
			return object, nil
		}
		retry := false
		switch f.remedy {
		case newCredentials:
			s.keeper.refused(creds)
			if !renewed {
				newer, err := s.keeper.Retrieve(ctx)
				renewed, retry = true, err == nil && !same(newer, creds)
				creds = newer
			}
		case newSignature:
			retry, resigned = !resigned, true
		case tryAgain, trySlower:
			retry = n < s.aws.attempts && s.budget.spend() && backoff(ctx, n)
		}
		if ctx.Err() != nil {
			retry, f = false, classifySilence(ctx, ctx.Err(), nil)
		}
		if !retry {
			return nil, s.settle(r.name, f)
		}
		s.aws.opt.Observe.Retry(s.ID)
	}
}

// attempt is one GetObject, and the verdict on it. The place at the gate is given back once S3 has answered,
// as what it asks to be spared is requests.
func (s *S3) attempt(ctx context.Context, r request) (*tile.Object, *fault) {
	if f := s.gate.enter(ctx); f != nil {
		return nil, f
	}
	begun := time.Now()
	answer, f := s.send(ctx, r)
	took := time.Since(begun)
	if f != nil {
		f = conditional(f, r.cond)
	}
	s.gate.leave(f)
	var object *tile.Object
	switch {
	case f != nil && f.code == "AccessDenied":
		f = s.forbidden(ctx, r.name, f, r.creds)
	case f == nil:
		if object, f = s.object(ctx, answer, r); f != nil {
			_ = answer.Body.Close()
		}
	}
	if r.bytes == "" { // else it is nobody's tile
		s.aws.opt.Observe.Request(s.ID, outcome(f), took)
	}
	if f == nil {
		s.well(r.name)
	}
	return object, f
}

// conditional gives the answers to conditions and ranges their meaning (RFC 9110 sections 13 and 14).
func conditional(f *fault, cond tile.Condition) *fault {
	switch {
	case f.status == http.StatusNotModified && cond.IfNoneMatch != "":
		f.class = tile.ErrNotModified
	case f.status == http.StatusPreconditionFailed && cond.IfMatch != "",
		f.status == http.StatusRequestedRangeNotSatisfiable && cond.Offset > 0: // it has become shorter
		f.class = tile.ErrChanged
	}
	return f
}

// object checks what S3 says of the object that it sends.
func (s *S3) object(ctx context.Context, answer *http.Response, r request) (*tile.Object, *fault) {
	if r.bytes != "" {
		return &tile.Object{Body: answer.Body}, nil
	}
	h, cond := answer.Header, r.cond
	modified, _ := http.ParseTime(h.Get("Last-Modified")) // else it is not known
	b := &body{ReadCloser: answer.Body, s: s, ctx: ctx}
	o := &tile.Object{
		Body: b, Size: answer.ContentLength, ETag: strong(h.Get("Etag")), LastModified: modified,
		Encoding: storedEncoding(h.Get("Content-Encoding")),
	}
	if cond.Offset == 0 {
		if b.sum, b.want = checksumOf(h); b.sum != nil {
			o.Check = b.check
		}
	}
	partial := h.Get("Content-Range")
	switch {
	case cond.Offset == 0 && (partial != "" || answer.StatusCode == http.StatusPartialContent):
		return nil, badAnswer("a part (%s) of an object that was asked for whole", plain(partial, nil))
	case cond.Offset == 0:
		return o, nil
	case cond.IfMatch != "" && o.ETag != cond.IfMatch:
		return nil, &fault{class: tile.ErrChanged, text: "another ETag than If-Match asked for"}
	case partial == "": // a 200: what doesn't know ranges may send it all
		_, err := io.CopyN(io.Discard, o.Body, cond.Offset)
		var f *fault
		if err != nil && !errors.As(err, &f) {
			f = badAnswer("the whole object instead of a range, and it ended early")
		}
		return o, f
	}
	var first, last, total int64
	if _, err := fmt.Sscanf(partial, "bytes %d-%d/%d", &first, &last, &total); err != nil ||
		first != cond.Offset || last != total-1 || o.Size >= 0 && o.Size != total-first {
		return nil, badAnswer("Content-Range %s for bytes=%d-", plain(partial, nil), cond.Offset)
	}
	o.Size = total
	return o, nil
}

func badAnswer(format string, args ...any) *fault {
	return &fault{class: tile.ErrBadAnswer, text: fmt.Sprintf(format, args...)}
}

// strong is an ETag that conditions may be built on: quoted, not weak (RFC 9110 section 8.8.3), else "".
func strong(etag string) string {
	if len(etag) < 2 || etag[0] != '"' || etag[len(etag)-1] != '"' || strings.Contains(etag[1:len(etag)-1], `"`) {
		return ""
	}
	return etag
}

// storedEncoding drops aws-chunked, which some uploaders leave behind: it described their upload.
func storedEncoding(s string) string {
	if s == "" {
		return ""
	}
	var kept []string
	for _, coding := range strings.Split(strings.ToLower(s), ",") {
		if coding = strings.TrimSpace(coding); coding != "" && coding != "aws-chunked" && coding != "identity" {
			kept = append(kept, coding)
		}
	}
	return strings.Join(kept, ",")
}
