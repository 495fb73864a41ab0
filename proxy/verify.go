package proxy

import (
	"net/http"
	"net/url"
	"strings"
)

const verifyPath = "/auth/verify"

// uriHeaders are the fields in which other proxies name the URI that they ask about. The recipes for nginx
// and Varnish set the first, Traefik and Caddy the second.
var uriHeaders = []string{"X-Original-Uri", "X-Forwarded-Uri"}

// verify answers nginx's auth_request and forward-auth: may this request fetch that tile? 204, 401 or 403.
// Only the configured header counts, from a trusted proxy, and only once. A client can smuggle the other
// header past a proxy that sets only its own: when it is there and differs, the answer is 403.
func (p *Proxy) verify(x *exchange, r *http.Request) error {
	uri, ok := p.originalURI(r)
	if !ok {
		return errForbidden
	}
	path, pathToken := uri.Path, ""
	if rest, ok := strings.CutPrefix(path, "/t/"); ok {
		var under string
		if pathToken, under, ok = cutPathToken(rest); !ok {
			return errForbidden
		}
		path = "/tiles/" + under
	}
	rest, ok := strings.CutPrefix(path, "/tiles/")
	if !ok {
		return errForbidden
	}
	asked := r.Clone(r.Context())
	asked.URL = uri
	want, ok := parseTilePath(rest)
	if !ok {
		return errForbidden
	}
	ts := p.named(want)
	if err := p.authorizeViewer(x, asked, ts, want, pathToken); err != nil {
		return decision(err)
	}
	if !ts.offers(want) {
		return errForbidden
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// originalURI returns the URI that the proxy in front asks about.
func (p *Proxy) originalURI(r *http.Request) (*url.URL, bool) {
	if p.opt.VerifyHeader == "" || !p.trusts(peer(r)) {
		return nil, false
	}
	name := http.CanonicalHeaderKey(p.opt.VerifyHeader)
	given := r.Header[name]
	if len(given) != 1 {
		return nil, false
	}
	for _, other := range uriHeaders {
		for _, value := range r.Header[other] {
			if value != given[0] {
				return nil, false
			}
		}
	}
	uri, err := url.ParseRequestURI(given[0])
	if err != nil || uri.IsAbs() || uri.Host != "" || uri.RawPath != "" || uri.Fragment != "" {
		return nil, false
	}
	return uri, true
}

// decision turns an error into what auth_request understands: 401 asks for a credential, and every other
// refusal is 403.
func decision(err error) error {
	if failureOf(err).status == http.StatusUnauthorized {
		return err
	}
	return errForbidden
}
