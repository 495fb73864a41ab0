package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tilegate/configs"
	"tilegate/proxy"
	"tilegate/proxy/origin"
)

const (
	lookEvery = 2 * time.Second  // at the configuration file; it is read when two looks in a row see the same new content
	warmUp    = 10 * time.Second // for credentials and key sets of a new configuration, before it answers requests
)

// use counts the requests that a service answers, so that it ends after the last of them.
type use struct {
	requests atomic.Int64
	retired  atomic.Bool
	idle     chan struct{} // closed once it is retired and answers none
	once     sync.Once

	stop    context.CancelFunc
	running sync.WaitGroup
}

// enter reports whether the service may answer a request. It must leave afterwards, in any case.
func (u *use) enter() bool {
	u.requests.Add(1)
	return !u.retired.Load()
}

func (u *use) leave() {
	if u.requests.Add(-1) == 0 && u.retired.Load() {
		u.once.Do(func() { close(u.idle) })
	}
}

func (u *use) retire() {
	u.requests.Add(1)
	u.retired.Store(true)
	u.leave()
}

// handler answers each request with the service that is current when it arrives.
func (in *instance) handler(of func(*service) http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			s := in.current.Load()
			if answered := s.answer(of(s), w, r); answered {
				return
			}
		}
	})
}

func (s *service) answer(h http.Handler, w http.ResponseWriter, r *http.Request) bool {
	defer s.use.leave()
	if !s.use.enter() {
		return false
	}
	h.ServeHTTP(w, r)
	return true
}

// begin starts what a service does in the background.
func (s *service) begin(ctx context.Context) {
	s.origins.begin(ctx)
	ctx, s.use.stop = context.WithCancel(ctx)
	s.use.idle = make(chan struct{})
	s.use.running.Go(func() {
		if err := s.auth.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			s.logger.Error("key sets are no longer refreshed", "error", err)
		}
	})
}

// end ends what begin has started.
func (s *service) end() {
	s.use.stop()
	s.use.running.Wait()
	s.origins.end()
}

// origins are what reads S3 for a service, and for the next one as long as nothing changes that concerns S3.
type origins struct {
	*origin.AWS

	mu       sync.Mutex
	services int // that have begun and not ended
	stop     context.CancelFunc
	running  sync.WaitGroup
}

func (o *origins) begin(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.services++; o.services == 1 {
		ctx, o.stop = context.WithCancel(ctx)
		o.running.Go(func() { o.Run(ctx) })
	}
}

func (o *origins) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.services--; o.services == 0 {
		o.stop()
		o.running.Wait()
	}
}

// sameOrigins reports whether two configurations have the same in S3.
func sameOrigins(a, b *configs.Config) bool {
	return configs.Same(a.AWS, b.AWS) && configs.Same(a.Stores, b.Stores) && configs.Same(a.Tilesets, b.Tilesets) &&
		configs.Same(a.Files, b.Files) && configs.Same(a.Bundles, b.Bundles) && configs.Same(a.Presign, b.Presign)
}

// ready waits until a new service has what it needs, for a while.
func (s *service) ready(ctx context.Context) (missing []string) {
	ctx, cancel := context.WithTimeout(ctx, warmUp)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if missing = append(s.origins.NotReady(), s.auth.NotReady()...); len(missing) == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return missing
		}
	}
}

func (s *service) tellNotes() {
	for _, note := range s.config.Notes {
		if note.Key != "auth.signing_keys" { // auth has said so
			s.logger.Warn("configuration note", "file", s.more.file, "line", note.Line, "key", note.Key, "note", note.Text)
		}
	}
}

// reloads counts the reloads of an instance, which are made one at a time.
type reloads struct {
	results *prometheus.CounterVec
	at      prometheus.Gauge // the last good one

	mu      sync.Mutex // held by a reload
	ctx     context.Context
	ending  sync.WaitGroup // of services that were replaced
	failure atomic.Pointer[string]
}

func newReloads(r prometheus.Registerer) *reloads {
	l := &reloads{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tilegate_config_reloads_total", Help: "Reloads of the configuration, by result."}, []string{"result"}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tilegate_config_loaded_timestamp_seconds", Help: "When the configuration that is in force was read, in Unix seconds.",
		}),
	}
	l.results.WithLabelValues(result(true))
	l.results.WithLabelValues(result(false))
	l.at.SetToCurrentTime()
	r.MustRegister(l.results, l.at, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tilegate_config_degraded", Help: "1 while the latest configuration could not be applied, and an earlier one is in force.",
	}, func() float64 {
		if l.failure.Load() != nil {
			return 1
		}
		return 0
	}))
	return l
}

func (l *reloads) degraded() []string {
	if l.failure.Load() == nil {
		return nil
	}
	return []string{"the latest configuration has faults, which the log tells; an earlier one is in force"}
}

// allow lets reloads begin; what they start ends with ctx.
func (l *reloads) allow(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctx = ctx
}

// forbid waits for a reload under way, and lets no other begin.
func (l *reloads) forbid() { l.allow(nil) } //nolint:staticcheck // nil: none may begin

func (l *reloads) wait() {
	l.forbid()
	l.ending.Wait()
}

// reload reads the configuration again and puts it in force. A configuration with faults changes nothing. Requests under way end as
// they began.
func (in *instance) reload(ctx context.Context) (*proxy.Reloaded, error) {
	l := in.reloads
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil {
		return nil, proxy.ErrNoReload
	}
	done, err := in.apply(ctx, l.ctx)
	l.results.WithLabelValues(result(err == nil)).Inc()
	if err != nil {
		text := err.Error()
		l.failure.Store(&text)
		in.logger.Error("the configuration was not reloaded: the one before stays in force", "error", err)
		return nil, err
	}
	l.failure.Store(nil)
	l.at.SetToCurrentTime()
	in.logger.Info("the configuration was reloaded", "changed", strings.Join(done.Changed, " "), "needs_restart", strings.Join(done.NeedsRestart, " "))
	return done, nil
}

// apply is reload; what it starts ends with background.
func (in *instance) apply(ctx, background context.Context) (*proxy.Reloaded, error) {
	config, err := in.more.reload(ctx)
	if err != nil {
		return nil, err
	}
	before := in.current.Load()
	done := &proxy.Reloaded{NeedsRestart: keepWhatNeedsRestart(before.config, config), Changed: changedSections(before.config, config)}
	if before.config.Shared.Enabled() && !configs.Same(before.config.Auth.SigningKeys, config.Auth.SigningKeys) {
		done.NeedsRestart = append(done.NeedsRestart, "shared")
	}
	next, err := in.configure(ctx, config)
	if err != nil {
		return nil, describe(err)
	}
	next.begin(background)
	if missing := next.ready(ctx); len(missing) > 0 {
		in.logger.Warn("the new configuration is in force, but something that it needs is missing", "missing", strings.Join(missing, "; "))
	}
	in.current.Store(next)
	in.limiter.SetLimits(limitsOf(config))
	next.tellNotes()
	before.use.retire()
	in.reloads.ending.Go(func() {
		select {
		case <-before.use.idle:
		case <-background.Done():
		}
		before.end()
	})
	return done, nil
}

// needRestart are the keys that take effect at a start alone, each with its value.
var needRestart = []struct {
	key   string
	value func(*configs.Config) any // a pointer
}{
	{"server.listen", func(c *configs.Config) any { return &c.Server.Listen }},
	{"server.admin_listen", func(c *configs.Config) any { return &c.Server.AdminListen }},
	{"server.tls", func(c *configs.Config) any { return &c.Server.TLS }},
	{"server.limits", func(c *configs.Config) any { return &c.Server.Limits }},
	{"server.trusted_proxies", func(c *configs.Config) any { return &c.Server.TrustedProxies }},
	{"logging", func(c *configs.Config) any { return &c.Logging }},
	{"cache.memory", func(c *configs.Config) any { return &c.Cache.Memory }},
	{"cache.max_object", func(c *configs.Config) any { return &c.Cache.MaxObject }},
	{"shared", func(c *configs.Config) any { return &c.Shared }},
}

// keepWhatNeedsRestart gives a new configuration the values that are in force of all keys that need a restart, and returns those that
// it would have changed.
func keepWhatNeedsRestart(before, next *configs.Config) (keys []string) {
	for _, k := range needRestart {
		old, given := reflect.ValueOf(k.value(before)).Elem(), reflect.ValueOf(k.value(next)).Elem()
		if !configs.Same(old.Interface(), given.Interface()) {
			keys = append(keys, k.key)
			given.Set(old)
		}
	}
	// That another listener needs no token says nothing of the one that goes on.
	if slices.Contains(keys, "server.admin_listen") && !next.Server.AdminToken.IsSet() && before.Server.AdminToken.IsSet() {
		next.Server.AdminToken = before.Server.AdminToken
		keys = append(keys, "server.admin_token")
	}
	return keys
}

// changedSections are the sections of the file in which two configurations differ.
func changedSections(before, next *configs.Config) []string {
	names := []string{}
	old, given := reflect.ValueOf(before).Elem(), reflect.ValueOf(next).Elem()
	for i := range old.NumField() {
		field := old.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if field.IsExported() && name != "-" && !configs.Same(old.Field(i).Interface(), given.Field(i).Interface()) {
			names = append(names, cmp.Or(name, field.Name))
		}
	}
	slices.Sort(names)
	return names
}

// watched is what asks for a reload.
type watched struct {
	hangups <-chan os.Signal
	path    string

	mu      sync.Mutex
	content [sha256.Size]byte // that was read last, for whichever reason
	seen    [sha256.Size]byte // at the last look
}

// reading notes what is in the file, right before it is read: a change after that is noticed.
func (w *watched) reading() {
	if sum, ok := w.sum(); ok {
		w.mu.Lock()
		w.content = sum
		w.mu.Unlock()
	}
}

func (w *watched) sum() (sum [sha256.Size]byte, ok bool) {
	text, err := os.ReadFile(w.path)
	return sha256.Sum256(text), err == nil
}

// look reads the file, and reports whether its content is new and has stayed the same since the look before, so that nobody reads a file
// that is still being written. A file that is not there for a moment is waited for.
func (w *watched) look() (changed bool) {
	sum, ok := w.sum()
	if !ok {
		return false
	}
	settled := sum == w.seen
	w.seen = sum
	w.mu.Lock()
	defer w.mu.Unlock()
	return settled && sum != w.content
}

// watch reloads on SIGHUP, and when the content of the file has changed, until ctx ends. The path is opened anew at each look, so that a
// link that points elsewhere is seen, which is how Kubernetes replaces files.
func (in *instance) watch(ctx context.Context, w *watched) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.hangups:
		case <-ticker.C:
			if !w.look() {
				continue
			}
		}
		_, _ = in.reload(ctx) // it is logged
	}
}
