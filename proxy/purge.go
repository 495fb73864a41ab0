package proxy

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"tilegate/internal/tile"
)

// purgeRequest is the body of POST /admin/purge.
type purgeRequest struct {
	Tileset string    `json:"tileset"`
	Bundle  string    `json:"bundle"`
	Zoom    *string   `json:"zoom"`
	BBox    []float64 `json:"bbox"`
	Soft    bool      `json:"soft"`
}

// purge forgets a tileset's tiles, those of an area, or a bundle's objects, or marks them stale.
func (p *Proxy) purge(w http.ResponseWriter, r *http.Request) error {
	var asked purgeRequest
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	purge, err := p.purgeOf(&asked)
	if err != nil {
		return err
	}
	p.purgeArchive(purge)
	entries, err := p.opt.Cache.Purge(r.Context(), purge)
	if err != nil {
		p.opt.Logger.ErrorContext(r.Context(), "purge incomplete", "tileset", purge.Tileset, "entries", entries, "error", err)
		return refuse(http.StatusBadGateway, "The memory of this instance has been purged; a level of cache behind it could not be. Purge again.")
	}
	p.opt.Logger.InfoContext(r.Context(), "tileset purged", append(purgeAttributes(purge), "entries", entries)...)
	answer := purgeAnswer{Purged: entries}
	if p.opt.PurgeEdge != nil && p.edge.authorizes && p.edge.tilesets[purge.Tileset] {
		answer.CDNs = p.opt.PurgeEdge(r.Context(), tagsOf(&purge), purge.Soft)
	}
	failed := slices.DeleteFunc(slices.Clone(answer.CDNs), func(e EdgePurge) bool { return e.Error == "" })
	if len(failed) == 0 {
		return adminJSON(w, answer)
	}
	answer.problem = &problem{Type: "about:blank", Title: http.StatusText(http.StatusBadGateway), Status: http.StatusBadGateway}
	answer.Detail = "The caches of tilegate have been purged, but not all of " + failed[0].CDN + ". Purge again."
	w.Header()["Content-Type"] = problemType
	w.WriteHeader(http.StatusBadGateway)
	return encodeJSON(w, answer)
}

// purgeAnswer is what a purge has done. It is a problem where a CDN has failed.
type purgeAnswer struct {
	*problem
	Purged int         `json:"purged"` // entries of this instance
	CDNs   []EdgePurge `json:"cdns,omitempty"`
}

// PurgeEdge purges tags at all CDNs that are configured, and says what became of it at each. It must return within a minute.
type PurgeEdge func(ctx context.Context, tags []string, soft bool) []EdgePurge

// EdgePurge is what became of a purge at one CDN.
type EdgePurge struct {
	CDN    string `json:"cdn"`             // its name
	Tags   int    `json:"tags"`            // that were to be purged
	Purged int    `json:"purged"`          // of them, that it has accepted
	Error  string `json:"error,omitempty"` // why not all; it holds no credential
}

// purgeOf checks what is asked for. Nothing of it is guessed: a purge of less than was meant would leave old tiles.
func (p *Proxy) purgeOf(asked *purgeRequest) (tile.Purge, error) {
	purge := tile.Purge{Tileset: asked.Tileset, Soft: asked.Soft}
	switch {
	case asked.Tileset != "" && asked.Bundle != "":
		return purge, refuse(http.StatusBadRequest, `Send either {"tileset": …} or {"bundle": …}.`)
	case asked.Bundle != "" && (asked.Zoom != nil || asked.BBox != nil):
		return purge, refuse(http.StatusBadRequest, "zoom and bbox choose tiles of a tileset; a bundle has none.")
	}
	if asked.Zoom != nil || asked.BBox != nil {
		tiles, err := tilesOf(asked)
		if err != nil {
			return purge, err
		}
		purge.Tiles = tiles
	}
	switch {
	case asked.Bundle != "" && p.bundles[asked.Bundle] == nil:
		return purge, refuse(http.StatusNotFound, "No bundle has this id.")
	case asked.Bundle != "":
		purge.Tileset = p.bundles[asked.Bundle].tileset.ID
	case p.tilesets[asked.Tileset] == nil:
		return purge, refuse(http.StatusNotFound, "No tileset has this id.")
	default:
		purge.Tileset = p.tilesets[asked.Tileset].ID
	}
	return purge, nil
}

// tilesOf reads zoom and bbox, one of which at least is given.
func tilesOf(asked *purgeRequest) (*tile.Tiles, error) {
	zooms, box := tile.AllZooms, tile.World
	var err error
	if asked.Zoom != nil {
		if zooms, err = tile.ParseZoomRange(*asked.Zoom); err != nil {
			return nil, refuse(http.StatusBadRequest, `zoom must be a range such as "0-14", within 0-30, with the lower zoom first.`)
		}
	}
	if asked.BBox != nil {
		if box, err = tile.ParseBox(asked.BBox); err != nil {
			if index, problem := box.OutOfRange(); len(asked.BBox) == 4 && problem != "" {
				return nil, refuse(http.StatusBadRequest, fmt.Sprintf("bbox[%d] %s.", index, problem))
			}
			return nil, refuse(http.StatusBadRequest, tile.ErrBox.Error()+".")
		}
	}
	tiles := tile.NewTiles(zooms, box)
	if tiles.Empty() {
		return nil, refuse(http.StatusBadRequest, "bbox has no area on the map, which ends at 85.0511 degrees north and south.")
	}
	return tiles, nil
}

// Forget does here what a purge at another instance has done there, and returns the number of entries that it found.
func (p *Proxy) Forget(purge tile.Purge) (entries int) {
	p.purgeArchive(purge)
	entries = p.opt.Cache.Forget(purge)
	p.opt.Logger.Info("tileset purged at another instance", append(purgeAttributes(purge), "entries", entries)...)
	return entries
}

// purgeArchive makes an archive be asked about anew: its tiles are replaced with it, whichever of them a purge names.
func (p *Proxy) purgeArchive(purge tile.Purge) {
	switch ts := p.tilesets[purge.Tileset]; {
	case ts == nil || ts.archived == nil:
	case purge.Soft:
		ts.archived.Outdate()
	default:
		ts.archived.Forget()
	}
}

func purgeAttributes(p tile.Purge) []any {
	a := []any{"tileset", p.Tileset, "soft", p.Soft}
	if p.Tiles != nil {
		a = append(a, "zoom", fmt.Sprintf("%d-%d", p.Tiles.Zooms.Min, p.Tiles.Zooms.Max), "bbox", p.Tiles.Box.Degrees())
	}
	return a
}
