package proxy

import (
	"errors"
	"fmt"

	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
)

// Given tells which members of a Tileset the configuration states. Of an archive's tileset, the others are the archive's
// own.
type Given struct{ Format, MinZoom, MaxZoom, Bounds, Name, Attribution, VectorLayers bool }

// archiveFormats are the formats of archives by their tile type.
var archiveFormats = map[pmtiles.TileType]string{
	pmtiles.MVT: "mvt", pmtiles.PNG: "png", pmtiles.JPEG: "jpg", pmtiles.WebP: "webp", pmtiles.AVIF: "avif", pmtiles.MLT: "mlt",
}

// Fit returns an archive's tileset with the format, zooms and bounds that it has with that header. What the configuration
// gives wins, cut to the archive's zooms and bounds; the notes say what was cut. The error says why none of the archive's
// tiles can be served. Both serve and check --online decide by it.
func (t Tileset) Fit(h *pmtiles.Header) (fitted Tileset, notes []string, err error) {
	format, typed := archiveFormats[h.TileType]
	switch {
	case !typed && !t.Given.Format:
		return Tileset{}, nil, errors.New("the archive does not say what its tiles are: set format")
	case !typed, t.Given.Format && tile.FormatNamed(t.Format).Auto() && tile.FormatNamed(format).Image():
		format = t.Format
	case t.Given.Format && t.Format != format:
		return Tileset{}, nil, fmt.Errorf("the archive has %s tiles, and format: %s contradicts that: remove format, or name the right archive", format, t.Format)
	}
	if t.Missing == "transparent" && format == "json" {
		return Tileset{}, nil, errors.New("json has no transparent tile: change missing")
	}

	zooms := tile.ZoomRange{Min: h.MinZoom, Max: h.MaxZoom}
	has := fmt.Sprintf("the archive has the zooms %d to %d, and ", h.MinZoom, h.MaxZoom)
	if t.Given.MinZoom {
		if t.MinZoom < zooms.Min {
			notes = append(notes, fmt.Sprintf("%sminzoom: %d lies outside of them: it is cut to the archive's", has, t.MinZoom))
		}
		zooms.Min = max(zooms.Min, t.MinZoom)
	}
	if t.Given.MaxZoom {
		if t.MaxZoom > zooms.Max {
			notes = append(notes, fmt.Sprintf("%smaxzoom: %d lies outside of them: it is cut to the archive's", has, t.MaxZoom))
		}
		zooms.Max = min(zooms.Max, t.MaxZoom)
	}
	if zooms.Min > zooms.Max {
		return Tileset{}, notes, errors.New(has + "minzoom and maxzoom leave none of them")
	}
	bounds, note := t.fitBounds(h)
	if note != "" {
		notes = append(notes, note)
	}
	t.Format, t.MinZoom, t.MaxZoom, t.Bounds = format, zooms.Min, zooms.Max, bounds
	return t, notes, nil
}

// fitBounds returns the bounds that an archive's tileset has with that header, and a note where they are not what the
// configuration gives.
func (t Tileset) fitBounds(h *pmtiles.Header) (bounds tile.Box, note string) {
	own := tile.Box{West: h.Bounds.West, South: h.Bounds.South, East: h.Bounds.East, North: h.Bounds.North}
	area := own.Validate() == nil // else a point, or a line, which says nothing about tiles
	switch {
	case !t.Given.Bounds && !area:
		return tile.World, ""
	case !t.Given.Bounds:
		return own, ""
	case !area:
		return t.Bounds, ""
	}
	has := fmt.Sprintf("the archive's bounds are [%g, %g, %g, %g], and the configured ones ", own.West, own.South, own.East, own.North)
	both := tile.NewArea(&t.Bounds).Intersect(tile.NewArea(&own))
	if both.Empty() {
		return t.Bounds, has + "lie elsewhere: probably no tile is served"
	}
	if bounds = both.Hull(); bounds != t.Bounds {
		note = has + "reach beyond them: probably there are no tiles there"
	}
	return bounds, note
}
