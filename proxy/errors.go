package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy/wire"
	"tilegate/tilecache"
)

// refusal is an answer that the proxy itself decided on. Its text goes to the client.
type refusal struct {
	status int
	detail string
	allow  string // 405: the methods that would be accepted
}

func (e *refusal) Error() string { return e.detail }

func refuse(status int, detail string) error { return &refusal{status: status, detail: detail} }

func methodNotAllowed(allow string) error {
	return &refusal{status: http.StatusMethodNotAllowed, detail: "This address answers " + allow + ".", allow: allow}
}

var (
	errBadPath   = refuse(http.StatusBadRequest, "A tile's path is /tiles/{tileset}/{z}/{x}/{y}[@{n}x][.{ext}] in canonical decimal, with z up to 30 and x, y below 2^z.")
	errForbidden = refuse(http.StatusForbidden, "Your credential is valid, but does not grant this.")
	errNotFound  = refuse(http.StatusNotFound, "There is nothing at this address.")
)

// rangeError is a Range that lies beyond the tile's size in bytes.
type rangeError struct{ size int64 }

func (e *rangeError) Error() string { return "range not satisfiable" }

// statusClientGone stands in the log for a client that left before its answer (nginx's 499). It is never sent.
const statusClientGone = 499

// failure is how an error leaves the proxy.
type failure struct {
	status     int
	detail     string
	retryAfter int // seconds; 0: no Retry-After
}

// failures is the one table from errors to statuses; the first match counts. The details are our own
// words: the text of an inner error stays in the log. {what} is a tile, an archive, or an object of a bundle.
var failures = []struct {
	err error
	failure
}{
	{wire.ErrClientBusy, failure{status: http.StatusTooManyRequests, detail: "Too many requests from your address are under way.", retryAfter: 2}},
	{wire.ErrServerBusy, failure{status: http.StatusServiceUnavailable, detail: "Too many requests are under way.", retryAfter: 2}},
	{wire.ErrChunkedBody, failure{status: http.StatusBadRequest, detail: "Only POST may have a body in chunks here."}},
	{auth.ErrNoCredential, failure{status: http.StatusUnauthorized, detail: "This needs an access token: Authorization: Bearer …, or a session cookie from POST /session."}},
	{auth.ErrTwoCredentials, failure{status: http.StatusBadRequest, detail: "The request carries the same kind of credential twice."}},
	{auth.ErrMalformed, failure{status: http.StatusBadRequest, detail: "The query, which may carry a token, cannot be read or carries two."}},
	{auth.ErrWrongOrigin, failure{status: http.StatusForbidden, detail: "This API key is for pages of other origins. The request's Origin or Referer must be one of them; a page that sends neither is refused."}},
	{auth.ErrWrongAddress, failure{status: http.StatusForbidden, detail: "This API key is for clients at other addresses."}},
	{auth.ErrWrongKind, failure{status: http.StatusForbidden, detail: "This kind of credential may not ask for that: a session comes from an access token, a path token from either."}},
	{auth.ErrNotGranted, failure{status: http.StatusForbidden, detail: "That is more than your credential grants."}},
	{auth.ErrTooLarge, failure{status: http.StatusBadRequest, detail: "The grant names too many tilesets for a cookie or a URL; globs are shorter."}},
	{auth.ErrTooManyRevocations, failure{status: http.StatusServiceUnavailable, detail: "The list of revocations is full.", retryAfter: 5}},
	{auth.ErrKeysUnavailable, failure{status: http.StatusServiceUnavailable, detail: "The keys that verify tokens have not been fetched yet.", retryAfter: 2}},
	{errNoProvider, failure{status: http.StatusServiceUnavailable, detail: "The identity provider gave no usable answer.", retryAfter: 5}},
	{tile.ErrMissing, failure{status: http.StatusNotFound, detail: "There is no such {what}."}},
	{tilecache.ErrOverloaded, failure{status: http.StatusServiceUnavailable, detail: "Too many tiles are being fetched at once.", retryAfter: 1}},
	{tilecache.ErrClosed, failure{status: http.StatusServiceUnavailable, detail: "The server is shutting down.", retryAfter: 1}},
	{tilecache.ErrCutOff, failure{status: http.StatusServiceUnavailable, detail: "This connection read too slowly.", retryAfter: 1}},
	{tile.ErrNoCredentials, failure{status: http.StatusServiceUnavailable, detail: "The tile store's credentials are being renewed.", retryAfter: 5}},
	{tile.ErrSlowDown, failure{status: http.StatusServiceUnavailable, detail: "The tile store asks for fewer requests.", retryAfter: 2}},
	{tile.ErrTimeout, failure{status: http.StatusGatewayTimeout, detail: "The tile store did not answer in time."}},
	{tile.ErrDenied, failure{status: http.StatusBadGateway, detail: "The tile store refused the proxy's credentials."}},
	{tile.ErrUnreachable, failure{status: http.StatusBadGateway, detail: "The tile store cannot be reached."}},
	{tile.ErrBadAnswer, failure{status: http.StatusBadGateway, detail: "The tile store gave a wrong answer."}},
	{errManyStreams, failure{status: http.StatusTooManyRequests, detail: "Too many archives are on their way to you.", retryAfter: 2}},
	{errReplacing, failure{status: http.StatusServiceUnavailable, detail: "The tileset's archive is being replaced.", retryAfter: 1}},
	{tile.ErrChanged, failure{status: http.StatusBadGateway, detail: "The {what} changed while it was being fetched."}},
	{errNotFetched, failure{status: http.StatusBadGateway, detail: "The tile store's answer cannot be used."}},
}

// errNotFetched marks a failure between the tile store and us that is of no class above.
var errNotFetched = errors.New("tile not fetched")

func notFetched(err error) error { return fmt.Errorf("%w: %w", errNotFetched, err) }

// failureOf finds an error's place in the table. what was asked for: "" is a tile.
func failureOf(err error, what string) failure {
	f := find(err)
	f.detail = strings.Replace(f.detail, "{what}", cmp.Or(what, "tile"), 1)
	return f
}

func find(err error) failure {
	if r, ok := errors.AsType[*refusal](err); ok {
		return failure{status: r.status, detail: r.detail}
	}
	if e, ok := errors.AsType[*auth.InvalidError](err); ok {
		return failure{status: http.StatusUnauthorized, detail: "The credential is not valid: " + e.Description + "."}
	}
	if _, ok := errors.AsType[*rangeError](err); ok {
		return failure{status: http.StatusRequestedRangeNotSatisfiable, detail: "The {what} has no such bytes."}
	}
	if f, ok := overLimit(err); ok {
		return f
	}
	for _, f := range failures {
		if errors.Is(err, f.err) {
			return f.failure
		}
	}
	return failure{status: http.StatusInternalServerError, detail: "Something went wrong inside the proxy."}
}

// problem is the body of an error answer (RFC 9457).
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id,omitempty"`
}

// fail answers a request that ended in err. Once the header is out, no status can be sent any more: the
// connection is aborted, so that nobody mistakes half a tile for a tile.
func (p *Proxy) fail(x *exchange, r *http.Request, err error) {
	x.err = err
	if x.Status() != 0 {
		panic(http.ErrAbortHandler)
	}
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		x.clientGone = true
		panic(http.ErrAbortHandler)
	}
	f := failureOf(err, x.what)
	for _, name := range entityHeaders {
		x.Del(name)
	}
	if f.status == http.StatusUnauthorized {
		x.Set("Www-Authenticate", []string{challenge(err)})
	}
	if refused, ok := errors.AsType[*refusal](err); ok && refused.allow != "" {
		x.Set("Allow", []string{refused.allow})
	}
	if unsatisfiable, ok := errors.AsType[*rangeError](err); ok {
		x.Set("Content-Range", []string{"bytes */" + formatLength(unsatisfiable.size)})
	}
	if f.retryAfter > 0 {
		x.Set("Retry-After", []string{strconv.Itoa(f.retryAfter)})
	}
	x.identify()
	var body []byte
	if !wantsImage(r) && (!x.refused || r.ProtoMajor == 1) {
		// Over HTTP/2 a refusal is a header alone: that waits for no window, so refusals do not pile up.
		body = problemBody(f, x.requestID)
		x.Set("Content-Type", problemType)
	}
	x.Set("Cache-Control", noStore)
	x.Set("Content-Length", []string{formatLength(int64(len(body)))})
	x.Set("X-Content-Type-Options", nosniff)
	x.WriteHeader(f.status)
	if r.Method != http.MethodHead && len(body) > 0 {
		_, _ = x.Write(body) // a client that has gone is seen in the log's byte count
	}
}

// wantsImage reports whether the answer is for an image element, which cannot show a problem's text. Its body
// stays empty: a browser blocks JSON that an image element of another origin asked for (opaque response
// blocking, in the Fetch standard), and then names that as the reason in place of the status. Where there is
// no Sec-Fetch-Dest, as from plain http, an Accept that begins with an image type tells.
func wantsImage(r *http.Request) bool {
	if dest := r.Header["Sec-Fetch-Dest"]; len(dest) > 0 {
		return dest[0] == "image"
	}
	accept := r.Header["Accept"]
	return len(accept) > 0 && strings.HasPrefix(strings.TrimLeft(accept[0], " \t"), "image/")
}

var (
	problemType = []string{"application/problem+json"}
	noStore     = []string{"no-store"}
)

func problemBody(f failure, requestID string) []byte {
	body, err := json.Marshal(problem{Type: "about:blank", Title: http.StatusText(f.status), Status: f.status, Detail: f.detail, RequestID: requestID})
	if err != nil {
		panic(err) // strings and a number always marshal
	}
	return body
}

// entityHeaders are the fields that describe a tile. An error must not have them.
var entityHeaders = []string{
	"Accept-Ranges", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Etag", "Last-Modified",
	"Cdn-Cache-Control", "Surrogate-Control", "Surrogate-Key", "Cache-Tag",
}

// challenge is the WWW-Authenticate value of a 401 (RFC 6750 section 3): an error is named only
// when a credential was sent.
func challenge(err error) string {
	if e, ok := errors.AsType[*auth.InvalidError](err); ok {
		return `Bearer error="invalid_token", error_description=` + quoteText(e.Description)
	}
	return `Bearer realm="tilegate"`
}

// quoteText makes an error_description of plain text: RFC 6750 allows %x20-21, %x23-5B, %x5D-7E.
func quoteText(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := range len(s) {
		if c := s[i]; c >= 0x20 && c <= 0x7e && c != '"' && c != '\\' {
			b = append(b, c)
		} else {
			b = append(b, '?')
		}
	}
	return string(append(b, '"'))
}
