package auth

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tilegate/internal/tile"
)

// What follows puts refusals into words, for the operator's log alone. A client must not read them: they name what else a
// credential grants. They decide nothing; Admits and its like do.

// maxShown bounds the entries of a list that are written out.
const maxShown = 8

// ExplainTile says why Admits is false for a tile, and what the grant has instead.
func (g *Grant) ExplainTile(tileset string, z uint8, x, y uint32) string {
	var zooms, places []string
	named, zoomed := false, false
	for i := range g.parts {
		p := &g.parts[i]
		if !p.admitsID("", tileset) {
			continue
		}
		named = true
		zooms = append(zooms, describeZoom(p.zoom))
		if p.zoom.Contains(z) {
			zoomed = true
			places = append(places, p.place.describe())
		}
	}
	switch {
	case !named:
		return g.ExplainID(tileset)
	case !zoomed:
		return fmt.Sprintf("zoom %d of tileset %s is not granted: the %s grants %s of it", z, tileset, g.Kind.describe(), shown(zooms, " or "))
	}
	return fmt.Sprintf("tile %d/%d/%d of tileset %s lies outside of the granted area: the %s grants %s of it", z, x, y, tileset, g.Kind.describe(), shown(places, " or "))
}

// ExplainID says why a tileset, or with its prefix a file or a bundle, is not granted at all, and what is.
func (g *Grant) ExplainID(id string) string {
	prefix, name := tile.CutPattern(id)
	what := "tileset"
	if prefix != "" {
		what = strings.TrimSuffix(prefix, ":")
	}
	for i := range g.parts {
		if p := &g.parts[i]; p.admitsID(prefix, name) {
			return fmt.Sprintf("nothing of %s %s is granted: the %s grants %s, %s of it", what, name, g.Kind.describe(), describeZoom(p.zoom), p.place.describe())
		}
	}
	return fmt.Sprintf("%s %s is not granted: the %s grants %s", what, name, g.Kind.describe(), g.describeTilesets())
}

// Explain says what the grant has, tilesets with their zooms and areas.
func (g *Grant) Explain() string {
	parts := make([]string, 0, len(g.parts))
	for i := range g.parts {
		p := &g.parts[i]
		list := "no tilesets"
		if len(p.tilesets) > 0 {
			list = shown(p.tilesets, ", ")
		}
		parts = append(parts, list+" with "+describeZoom(p.zoom)+" and "+p.place.describe())
	}
	return "the " + g.Kind.describe() + " grants " + shown(parts, "; ")
}

// ExplainPart says what keeps the grant from opening the whole of a tileset.
func (g *Grant) ExplainPart(tileset string) string {
	for i := range g.parts {
		if p := &g.parts[i]; p.admitsID("", tileset) {
			return fmt.Sprintf("only a part of tileset %s is granted: the %s grants %s, %s", tileset, g.Kind.describe(), describeZoom(p.zoom), p.place.describe())
		}
	}
	return g.ExplainID(tileset)
}

// describe names the kind for a sentence.
func (k Kind) describe() string {
	switch k {
	case Access:
		return "access token"
	case Session:
		return "session"
	case Path:
		return "path token"
	case Key:
		return "API key"
	}
	return "caller"
}

func (g *Grant) describeTilesets() string {
	if len(g.Tilesets) == 0 {
		return "no tilesets"
	}
	return shown(g.Tilesets, ", ")
}

func describeZoom(r tile.ZoomRange) string {
	switch {
	case !r.Valid():
		return "no zoom"
	case r == tile.AllZooms:
		return "all zooms"
	}
	return fmt.Sprintf("zooms %d-%d", r.Min, r.Max)
}

// describe says where p is: in all of its boxes and in one area of each group.
func (p place) describe() string {
	if p.region.Whole() {
		return "the whole world"
	}
	if p.empty() {
		return "no area"
	}
	var limits []string
	if !p.boxes.Whole() {
		var boxes []string
		for _, b := range p.boxes.Boxes() {
			boxes = append(boxes, describeBox(b))
		}
		limits = append(limits, "bbox "+shown(boxes, " or "))
	}
	for _, group := range p.areas {
		limits = append(limits, "area "+shown(areaNames(group), " or "))
	}
	return strings.Join(limits[:min(len(limits), maxShown)], " and ")
}

func describeBox(b tile.Box) string {
	edges := make([]string, 0, 4)
	for _, edge := range b.Degrees() {
		edges = append(edges, strconv.FormatFloat(edge, 'f', -1, 64))
	}
	return "[" + strings.Join(edges, ",") + "]"
}

// shown joins the first entries of a list, each once, and says how many there are besides.
func shown(entries []string, separator string) string {
	var first []string
	left := 0
	for _, e := range entries {
		switch {
		case slices.Contains(first, e):
		case len(first) == maxShown:
			left++
		default:
			first = append(first, e)
		}
	}
	s := strings.Join(first, separator)
	if left > 0 {
		s += fmt.Sprintf(" and %d more", left)
	}
	return s
}
