package origin

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"time"

	"tilegate/internal/tile"
)

// GetObject is the one call that every miss makes. The SDK's version costs as much as all the rest of a
// miss, nearly all of it for a stack of middleware that is built anew for each call. So this package makes
// the call itself: with the SDK's endpoint rules (asked once for each source), its signer, and net/http.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html

// emptyPayload is the SHA-256 of an empty body. It is part of the signature of a GET.
const emptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

var userAgent = []string{"tilegate"}

// request is one GetObject.
type request struct {
	name  string // the object's key
	span  span   // the part of the object that is wanted
	cond  tile.Condition
	probe bool // asks for the first byte alone, to learn whether the object can be read; see drainProbe
	trial bool // the object may be another source's, so that having read it says nothing about this source
	plain bool // does not ask for a checksum, since the store refused that
	creds credentials
}

// conditional reports whether the answer may be 304.
func (r *request) conditional() bool {
	return r.cond.IfNoneMatch != "" || !r.cond.IfModifiedSince.IsZero()
}

// pinned reports whether the answer may be of one version of the object alone.
func (r *request) pinned() bool { return r.cond.IfMatch != "" || !r.cond.IfUnmodifiedSince.IsZero() }

func (r *request) secrets() []string { return []string{r.creds.SecretAccessKey, r.creds.SessionToken} }

// acceptGzip keeps Google's service from unpacking what is stored gzipped: unpacked objects have no length, no
// strong ETag and no ranges. The header is not signed, as Google's front ends change it.
// https://docs.cloud.google.com/storage/docs/transcoding
var acceptGzip = []string{"gzip"}

// send signs and sends a request once, and learns from a refusal how it has to be sent. Every answer other than
// an object becomes a fault.
func (s *S3) send(ctx context.Context, r request) (*http.Response, *fault) {
	at := s.endpoint.Load()
	u := at.object(r.name)
	header := http.Header{"User-Agent": userAgent, "X-Amz-Content-Sha256": {emptyPayload}}
	checked := false
	if wanted := r.byteRange(); wanted != "" {
		header["Range"] = []string{wanted} // S3 keeps no checksums of ranges
	} else if checked = !r.plain && !s.store.noChecksums.Load(); checked {
		header["X-Amz-Checksum-Mode"] = []string{"ENABLED"}
	}
	if r.cond.IfMatch != "" {
		header["If-Match"] = []string{r.cond.IfMatch}
	}
	if !r.cond.IfUnmodifiedSince.IsZero() {
		header["If-Unmodified-Since"] = []string{r.cond.IfUnmodifiedSince.UTC().Format(http.TimeFormat)}
	}
	if r.cond.IfNoneMatch != "" {
		header["If-None-Match"] = []string{r.cond.IfNoneMatch}
	} else if !r.cond.IfModifiedSince.IsZero() {
		header["If-Modified-Since"] = []string{r.cond.IfModifiedSince.UTC().Format(http.TimeFormat)}
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if s.store.RequestPayer {
		header["X-Amz-Request-Payer"] = []string{"requester"}
	}
	skew := s.store.clockSkew()
	if r.creds.anonymous {
		// Nothing is signed.
	} else if err := s.store.signer.SignHTTP(ctx, r.creds.Credentials, req, emptyPayload, at.service, at.region, time.Now().Add(skew)); err != nil {
		return nil, badAnswer("cannot sign: %s", sanitize(err.Error(), r.secrets()))
	}
	header["Accept-Encoding"] = acceptGzip
	sent := time.Now()
	resp, err := s.store.client.do(ctx, req)
	if err != nil {
		return nil, classifyNoAnswer(ctx, err, r.secrets())
	}
	switch {
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusPartialContent,
		resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && r.probe: // an empty object can be read
		return resp, nil
	}
	f := errorDocument(ctx, resp, r.secrets())
	switch {
	case f.skewed:
		s.store.noteClock(resp.Header, sent)
		if (s.store.clockSkew() - skew).Abs() >= noticeableSkew {
			f.remedy = newSignature
		}
	case f.region != "":
		if s.learnRegion(ctx, f.region); s.endpoint.Load().region != at.region {
			f.remedy = newRegion
		}
	case checked && f.unexplained && (f.status == http.StatusBadRequest || f.status == http.StatusNotImplemented):
		f.remedy = noChecksum
	case f.status == http.StatusPreconditionFailed && !r.pinned() && r.conditional():
		f.remedy = noCondition
	}
	return nil, f
}

// errorDoc is what S3 says in an error document.
type errorDoc struct{ Code, Message, Region, Endpoint string }

// errorDocument reads what S3 sends instead of an object. It reads to the end, so that the connection can
// be used again.
func errorDocument(ctx context.Context, resp *http.Response, secrets []string) *fault {
	defer func() { _ = resp.Body.Close() }()
	var doc errorDoc
	_ = xml.NewDecoder(resp.Body).Decode(&doc) // a document that is not S3's has no code
	_, err := io.Copy(io.Discard, resp.Body)
	left := ctx.Err() // looked at once: the caller may leave right after it
	if left != nil || errors.Is(err, errStalled) {
		return classifyNoAnswer(ctx, cmp.Or(left, err), secrets)
	}
	f := classifyAnswer(resp.StatusCode, resp.Header, doc, resp.Header.Get("X-Amz-Request-Id"), secrets)
	f.unexplained = f.unexplained && err == nil // the rest may have told more
	return f
}

// drainProbe reads the body of a probe to its end, so that the connection can be used again. A store that
// ignores Range sends the whole object: its rest is left unread.
func drainProbe(body io.Reader) { _, _ = io.CopyN(io.Discard, body, 2) }
