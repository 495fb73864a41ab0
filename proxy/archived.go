package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
	"tilegate/proxy/archive"
)

// archived is what a tileset has whose tiles come out of an archive.
type archived struct {
	*archive.Archive
	made atomic.Pointer[derived]
}

// derived is a tileset as one generation of its archive makes it.
type derived struct {
	generation uint64
	*tileset         // nil with err
	refusal    error // why nothing of this generation can be served
}

// errReplacing is the answer when an archive was replaced twice within one request.
var errReplacing = errors.New("the archive was replaced again while it was read")

// archivedTile answers a request for a tile of an archive, which the caller may see.
func (p *Proxy) archivedTile(x *exchange, r *http.Request, base *tileset, want tilePath, edge bool) error {
	return base.withArchive(r.Context(), func(ts *tileset, state archive.State) error {
		fresh := ts.Freshness
		fresh.Validated = state.Validated
		return p.serveTile(x, r, ts, want, edge, fresh)
	}, x.again)
}

// maxAttempts bounds how often one request meets an archive that is known to be outdated.
const maxAttempts = 4

// withArchive calls serve with the tileset as its archive makes it. Where serve is told that the archive is another one by
// now, it is called once more with that, if again allows. What was read before the request began does not count: it may
// have been outdated by then.
func (ts *tileset) withArchive(ctx context.Context, serve func(ts *tileset, state archive.State) error, again func() bool) error {
	begun := ts.archived.Now()
	state, err := ts.archived.Current(ctx)
	for attempt := 1; ; attempt++ {
		var made *tileset
		if err == nil {
			made, err = ts.of(state.Generation)
		}
		if err == nil {
			err = serve(made, state)
		}
		switch {
		case !errors.Is(err, tile.ErrChanged) || !again():
			return err
		case state.Generation == nil, attempt == maxAttempts, attempt > 1 && !state.Validated.Before(begun):
			return fmt.Errorf("%w: %w", errReplacing, err)
		}
		state, err = ts.archived.Replaced(ctx, state.Generation)
	}
}

// of returns the tileset as a generation of its archive makes it.
func (ts *tileset) of(g *archive.Generation) (*tileset, error) {
	d := ts.archived.made.Load()
	if d == nil || d.generation != g.ID {
		made, err := ts.derive(g)
		d = &derived{g.ID, made, err}
		ts.archived.made.Store(d)
	}
	if d.refusal != nil {
		g.Reject(d.refusal.Error()) // shown for as long as it is asked for
		return nil, fmt.Errorf("%w: %w", tile.ErrBadAnswer, d.refusal)
	}
	return d.tileset, nil
}

// known is the tileset as its archive makes it, as far as that has been read already; of others, the tileset itself.
func (ts *tileset) known() *tileset {
	if ts.archived == nil {
		return ts
	}
	if d := ts.archived.made.Load(); d != nil && d.refusal == nil {
		return d.tileset
	}
	return ts
}

// derive makes the tileset that a generation of its archive is.
func (ts *tileset) derive(g *archive.Generation) (*tileset, error) {
	fitted, _, err := ts.Fit(g.Header)
	if err != nil {
		return nil, err
	}
	made := *ts
	made.Tileset, made.generation = fitted, g.ID
	made.setFormat(tile.FormatNamed(fitted.Format))
	// Headers are often wrong about bounds: only the directories say which tiles there are.
	made.area = tile.Area{}
	if ts.Given.Bounds {
		made.area = ts.area
	}
	made.fetcher = behind(ts.Behind, made.fetch)
	return &made, nil
}

// described is an archive's tileset with what its metadata say, for TileJSON.
func (ts *tileset) described(ctx context.Context, g *archive.Generation) (*tileset, *pmtiles.Metadata, error) {
	m, err := ts.archived.Metadata(ctx, g)
	if err != nil {
		return nil, nil, err
	}
	made := *ts
	if !ts.Given.Name && m.Name != "" {
		made.Name = m.Name
	}
	if !ts.Given.Attribution {
		made.Attribution = m.Attribution
	}
	if !ts.Given.VectorLayers && m.VectorLayers != nil {
		made.VectorLayers = m.VectorLayers
	}
	if ts.Encoding == "" && !ts.format.Vector && (m.Encoding == "terrarium" || m.Encoding == "mapbox") {
		made.Encoding = m.Encoding
	}
	if ts.TileSize == 0 {
		made.TileSize = m.TileSize
	}
	return &made, m, nil
}

// center is TileJSON's: longitude, latitude and zoom, where what the caller may see holds them.
func center(h *pmtiles.Header, zooms tile.ZoomRange, bounds tile.Box) json.RawMessage {
	c := h.Center
	if c.Zoom < zooms.Min || c.Zoom > zooms.Max || c.Lon < bounds.West || c.Lon > bounds.East || c.Lat < bounds.South || c.Lat > bounds.North {
		return nil
	}
	b, err := json.Marshal([]any{c.Lon, c.Lat, c.Zoom})
	if err != nil {
		return nil // a number that JSON does not have
	}
	return b
}

// currentOf returns the tileset as its archive makes it now; of others, the tileset itself.
func (ts *tileset) currentOf(ctx context.Context) (*tileset, error) {
	if ts.archived == nil {
		return ts, nil
	}
	var current *tileset
	err := ts.withArchive(ctx, func(made *tileset, _ archive.State) error {
		current = made
		return nil
	}, func() bool { return true })
	return current, err
}
