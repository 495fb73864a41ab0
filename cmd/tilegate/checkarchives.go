package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tilegate/configs"
	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
	"tilegate/proxy/archive"
	"tilegate/proxy/origin"
	"tilegate/tilecache"
)

// maxArchivesChecked bounds the archives that are read at once.
const maxArchivesChecked = 8

// checkArchives adds to the reports of archives what is in them: as notes, or as faults where nothing of them could be
// served.
func (s *service) checkArchives(ctx context.Context, reports []origin.Report) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxArchivesChecked)
	for i := range reports {
		r := &reports[i]
		at := slices.IndexFunc(s.config.Tilesets, func(t configs.Tileset) bool { return t.ID == r.Source && t.Source.Archive })
		if at < 0 || r.Object == "" { // what could not be read has its fault already
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			notes, err := s.checkArchive(ctx, s.config.Tilesets[at])
			r.Notes = append(r.Notes, notes...)
			if err != nil {
				r.Faults = append(r.Faults, err.Error())
			}
		})
	}
	wg.Wait()
}

// checkArchive reads an archive's header, root directory and metadata as serve does, into a cache of its own.
func (s *service) checkArchive(ctx context.Context, t configs.Tileset) (notes []string, err error) {
	cache, err := tilecache.New(tilecache.Options{Memory: int64(s.config.Cache.Memory), MaxObject: int64(s.config.Cache.MaxObject)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cache.Close(ctx)) }()
	source := s.origins.Source(t.ID)
	a := archive.New(archive.Options{
		Tileset: t.ID, Cache: cache, Fresh: time.Hour,
		Read: func(ctx context.Context, first, length int64, cond tile.Condition) (*tile.Object, error) {
			return source.FetchPart(ctx, tile.Key{Tileset: t.ID}, first, length, cond)
		},
	})
	state, err := a.Current(ctx)
	if err != nil {
		return nil, err
	}
	notes = append(notes, describeArchive(state.Generation))
	own, err := compareArchive(t, state.Header)
	notes = append(notes, own...)
	if err != nil {
		return notes, err
	}
	m, err := a.Metadata(ctx, state.Generation)
	if err != nil {
		return notes, err
	}
	if f := formatIn(t, state.Header); f != nil && f.Vector && m.VectorLayers == nil && !t.Given.VectorLayers {
		notes = append(notes, "its metadata names no vector_layers, and the tileset has none: maps that list layers find none in TileJSON")
	}
	return notes, nil
}

// describeArchive is one line with what the header says.
func describeArchive(g *archive.Generation) string {
	h := g.Header
	tiles := "an unknown number of tiles"
	if h.AddressedTiles > 0 {
		tiles = fmt.Sprintf("%d tiles", h.AddressedTiles)
	}
	order := "clustered"
	if !h.Clustered {
		order = "not clustered (pmtiles cluster makes its directories smaller)"
	}
	changes := "its strong ETag tells one version from the next"
	if g.ETag == "" {
		changes = "it has no strong ETag, so that Last-Modified tells one version from the next: two within a second look alike"
	}
	b := h.Bounds
	return strings.Join([]string{
		"PMTiles version 3, " + h.TileType.String(), fmt.Sprintf("zooms %d-%d", h.MinZoom, h.MaxZoom),
		fmt.Sprintf("bounds [%g, %g, %g, %g]", b.West, b.South, b.East, b.North), tiles,
		"compression of tiles " + h.TileCompression.String(), "of directories " + h.InternalCompression.String(), order,
		fmt.Sprintf("%d bytes", g.Size), changes,
	}, ", ")
}

// formatIn returns the format of the archive's tiles, nil where neither the archive nor the configuration says it.
func formatIn(t configs.Tileset, h *pmtiles.Header) *tile.Format {
	if h.TileType == pmtiles.OtherTile {
		return tile.FormatNamed(t.Format)
	}
	return tile.FormatOf("." + h.TileType.String())
}

// compareArchive says where the configuration has other zooms or bounds than the archive, which is cut to what both have,
// and returns an error where no tile can be served.
func compareArchive(t configs.Tileset, h *pmtiles.Header) (notes []string, err error) {
	f := formatIn(t, h)
	switch configured := tile.FormatNamed(t.Format); {
	case f == nil:
		return nil, errors.New("the archive does not say what its tiles are: set format")
	case configured != nil && configured != f && (!configured.Auto() || !f.Image()):
		return nil, fmt.Errorf("the archive has %s tiles, and format: %s contradicts that: remove format, or name the right archive", f.Name, t.Format)
	case t.Missing == "transparent" && f.Name == "json":
		return nil, errors.New("json has no transparent tile: change missing")
	}
	has := fmt.Sprintf("the archive has the zooms %d to %d, and ", h.MinZoom, h.MaxZoom)
	for _, z := range []struct {
		key     string
		given   bool
		zoom    uint8
		outside bool
	}{
		{"minzoom", t.Given.MinZoom, t.MinZoom, t.MinZoom < h.MinZoom},
		{"maxzoom", t.Given.MaxZoom, t.MaxZoom, t.MaxZoom > h.MaxZoom},
	} {
		if z.given && z.outside {
			notes = append(notes, fmt.Sprintf("%s%s: %d lies outside of them: it is cut to the archive's", has, z.key, z.zoom))
		}
	}
	if t.Given.MinZoom && t.MinZoom > h.MaxZoom || t.Given.MaxZoom && t.MaxZoom < h.MinZoom {
		return notes, fmt.Errorf("%sminzoom and maxzoom leave none of them", has)
	}
	if own, b := h.Bounds, t.Bounds; t.Given.Bounds {
		box := fmt.Sprintf("the archive's bounds are [%g, %g, %g, %g], and the configured ones ", own.West, own.South, own.East, own.North)
		switch {
		case b.West > own.East || b.East < own.West || b.South > own.North || b.North < own.South:
			notes = append(notes, box+"lie elsewhere: probably no tile is served")
		case b.West < own.West || b.East > own.East || b.South < own.South || b.North > own.North:
			notes = append(notes, box+"reach beyond them: probably there are no tiles there")
		}
	}
	return notes, nil
}
