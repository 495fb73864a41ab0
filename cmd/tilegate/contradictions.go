package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tilegate/configs"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// layersFound says which vector_layers TileJSON has of a tileset that configures none.
func (s *service) layersFound(ctx context.Context, r origin.Report) []string {
	i := slices.IndexFunc(s.config.Tilesets, func(t configs.Tileset) bool { return t.ID == r.Source })
	if i < 0 || len(r.Faults) > 0 {
		return nil
	}
	t := s.config.Tilesets[i]
	key := t.Source.MetadataKey()
	if f := tile.FormatNamed(t.Format); f == nil || !f.Vector || t.VectorLayers != nil || key == "" {
		return nil
	}
	var layers []struct{ ID string }
	if err := json.Unmarshal(s.proxy.VectorLayers(ctx, t.ID), &layers); err != nil {
		return []string{"vector_layers is not set, and " + key + " names none: TileJSON has no layers"}
	}
	var ids []string
	for _, l := range layers[:min(len(layers), maxLayersShown)] {
		ids = append(ids, l.ID)
	}
	if len(layers) > maxLayersShown {
		ids = append(ids, fmt.Sprintf("%d more", len(layers)-maxLayersShown))
	}
	return []string{fmt.Sprintf("TileJSON has the layers of %s: %s", key, strings.Join(ids, ", "))}
}

// maxLayersShown bounds the layers that check lists.
const maxLayersShown = 20

// contradictions says where the bucket has other zooms, or tiles at other places, than the configuration says of a tileset.
// A listing shows a part of a bucket alone, so that only what was seen is told.
func contradictions(c *configs.Config, r origin.Report) (notes []string) {
	i := slices.IndexFunc(c.Tilesets, func(t configs.Tileset) bool { return t.ID == r.Source })
	if i < 0 {
		return nil
	}
	t := c.Tilesets[i]
	if len(r.Zooms) > 0 {
		first, last := r.Zooms[0], r.Zooms[len(r.Zooms)-1]
		has := fmt.Sprintf("the bucket has the zooms %d to %d, and ", first, last)
		switch {
		case last > t.MaxZoom:
			notes = append(notes, fmt.Sprintf("%smaxzoom: %d hides those above", has, t.MaxZoom))
		case last < t.MaxZoom:
			notes = append(notes, fmt.Sprintf("%smaxzoom: %d promises more; each of those tiles is missing", has, t.MaxZoom))
		}
		switch {
		case first < t.MinZoom:
			notes = append(notes, fmt.Sprintf("%sminzoom: %d hides those below", has, t.MinZoom))
		case first > t.MinZoom:
			notes = append(notes, fmt.Sprintf("%sminzoom: %d promises more; each of those tiles is missing", has, t.MinZoom))
		}
	}
	within := tile.NewArea(&t.Bounds)
	outside := slices.DeleteFunc(slices.Clone(r.Tiles), func(k tile.Key) bool { return within.Meets(k.Z, k.X, k.Y) })
	switch {
	case len(outside) == 0:
	case len(outside) == len(r.Tiles):
		notes = append(notes, fmt.Sprintf("none of the %d tiles that were listed, such as %d/%d/%d, lies within bounds: none of them is served", len(outside), outside[0].Z, outside[0].X, outside[0].Y))
	default:
		notes = append(notes, fmt.Sprintf("%d of the %d tiles that were listed, such as %d/%d/%d, lie outside of bounds and are not served", len(outside), len(r.Tiles), outside[0].Z, outside[0].X, outside[0].Y))
	}
	return notes
}
