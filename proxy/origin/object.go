package origin

import (
	"context"
	"net/http"
	"strings"

	"tilegate/internal/tile"
)

// conditional gives the answers to conditions and ranges their meaning (RFC 9110 sections 13 and 14).
func conditional(f *fault, r request) *fault {
	switch {
	case f.status == http.StatusNotModified && r.conditional():
		f.class = tile.ErrNotModified
	case f.status == http.StatusPreconditionFailed && r.pinned(),
		f.status == http.StatusRequestedRangeNotSatisfiable && (r.pinned() || r.cond.Offset > 0): // it has become shorter
		f.class = tile.ErrChanged
	}
	return f
}

// object makes a tile.Object of S3's answer, and refuses an answer that does not fit the request.
func (s *S3) object(ctx context.Context, resp *http.Response, r request) (*tile.Object, *fault) {
	if r.probe {
		return &tile.Object{Body: resp.Body}, nil
	}
	h := resp.Header
	modified, _ := http.ParseTime(h.Get("Last-Modified")) // zero where S3 does not tell
	b := &body{ReadCloser: resp.Body, s: s, ctx: ctx, name: r.name}
	o := &tile.Object{
		Body: b, Size: resp.ContentLength, ETag: etagOf(h), LastModified: modified,
		Encoding: storedEncoding(h.Get("Content-Encoding")),
	}
	name := r.name // without the request, which has credentials
	o.Reject = func(reason string) { s.reportRejected(name, reason) }
	switch {
	case r.cond.IfMatch != "" && o.ETag != r.cond.IfMatch:
		return nil, &fault{class: tile.ErrChanged, text: "another ETag than If-Match asked for"}
	case !r.cond.IfUnmodifiedSince.IsZero() && !modified.Equal(r.cond.IfUnmodifiedSince): // an older one may have been put back
		return nil, &fault{class: tile.ErrChanged, text: "another Last-Modified than If-Unmodified-Since asked for"}
	case r.byteRange() != "":
		return o, r.cutToSpan(o, b, resp)
	case resp.StatusCode == http.StatusPartialContent || h["Content-Range"] != nil:
		return nil, badAnswer("a part (%s) of an object that was asked for whole", sanitize(h.Get("Content-Range"), nil))
	}
	if b.verify(resp) {
		o.Check = b.check
	}
	return o, nil
}

// etagOf returns an answer's ETag, strong or weak (RFC 9110 section 8.8.3). Some services leave the quotes out; they
// are added. For anything else it returns "".
func etagOf(h http.Header) string {
	etag := h.Get("Etag")
	weak, opaque := "", etag
	if rest, ok := strings.CutPrefix(etag, "W/"); ok {
		weak, opaque = "W/", rest
	}
	if inner, quoted := strings.CutPrefix(opaque, `"`); quoted {
		if opaque, quoted = strings.CutSuffix(inner, `"`); !quoted {
			return ""
		}
	} else if weak != "" || opaque == "" {
		return ""
	}
	for i := range len(opaque) {
		if c := opaque[i]; c <= ' ' || c == '"' || c == 0x7f {
			return ""
		}
	}
	return weak + `"` + opaque + `"`
}

// storedEncoding drops aws-chunked from a Content-Encoding. Some uploaders leave it behind, but it described
// their upload and not the object.
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
