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
	case f.status == http.StatusNotModified && r.cond.IfNoneMatch != "":
		f.class = tile.ErrNotModified
	case f.status == http.StatusPreconditionFailed && r.cond.IfMatch != "",
		f.status == http.StatusRequestedRangeNotSatisfiable && (r.cond.IfMatch != "" || r.cond.Offset > 0): // it has become shorter
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
		Body: b, Size: resp.ContentLength, ETag: strongETag(h.Get("Etag")), LastModified: modified,
		Encoding: storedEncoding(h.Get("Content-Encoding")),
	}
	switch {
	case r.cond.IfMatch != "" && o.ETag != r.cond.IfMatch:
		return nil, &fault{class: tile.ErrChanged, text: "another ETag than If-Match asked for"}
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

// strongETag returns an ETag that conditions may be built on: quoted and not weak (RFC 9110 section
// 8.8.3). For any other it returns "".
func strongETag(etag string) string {
	if len(etag) < 2 || etag[0] != '"' || etag[len(etag)-1] != '"' || strings.Contains(etag[1:len(etag)-1], `"`) {
		return ""
	}
	return etag
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
