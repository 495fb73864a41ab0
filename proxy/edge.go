package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// Edge is the CDN in front of the proxy.
type Edge struct {
	Secrets    [][]byte // what X-Origin-Verify may carry; two are valid during a rotation
	Authorizes bool     // the CDN checks the viewers: the secret admits to Tilesets
	Tilesets   []string
	TTL        time.Duration // how long the CDN may keep a tile
}

// verifyHeader is the field with which a CDN proves that a request came through it.
const verifyHeader = "X-Origin-Verify"

// edge decides what the CDN's secret is good for. With Authorizes, it admits to the tiles of the named
// tilesets. Without, it is a lock: requests that lack it are refused, and those that have it still need
// the viewer's token.
type edge struct {
	digests    [][sha256.Size]byte
	authorizes bool
	tilesets   map[string]bool
	queryName  string // the query parameter that may carry a token; "" for none
}

func newEdge(o Edge, queryName string) (*edge, error) {
	e := &edge{authorizes: o.Authorizes, tilesets: map[string]bool{}, queryName: queryName}
	for _, secret := range o.Secrets {
		if len(secret) == 0 {
			return nil, errors.New("an origin secret is empty")
		}
		e.digests = append(e.digests, sha256.Sum256(secret))
	}
	if o.Authorizes && len(e.digests) == 0 {
		return nil, errors.New("the edge authorizes, but there is no origin secret by which to know it")
	}
	for _, id := range o.Tilesets {
		e.tilesets[id] = true
	}
	return e, nil
}

// verified reports whether the request carries one valid secret. All digests are compared, each in
// constant time, so that the time taken tells neither a secret's length nor its beginning.
func (e *edge) verified(r *http.Request) bool {
	given := r.Header[verifyHeader]
	if len(given) != 1 {
		return false
	}
	digest := sha256.Sum256([]byte(given[0]))
	match := 0
	for i := range e.digests {
		match |= subtle.ConstantTimeCompare(digest[:], e.digests[i][:])
	}
	return match == 1
}

// locked reports whether the request must be refused because it did not come through the CDN.
// Health checks do not come through the CDN, and their answers hold nothing to protect.
func (e *edge) locked(r *http.Request) bool {
	return !e.authorizes && len(e.digests) > 0 && r.URL.Path != "/health" && r.URL.Path != "/ready" && !e.verified(r)
}

// admits reports whether the CDN's secret alone opens this tile. Only GET and HEAD get here. It never does
// so under /t/ or with a token in the query: such an answer belongs to the holder of the token, and must
// not enter a shared cache. A query that cannot be parsed may hold a token, too.
func (e *edge) admits(r *http.Request, ts *tileset, pathToken string) bool {
	if !e.authorizes || pathToken != "" || !e.tilesets[ts.ID] || !e.verified(r) {
		return false
	}
	if len(r.Header["Authorization"]) > 1 {
		return false // two credentials are refused, as everywhere
	}
	if e.queryName == "" || r.URL.RawQuery == "" {
		return true
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	return err == nil && !query.Has(e.queryName)
}
