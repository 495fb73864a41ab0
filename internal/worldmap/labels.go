package worldmap

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// label is a name at its place. All labels of a zoom are placed together, on the grid of the world's pixels, so that
// one which crosses the seam of two tiles is drawn alike on both.
type label struct {
	style
	lines []string
	x, y  float64 // centre, in points from the world's corner
	w, h  float64 // points
}

// style is how a label's letters look.
type style struct {
	sea   bool    // italics in the water's colour; else upright with a halo
	size  float64 // points
	track float64 // points between letters
}

// What no country bears: names at places chosen by hand, from a zoom on and larger after it.
const antarctica = "Antarctica"

var waters = []struct {
	name     string
	lon, lat float64
	zoom     int
	size     float64
	land     bool
}{
	{name: "ANTARCTICA", lon: 80, lat: -78.5, zoom: 1, size: 12, land: true},
	{"PACIFIC\nOCEAN", -140, 8, 1, 13, false},
	{"ATLANTIC\nOCEAN", -40, 28, 1, 12, false},
	{"INDIAN\nOCEAN", 78, -22, 1, 12, false},
	{"SOUTHERN OCEAN", 30, -59, 1, 10, false},
	{"ARCTIC OCEAN", -152, 77.5, 2, 10, false},
	{"PACIFIC\nOCEAN", 162, 27, 2, 12, false},
	{"ATLANTIC\nOCEAN", -14, -24, 2, 12, false},
	{"SOUTHERN OCEAN", -130, -62, 2, 10, false},
	{"ARCTIC OCEAN", 10, 81, 3, 10, false},
	{"Mediterranean Sea", 17.5, 34.3, 3, 9, false},
	{"Caribbean Sea", -75, 15, 3, 9, false},
	{"Gulf of\nMexico", -91, 25, 3, 9, false},
	{"Arabian\nSea", 64, 15, 3, 9.5, false},
	{"Bay of\nBengal", 88.5, 14.5, 3, 9, false},
	{"South China\nSea", 114, 14, 4, 9, false},
	{"Philippine\nSea", 133, 20, 3, 9, false},
	{"Coral Sea", 155, -17, 3, 9, false},
	{"Tasman Sea", 161, -38, 3, 9, false},
	{"Bering Sea", -178, 58, 3, 9, false},
	{"Sea of\nOkhotsk", 149, 54, 3, 9, false},
	{"Hudson\nBay", -86, 59.5, 3, 9, false},
	{"Labrador\nSea", -53, 58, 3, 9, false},
	{"Norwegian\nSea", 2, 68, 3, 9, false},
	{"Greenland\nSea", -6, 76, 3, 9, false},
	{"Barents\nSea", 39, 74, 3, 9, false},
	{"Kara\nSea", 71, 76, 3, 9, false},
	{"Laptev Sea", 125, 76, 3, 9, false},
	{"Beaufort\nSea", -138, 72.5, 3, 9, false},
	{"Baffin\nBay", -66, 73.5, 4, 9, false},
	{"North\nSea", 3, 56.3, 4, 9, false},
	{"Black Sea", 34.5, 43.2, 4, 9, false},
	{"Caspian\nSea", 51, 40, 5, 9, false},
	{"Baltic\nSea", 19.3, 56.7, 5, 9, false},
	{"Red\nSea", 38, 20.5, 5, 9, false},
	{"Gulf of\nGuinea", 2, 1.5, 3, 9, false},
	{"Great Australian\nBight", 131, -35, 3, 9, false},
	{"Weddell\nSea", -43, -72, 3, 9, false},
	{"Ross Sea", -175, -75, 3, 9, false},
	{"Scotia Sea", -46, -57, 3, 9, false},
	{"Gulf of\nAlaska", -145, 57, 3, 9, false},
	{"Sea of\nJapan", 134, 40, 4, 9, false},
	{"East China\nSea", 125, 29, 4, 9, false},
	{"Bay of\nBiscay", -5, 45.3, 4, 9, false},
	{"Arafura Sea", 135, -10, 4, 9, false},
	{"Timor Sea", 126.5, -11.5, 4, 9, false},
	{"Gulf of\nAden", 48, 12.4, 5, 9, false},
	{"Mozambique\nChannel", 41, -18.5, 4, 9, false},
	{"Andaman\nSea", 95.5, 10.5, 4, 9, false},
	{"Argentine\nSea", -61, -46, 4, 9, false},
	{"Tyrrhenian\nSea", 12, 40, 5, 9, false},
	{"Ionian Sea", 19, 37.5, 5, 9, false},
	{"Adriatic Sea", 16, 42.7, 5, 8.5, false},
	{"Aegean\nSea", 25, 38.4, 5, 8.5, false},
	{"Yellow\nSea", 123.3, 35.8, 4, 9, false},
	{"Davis Strait", -57, 66, 4, 9, false},
	{"Celtic Sea", -8.5, 50, 5, 9, false},
	{"Solomon\nSea", 153.5, -8, 5, 9, false},
	{"Banda Sea", 127.5, -5.6, 5, 9, false},
	{"Java Sea", 110.5, -4.9, 5, 9, false},
	{"Celebes\nSea", 122.5, 3.3, 5, 9, false},
	{"Sargasso Sea", -62, 29, 4, 9, false},
	{"East Siberian Sea", 162, 73, 3, 9, false},
	{"Chukchi\nSea", -172, 69.5, 4, 9, false},
}

// Names that have changed since the data's year.
var renamed = map[string]string{"Macedonia": "North Macedonia", "eSwatini": "Eswatini"}

// place chooses the labels of a zoom, larger countries first, none over another.
func place(l *level, a *atlas, f fonts, zoom int) []label {
	p := placer{fonts: f, zoom: zoom, world: l.world / l.scale}
	for _, w := range waters {
		if w.zoom <= zoom {
			s := style{sea: !w.land, size: w.size + min(3, 1.5*float64(zoom-w.zoom))}
			s.track = s.size * 0.12
			at := project(w.lon, w.lat)
			p.try(s, strings.Split(w.name, "\n"), at.x*p.world, at.y*p.world)
		}
	}
	var order []int
	for i, s := range l.shapes {
		if len(s.main) > 0 && a.countries[i].name != antarctica {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(l.shapes[j].size, l.shapes[i].size), cmp.Compare(i, j))
	})
	if zoom == 0 {
		order = nil // too small for names
	}
	for _, i := range order {
		p.country(a.countries[i].name, l.shapes[i])
	}
	return p.placed
}

type placer struct {
	fonts
	zoom   int
	world  float64 // points around the equator
	placed []label
}

// country looks for the largest letters, and the way to break the name, that let it stand within its land.
func (p *placer) country(name string, land shape) {
	if newer, ok := renamed[name]; ok {
		name = newer
	}
	const smallest, within = 8.5, 0.88
	size := land.size * p.world * p.world
	room := newRoom(land.main, p.world)
	for points := max(9, min(16, math.Sqrt(size)/8)); points >= smallest; points-- {
		s := style{size: points, track: 0.4}
		text := name
		if points >= 10.5 {
			text, s.track = strings.ToUpper(name), points*0.1
		}
		for _, lines := range breaks(text) {
			if w, h := p.measure(s, lines); w*h < size {
				if x, y, inside := room.best(w, h); inside >= within && p.try(s, lines, x, y) {
					return
				}
			}
		}
	}
	// Some overhang is better than no name, once the map is large enough to tell whose it is.
	const legible = 60 // square points
	if p.zoom < 3 || size < legible && !land.alone {
		return
	}
	s := style{size: smallest, track: 0.3}
	for _, lines := range breaks(name) {
		w, h := p.measure(s, lines)
		if x, y, inside := room.best(w, h); inside > 0.25+0.5/float64(p.zoom) && p.try(s, lines, x, y) {
			return
		}
	}
	// An island's name may stand in the water below it.
	if p.zoom > 3 && land.alone {
		outer := land.main[0]
		p.try(s, []string{name}, (outer.min.x+outer.max.x)/2*p.world, outer.max.y*p.world+smallest)
	}
}

// breaks lists the ways to set a name in one to three lines, at its spaces.
func breaks(name string) [][]string {
	words := strings.Fields(name)
	ways := [][]string{{name}}
	for i := 1; i < len(words); i++ {
		ways = append(ways, []string{strings.Join(words[:i], " "), strings.Join(words[i:], " ")})
	}
	if len(words) >= 3 {
		last := len(words) - 1
		ways = append(ways, []string{words[0], strings.Join(words[1:last], " "), words[last]})
	}
	return ways
}

// try puts a label where no other is in its way.
func (p *placer) try(s style, lines []string, x, y float64) bool {
	const gap = 3
	n := label{style: s, lines: lines, x: x, y: y}
	n.w, n.h = p.measure(s, lines)
	for _, o := range p.placed {
		dx := math.Abs(math.Remainder(n.x-o.x, p.world)) // the world is round
		if dx < (n.w+o.w)/2+gap && math.Abs(n.y-o.y) < (n.h+o.h)/2+gap {
			return false
		}
	}
	if n.y-n.h/2 < 0 || n.y+n.h/2 > p.world {
		return false
	}
	p.placed = append(p.placed, n)
	return true
}
