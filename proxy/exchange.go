package proxy

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"net/http"
	"sync"
	"time"

	"tilegate/auth"
	"tilegate/tilecache"
)

// exchange is one request on its way through the proxy: its response writer, and what the access
// log and the metrics will say of it. It is pooled; nobody keeps one beyond its request.
type exchange struct {
	http.ResponseWriter
	start     time.Time
	status    int      // 0 until the header is written
	bytes     int64    // of the body
	tileset   *tileset // nil where the request named none that exists
	policy    []string // Cross-Origin-Resource-Policy of what is no tileset's
	outcome   outcome
	grant     *auth.Grant // of the credential, where one was verified
	requestID string
	err       error         // why the request failed; for the log alone
	stall     time.Duration // how long one write may take
	renewAt   time.Time     // from when on the header needs a new deadline for its write
	stream    *stream       // of HTTP/2; nil over HTTP/1
	timing    *timing       // nil unless Server-Timing is on
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// begin prepares for what a request needs besides its handler. The server has given the answer its
// deadline when the request came in; one that takes a while to find gets a new one with its header.
func (x *exchange) begin(r *http.Request, readBody time.Duration) error {
	x.renewAt = x.start.Add(x.stall / 8)
	if r.ProtoMajor > 1 {
		x.stream = newStream(r, x.ResponseWriter, x.stall)
	}
	return x.boundBody(r, readBody)
}

// WriteHeader notes the status, and says who may embed the answer, whatever it is.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
		if now := time.Now(); !now.Before(x.renewAt) {
			x.extendDeadline(now)
		}
		if x.timing != nil {
			x.Header()["Server-Timing"] = x.timing.header(x.outcome)
		}
		policy := x.policy
		if x.tileset != nil {
			policy = x.tileset.resourcePolicy
		}
		x.Header()["Cross-Origin-Resource-Policy"] = policy
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	var n int
	var err error
	if x.stream != nil {
		n, err = x.stream.write(x.ResponseWriter, b)
	} else {
		n, err = x.ResponseWriter.Write(b) //nolint:gosec // tiles and JSON, with their type and nosniff
	}
	x.bytes += int64(n)
	return n, err
}

// writeWhole sends the whole body, over HTTP/1 in one write with the header.
func (x *exchange) writeWhole(r *http.Request, b []byte) error {
	joined := connectionOf(r).joined
	if x.stream != nil || joined == nil {
		_, err := x.Write(b)
		return err
	}
	joined.hold()
	_, err := x.Write(b)
	return cmp.Or(err, joined.release())
}

// extendDeadline gives the client another stall's time to take what is written next: the deadline
// rolls, so a slow client is served as long as it reads, and one that does not read is cut off.
func (x *exchange) extendDeadline(now time.Time) {
	if x.stream != nil {
		return // it is watched
	}
	// A writer without deadlines (a test's recorder) has no connection that could stall.
	_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(now.Add(x.stall))
}

// identify gives the request an id where it brought none.
func (x *exchange) identify() {
	if x.requestID == "" {
		x.requestID = rand.Text()
		x.Header()["X-Request-Id"] = []string{x.requestID}
	}
}

// outcome is what became of a request at the cache, a bounded set for log and metrics.
type outcome uint8

const (
	outcomeNone   outcome = iota // never reached the cache
	outcomeHit                   // fresh
	outcomeStale                 // served beyond its freshness
	outcomeMiss                  // began a fill
	outcomeJoined                // waited on a fill that another request began
	outcomes
)

var outcomeNames = [outcomes]string{"none", "hit", "stale", "miss", "joined"}

func (o outcome) String() string { return outcomeNames[o] }

func outcomeOf(s tilecache.State) outcome {
	switch s {
	case tilecache.Hit:
		return outcomeHit
	case tilecache.Stale:
		return outcomeStale
	case tilecache.Joined:
		return outcomeJoined
	default:
		return outcomeMiss
	}
}

// usableRequestID tells whether a client's X-Request-Id may stand in our answer and log.
func usableRequestID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != ':' {
			return false
		}
	}
	return true
}

// cut returns what makes a write that waits for this client fail: the cache calls it, from another
// goroutine, when it needs the bytes that a slow client holds.
func (x *exchange) cut() func() {
	if x.stream != nil {
		return x.stream.cut
	}
	controller := http.NewResponseController(x.ResponseWriter)
	return func() { _ = controller.SetWriteDeadline(time.Unix(1, 0)) } // without deadlines there is nothing to cut
}

// flush sends what has been written so far.
func (x *exchange) flush() error {
	if x.stream != nil {
		return x.stream.flush()
	}
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// reset makes an abort felt where it would look like an end: in HTTP/1.0, which nginx speaks to its
// upstreams unless told otherwise, an answer of unknown length ends with its connection.
func (x *exchange) reset(r *http.Request) {
	if r.ProtoAtLeast(1, 1) {
		return
	}
	conn, _, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err != nil {
		return // a test's recorder
	}
	if overTLS, ok := conn.(*tls.Conn); ok {
		conn = overTLS.NetConn()
	}
	if overTCP, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = overTCP.SetLinger(0) // closing then sends RST in place of FIN
	}
	_ = conn.Close() // it is going to fail, that is the point
}

// boundBody deals with requests that have a body, which here is the exception. It is awaited for a
// bounded time; http.Server.ReadTimeout would do that too, but then ends the context of requests that
// wait for a slow origin. One in chunks ends its connection: net/http drops a Content-Length that
// stands beside Transfer-Encoding unseen, and what follows could be a request that another proxy
// took for this one's body (RFC 9112 section 6.1).
func (x *exchange) boundBody(r *http.Request, timeout time.Duration) error {
	if r.ContentLength == 0 {
		return nil
	}
	// A connection that takes no deadline is a test's; HTTP/2 takes one for its stream.
	_ = http.NewResponseController(x.ResponseWriter).SetReadDeadline(x.start.Add(timeout))
	if len(r.TransferEncoding) == 0 {
		return nil
	}
	x.Header()["Connection"] = []string{"close"}
	if r.Method != http.MethodPost {
		return refuse(http.StatusBadRequest, "Only POST may have a body in chunks here.")
	}
	return nil
}
