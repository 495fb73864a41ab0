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
	fitted, own, err := s.tileset(t).Fit(state.Header)
	notes = append(notes, own...)
	if err != nil {
		return notes, err
	}
	m, err := a.Metadata(ctx, state.Generation)
	if err != nil {
		return notes, err
	}
	if tile.FormatNamed(fitted.Format).Vector && m.VectorLayers == nil && !t.Given.VectorLayers {
		notes = append(notes, "its metadata names no vector_layers, and the tileset has none: maps that list layers find none in TileJSON")
	}
	return notes, nil
}

// describeArchive is one line with what the header says.
func describeArchive(g *archive.Generation) string {
	h := g.Header
	tiles := "an unknown number of tiles"
	switch n := h.AddressedTiles; {
	case n == 1:
		tiles = "1 tile"
	case n > 1:
		tiles = fmt.Sprintf("%d tiles", n)
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
