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

// verifyHeader is where a CDN proves that a request came through it.
const verifyHeader = "X-Origin-Verify"

// edge decides what the CDN's secret opens. With Authorizes it admits to the named tilesets' tiles.
// Without, it is a lock: who does not bring it is refused, who does still needs a token.
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

// verified tells whether the request carries one valid secret. Digests are compared, in constant
// time and all of them, so that neither a secret's length nor its beginning shows in the time taken.
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

// locked tells whether the request must be refused because it did not come through the CDN.
// Health checks come from beside the CDN and tell nothing worth locking up.
func (e *edge) locked(r *http.Request) bool {
	return !e.authorizes && len(e.digests) > 0 && r.URL.Path != "/health" && r.URL.Path != "/ready" && !e.verified(r)
}

// admits tells whether the CDN's secret alone opens this tile, GET and HEAD being all that get here.
// Never under /t/ or with a token in the query: such an answer belongs to the token's holder, and
// must not enter a shared cache. Nor where there may be such a token, in a query that cannot be read.
func (e *edge) admits(r *http.Request, ts *tileset, pathToken string) bool {
	if !e.authorizes || pathToken != "" || !e.tilesets[ts.ID] || !e.verified(r) {
		return false
	}
	if len(r.Header["Authorization"]) > 1 {
		return false // to be refused as it is everywhere
	}
	if e.queryName == "" || r.URL.RawQuery == "" {
		return true
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	return err == nil && !query.Has(e.queryName)
}
