package wire

import (
	"errors"
	"net/http"
	"time"
)

// ErrChunkedBody refuses a request in chunks whose method has no use for a body.
var ErrChunkedBody = errors.New("only POST may have a body in chunks")

// BoundBody deals with requests that have a body, which here is the exception. The body must have come by
// the deadline; http.Server.ReadTimeout would do that too, but it also ends the context of requests that
// wait for a slow origin.
//
// A body in chunks ends its connection. net/http drops a Content-Length that stands beside
// Transfer-Encoding, and nobody sees that: another proxy may have gone by the length, and what follows
// could be a request that it took for a part of this body (RFC 9112 section 6.1).
func (w *Writer) BoundBody(r *http.Request, deadline time.Time) error {
	if r.ContentLength == 0 {
		return nil
	}
	// A connection that takes no deadline is a test's. HTTP/2 takes one for its stream.
	_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(deadline)
	if len(r.TransferEncoding) == 0 {
		return nil
	}
	w.Header()["Connection"] = []string{"close"}
	if r.Method != http.MethodPost {
		return ErrChunkedBody
	}
	return nil
}
