// Package proxy is the HTTP front of tilegate: it parses a request's path strictly, asks auth who
// wants what, takes tiles from tilecache or an Origin, and answers so that browsers and CDNs can
// cache. The way of a tile is in tile.go, top to bottom.
package proxy

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// Options configure a Proxy. Tilesets, Auth and Cache are required.
type Options struct {
	Tilesets       []Tileset // in the order of the catalogue
	Files          []File
	Auth           *auth.Authenticator
	Cache          *tilecache.Cache
	CORS           CORS
	Edge           Edge
	PublicURL      string         // scheme, host and perhaps a path; "": told from each request
	TrustedProxies []netip.Prefix // those that may set X-Forwarded-* and X-Original-*
	QueryParameter string         // the query parameter that may carry a token; "": none
	VerifyHeader   string         // X-Original-URI or X-Forwarded-Uri; "": /auth/verify refuses
	CloudFront     CookieSigner   // needs an https PublicURL; nil: POST /session?cdn=cloudfront is refused
	Vend           Vend           // nil: POST /credentials is refused
	Viewer         Viewer         // the map page and /tilegate.js; nil: none
	Readiness      []Readiness    // what /ready asks
	ReadBody       time.Duration  // how long a request's body may take; 0: 10 s
	WriteStall     time.Duration  // how long one write may wait for its client; 0: 30 s
	ServerTiming   bool           // tell durations in Server-Timing
	AccessLog      io.Writer      // one line a request, in one Write; nil: none
	AccessFormat   string         // json, or text for key=value; "" is json
	Logger         *slog.Logger   // nil: discards
	Metrics        *Metrics       // nil: counted, shown nowhere
}

// Proxy is the public listener's handler.
type Proxy struct {
	tilesets       map[string]*tileset
	catalogue      []*tileset
	files          map[string]File
	defaultID      string
	anyPublic      bool
	auth           *auth.Authenticator
	cache          *tilecache.Cache
	cors           *cors
	resourcePolicy []string // of what is no tileset's
	edge           *edge
	publicURL      string // without a trailing slash
	publicOrigin   string // its scheme and host
	trustedProxies []netip.Prefix
	queryParameter string
	verifyHeader   string
	cloudFront     CookieSigner
	vend           Vend
	routes         map[string]methods
	readiness      []Readiness
	drain          drain
	readBody       time.Duration
	stall          time.Duration
	serverTiming   bool
	accessLog      *accessLog
	logger         *slog.Logger
	metrics        *Metrics
	hits           hitStatuses
}

// handler answers one request, or returns the error that says why not. fail writes it.
type handler func(*exchange, *http.Request) error

// methods maps a route's methods to their handlers. GET stands for HEAD too.
type methods map[string]handler

// New makes a Proxy, or says everything that is wrong with its options.
func New(o Options) (*Proxy, error) {
	p := &Proxy{
		tilesets:       map[string]*tileset{},
		files:          map[string]File{},
		auth:           o.Auth,
		cache:          o.Cache,
		publicURL:      strings.TrimSuffix(o.PublicURL, "/"),
		trustedProxies: o.TrustedProxies,
		queryParameter: o.QueryParameter,
		verifyHeader:   o.VerifyHeader,
		cloudFront:     o.CloudFront,
		vend:           o.Vend,
		readiness:      o.Readiness,
		readBody:       or(o.ReadBody, 10*time.Second),
		stall:          or(o.WriteStall, 30*time.Second),
		serverTiming:   o.ServerTiming,
		logger:         o.Logger,
		metrics:        o.Metrics,
	}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	if p.metrics == nil {
		p.metrics = NewMetrics()
	}
	if o.AccessLog != nil {
		p.accessLog = &accessLog{w: o.AccessLog, text: o.AccessFormat == "text"}
	}
	var faults []error
	if o.Auth == nil || o.Cache == nil || len(o.Tilesets) == 0 {
		faults = append(faults, errors.New("tilesets, an authenticator and a cache are required"))
	}
	var err error
	if p.publicURL != "" {
		u, err := url.Parse(p.publicURL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			faults = append(faults, fmt.Errorf("the public URL %q is not an absolute http or https URL", p.publicURL))
		} else {
			p.publicOrigin = originOf(u)
		}
	}
	if o.CloudFront != nil && !strings.HasPrefix(p.publicOrigin, "https://") {
		faults = append(faults, errors.New("cookies for CloudFront are signed for the public URL alone, which must be https"))
	}
	if p.cors, err = newCORS(o.CORS, p.publicOrigin); err != nil {
		faults = append(faults, err)
		p.cors = &cors{}
	}
	p.resourcePolicy = p.cors.resourcePolicy(false)
	if v := http.CanonicalHeaderKey(o.VerifyHeader); v != "" && !slices.Contains(uriHeaders, v) {
		faults = append(faults, fmt.Errorf("the verify header is %q, neither X-Original-URI nor X-Forwarded-Uri", o.VerifyHeader))
	}
	if p.edge, err = newEdge(o.Edge, o.QueryParameter); err != nil {
		faults = append(faults, err)
	}
	for _, t := range o.Tilesets {
		ts, err := p.prepare(t, &o)
		switch {
		case err != nil:
		case p.tilesets[t.ID] != nil:
			err = fmt.Errorf("tileset %q is there twice", t.ID)
		case t.Default && p.defaultID != "":
			err = fmt.Errorf("tileset %q: only one can be the default, and %q is", t.ID, p.defaultID)
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		p.tilesets[t.ID] = ts
		p.catalogue = append(p.catalogue, ts)
		p.anyPublic = p.anyPublic || t.Public
		if t.Default {
			p.defaultID = t.ID
		}
	}
	for _, f := range o.Files {
		p.files[f.ID] = f
	}
	p.routes = map[string]methods{
		"/catalog":     {http.MethodGet: p.catalog},
		"/session":     {http.MethodPost: p.signIn, http.MethodGet: p.whoAmI, http.MethodDelete: p.signOut},
		"/tokens":      {http.MethodPost: p.mintPathToken},
		verifyPath:     {http.MethodGet: p.verify},
		"/credentials": {http.MethodPost: p.vendCredentials},
		"/health":      {http.MethodGet: p.health},
		"/ready":       {http.MethodGet: p.ready},
	}
	if o.Viewer != nil {
		page := func(x *exchange, r *http.Request) error { return writePage(x, r, o.Viewer) }
		p.routes["/"] = methods{http.MethodGet: page}
		p.routes["/tilegate.js"] = methods{http.MethodGet: page}
		p.routes["/viewer/"] = methods{http.MethodGet: page}
	}
	return p, errors.Join(faults...)
}

// ServeHTTP answers one request and writes its line in the access log.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchanges.Get().(*exchange) //nolint:forcetypeassert // the pool holds nothing else
	*x = exchange{ResponseWriter: w, start: time.Now(), stall: p.stall, policy: p.resourcePolicy}
	defer p.finish(x, r)
	if given := r.Header["X-Request-Id"]; len(given) == 1 && usableRequestID(given[0]) {
		x.requestID = given[0]
		x.Header()["X-Request-Id"] = given
	}
	if err := p.route(x, r, x.begin(r, p.readBody)); err != nil {
		p.fail(x, r, err)
	}
}

// finish runs at the end of every request, panics included: an aborted one stays aborted, any other
// panic is ours, gets logged with its stack and costs this one request.
func (p *Proxy) finish(x *exchange, r *http.Request) {
	panicked := recover()
	if panicked != nil && panicked != http.ErrAbortHandler { //nolint:errorlint // the very value is what net/http compares
		p.logger.ErrorContext(r.Context(), "panic while answering", "panic", fmt.Sprint(panicked), "path", maskPath(r.URL.Path), "stack", string(debug.Stack()))
		if x.status == 0 {
			panicked = nil
			p.fail(x, r, errPanic)
		} else {
			panicked = http.ErrAbortHandler
		}
	}
	took := time.Since(x.start)
	p.metrics.observe(x, took)
	if p.accessLog != nil {
		p.accessLog.line(p, x, r, took, panicked != nil)
	}
	if x.stream != nil {
		x.stream.end()
	}
	if panicked != nil {
		x.reset(r)
	}
	*x = exchange{}
	exchanges.Put(x)
	if panicked != nil {
		panic(panicked)
	}
}

var errPanic = errors.New("panic")

// route finds the handler. Tiles come first, being nearly all there is. begun is what was wrong with
// the request before anybody looked at it: CORS, the lock and a decision's own answers come before it.
func (p *Proxy) route(x *exchange, r *http.Request, begun error) error {
	p.cors.apply(x.Header(), r)
	if p.edge.locked(r) {
		return refuse(http.StatusForbidden, "This server answers only through its CDN.")
	}
	if r.URL.Path == verifyPath && (begun != nil || r.Method != http.MethodGet && r.Method != http.MethodHead) {
		return errForbidden // a forward-auth may keep its client's method, and take a preflight's 204 for a yes
	}
	if begun != nil {
		return begun
	}
	if r.Method == http.MethodOptions {
		return p.cors.preflight(x, r)
	}
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/tiles/"); ok {
		return p.underTiles(x, r, rest, "")
	}
	if rest, ok := strings.CutPrefix(path, "/t/"); ok {
		token, rest, ok := cutPathToken(rest)
		if !ok {
			return errBadPath
		}
		return p.underTiles(x, r, rest, token)
	}
	if cleansToTile(path) {
		return errBadPath
	}
	x.Header()["Cache-Control"] = privateNoStore
	x.Header()["X-Content-Type-Options"] = nosniff
	if rest, ok := strings.CutPrefix(path, "/presign/"); ok {
		return p.only(x, r, http.MethodGet, func(x *exchange, r *http.Request) error { return p.presignTile(x, r, rest) })
	}
	if rest, ok := strings.CutPrefix(path, "/files/"); ok {
		return p.only(x, r, http.MethodGet, func(x *exchange, r *http.Request) error { return p.presignFile(x, r, rest) })
	}
	if strings.HasPrefix(path, "/viewer/") {
		path = "/viewer/"
	}
	return p.dispatch(x, r, p.routes[path])
}

// underTiles tells TileJSON from tiles. An escape in the path is refused at once: what it stands for
// could be spelled plainly, and then a tile would have two URLs.
func (p *Proxy) underTiles(x *exchange, r *http.Request, rest, pathToken string) error {
	if r.URL.RawPath != "" {
		return errBadPath
	}
	if id, ok := strings.CutSuffix(rest, ".json"); ok && tile.ValidID(id) {
		return p.tileJSON(x, r, id, pathToken)
	}
	return p.tile(x, r, rest, pathToken)
}

// dispatch picks a route's handler by method.
func (p *Proxy) dispatch(x *exchange, r *http.Request, route methods) error {
	if route == nil {
		return errNotFound
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if handle, ok := route[method]; ok {
		return handle(x, r)
	}
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		if route[m] == nil {
			continue
		}
		allow = append(allow, m)
		if m == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	return methodNotAllowed(strings.Join(allow, ", "))
}

func (p *Proxy) only(x *exchange, r *http.Request, method string, h handler) error {
	return p.dispatch(x, r, methods{method: h})
}
