package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
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
		f.status == http.StatusRequestedRangeNotSatisfiable && r.cond.Offset > 0: // it has become shorter
		f.class = tile.ErrChanged
	}
	return f
}

// object makes a tile.Object of S3's answer, and refuses an answer that does not fit the request.
func (s *S3) object(ctx context.Context, resp *http.Response, r request) (*tile.Object, *fault) {
	if r.probe {
		return &tile.Object{Body: resp.Body}, nil
	}
	h, cond := resp.Header, r.cond
	modified, _ := http.ParseTime(h.Get("Last-Modified")) // zero where S3 does not tell
	b := &body{ReadCloser: resp.Body, s: s, ctx: ctx}
	o := &tile.Object{
		Body: b, Size: resp.ContentLength, ETag: strongETag(h.Get("Etag")), LastModified: modified,
		Encoding: storedEncoding(h.Get("Content-Encoding")),
	}
	if cond.Offset == 0 {
		if b.sum, b.want = checksumOf(h); b.sum != nil {
			o.Check = b.check
		}
	}
	partial := h.Get("Content-Range")
	switch {
	case cond.Offset == 0 && (partial != "" || resp.StatusCode == http.StatusPartialContent):
		return nil, badAnswer("a part (%s) of an object that was asked for whole", sanitize(partial, nil))
	case cond.Offset == 0:
		return o, nil
	case cond.IfMatch != "" && o.ETag != cond.IfMatch:
		return nil, &fault{class: tile.ErrChanged, text: "another ETag than If-Match asked for"}
	case partial == "": // a 200: a store that ignores Range sends all of it
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
		return nil, badAnswer("Content-Range %s for bytes=%d-", sanitize(partial, nil), cond.Offset)
	}
	o.Size = total
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
