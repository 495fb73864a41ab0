package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tilegate/configs"
	"tilegate/internal/tile"
	"tilegate/proxy"
	"tilegate/proxy/origin"
)

// vend is a proxy.Vend: it issues credentials for the caller's own use.
func (s *service) vend(ctx context.Context, subject string, tilesets []string, until time.Time) (proxy.Credentials, error) {
	life := time.Until(until)
	if life < origin.MinVended {
		return proxy.Credentials{}, proxy.ErrTooShort
	}
	vended, err := s.origins.Vend(ctx, subject, tilesets, life)
	if errors.Is(err, origin.ErrCannotVend) {
		return proxy.Credentials{}, fmt.Errorf("%w: %w", proxy.ErrNotVended, err)
	}
	if err != nil {
		return proxy.Credentials{}, err
	}
	return proxy.Credentials{
		Version: 1, AccessKeyID: vended.AccessKeyID, SecretAccessKey: vended.SecretAccessKey,
		SessionToken: vended.SessionToken, Expiration: vended.Expires,
	}, nil
}

// originOptions converts the configuration of S3, STS, the tilesets and the files.
func originOptions(c *configs.Config) origin.Options {
	o := origin.Options{
		Store:     originStore(&c.AWS.Store),
		FirstByte: c.AWS.Timeouts.FirstByte, Progress: c.AWS.Timeouts.Progress,
		PresignExpires: c.Presign.Expires, PresignWindow: c.Presign.Window,
	}
	for i := range c.Stores {
		o.Stores = append(o.Stores, originStore(&c.Stores[i]))
	}
	for _, t := range c.Tilesets {
		o.Sources = append(o.Sources, tilesetSource(c, t))
	}
	for _, f := range c.Files {
		o.Sources = append(o.Sources, origin.Source{
			ID: "file:" + f.ID, Store: f.Store, Region: f.Region, Bucket: f.Source.Bucket, Prefix: f.Source.Key,
			Key:  func(tile.Key) string { return f.Source.Key },
			Role: originRole(f.Role),
		})
	}
	o.Sources = append(o.Sources, bundleSources(c)...)
	return o
}

// tilesetSource converts the configuration of a tileset for S3.
func tilesetSource(c *configs.Config, t configs.Tileset) origin.Source {
	src := origin.Source{
		ID: t.ID, Store: t.Store, Region: t.Region, Bucket: t.Source.Bucket, Prefix: t.Source.Prefix(),
		Canary: canary(t), MissingOn403: missingOn403[t.MissingOn403],
		Role: originRole(t.Role),
		Vend: t.Vend, Literals: t.Source.Literals(), Overlaps: overlaps(c, t),
	}
	if t.Source.Archive {
		src.Archive = true
		src.Key = func(tile.Key) string { return t.Source.Key }
		return src
	}
	src.Match, src.ZoomFolder = t.Source.Matcher(), t.Source.ZoomFolder
	src.Key = func(k tile.Key) string {
		if k.Path != "" { // there is but one object beside the tiles
			return t.Source.MetadataKey()
		}
		return t.Source.Object(k.Z, k.X, k.Y, k.Scale)
	}
	return src
}

func originStore(s *configs.Store) origin.Store {
	return origin.Store{
		Name: s.ID, Region: s.Region, Endpoint: s.Endpoint, STSEndpoint: s.STSEndpoint, PathStyle: s.PathStyle,
		Anonymous: s.Anonymous, RequestPayer: s.RequestPayer, Profile: s.Credentials.Profile,
		AccessKeyID: string(s.Credentials.AccessKeyID.Bytes()), SecretAccessKey: string(s.Credentials.SecretAccessKey.Bytes()),
		SessionToken: string(s.Credentials.SessionToken.Bytes()),
	}
}

var missingOn403 = map[string]origin.MissingOn403{"auto": origin.Auto, "true": origin.Always, "false": origin.Never}

// overlaps returns the IDs of the other sources that have a key which a policy for this tileset's tiles allows.
func overlaps(c *configs.Config, t configs.Tileset) (ids []string) {
	for _, other := range c.Tilesets {
		if other.ID != t.ID && t.Source.Overlaps(other.Source) {
			ids = append(ids, other.ID)
		}
	}
	for _, f := range c.Files {
		if t.Source.Overlaps(f.Source) {
			ids = append(ids, "file:"+f.ID)
		}
	}
	for _, b := range c.Bundles {
		if t.Source.OverlapsBundle(b.Source) {
			ids = append(ids, tile.BundlePrefix+b.ID)
		}
	}
	return ids
}

func originRole(r configs.Role) origin.Role {
	return origin.Role{
		ARN: r.ARN, SessionName: r.SessionName, ExternalID: r.ExternalID, Duration: r.Duration, Tags: r.Tags,
		ScopeDown: r.ScopeDown, WebIdentityTokenFile: r.WebIdentityTokenFile,
	}
}

// canary is the tile of a tileset's lowest zoom at the middle of its bounds. If any tile exists, this one likely does.
func canary(t configs.Tileset) tile.Key {
	lon, lat := t.Bounds.Center()
	x, y := tile.At(t.MinZoom, lon, lat)
	return tile.Key{Tileset: t.ID, Version: t.Version, Z: t.MinZoom, X: x, Y: y, Scale: 1}
}
