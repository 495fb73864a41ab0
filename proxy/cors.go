package proxy

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"tilegate/internal/weborigin"
)

// CORS says which other sites' pages may read our answers (the Fetch standard, section 3.2).
type CORS struct {
	Origins []string      // as package weborigin reads them
	Headers []string      // request header fields that pages may send besides those that tilegate understands
	MaxAge  time.Duration // how long browsers may remember a preflight
}

// cors holds the allowed origins and the header values that follow from them. With one exact origin every
// answer has the same fields. With several, or a pattern, the request's origin is echoed, and every
// answer says that it varies by Origin: otherwise a copy that the browser cached for an image element
// would fail when a script reads it.
type cors struct {
	single         []string
	exact          map[string]bool
	patterns       []weborigin.Pattern // those that allow more than one origin
	maxAge         []string
	allowedHeaders []string
	crossing       bool // an allowed origin may be of another site than ours

	latest atomic.Pointer[string] // the origin that a pattern allowed last: pages ask again and again
}

var (
	varyOrigin       = []string{"Origin"}
	varyEncoding     = []string{"Accept-Encoding"}
	varyBoth         = []string{"Origin, Accept-Encoding"}
	allowCredentials = []string{"true"}
	exposedHeaders   = []string{"Cache-Status, Content-Length, Content-Range, Date, ETag, Retry-After, Server-Timing, WWW-Authenticate, X-Request-Id"}
	allowedMethods   = []string{"GET, HEAD, POST, DELETE"}
	allMethods       = "GET, HEAD, POST, DELETE, OPTIONS"
)

// requestHeaders are the fields that pages may always send: those that tilegate understands, and those with which
// tracing libraries mark each request of a page (W3C Trace Context and Baggage).
var requestHeaders = []string{
	"Authorization", "Content-Type", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Range", "X-Api-Key", "X-Request-Id",
	"Traceparent", "Tracestate", "Baggage",
}

func newCORS(o CORS, ours string) (*cors, error) {
	c := &cors{exact: map[string]bool{}, maxAge: []string{strconv.Itoa(int(o.MaxAge.Seconds()))}}
	for _, origin := range o.Origins {
		pattern, err := weborigin.Parse(origin)
		if err != nil {
			return nil, fmt.Errorf("CORS origin %q: %w", origin, err)
		}
		if pattern.Exact() {
			c.exact[origin] = true
		} else {
			c.patterns = append(c.patterns, pattern)
		}
		c.crossing = c.crossing || pattern.Site() != weborigin.Site(ours)
	}
	if len(o.Origins) == 1 && len(c.patterns) == 0 {
		c.single = []string{o.Origins[0]}
	}
	headers := slices.Clone(requestHeaders)
	for _, name := range o.Headers {
		if !slices.ContainsFunc(headers, func(known string) bool { return strings.EqualFold(known, name) }) {
			headers = append(headers, name)
		}
	}
	c.allowedHeaders = []string{strings.Join(headers, ", ")}
	return c, nil
}

var (
	sameSite    = []string{"same-site"}
	crossOrigin = []string{"cross-origin"}
)

// resourcePolicy is the Cross-Origin-Resource-Policy of answers (the Fetch standard, section 3.7). public
// is true for those of a public tileset.
func (c *cors) resourcePolicy(public bool) []string {
	if public || c.crossing {
		return crossOrigin
	}
	return sameSite
}

func (c *cors) varies() bool { return c.single == nil && len(c.exact)+len(c.patterns) > 0 }

func (c *cors) allows(origin string) bool {
	if c.exact[origin] {
		return true
	}
	if latest := c.latest.Load(); latest != nil && *latest == origin {
		return true
	}
	for i := range c.patterns {
		if c.patterns[i].Matches(origin) {
			origin = strings.Clone(origin) // not to keep the request's memory
			c.latest.Store(&origin)
			return true
		}
	}
	return false
}

// apply sets the fields that every answer carries, whatever its route and status.
func (c *cors) apply(x *exchange, r *http.Request) {
	given := r.Header["Origin"]
	switch {
	case c.single != nil:
		x.Set("Access-Control-Allow-Origin", c.single)
		x.Set("Timing-Allow-Origin", c.single)
	case c.varies():
		x.Set("Vary", varyOrigin)
		if len(given) != 1 || !c.allows(given[0]) {
			return
		}
		x.Set("Access-Control-Allow-Origin", given)
		x.Set("Timing-Allow-Origin", given)
	default:
		return
	}
	x.Set("Access-Control-Allow-Credentials", allowCredentials)
	if given != nil {
		x.Set("Access-Control-Expose-Headers", exposedHeaders)
	}
}

// preflight answers OPTIONS on every path. It needs no credential: the answer holds no secret.
func (c *cors) preflight(x *exchange, r *http.Request) error {
	x.Set("Cache-Control", privateNoStore)
	x.Set("Allow", []string{allMethods})
	_, asks := r.Header["Access-Control-Request-Method"]
	if origin := r.Header.Get("Origin"); asks && !c.allows(origin) {
		x.err = fmt.Errorf("a page of %.200q may not read this: server.cors.origins does not list it", origin) // the browser tells only the page
	}
	if asks && x.Get("Access-Control-Allow-Origin") != nil {
		x.Set("Access-Control-Allow-Methods", allowedMethods)
		x.Set("Access-Control-Allow-Headers", c.allowedHeaders)
		x.Set("Access-Control-Max-Age", c.maxAge)
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// varyByEncoding adds Accept-Encoding to the Vary that cors.apply has set.
func varyByEncoding(x *exchange) {
	if x.Get("Vary") != nil {
		x.Set("Vary", varyBoth)
	} else {
		x.Set("Vary", varyEncoding)
	}
}
