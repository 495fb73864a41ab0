package main

import (
	"tilegate/configs"
	"tilegate/internal/tile"
	"tilegate/proxy"
	"tilegate/proxy/origin"
	"tilegate/tilecache"
)

// bundleSources converts the configuration of the bundles for S3.
func bundleSources(c *configs.Config) (sources []origin.Source) {
	for _, b := range c.Bundles {
		sources = append(sources, origin.Source{
			ID: tile.BundlePrefix + b.ID, Store: b.Store, Region: b.Region, Bucket: b.Source.Bucket, Prefix: b.Source.Key,
			Key:          func(k tile.Key) string { return b.Source.Key + k.Path },
			MissingOn403: missingOn403[b.MissingOn403], Role: originRole(b.Role),
		})
	}
	return sources
}

func (s *service) bundle(b configs.Bundle) proxy.Bundle {
	source := s.origins.Source(tile.BundlePrefix + b.ID)
	return proxy.Bundle{
		ID: b.ID, Version: b.Version, Prefix: b.Source.Key, With: b.With, Spatial: b.Spatial, Active: b.Active, Public: b.Public,
		Styles: b.Styles, Browser: b.Browser,
		Freshness: tilecache.Policy{Fresh: b.Cache.Fresh, Stale: b.Cache.Stale, MissingFor: b.Cache.MissingFor},
		Origin:    source, FetchPart: source.FetchPart, Behind: s.behind(b.Source, b.Cache, b.Store),
		Identity: identity(b.Source, s.config.Store(b.Store).Endpoint, ""),
	}
}
