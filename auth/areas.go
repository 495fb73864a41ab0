package auth

import (
	"slices"

	"tilegate/internal/area"
	"tilegate/internal/tile"
)

// Area is a shape that grants can be limited to, by its name in the configuration. Tokens name it: what an
// area looks like is the operator's to say, also for tokens that have been minted already.
type Area struct {
	Name  string
	Shape *area.Area
}

// areaNames returns the names of areas in their order.
func areaNames(areas []Area) []string {
	names := make([]string, len(areas))
	for i, a := range areas {
		names[i] = a.Name
	}
	return names
}

// namedAreas returns the areas of these names, each once and in the order of their names. It returns false if one
// is not among those that are known.
func namedAreas(known []Area, names []string) ([]Area, bool) {
	areas := []Area{}
	for _, name := range names {
		i := slices.IndexFunc(known, func(a Area) bool { return a.Name == name })
		if i < 0 {
			return nil, false
		}
		areas = append(areas, known[i])
	}
	return sortedAreas(areas), true
}

func sortedAreas(areas []Area) []Area {
	areas = slices.Clone(areas)
	slices.SortFunc(areas, func(a, b Area) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
	return slices.CompactFunc(areas, func(a, b Area) bool { return a.Name == b.Name })
}

// AreasNamed returns the configured areas of these names. ErrNotGranted if there is no such area: which ones
// there are is told to nobody.
func (a *Authenticator) AreasNamed(names []string) ([]Area, error) {
	areas, ok := namedAreas(a.areas, names)
	if !ok {
		return nil, ErrNotGranted
	}
	return areas, nil
}

// place is where a part of a grant applies: in all of its boxes and areas.
type place struct {
	boxes  tile.Area
	areas  [][]Area // a tile must meet one of each
	region area.Region
}

// newPlace returns what limits leave of the world.
func newPlace(l Limits) place {
	p := place{boxes: tile.NewArea(l.BBox)}
	if l.Areas != nil {
		p.areas = [][]Area{sortedAreas(l.Areas)}
	}
	return p.located()
}

// located sets p's region.
func (p place) located() place {
	p.region = area.FromBoxes(p.boxes)
	for _, group := range p.areas {
		shapes := make([]*area.Area, len(group))
		for i, a := range group {
			shapes[i] = a.Shape
		}
		p.region = p.region.Intersect(area.Union(shapes...))
	}
	return p
}

// intersect narrows p to another place.
func (p place) intersect(other place) place {
	both := place{boxes: p.boxes.Intersect(other.boxes), areas: p.areas}
	for _, group := range other.areas {
		if !slices.ContainsFunc(p.areas, func(g []Area) bool { return slices.Equal(g, group) }) {
			both.areas = append(slices.Clip(both.areas), group)
		}
	}
	return both.located()
}

func (p place) equal(other place) bool {
	return p.boxes.Equal(other.boxes) && slices.EqualFunc(p.areas, other.areas, func(a, b []Area) bool { return slices.Equal(a, b) })
}

func (p place) empty() bool {
	_, some := p.region.Bounds()
	return !some
}

// size estimates the bytes that p holds beyond its own struct. The shapes are the configuration's.
func (p place) size() int {
	n := p.boxes.Size() + p.region.Size()
	for _, group := range p.areas {
		n += 32 + 24*len(group)
	}
	return n
}
