package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy/wire"
	"tilegate/tilecache"
)

// Options configure a Proxy. Tilesets, Auth and Cache are required; a zero field has the default that its
// comment states.
type Options struct {
	Tilesets       []Tileset // in the order of the catalogue
	Files          []File
	Bundles        []Bundle
	Auth           *auth.Authenticator
	Cache          *tilecache.Cache
	CORS           CORS
	Edge           Edge
	PublicURL      string         // scheme, host and perhaps a path; "": that of each request
	TrustedProxies []netip.Prefix // those that may set X-Forwarded-* and X-Original-*
	QueryParameter string         // the query parameter that may carry a token; "": none
	// VerifyHeader is the field in which the proxy in front names the URI that it asks about at /auth/verify: one of
	// X-Original-URI, X-Forwarded-Uri, X-Original-URL and X-Envoy-Original-Path, or VerifyByPath; "": all are refused.
	VerifyHeader    string
	VerifyPrefix    string        // what such a URI begins with before /tiles/, e.g. /maps; "" for nothing
	VerifyPreflight bool          // /auth/verify allows CORS preflights
	CloudFront      CookieSigner  // needs an https PublicURL; nil: POST /session?cdn=cloudfront is refused
	Login           *Login        // nil: no /login
	Renewals        *Renewals     // of Login's sessions; nil: this proxy's own
	Reload          Reload        // nil: POST /admin/reload is refused
	PurgeEdge       PurgeEdge     // nil: no CDN is purged
	Vend            Vend          // nil: POST /credentials is refused
	Viewer          Viewer        // the map page and /tilegate.js; nil: none
	Clients         *wire.Clients // of the listener; nil: requests are not limited
	Limiter         *Limiter      // of callers; nil: they are not limited
	Usage           *Usage        // nil: /admin/usage answers 404
	Readiness       []Readiness   // what /ready asks about
	ReadBody        time.Duration // how long a request's body may take; 0: 10 s
	WriteStall      time.Duration // how long one write may wait for its client; 0: 30 s
	ServerTiming    bool          // add Server-Timing to tiles
	AccessLog       io.Writer     // gets one line for each request, in one Write; nil: none
	AccessFormat    string        // json, or text for key=value; "" is json
	LogProbes       bool          // lines for /health and /ready, too
	Logger          *slog.Logger  // nil: discards
	Metrics         *Metrics      // nil: counted, but shown nowhere
}

// withDefaults is the one place where defaults are applied.
func (o Options) withDefaults() Options {
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/")
	o.ReadBody = cmp.Or(o.ReadBody, 10*time.Second)
	o.WriteStall = cmp.Or(o.WriteStall, 30*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Renewals == nil {
		o.Renewals = new(Renewals)
	}
	return o
}

// Proxy is the public listener's handler.
type Proxy struct {
	opt Options // with its defaults

	// Derived from the options.
	tilesets       map[string]*tileset
	unpacking      chan struct{} // holds one element for each decoder at work, see maxUnpacking
	examining      chan struct{} // see maxExamining
	catalogue      []*tileset
	files          map[string]File
	bundles        map[string]*bundle
	streams        places[string] // archives on their way to clients
	styling        chan struct{}  // holds one element for each style that is being rewritten, see maxStyling
	defaultID      string
	anyPublic      bool
	cors           *cors
	resourcePolicy []string // of answers that belong to no tileset
	edge           *edge
	login          *login // nil without opt.Login
	publicOrigin   string // scheme and host of opt.PublicURL
	prefix         string // what paths may begin with that a proxy in front has not stripped: the path of opt.PublicURL
	routes         map[string]methods
	accessLog      *accessLog
	hits           hitStatuses

	drain drain
}

// handler answers one request, or returns the error that says why not. fail writes it.
type handler func(*exchange, *http.Request) error

// methods maps a route's methods to their handlers. GET stands for HEAD too.
type methods map[string]handler

// New makes a Proxy. Its error joins everything that is wrong with the options.
func New(o Options) (*Proxy, error) {
	o = o.withDefaults()
	p := &Proxy{opt: o, tilesets: map[string]*tileset{}, files: map[string]File{}, unpacking: make(chan struct{}, maxUnpacking), examining: make(chan struct{}, maxExamining), bundles: map[string]*bundle{}, styling: make(chan struct{}, maxStyling), streams: places[string]{all: maxStreams, each: maxStreamsOfOne}}
	if o.AccessLog != nil {
		p.accessLog = &accessLog{w: o.AccessLog, text: o.AccessFormat == "text"}
	}
	var faults []error
	if o.Auth == nil || o.Cache == nil || len(o.Tilesets) == 0 {
		faults = append(faults, errors.New("tilesets, an authenticator and a cache are required"))
	}
	var err error
	if o.PublicURL != "" {
		u, err := url.Parse(o.PublicURL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			faults = append(faults, fmt.Errorf("the public URL %q is not an absolute http or https URL", o.PublicURL))
		} else {
			p.publicOrigin = originOf(u)
			p.prefix = unstrippedPrefix(u)
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
	if !knownVerifyHeader(o.VerifyHeader) {
		faults = append(faults, fmt.Errorf("the verify header %q is not known", o.VerifyHeader))
	}
	if p.edge, err = newEdge(o.Edge, o.QueryParameter); err != nil {
		faults = append(faults, err)
	}
	for _, t := range o.Tilesets {
		faults = append(faults, p.add(t))
	}
	for _, f := range o.Files {
		p.files[f.ID] = f
	}
	for _, b := range o.Bundles {
		faults = append(faults, p.addBundle(b))
	}
	p.addRoutes()
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return p, nil
}

// add makes a tileset ready and lists it.
func (p *Proxy) add(t Tileset) error {
	ts, err := p.prepare(t)
	switch {
	case err != nil:
		return err
	case p.tilesets[t.ID] != nil:
		return fmt.Errorf("tileset %q is there twice", t.ID)
	case t.Default && p.defaultID != "":
		return fmt.Errorf("tileset %q: only one can be the default, and %q is", t.ID, p.defaultID)
	}
	p.tilesets[t.ID] = ts
	p.catalogue = append(p.catalogue, ts)
	p.anyPublic = p.anyPublic || t.Public
	if t.Default {
		p.defaultID = t.ID
	}
	return nil
}

// addRoutes lists the routes with a fixed path. route knows those that have a part of their own.
func (p *Proxy) addRoutes() {
	p.routes = map[string]methods{
		"/catalog":      {http.MethodGet: p.catalog},
		"/session":      {http.MethodPost: p.signIn, http.MethodGet: p.whoAmI, http.MethodDelete: p.signOut},
		"/tokens":       {http.MethodPost: p.mintPathToken},
		"/credentials":  {http.MethodPost: p.vendCredentials},
		"/health":       {http.MethodGet: p.health},
		"/ready":        {http.MethodGet: p.ready},
		"/openapi.json": {http.MethodGet: p.openAPI},
	}
	if p.opt.Login != nil {
		p.login = newLogin(*p.opt.Login)
		p.routes[loginPath] = methods{http.MethodGet: p.beginLogin}
		p.routes[callbackPath] = methods{http.MethodGet: p.endLogin}
		p.routes[logoutPath] = methods{http.MethodGet: p.logout}
	}
	if p.opt.Viewer != nil {
		for _, path := range []string{"/", "/tilegate.js", "/tilegate.mjs", viewerPath} {
			p.routes[path] = methods{http.MethodGet: p.page}
		}
	}
}

// ServeHTTP answers one request and writes its line in the access log.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchanges.Get().(*exchange) //nolint:forcetypeassert // the pool holds nothing else
	x.start, x.resourcePolicy = time.Now(), p.resourcePolicy
	x.Begin(w, r, x.start, p.opt.WriteStall)
	defer p.finish(x, r)
	if given := r.Header["X-Request-Id"]; len(given) == 1 && usableRequestID(given[0]) {
		x.requestID = given[0]
		x.Set("X-Request-Id", given)
	}
	if p.prefix != "" {
		cutPrefix(r.URL, p.prefix)
	}
	err := p.admit(x, r)
	if err == nil {
		err = p.route(x, r)
	}
	if e, ok := mustWait(err); ok {
		err = p.afterDelay(x, r, e)
	}
	if err != nil {
		p.fail(x, r, err)
	}
}

// finish runs at the end of every request, panics included. An aborted request stays aborted. Any other
// panic is a fault of ours: it is logged with its stack, and costs this one request.
func (p *Proxy) finish(x *exchange, r *http.Request) {
	panicked := recover()
	if panicked != nil && panicked != http.ErrAbortHandler { //nolint:errorlint // the very value is what net/http compares
		p.opt.Logger.ErrorContext(r.Context(), "panic while answering", "panic", fmt.Sprint(panicked), "path", maskPath(r.URL.Path), "stack", string(debug.Stack()))
		if x.Status() == 0 {
			panicked = nil
			p.fail(x, r, errPanic)
		} else {
			panicked = http.ErrAbortHandler
		}
	}
	aborted := panicked != nil
	if !aborted && !x.refused { // a refusal is not worth the wait for its client
		aborted = x.Finish() != nil
	}
	took := time.Since(x.start)
	if x.Status() != 0 || !x.refused {
		p.opt.Metrics.observe(x, took)
	}
	x.meterRest()
	if p.accessLog != nil && !x.refused && (!x.probe || p.opt.LogProbes) {
		p.accessLog.line(p, x, r, took, aborted)
	}
	if panicked != nil {
		x.Reset(r)
	}
	x.End()
	x.entry.Leave(x.start.Add(took))
	*x = exchange{Writer: x.Writer}
	exchanges.Put(x)
	if panicked != nil {
		panic(panicked)
	}
}

var errPanic = errors.New("panic")

// route finds the handler. Tiles come first: nearly all requests are for them.
func (p *Proxy) route(x *exchange, r *http.Request) error {
	badBody := x.BoundBody(r, x.start.Add(p.opt.ReadBody))
	p.cors.apply(x, r)
	if p.edge.locked(r) {
		return refuse(http.StatusForbidden, "This server answers only through its CDN.")
	}
	if r.URL.Path == verifyPath || strings.HasPrefix(r.URL.Path, verifyPath+"/") {
		// Before all else that answers by method or path: a forward-auth may keep its client's method, and would take
		// the 204 of a preflight for a yes.
		if badBody != nil {
			return decision(badBody)
		}
		return p.verify(x, r)
	}
	if badBody != nil {
		return badBody
	}
	if r.Method == http.MethodOptions {
		return p.cors.preflight(x, r)
	}
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/tiles/"); ok {
		return p.underTiles(x, r, rest, "")
	}
	return p.routeOther(x, r, path)
}

// routeOther finds the handler of what is not under /tiles/. It is a function of its own because its part of the stack is large:
// HTTP/2 begins each request with a small stack, and growing that takes time.
func (p *Proxy) routeOther(x *exchange, r *http.Request, path string) error {
	if token, rest, ok := cutAssets(path); ok {
		return p.asset(x, r, rest, token)
	}
	if rest, ok := strings.CutPrefix(path, "/t/"); ok {
		x.pathToken = true
		token, rest, ok := cutPathToken(rest)
		if !ok {
			return errBadPath
		}
		return p.underTiles(x, r, rest, token)
	}
	if cleansToTile(path) {
		return errBadPath
	}
	if cleansToAsset(path) {
		return errBadAsset
	}
	x.Set("Cache-Control", privateNoStore)
	x.Set("X-Content-Type-Options", nosniff)
	if rest, ok := strings.CutPrefix(path, "/presign/"); ok {
		return p.only(x, r, http.MethodGet, func(x *exchange, r *http.Request) error { return p.presignTile(x, r, rest) })
	}
	if rest, ok := strings.CutPrefix(path, "/files/"); ok {
		return p.only(x, r, http.MethodGet, func(x *exchange, r *http.Request) error { return p.presignFile(x, r, rest) })
	}
	if strings.HasPrefix(path, viewerPath) {
		path = viewerPath
	}
	return p.dispatch(x, r, p.routes[path])
}

// underTiles tells TileJSON and archives from tiles. A path with an escape is refused: the same tile would have a
// second URL.
func (p *Proxy) underTiles(x *exchange, r *http.Request, rest, pathToken string) error {
	if r.URL.RawPath != "" {
		return errBadPath
	}
	if id, ok := strings.CutSuffix(rest, ".json"); ok && tile.ValidID(id) {
		return p.tileJSON(x, r, id, pathToken)
	}
	if id, ok := strings.CutSuffix(rest, archiveExtension); ok && tile.ValidID(id) {
		return p.rawArchive(x, r, id, pathToken)
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
