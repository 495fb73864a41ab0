package main

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tilegate/configs"
	"tilegate/proxy"
	"tilegate/proxy/cdn"
)

const (
	// purgeEdgeAfter is how long a CDN is left alone after the caches here were purged: it would else ask an instance that has not
	// learnt of the purge, or get what was on its way to it.
	purgeEdgeAfter = time.Second
	purgeEdgeLimit = 30 * time.Second // of a purge at all CDNs
)

func newCDNPurges(r prometheus.Registerer) *prometheus.CounterVec {
	purges := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tilegate_cdn_purges_total", Help: "Purges at CDNs, by CDN and by whether it has accepted all tags.",
	}, []string{"cdn", "result"})
	r.MustRegister(purges)
	for _, name := range []string{"cloudfront", "fastly", "cloudflare"} {
		purges.WithLabelValues(name, "ok")
		purges.WithLabelValues(name, "failed")
	}
	return purges
}

// purgeEdge returns what purges the configured CDNs, nil without any.
func (s *service) purgeEdge(c *configs.Config) proxy.PurgeEdge {
	purgers := s.purgers(&c.CDN.Purge)
	if len(purgers) == 0 {
		return nil
	}
	return func(ctx context.Context, tags []string, soft bool) []proxy.EdgePurge {
		// The caches here are purged. That the client does not wait for the rest is no reason to leave it out.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), purgeEdgeLimit)
		defer cancel()
		<-time.After(purgeEdgeAfter)
		results := make([]proxy.EdgePurge, len(purgers))
		var running sync.WaitGroup
		for i, p := range purgers {
			running.Go(func() {
				purged, err := p.Purge(ctx, tags, soft)
				results[i] = proxy.EdgePurge{CDN: p.Name, Tags: len(tags), Purged: purged}
				result := "ok"
				if err != nil {
					result, results[i].Error = "failed", err.Error()
					s.logger.Error("purge at the CDN failed", "cdn", p.Name, "tags", len(tags), "purged", purged, "error", err)
				} else {
					s.logger.Info("purged at the CDN", "cdn", p.Name, "tags", len(tags))
				}
				s.cdnPurges.WithLabelValues(p.Name, result).Inc()
			})
		}
		running.Wait()
		return results
	}
}

func (s *service) purgers(p *configs.CDNPurge) (purgers []*cdn.Purger) {
	if id := p.CloudFront.Distribution; id != "" {
		purgers = append(purgers, cdn.CloudFront(cdn.CloudFrontOptions{Distribution: id, Endpoint: p.CloudFront.Endpoint, Credentials: s.origins.BaseCredentials}))
	}
	if id := p.Fastly.Service; id != "" {
		purgers = append(purgers, cdn.Fastly(cdn.Options{ID: id, Token: string(p.Fastly.Token.Bytes()), Endpoint: p.Fastly.Endpoint}))
	}
	if id := p.Cloudflare.Zone; id != "" {
		purgers = append(purgers, cdn.Cloudflare(cdn.Options{ID: id, Token: string(p.Cloudflare.Token.Bytes()), Endpoint: p.Cloudflare.Endpoint}))
	}
	return purgers
}
