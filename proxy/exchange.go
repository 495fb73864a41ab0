package proxy

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"tilegate/auth"
	"tilegate/proxy/wire"
	"tilegate/tilecache"
)

// exchange is one request on its way through the proxy: its response writer, and what the access log and
// the metrics will say of it. It is pooled; nobody keeps one beyond its request.
type exchange struct {
	wire.Writer
	entry          wire.Entry // its count among the requests under way
	start          time.Time
	tileset        *tileset // nil where the request named none that exists
	resourcePolicy []string // Cross-Origin-Resource-Policy of what is no tileset's
	pathToken      bool     // the path carries the credential
	outcome        outcome
	what           string      // is asked for, in the words of an error: archive, object; "" is a tile
	grant          *auth.Grant // of the credential, where one was verified
	requestID      string
	err            error         // why the request failed; for the log alone
	clientGone     bool          // the client left before its answer
	probe          bool          // it asks how tilegate is; the log leaves it out
	refused        bool          // there were too many; the log names the client once a minute
	caller         caller        // whom it counts for; set by callerOf
	counted        bool          // it has been counted for its caller
	advance        bool          // it was counted in advance, since it may end in a 304
	overdrawn      time.Duration // with advance: the budget was used up, for that long
	overTiles      bool          // its caller is over distinct_tiles
	delayed        bool          // it has waited since its caller is over a limit
	usage          *Usage        // where it counts, once it may be answered with what a tileset holds
	metered        bool          // it has been counted there, with
	announced      int64         // bytes
	contents       contents      // the tiles that it asks for
	sent           bool          // it is answered with them
	tagged         bool          // a CDN has been told the tile's tags
	timing         *timing       // nil unless Server-Timing is on
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// WriteHeader adds the fields that every answer has, whatever its status.
func (x *exchange) WriteHeader(status int) {
	if x.Status() == 0 {
		if x.timing != nil {
			x.Set("Server-Timing", x.timing.header(x.outcome))
		}
		policy := x.resourcePolicy
		switch {
		case x.pathToken:
			// The credential is in the URL and not one that the browser adds by itself: a page that has
			// the URL may use it, whatever its site. No cookie is ever read for such a request.
			policy = crossOrigin
		case x.tileset != nil:
			policy = x.tileset.resourcePolicy
		}
		x.Set("Cross-Origin-Resource-Policy", policy)
		x.meter(status)
	}
	x.Writer.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.Status() == 0 {
		x.WriteHeader(http.StatusOK)
	}
	return x.Writer.Write(b)
}

// again reports whether the request can be answered once more, from the start, and forgets what the first try said about its
// answer's content.
func (x *exchange) again() bool {
	if x.Status() != 0 {
		return false
	}
	for _, name := range entityHeaders {
		x.Del(name)
	}
	return true
}

// loggedStatus is what the access log and the metrics call the outcome: the status that was sent, or
// statusClientGone.
func (x *exchange) loggedStatus() int {
	if x.clientGone {
		return statusClientGone
	}
	return x.Status()
}

// identify gives the request an id where it brought none.
func (x *exchange) identify() {
	if x.requestID == "" {
		x.requestID = rand.Text()
		x.Set("X-Request-Id", []string{x.requestID})
	}
}

// usableRequestID reports whether a client's X-Request-Id may stand in our answer and log.
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
