package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tilegate/internal/tile"
)

const verifyPath = "/auth/verify"

// VerifyByPath is the VerifyHeader of proxies that name no header: they ask about /path at /auth/verify/path, as
// Envoy's and Istio's ext_authz do.
const VerifyByPath = "none"

// uriHeaders are the fields in which other proxies name the URI that they ask about, each with the field in which
// the same proxies name the request's method, "" where they name none.
var uriHeaders = map[string]string{
	"X-Original-Uri":        "",                   // nginx and Varnish, as our recipes set it
	"X-Forwarded-Uri":       "X-Forwarded-Method", // Traefik and Caddy
	"X-Original-Url":        "X-Original-Method",  // ingress-nginx; an absolute URL
	"X-Envoy-Original-Path": "",                   // Envoy
}

func knownVerifyHeader(name string) bool {
	_, known := uriHeaders[http.CanonicalHeaderKey(name)]
	return known || name == "" || name == VerifyByPath
}

// verify answers nginx's auth_request, forward-auth and ext_authz: may this request be answered? It answers for
// tiles, TileJSON, bundles and the catalogue, with 204, 401 or 403. Envoy takes 200 alone for a yes, so that the yes to
// /auth/verify/{path} is 200.
func (p *Proxy) verify(x *exchange, r *http.Request) error {
	x.Set("Cache-Control", privateNoStore)
	x.Set("X-Content-Type-Options", nosniff)
	uri, err := p.originalURI(r)
	if err != nil {
		return err
	}
	switch method := p.originalMethod(r); {
	case method == http.MethodOptions && p.opt.VerifyPreflight && isPreflight(r) && decidable(uri.Path):
		return p.allow(x) // a preflight has no credential, and its answer holds nothing to protect
	case method != http.MethodGet && method != http.MethodHead:
		return errMethodUndecided
	}
	asked := r.Clone(r.Context())
	asked.URL = uri
	if err := p.decide(x, asked); err != nil {
		return decision(err)
	}
	return p.allow(x)
}

func (p *Proxy) allow(x *exchange) error {
	if p.opt.VerifyHeader == VerifyByPath {
		x.Set("Content-Length", []string{"0"})
		x.WriteHeader(http.StatusOK)
		return nil
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// decidable reports whether a path may be one that decide knows.
func decidable(path string) bool {
	return path == "/catalog" || strings.HasPrefix(path, "/tiles/") || strings.HasPrefix(path, assetsPath) || strings.HasPrefix(path, "/t/")
}

// escapesAllowed reports whether a path may have escapes that are not needed, which only a bundle's may.
func escapesAllowed(path string) bool {
	_, _, ok := cutAssets(path)
	return ok
}

// decide authorizes what the original request asks for, as its own route would.
func (p *Proxy) decide(x *exchange, asked *http.Request) error {
	path, pathToken := asked.URL.Path, ""
	if path == "/catalog" {
		_, err := p.authorizeCatalog(x, asked)
		return err
	}
	if token, rest, ok := cutAssets(path); ok {
		x.pathToken = token != ""
		b, path, _, err := p.admitAsset(x, asked, rest, token, p.authorizeBundleViewer)
		if err == nil && activeTypes[assetExtension(path)] && !b.Active {
			err = errActive
		}
		return err
	}
	if rest, ok := strings.CutPrefix(path, "/t/"); ok {
		var under string
		if pathToken, under, ok = cutPathToken(rest); !ok {
			return errPathUndecided
		}
		x.pathToken = true
		path = "/tiles/" + under
	}
	rest, ok := strings.CutPrefix(path, "/tiles/")
	if !ok {
		return errPathUndecided
	}
	if id, ok := strings.CutSuffix(rest, ".json"); ok && tile.ValidID(id) {
		ts, grant, err := p.authorizeTileset(x, asked, id, pathToken)
		if err != nil {
			return err
		}
		ts = ts.known() // without waiting for an archive
		if _, _, some := ts.visible(grant); !some {
			return p.forbidden(func() string { return ts.explain(grant) })
		}
		return nil
	}
	if id, ok := strings.CutSuffix(rest, archiveExtension); ok && tile.ValidID(id) {
		_, err := p.authorizeArchive(x, asked, id, pathToken)
		return err
	}
	want, ok := parseTilePath(rest)
	if !ok {
		return errBadPath
	}
	ts := p.named(want)
	if err := p.authorizeViewer(x, asked, ts, want, pathToken); err != nil {
		return err
	}
	if !ts.known().offers(want) {
		return errNotFound
	}
	return nil
}

// originalURI returns the URI that the proxy in front asks about, without auth.verify_prefix. Only what the
// configuration names counts, from a trusted proxy, and only once. A client can smuggle another of uriHeaders past
// a proxy that sets only its own: when one is there and differs, there is no answer.
func (p *Proxy) originalURI(r *http.Request) (*url.URL, error) {
	if p.opt.VerifyHeader == "" {
		return nil, undecided("auth.verify_header is not set")
	}
	if !p.trusts(peer(r)) {
		return nil, undecided("the request does not come from one of server.trusted_proxies")
	}
	var target string
	if p.opt.VerifyHeader == VerifyByPath {
		// The URI as it was sent: a second spelling must not be lost.
		under, ok := strings.CutPrefix(r.RequestURI, verifyPath)
		if !ok || !strings.HasPrefix(under, "/") {
			return nil, undecided("auth.verify_header is none, and nothing follows /auth/verify in the path")
		}
		target = under
	} else {
		if r.URL.Path != verifyPath {
			return nil, undecided("a path follows /auth/verify, but auth.verify_header is not none")
		}
		given := r.Header[http.CanonicalHeaderKey(p.opt.VerifyHeader)]
		if len(given) != 1 {
			return nil, undecided(fmt.Sprintf("the request has the header of auth.verify_header %d times instead of once", len(given)))
		}
		var ok bool
		if target, ok = requestTarget(http.CanonicalHeaderKey(p.opt.VerifyHeader), given[0]); !ok {
			return nil, undecided("the header of auth.verify_header holds no URI")
		}
	}
	for name := range uriHeaders {
		for _, value := range r.Header[name] {
			if other, ok := requestTarget(name, value); !ok || other != target {
				return nil, undecided("the request names another URI in " + name)
			}
		}
	}
	if prefix := p.opt.VerifyPrefix; prefix != "" {
		under, ok := strings.CutPrefix(target, prefix)
		if !ok || !strings.HasPrefix(under, "/") {
			return nil, undecided("the URI does not begin with auth.verify_prefix")
		}
		target = under
	}
	uri, err := url.ParseRequestURI(target)
	if err != nil || uri.IsAbs() || uri.Host != "" || uri.RawPath != "" && !escapesAllowed(uri.Path) || uri.Fragment != "" {
		return nil, undecided("the URI is not in canonical form")
	}
	return uri, nil
}

// requestTarget is the path and query in a value of one of uriHeaders.
func requestTarget(name, value string) (string, bool) {
	if name != "X-Original-Url" {
		return value, true
	}
	// ingress-nginx writes $scheme://$http_host$request_uri. The host is the client's word: nothing in it may count
	// as a part of the path or begin the query. nginx itself refuses one with a slash.
	scheme, rest, ok := strings.Cut(value, "://")
	slash := strings.IndexByte(rest, '/')
	if !ok || scheme != "http" && scheme != "https" || slash < 0 || !usableHost(rest[:slash]) {
		return "", false
	}
	return rest[slash:], true
}

// originalMethod is the method of the request that is asked about, "" where it is named twice. A method other than
// GET in the question itself is the client's: such a proxy keeps it. Else the field counts that goes with the configured
// header: the same proxies set it always, so that it is not a client's.
func (p *Proxy) originalMethod(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return r.Method
	}
	switch given := r.Header[uriHeaders[http.CanonicalHeaderKey(p.opt.VerifyHeader)]]; len(given) {
	case 0:
		return r.Method
	case 1:
		return given[0]
	default:
		return ""
	}
}

// isPreflight reports whether a request with the method OPTIONS is a CORS preflight (the Fetch standard, section 3.3.1).
func isPreflight(r *http.Request) bool {
	return len(r.Header["Origin"]) == 1 && len(r.Header["Access-Control-Request-Method"]) == 1
}

var (
	errPathUndecided   = refuse(http.StatusForbidden, "Decisions are made on bundles, tiles, TileJSON and the catalogue alone.")
	errMethodUndecided = refuse(http.StatusForbidden, "Decisions are made on GET and HEAD alone, and on preflights where auth.verify_preflight is set.")
)

// errUndecided is the refusal of a question that is not put as the configuration says. Why it cannot be decided is for
// the log: the client of the other proxy can do nothing about it.
var errUndecided = refuse(http.StatusForbidden, "The proxy in front asks in a way that is not configured here, so nothing is allowed; the log says what is wrong.")

func undecided(why string) error { return fmt.Errorf("no decision: %s: %w", why, errUndecided) }

// decision turns an error into what auth_request understands: 401 asks for a credential, and every other
// refusal is 403, for its own reason.
func decision(err error) error {
	f := failureOf(err, "")
	if f.status == http.StatusUnauthorized || f.status == http.StatusForbidden {
		return err
	}
	return fmt.Errorf("%w: %w", refuse(http.StatusForbidden, f.detail), err)
}
