package proxy

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// Bundle is all objects under a prefix of a bucket, served by their names: styles, glyphs, sprites, terrain, 3D Tiles.
type Bundle struct {
	ID        string   // [a-z0-9][a-z0-9_-]{0,63}
	Version   string   // names the data's generation; part of the cache key
	Prefix    string   // of the keys; ends in /
	With      []string // tilesets: a grant for one of them opens the bundle, too
	Spatial   bool     // With opens it only where the grant has no zoom range, box or area
	Active    bool     // html, svg and scripts are served
	Public    bool     // no token needed
	Styles    map[string]string
	Browser   string           // as a tileset's
	Freshness tilecache.Policy // as a tileset's
	Origin    Origin
	// FetchPart asks for length bytes of an object from first on. The answer's Total is the length of the whole object.
	// Nil: parts of large objects are cut out of the whole.
	FetchPart func(ctx context.Context, key tile.Key, first, length int64, cond tile.Condition) (*tile.Object, error)
	Behind    func(tile.Fetch) tile.Fetch // as a tileset's
	Identity  string                      // as a tileset's
}

// bundle is a Bundle made ready. What it has in common with a tileset is in there: names in logs and metrics, header values.
type bundle struct {
	Bundle
	tileset *tileset
	style   *tileset        // the same for styles, whose answers differ from one address of ours to another
	styles  map[string]bool // the paths of Styles
	fetcher tile.Fetch      // fetch, bound once
}

// addBundle makes a bundle ready and lists it.
func (p *Proxy) addBundle(b Bundle) error {
	switch {
	case !tile.ValidID(b.ID) || b.Origin == nil || !strings.HasSuffix(b.Prefix, "/"):
		return fmt.Errorf("bundle %q: its id, prefix %q or origin is not valid", b.ID, b.Prefix)
	case p.bundles[b.ID] != nil:
		return fmt.Errorf("bundle %q is there twice", b.ID)
	}
	for _, id := range b.With {
		if p.tilesets[id] == nil {
			return fmt.Errorf("bundle %q: there is no tileset %q", b.ID, id)
		}
	}
	styles := map[string]bool{}
	for name, path := range b.Styles {
		if !tile.ValidID(name) || !validAssetPath(path) || assetExtension(path) != "json" {
			return fmt.Errorf("bundle %q: style %q is not a path of JSON: %q", b.ID, name, path)
		}
		styles[path] = true
	}
	id := tile.BundlePrefix + b.ID
	browser := browserCacheControl(b.Browser)
	absent := fmt.Sprintf("private, max-age=%d", int(b.Freshness.MissingFor.Seconds()))
	one := func(s string) []string { return []string{s} }
	maxAge := func(d time.Duration) []string { return one(fmt.Sprintf("max-age=%d", int(d.Seconds()))) }
	ts := &tileset{
		Tileset:                   Tileset{ID: id, Version: b.Version, Missing: "404", Public: b.Public, Freshness: b.Freshness, Origin: b.Origin},
		keyVersion:                keyVersion(b.Version, b.Identity),
		cacheControl:              one(browser),
		missingCacheControl:       one(absent),
		sharedCacheControl:        one(sharedCacheControl(browser, p.opt.Edge.TTL)),
		missingSharedCacheControl: one(sharedCacheControl(absent, b.Freshness.MissingFor)),
		cdnCacheControl:           maxAge(p.opt.Edge.TTL),
		missingCDNCacheControl:    maxAge(b.Freshness.MissingFor),
		surrogateKey:              one(tilesetTag(id)),
		resourcePolicy:            p.cors.resourcePolicy(b.Public),
		metrics:                   p.opt.Metrics.tileset(id),
	}
	var once sync.Once
	ts.noteOddCoding = func(word string, key tile.Key) {
		once.Do(func() {
			p.opt.Logger.Warn("objects have a Content-Encoding that names no coding; it is ignored", "tileset", id,
				"content_encoding", word[:min(len(word), 64)], "path", key.Path)
		})
	}
	style := *ts
	style.cacheControl = one(privateOnly(browser))
	ready := &bundle{Bundle: b, tileset: ts, style: &style, styles: styles}
	ready.fetcher = behind(b.Behind, ready.fetch)
	p.bundles[b.ID] = ready
	p.anyPublic = p.anyPublic || b.Public
	return nil
}

// privateOnly makes a Cache-Control for answers that no shared cache may keep.
func privateOnly(browser string) string {
	kept := []string{"private"}
	for directive := range strings.SplitSeq(browser, ",") {
		directive = strings.TrimSpace(directive)
		switch name, _, _ := strings.Cut(strings.ToLower(directive), "="); name {
		case "", "private", "public", "s-maxage", "proxy-revalidate":
		default:
			kept = append(kept, directive)
		}
	}
	return strings.Join(kept, ", ")
}

// opens reports whether a grant opens the bundle: by its name, or by a tileset that the bundle goes with.
func (b *bundle) opens(grant *auth.Grant) bool {
	if grant.AdmitsBundle(b.ID) {
		return true
	}
	admits := grant.AdmitsTileset
	if b.Spatial {
		admits = grant.AdmitsWhole
	}
	return slices.ContainsFunc(b.With, admits)
}

// key names an object's bytes in the cache. The path must not keep a request's memory alive.
func (b *bundle) key(path string) tile.Key {
	return tile.Key{Tileset: b.tileset.ID, Version: b.tileset.keyVersion, Path: strings.Clone(path)}
}

// fetch asks the bundle's origin, and makes the header values that all clients of the object will get.
func (b *bundle) fetch(ctx context.Context, key tile.Key, cond tile.Condition) (*tile.Object, error) {
	if cond.Offset > 0 {
		o, err := b.Origin.Fetch(ctx, key, cond)
		if err == nil {
			o.Encoding = "" // the first bytes have told it
		}
		return o, err
	}
	o, body, head, err := b.tileset.open(ctx, key, cond)
	if err != nil {
		return nil, err
	}
	if err := b.describe(o, key, head); err != nil {
		return nil, err
	}
	o.Body = struct {
		io.Reader
		io.Closer
	}{body, o.Body}
	if o.Size >= 0 {
		o.Header["Content-Length"] = []string{formatLength(o.Size)}
	}
	return o, nil
}

var anyImage = tile.FormatNamed("auto")

// describe finds out how an object is encoded, and sets its header.
func (b *bundle) describe(o *tile.Object, key tile.Key, head []byte) error {
	extension := assetExtension(key.Path)
	if packedTypes[extension] {
		o.Encoding = ""
	} else {
		stated, odd, ok := storedCoding(o.Encoding)
		if !ok {
			return reject(o, "stored with Content-Encoding %q; only gzip, br, zstd and deflate are understood", o.Encoding)
		}
		if odd != "" {
			b.tileset.noteOddCoding(odd, key)
		}
		o.Encoding = actualCoding(stated, head, anyImage)
	}
	o.Header = http.Header{"Content-Type": assetType(extension)}
	if o.ETag != "" {
		o.Header["Etag"] = []string{o.ETag}
	}
	if !o.LastModified.IsZero() {
		o.Header["Last-Modified"] = []string{o.LastModified.UTC().Format(http.TimeFormat)}
	}
	return nil
}

// styleEntry is one line of the catalogue.
type styleEntry struct {
	ID    string `json:"id"` // {bundle}/{style}
	Name  string `json:"name"`
	Style string `json:"style"` // its URL
}

// stylesSeen lists the styles that a grant opens; nil is the grant of nobody.
func (p *Proxy) stylesSeen(grant *auth.Grant, base string) (entries []styleEntry) {
	for _, id := range slices.Sorted(maps.Keys(p.bundles)) {
		b := p.bundles[id]
		if !b.Public && (grant == nil || !b.opens(grant)) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(b.Styles)) {
			entries = append(entries, styleEntry{id + "/" + name, name, base + assetsPath + id + "/" + escapePath(b.Styles[name])})
		}
	}
	return entries
}
