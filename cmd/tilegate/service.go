package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tilegate/auth"
	"tilegate/configs"
	"tilegate/internal/tile"
	"tilegate/proxy"
	"tilegate/proxy/archive"
	"tilegate/proxy/cloudfront"
	"tilegate/proxy/origin"
	"tilegate/proxy/viewer"
	"tilegate/proxy/wire"
	"tilegate/tilecache"
)

// instance is what lasts for as long as the process, whatever the configuration becomes.
type instance struct {
	logger    *slog.Logger
	log       *serviceLog
	cache     *tilecache.Cache
	decoders  *archive.Decoders
	clients   *wire.Clients
	memory    *memoryLimit
	sharing   *sharing
	cdnPurges *prometheus.CounterVec
	requests  *proxy.Metrics
	limiter   *proxy.Limiter
	usage     *proxy.Usage
	renewals  *proxy.Renewals
	upstream  *originMetrics
	reloads   *reloads
	registry  *prometheus.Registry
	more      extras
	current   atomic.Pointer[service] // what answers requests
}

// service is an instance with one configuration: every part of it made and joined, none of it running yet.
type service struct {
	*instance
	config  *configs.Config
	auth    *auth.Authenticator
	origins *origins
	proxy   *proxy.Proxy
	admin   http.Handler
	use     use
}

// extras are what the demo adds to a configuration.
type extras struct {
	viewer  viewer.Options
	origins func(*origin.Options)
	file    string                                         // where the configuration is, for the log
	reload  func(context.Context) (*configs.Config, error) // reads the configuration again; nil: it cannot change
}

// newService makes a service of a configuration, and the instance that it runs in. It asks neither S3 nor STS nor an issuer.
func newService(ctx context.Context, c *configs.Config, log *serviceLog, more extras) (*service, error) {
	in := &instance{logger: log.logger, log: log, registry: prometheus.NewRegistry(), decoders: archive.NewDecoders(), usage: proxy.NewUsage(), renewals: new(proxy.Renewals), requests: proxy.NewMetrics(), more: more}
	in.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	in.upstream = newOriginMetrics(in.registry)
	registerLogMetrics(in.registry, log)
	registerBuildInfo(in.registry)
	in.sharing = newSharing(in.registry)
	in.cdnPurges = newCDNPurges(in.registry)
	in.reloads = newReloads(in.registry)

	var err error
	cacheOptions := tilecache.Options{Memory: int64(c.Cache.Memory), MaxObject: int64(c.Cache.MaxObject), Logger: in.logger}
	if c.Shared.Enabled() {
		cacheOptions.PurgeBehind = in.sharing.purged
	}
	if in.cache, err = tilecache.New(cacheOptions); err != nil {
		return nil, err
	}
	if err := in.share(c); err != nil {
		return nil, err
	}
	in.memory = &memoryLimit{cache: int64(c.Cache.Memory)}
	limits := c.Server.Limits
	in.clients = wire.NewClients(wire.ClientLimits{
		Requests: limits.Requests, ClientRequests: limits.ClientRequests, ClientConnections: limits.ClientConnections,
		Proxies: c.Server.TrustedProxies, Logger: in.logger, Changed: func() { in.memory.update() },
	})
	in.memory.counts = in.clients.Counts
	in.limiter = proxy.NewLimiter(limitsOf(c), in.logger)
	if in.sharing.client != nil {
		in.limiter.Share(in.sharing.client)
	}
	in.registry.MustRegister(in.limiter)
	s, err := in.configure(ctx, c)
	if err != nil {
		return nil, err
	}
	in.current.Store(s)
	in.upstream.watch(in.registry, func() *origin.AWS { return in.current.Load().origins.AWS })
	in.requests.Register(in.registry, in.cache, in.clients)
	return s, nil
}

func limitsOf(c *configs.Config) proxy.Limits {
	l := proxy.Limits{
		Hourly: int64(c.Limits.Requests.Rate), Burst: c.Limits.Requests.Burst,
		Action: map[string]proxy.Action{"reject": proxy.Reject, "slow": proxy.Slow, "log": proxy.LogOnly}[c.Limits.OnExceeded],
	}
	for _, window := range slices.Sorted(maps.Keys(c.Limits.DistinctTiles)) {
		l.Distinct = append(l.Distinct, proxy.DistinctLimit{Window: window, Tiles: c.Limits.DistinctTiles[window]})
	}
	return l
}

// configure makes a service of a configuration in an instance, which may have had another one before.
func (in *instance) configure(ctx context.Context, c *configs.Config) (*service, error) {
	s := &service{instance: in, config: c}
	before := in.current.Load()
	var err error
	if s.origins, err = s.newOrigins(ctx, before); err != nil {
		return nil, err
	}
	if s.auth, err = s.newAuth(before); err != nil {
		return nil, err
	}
	options, err := s.proxyOptions()
	if err != nil {
		return nil, err
	}
	if s.proxy, err = proxy.New(options); err != nil {
		return nil, err
	}
	s.admin = s.proxy.Admin(promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}), c.Server.AdminToken.Bytes())
	return s, nil
}

// newOrigins makes what reads from S3. It keeps what the service before has, with its credentials, when the configuration of S3
// is the same.
func (s *service) newOrigins(ctx context.Context, before *service) (*origins, error) {
	if before != nil && sameOrigins(before.config, s.config) {
		return before.origins, nil
	}
	options := originOptions(s.config)
	options.Logger, options.Observe = s.logger, s.upstream.observer()
	if s.more.origins != nil {
		s.more.origins(&options)
	}
	made, err := origin.New(ctx, options)
	if err != nil {
		return nil, originError(s.config, err)
	}
	return &origins{AWS: made}, nil
}

// newAuth makes what authenticates callers. It takes over key sets and revocations from the service before.
func (s *service) newAuth(before *service) (*auth.Authenticator, error) {
	options := authOptions(s.config, s.logger)
	options.OnKeySetRefresh = s.upstream.keySetRefreshed
	if s.config.Shared.Enabled() {
		options.OnRevocation = s.sharing.revoked
	}
	if before != nil {
		options.Before = before.auth
	}
	return auth.New(options)
}

// proxyOptions joins the parts of a service.
func (s *service) proxyOptions() (proxy.Options, error) {
	c, page := s.config, s.more.viewer
	if u, err := url.Parse(c.Server.PublicURL); err == nil && u.Path != "" {
		page.Base = u.EscapedPath() + "/"
	}
	page.Login = c.Auth.Login.Issuer != ""
	options := proxy.Options{
		Auth:            s.auth,
		Cache:           s.cache,
		CORS:            proxy.CORS{Origins: c.Server.CORS.Origins, Headers: c.Server.CORS.Headers, MaxAge: c.Server.CORS.MaxAge},
		Edge:            proxy.Edge{Authorizes: c.CDN.EdgeAuthorizes, Tilesets: c.CDN.Tilesets, TTL: c.CDN.TTL},
		PublicURL:       c.Server.PublicURL,
		TrustedProxies:  c.Server.TrustedProxies,
		QueryParameter:  c.Auth.QueryParameter,
		VerifyHeader:    c.Auth.VerifyHeader,
		VerifyPrefix:    c.Auth.VerifyPrefix,
		VerifyPreflight: c.Auth.VerifyPreflight,
		Viewer:          viewer.New(page),
		WriteStall:      c.Server.Limits.WriteStall,
		ServerTiming:    c.Server.ServerTiming,
		AccessFormat:    c.Logging.Format,
		LogProbes:       c.Logging.Probes,
		Logger:          s.logger,
		Metrics:         s.requests,
		Clients:         s.clients,
		Limiter:         s.limiter,
		Usage:           s.usage,
		Renewals:        s.renewals,
		PurgeEdge:       s.purgeEdge(c),
		Readiness: append([]proxy.Readiness{
			{Name: "origin", Missing: s.origins.NotReady, Degraded: s.origins.Degraded},
			{Name: "keys", Missing: s.auth.NotReady, Degraded: s.auth.Degraded},
			{Name: "configuration", Missing: func() []string { return nil }, Degraded: s.reloads.degraded},
		}, s.sharing.readiness()...),
	}
	if s.more.reload != nil {
		options.Reload = s.reload
	}
	if c.Logging.Access {
		options.AccessLog = s.log.access
	}
	if l := c.Auth.Login; l.Issuer != "" {
		options.Login = &proxy.Login{Issuer: l.Issuer, ClientID: l.ClientID, ClientSecret: string(l.ClientSecret.Bytes()), Scopes: l.Scopes, After: l.After}
	}
	if c.CDN.CloudFront.KeyPairID != "" {
		signer, err := cloudfront.New(c.CDN.CloudFront.KeyPairID, c.CDN.CloudFront.PrivateKey.Bytes(), c.Auth.Session.Mode())
		if err != nil {
			return proxy.Options{}, fmt.Errorf("cdn.cloudfront: %w", err)
		}
		options.CloudFront = signer
	}
	for _, secret := range c.CDN.OriginSecrets {
		options.Edge.Secrets = append(options.Edge.Secrets, secret.Bytes())
	}
	s.addSources(&options)
	return options, nil
}

// addSources adds what the proxy serves.
func (s *service) addSources(options *proxy.Options) {
	for _, t := range s.config.Tilesets {
		options.Tilesets = append(options.Tilesets, s.tileset(t))
		if t.Vend {
			options.Vend = s.vend
		}
	}
	for _, f := range s.config.Files {
		object := s.origins.Source("file:" + f.ID)
		options.Files = append(options.Files, proxy.File{ID: f.ID, Presign: func(ctx context.Context) (tile.Signed, error) {
			return object.Presign(ctx, tile.Key{})
		}})
	}
	for _, b := range s.config.Bundles {
		options.Bundles = append(options.Bundles, s.bundle(b))
	}
}

func (s *service) tileset(t configs.Tileset) proxy.Tileset {
	var layers json.RawMessage
	if t.VectorLayers != nil {
		layers, _ = json.Marshal(t.VectorLayers) // strings and small numbers always marshal
	}
	source := s.origins.Source(t.ID)
	tileset := proxy.Tileset{
		ID: t.ID, Default: t.Default, Version: t.Version, Format: t.Format, Scalable: t.Source.Scalable(),
		MinZoom: t.MinZoom, MaxZoom: t.MaxZoom, Bounds: t.Bounds,
		Name: t.Name, Attribution: t.Attribution, VectorLayers: layers, Metadata: layers == nil && t.Source.MetadataKey() != "",
		Missing: t.Missing, Browser: t.Browser, Public: t.Public, Vend: t.Vend, Encoding: t.Encoding, Sparse: t.Sparse,
		Freshness: tilecache.Policy{Fresh: t.Cache.Fresh, Stale: t.Cache.Stale, MissingFor: t.Cache.MissingFor},
		TileSize:  t.TileSize,
		Behind:    s.behind(t.Source, t.Cache, t.Store, t.Format),
		Identity:  identity(t.Source, s.config.Store(t.Store).Endpoint, t.Format),
	}
	if t.Source.Archive {
		tileset.Archive, tileset.Given, tileset.Raw = s.archive(t, source), proxy.Given(t.Given), t.Raw
	} else {
		tileset.Origin, tileset.Presign = source, source.Presign
	}
	return tileset
}

// archive makes the reader of a tileset's archive.
func (s *service) archive(t configs.Tileset, source *origin.S3) *archive.Archive {
	return archive.New(archive.Options{
		Tileset: t.ID, Source: t.Source.String(),
		Read: func(ctx context.Context, first, length int64, cond tile.Condition) (*tile.Object, error) {
			return source.FetchPart(ctx, tile.Key{Tileset: t.ID}, first, length, cond)
		},
		Cache: s.cache, Decoders: s.decoders, Fresh: t.Cache.Fresh, Stale: t.Cache.Stale, MissingFor: t.Cache.MissingFor, Logger: s.logger,
	})
}

// authOptions returns the configured options of package auth.
func authOptions(c *configs.Config, logger *slog.Logger) auth.Options {
	o := c.AuthOptions()
	o.Logger = logger
	o.ClientAddress = proxy.ClientAddress(c.Server.TrustedProxies)
	return o
}

// identity tells the objects that one configuration of a tileset or bundle names from those that another one names, in the cache.
func identity(source configs.Source, endpoint, format string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", source.String(), endpoint, format))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// run serves on the listeners until ctx ends, then drains: not ready but serving, then no new
// connections, then nothing.
func (s *service) run(ctx context.Context, l listeners) error {
	in := s.instance
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	s.begin(background)
	if s.sharing.client != nil {
		running.Go(func() { s.sharing.client.Run(background) })
	}
	defer func() {
		stop()
		in.reloads.wait()
		in.current.Load().end()
		running.Wait()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := s.cache.Close(closing); err != nil {
			s.logger.Warn("fetches were still under way", "error", err)
		}
	}()

	if l.limitMemory {
		s.memory.start()
		defer s.memory.stop()
	}
	c := s.config.Server
	public := wire.Server{
		Handler: in.handler(func(s *service) http.Handler { return s.proxy }), HeaderBytes: int(c.Limits.HeaderBytes), ReadHeader: c.Limits.ReadHeader, Idle: c.Limits.Idle,
		WriteStall: c.Limits.WriteStall, Streams: c.Limits.Streams, Clients: s.clients, Logger: s.logger,
	}
	if c.TLS.Enabled() {
		config, err := wire.TLSConfig(c.TLS.CertFile, c.TLS.KeyFile, s.logger)
		if err != nil {
			return err
		}
		public.TLS = config
	}
	serving, closeListeners := context.WithCancel(context.WithoutCancel(ctx))
	defer closeListeners()
	ended := make(chan error, 2)
	running.Go(func() { ended <- public.Serve(serving, l.public, c.ShutdownTimeout) })
	count := 1
	if l.admin != nil {
		count++
		admin := wire.Server{
			Handler:    in.handler(func(s *service) http.Handler { return s.admin }),
			WriteStall: adminWriteTimeout, Logger: s.logger,
		}
		running.Go(func() { ended <- admin.Serve(serving, l.admin, time.Second) })
	}
	in.reloads.allow(background)
	if l.watch != nil {
		running.Go(func() { in.watch(ctx, l.watch) })
	}
	select {
	case err := <-ended: // a listener that fails takes the other with it
		closeListeners()
		return errors.Join(err, <-ended)
	case <-ctx.Done():
	}
	in.reloads.forbid()
	last := in.current.Load()
	last.proxy.Drain()
	ending := last.config.Server
	s.logger.Info("draining", "delay", ending.DrainDelay.String(), "shutdown_timeout", ending.ShutdownTimeout.String())
	select {
	case <-time.After(ending.DrainDelay):
	case err := <-ended:
		return err
	}
	s.log.endBy = time.Now().Add(ending.ShutdownTimeout)
	closeListeners()
	var errs []error
	for range count {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// adminWriteTimeout lets a profile of a minute come through.
const adminWriteTimeout = 2 * time.Minute

// describe marks a fault in making a service as one of its configuration. A fault with a line in the file tells
// that by itself.
func describe(err error) error {
	if _, ok := errors.AsType[*configs.Error](err); ok {
		return usageError{err}
	}
	return usageError{fmt.Errorf("the configuration does not work: %w", err)}
}
