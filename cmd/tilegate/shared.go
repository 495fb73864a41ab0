package main

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tilegate/auth"
	"tilegate/configs"
	"tilegate/internal/shared"
	"tilegate/internal/tile"
	"tilegate/proxy"
)

// The feeds through which instances tell each other what all must know.
const (
	revocationsFeed = "revocations"
	logoutsFeed     = "logouts"
	purgesFeed      = "purges"
)

// sharing is this instance's part in what all instances know; its client is nil where nothing is shared.
type sharing struct {
	client   *shared.Client
	purges   shared.Purges
	failures *prometheus.CounterVec
	lookups  *prometheus.CounterVec
	writes   *prometheus.CounterVec
	counts   *prometheus.CounterVec
}

func newSharing(r prometheus.Registerer) *sharing {
	s := &sharing{failures: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tilegate_shared_failures_total",
		Help: "Exchanges with Redis that failed, by what was exchanged.",
	}, []string{"feed"})}
	for _, feed := range []string{revocationsFeed, logoutsFeed, purgesFeed} {
		s.failures.WithLabelValues(feed)
	}
	outcomes := func(name, help string, known ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"outcome"})
		for _, outcome := range known {
			v.WithLabelValues(outcome)
		}
		return v
	}
	s.lookups = outcomes("tilegate_shared_lookups_total", "Look-ups of tiles in Redis.", "hit", "joined", "miss", "failed", "skipped")
	s.writes = outcomes("tilegate_shared_writes_total", "Tiles for Redis.", "written", "failed", "dropped")
	s.counts = outcomes("tilegate_shared_counts_total", "Counts of what callers use, for Redis.", "sent", "failed", "dropped")
	r.MustRegister(s.failures, s.lookups, s.writes, s.counts, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tilegate_shared_degraded",
		Help: "1 while Redis does not answer, or refuses; 0 otherwise, and where none is configured.",
	}, func() float64 {
		if s.client == nil || s.client.Up() {
			return 0
		}
		return 1
	}))
	return s
}

// revoked tells the other instances of a revocation or logout. It does nothing where nothing is shared.
func (s *sharing) revoked(record []byte, logout bool) {
	switch {
	case s.client == nil:
	case logout:
		s.client.Tell(logoutsFeed, record)
	default:
		s.client.Tell(revocationsFeed, record)
	}
}

// purged tells the other instances what is purged.
func (s *sharing) purged(_ context.Context, p tile.Purge) error {
	s.client.Tell(purgesFeed, s.purges.Add(p))
	return nil
}

// share connects the parts of a service with those of other instances.
func (in *instance) share(c *configs.Config) error {
	if !c.Shared.Enabled() {
		return nil
	}
	current := func() *auth.Authenticator { return in.current.Load().auth }
	take := func(record []byte) (bool, error) { return current().TakeRevocation(record) }
	in.sharing.purges.Forget = func(p tile.Purge) { in.current.Load().proxy.Forget(p) }
	o := redisOptions(c)
	o.Feeds = []shared.Feed{
		{Name: revocationsFeed, Apply: take, Known: func() [][]byte { return current().RevocationRecords() }},
		{Name: logoutsFeed, Apply: take, Known: func() [][]byte { return current().LogoutRecords() }},
		{Name: purgesFeed, Apply: in.sharing.purges.Apply, Known: in.sharing.purges.Known},
	}
	// The limiter is made after the client, and before it runs.
	o.Counts = &shared.CountOptions{
		OnDistinct: func(counter tile.Counter, all, own int64) { in.limiter.LearnTiles(counter, all, own) },
		OnSum: func(counter tile.Counter, n, waiting int64, since time.Time) time.Time {
			return in.limiter.LearnRequests(counter, n, waiting, since)
		},
		OnCount: func(outcome string) { in.sharing.counts.WithLabelValues(outcome).Inc() },
	}
	o.Logger = in.logger
	o.OnFailure = func(feed string) { in.sharing.failures.WithLabelValues(feed).Inc() }
	if c.Shared.Tiles {
		o.Tiles = &shared.TileOptions{
			Timeout: c.Shared.Timeout, MaxObject: int64(c.Shared.MaxObject),
			OnLookup: func(outcome string) { in.sharing.lookups.WithLabelValues(outcome).Inc() },
			OnWrite:  func(outcome string) { in.sharing.writes.WithLabelValues(outcome).Inc() },
		}
	}
	var err error
	in.sharing.client, err = shared.New(o)
	return err
}

// redisOptions are how to reach Redis, and the keys of what is in it.
func redisOptions(c *configs.Config) shared.Options {
	o := shared.Options{
		Cluster: c.Shared.Cluster, Master: c.Shared.Sentinel.Master,
		Username: c.Shared.Username, Password: string(c.Shared.Password.Bytes()),
		SentinelUsername: c.Shared.Sentinel.Username, SentinelPassword: string(c.Shared.Sentinel.Password.Bytes()),
		CAPEM: c.Shared.TLS.CAFile.Bytes(), Prefix: c.Shared.Prefix,
	}
	o.Addresses, o.DB, o.TLS = c.Shared.Servers()
	for _, key := range c.Auth.SigningKeys {
		o.SigningKeys = append(o.SigningKeys, key.Bytes())
	}
	return o
}

// checkShared asks Redis as serve does, and adds what it answers to the table of check.
func checkShared(ctx context.Context, c *configs.Config, t *table) {
	if !c.Shared.Enabled() {
		return
	}
	var faults []string
	o := redisOptions(c)
	o.Feeds = []shared.Feed{{Name: purgesFeed}}
	if err := shared.Check(ctx, o); err != nil {
		faults = []string{err.Error()}
	}
	t.row()
	t.row("SHARED", "RESULT")
	t.row(strings.Join(o.Addresses, " "), okOrFailed(faults))
	t.beneath(faults)
}

// behind returns the level of cache between the memory and S3 for what comes from a source, nil where there is none. kind is what
// else makes the objects of a source other tiles: the store that they are in, and the tileset's format.
func (s *service) behind(source configs.Source, f configs.Freshness, kind ...string) func(tile.Fetch) tile.Fetch {
	if s.sharing.client == nil {
		return nil
	}
	level := shared.Level{
		Source: strings.Join(append(kind, source.String()), " "), Keep: f.Fresh + f.Stale, MissingFor: f.MissingFor, Epoch: s.sharing.purges.Epoch,
	}
	if source.Archive {
		// A tile never changes within a version of its archive, and the archive itself tells which tiles it does not have.
		level.Keep, level.MissingFor = shared.Forever, 0
	}
	return func(fetch tile.Fetch) tile.Fetch { return s.sharing.client.Tiles(fetch, level) }
}

// readiness is what serving needs of the other instances.
func (s *sharing) readiness() []proxy.Readiness {
	if s.client == nil {
		return nil
	}
	return []proxy.Readiness{{Name: "shared", Missing: s.client.NotReady, Degraded: s.client.Degraded}}
}
