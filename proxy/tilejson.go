package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy/archive"
)

// tileJSON3 describes a tileset (TileJSON 3.0.0, https://github.com/mapbox/tilejson-spec).
type tileJSON3 struct {
	TileJSON     string          `json:"tilejson"`
	Name         string          `json:"name,omitempty"`
	Description  string          `json:"description,omitempty"`
	Version      string          `json:"version,omitempty"`
	Attribution  string          `json:"attribution,omitempty"`
	Scheme       string          `json:"scheme"`
	Tiles        []string        `json:"tiles"`
	MinZoom      uint8           `json:"minzoom"`
	MaxZoom      uint8           `json:"maxzoom"`
	Bounds       [4]float64      `json:"bounds"`
	Center       json.RawMessage `json:"center,omitempty"`
	TileSize     int             `json:"tileSize,omitempty"`
	VectorLayers json.RawMessage `json:"vector_layers,omitempty"`
	Encoding     string          `json:"encoding,omitempty"` // of elevations, and of vector tiles that are not MVT, as MapLibre has it
	Sparse       bool            `json:"sparse,omitempty"`
	Scalable     bool            `json:"scalable,omitempty"` // "@2x" before the extension means something
}

// tileJSON describes the part of a tileset that the caller may see.
func (p *Proxy) tileJSON(x *exchange, r *http.Request, id, pathToken string) error {
	x.Set("Cache-Control", privateNoStore)
	x.Set("X-Content-Type-Options", nosniff)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return methodNotAllowed("GET, HEAD")
	}
	ts, grant, err := p.authorizeTileset(x, r, id, pathToken)
	if err != nil {
		return err
	}
	base, err := p.base(r)
	if err != nil {
		return err
	}
	if ts.archived == nil {
		return p.writeTileJSON(x, r, ts, tileJSON3{}, grant, base, pathToken)
	}
	return ts.withArchive(r.Context(), func(made *tileset, state archive.State) error {
		described, m, err := made.described(r.Context(), state.Generation)
		if err != nil {
			return notFetched(err)
		}
		about := tileJSON3{Description: m.Description, Version: m.Version}
		if zooms, bounds, some := described.visible(grant); some {
			about.Center = center(state.Header, zooms, bounds)
		}
		return p.writeTileJSON(x, r, described, about, grant, base, pathToken)
	}, x.again)
}

// writeTileJSON describes the part of a tileset that a grant admits. about has what only an archive knows.
func (p *Proxy) writeTileJSON(x *exchange, r *http.Request, ts *tileset, about tileJSON3, grant *auth.Grant, base, pathToken string) error {
	zooms, bounds, some := ts.visible(grant)
	if !some {
		return p.forbidden(func() string { return ts.explain(grant) })
	}
	if bounds.CrossesAntimeridian() { // TileJSON has no such boxes
		bounds.West, bounds.East = -180, 180
	}
	layers := ts.VectorLayers
	if ts.archived == nil {
		layers = p.VectorLayers(r.Context(), ts.ID)
	}
	if ts.format.Vector && layers == nil {
		layers = json.RawMessage("[]")
	}
	size := ts.TileSize
	if size == 0 && ts.format.Image() {
		size = 256 // MapLibre takes images without it for 512 pixels
	}
	return writeJSON(x, r, http.StatusOK, tileJSON3{
		TileJSON:     "3.0.0",
		Name:         ts.Name,
		Attribution:  ts.Attribution,
		Scheme:       "xyz",
		Tiles:        []string{ts.template(base, pathToken, p.queryToken(r, grant, pathToken))},
		MinZoom:      zooms.Min,
		MaxZoom:      zooms.Max,
		Bounds:       bounds.Degrees(),
		VectorLayers: layers,
		Encoding:     cmp.Or(ts.Encoding, vectorEncoding(ts.format)),
		Sparse:       ts.Sparse,
		Scalable:     ts.Scalable,
		TileSize:     size,
		Description:  about.Description,
		Version:      about.Version,
		Center:       about.Center,
	})
}

// vectorEncoding is what a vector source of MapLibre's style specification calls encoding; mvt is its default.
func vectorEncoding(f *tile.Format) string {
	if f.Vector && f.Name != "mvt" {
		return f.Name
	}
	return ""
}

// visible is the part of the tileset that a grant admits. Nil is the grant of a public tileset: all of it.
func (ts *tileset) visible(grant *auth.Grant) (zooms tile.ZoomRange, bounds tile.Box, some bool) {
	zooms = tile.ZoomRange{Min: ts.MinZoom, Max: ts.MaxZoom}
	bounds = ts.Bounds
	if grant == nil {
		return zooms, bounds, true
	}
	if !grant.AdmitsTileset(ts.ID) {
		return zooms, bounds, false
	}
	return grant.Clip(ts.ID, zooms, bounds)
}

// explain says why nothing of the tileset is visible to the holder of a grant.
func (ts *tileset) explain(grant *auth.Grant) string {
	return fmt.Sprintf("%s; the tileset has zooms %d-%d and the bounds %v", grant.ExplainPart(ts.ID), ts.MinZoom, ts.MaxZoom, ts.Bounds.Degrees())
}

// template is a tileset's URL template: absolute, with the extension if all tiles have one, and with the token that was the credential,
// in the path or in the query. The version is in it, so that raising it bypasses every cache.
func (ts *tileset) template(base, pathToken, queryToken string) string {
	if pathToken != "" {
		base += "/t/" + pathToken
	}
	s := base + "/tiles/" + ts.ID + "/{z}/{x}/{y}"
	if ts.format != nil {
		s += ts.format.Extension()
	}
	var query []string
	if ts.Version != "" {
		query = append(query, "v="+url.QueryEscape(ts.Version))
	}
	if queryToken != "" {
		query = append(query, queryToken)
	}
	if query != nil {
		s += "?" + strings.Join(query, "&")
	}
	return s
}

// queryToken is the query parameter that carried the credential, as name=value, for URLs that the same client is to
// follow: one that sends its token in the query can do no other. "" where another credential decided, or none.
func (p *Proxy) queryToken(r *http.Request, grant *auth.Grant, pathToken string) string {
	if grant == nil {
		return ""
	}
	token := p.opt.Auth.QueryCredential(r, pathToken)
	if token == "" {
		return ""
	}
	return url.QueryEscape(p.opt.QueryParameter) + "=" + url.QueryEscape(token)
}

// catalogEntry is one line of the catalogue.
type catalogEntry struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Format   string `json:"format"`
	TileJSON string `json:"tilejson"`
}

// catalog lists the tilesets that the caller may see. Without a credential these are the public ones, if
// there are any.
func (p *Proxy) catalog(x *exchange, r *http.Request) error {
	grant, err := p.authorizeCatalog(x, r)
	if err != nil {
		return err
	}
	base, err := p.base(r)
	if err != nil {
		return err
	}
	entries := []catalogEntry{}
	query := p.queryToken(r, grant, "")
	if query != "" {
		query = "?" + query
	}
	for _, ts := range p.currentTilesets(r.Context(), grant) {
		seen := ts.Public
		if !seen && grant != nil {
			_, _, seen = ts.visible(grant)
		}
		if seen {
			entries = append(entries, catalogEntry{ts.ID, ts.Name, ts.format.Name, base + "/tiles/" + ts.ID + ".json" + query})
		}
	}
	answer := map[string]any{"tilesets": entries}
	if styles := p.stylesSeen(grant, base); styles != nil {
		answer["styles"] = styles
	}
	return writeJSON(x, r, http.StatusOK, answer)
}

// currentTilesets returns the tilesets in the order of the catalogue, archives as they are now. All archives that are granted
// are asked at once. One that cannot be read is left out, and its error logged.
func (p *Proxy) currentTilesets(ctx context.Context, grant *auth.Grant) []*tileset {
	current := slices.Clone(p.catalogue)
	var asking sync.WaitGroup
	for i, ts := range p.catalogue {
		if ts.archived == nil {
			continue
		}
		current[i] = nil
		if !ts.Public && (grant == nil || !grant.AdmitsTileset(ts.ID)) {
			continue
		}
		asking.Go(func() {
			made, err := ts.currentOf(ctx)
			if err != nil {
				p.opt.Logger.WarnContext(ctx, "the catalogue leaves out a tileset whose archive cannot be read", "tileset", ts.ID, "error", err)
				return
			}
			current[i] = made
		})
	}
	asking.Wait()
	return slices.DeleteFunc(current, func(ts *tileset) bool { return ts == nil })
}
