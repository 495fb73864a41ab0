package archive

import (
	"context"
	"fmt"

	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
)

// codings are the Content-Encodings of tiles by how the archive compresses them. Of tiles of an unknown compression
// their first bytes tell.
var codings = map[pmtiles.Compression]string{pmtiles.Gzip: "gzip", pmtiles.Brotli: "br", pmtiles.Zstd: "zstd"}

// Fetch is a tile.Fetch. It gets a tile of the generation that key names, with one request where the directories are
// held. tile.ErrMissing is a tile that the archive does not have, which takes no request.
//
// tile.ErrChanged says that this generation is no longer the current one: see Replaced.
func (a *Archive) Fetch(ctx context.Context, key tile.Key, cond tile.Condition) (*tile.Object, error) {
	h := a.held.Load()
	if h == nil || h.ID != key.Generation {
		return nil, fmt.Errorf("%w: the archive was replaced", tile.ErrChanged)
	}
	g := h.Generation
	id, ok := pmtiles.TileID(key.Z, key.X, key.Y)
	if !ok || key.Z < g.Header.MinZoom || key.Z > g.Header.MaxZoom {
		return nil, tile.ErrMissing
	}
	r, err := a.find(ctx, g, id)
	if err != nil {
		return nil, err
	}
	etag := g.tileETag(r)
	switch {
	case cond.IfMatch != "" && cond.IfMatch != etag:
		return nil, tile.ErrChanged
	case cond.IfNoneMatch == etag,
		// A date counts only without a tag (RFC 9110 section 13.1.3), and says nothing of an archive without one.
		cond.IfNoneMatch == "" && !cond.IfModifiedSince.IsZero() && !g.LastModified.IsZero() && !g.LastModified.After(cond.IfModifiedSince):
		return nil, tile.ErrNotModified
	}
	o, err := a.read(ctx, g, r, cond.Offset)
	if err != nil {
		return nil, err
	}
	o.ETag, o.LastModified, o.Encoding, o.Total, o.Check = etag, g.LastModified, codings[g.Header.TileCompression], 0, nil
	o.Reject = func(reason string) {
		g.Reject(fmt.Sprintf("tile %d/%d/%d, the %d bytes at byte %d: %s", key.Z, key.X, key.Y, r.Length, r.Offset, reason))
	}
	return o, nil
}

// Part returns length bytes of a generation from first on, without those before offset, as they are in the bucket.
// tile.ErrChanged says that this generation is no longer the current one.
func (a *Archive) Part(ctx context.Context, g *Generation, first, length, offset int64) (*tile.Object, error) {
	return a.read(ctx, g, pmtiles.Range{Offset: first, Length: length}, offset)
}

// find goes through the directories and returns where a tile is.
func (a *Archive) find(ctx context.Context, g *Generation, id uint64) (pmtiles.Range, error) {
	r := g.Header.Root
	for depth := 1; ; depth++ {
		d, err := a.directory(ctx, g, r)
		if err != nil {
			return pmtiles.Range{}, err
		}
		found, next, err := g.Header.Lookup(d, id, depth)
		switch {
		case err != nil:
			return pmtiles.Range{}, g.refuseFormat(err)
		case found == pmtiles.Absent:
			return pmtiles.Range{}, tile.ErrMissing
		case found == pmtiles.Tile:
			return next, nil
		}
		r = next
	}
}
