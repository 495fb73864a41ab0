package worldmap

import "slices"

// rgb is an sRGB colour, 0 to 255 each.
type rgb [3]float32

func (c rgb) mix(with rgb, share float32) rgb {
	for i := range c {
		c[i] += (with[i] - c[i]) * share
	}
	return c
}

func (c rgb) round() rgb8 {
	return rgb8{uint8(c[0] + 0.5), uint8(c[1] + 0.5), uint8(c[2] + 0.5)}
}

// tint colours one country: a pale fill, and the same hue stronger along the inside of its borders, as printed
// political maps have it.
type tint struct{ fill, edge rgb }

var (
	deepSea    = rgb{0xb9, 0xd0, 0xdb}
	shallowSea = rgb{0xd8, 0xe7, 0xec}
	coastline  = rgb{0x6d, 0x8f, 0xa3}
	borderline = rgb{0x8c, 0x7b, 0x78}
	graticule  = rgb{0xa3, 0xbf, 0xcd}
	landText   = rgb{0x4d, 0x46, 0x4c}
	landHalo   = rgb{0xfb, 0xf8, 0xf1}
	seaText    = rgb{0x5a, 0x80, 0x98}

	ice   = tint{rgb{0xf7, 0xf9, 0xfa}, rgb{0xdc, 0xe6, 0xeb}}
	tints = []tint{
		{rgb{0xf6, 0xee, 0xd6}, rgb{0xe4, 0xcf, 0x97}}, // straw
		{rgb{0xec, 0xef, 0xdb}, rgb{0xc0, 0xce, 0x9f}}, // sage
		{rgb{0xf5, 0xe6, 0xdd}, rgb{0xe3, 0xb7, 0xa4}}, // rose
		{rgb{0xeb, 0xe6, 0xef}, rgb{0xc3, 0xb5, 0xd0}}, // lilac
		{rgb{0xe3, 0xee, 0xe8}, rgb{0xa8, 0xc9, 0xb9}}, // jade
		{rgb{0xf8, 0xe8, 0xd2}, rgb{0xe8, 0xc0, 0x8e}}, // apricot
	}
)

// chooseTints gives each country a tint that none of its neighbours has. The country with the fewest tints left goes
// first (Brélaz's DSATUR) and takes the one of them that is rarest so far.
func chooseTints(a *atlas) []tint {
	neighbours := make([]map[int]bool, len(a.countries))
	user := map[int]int{}
	for i, c := range a.countries {
		neighbours[i] = map[int]bool{}
		for _, polygon := range c.polygons {
			for _, r := range polygon {
				for _, arc := range r {
					arc = max(arc, ^arc)
					if j, shared := user[arc]; shared && j != i {
						neighbours[i][j], neighbours[j][i] = true, true
					}
					user[arc] = i
				}
			}
		}
	}
	const none = -1
	chosen := slices.Repeat([]int{none}, len(a.countries))
	used := make([]int, len(tints))
	for range a.countries {
		next, nextTaken := none, make([]bool, len(tints))
		nextCount := none
		for i := range a.countries {
			if chosen[i] != none {
				continue
			}
			taken, count := make([]bool, len(tints)), 0
			for j := range neighbours[i] {
				if t := chosen[j]; t != none && !taken[t] {
					taken[t] = true
					count++
				}
			}
			if count > nextCount || count == nextCount && len(neighbours[i]) > len(neighbours[next]) {
				next, nextTaken, nextCount = i, taken, count
			}
		}
		best := none
		for t := range tints {
			if !nextTaken[t] && (best == none || used[t] < used[best]) {
				best = t
			}
		}
		chosen[next] = best
		used[best]++
	}
	result := make([]tint, len(chosen))
	for i, t := range chosen {
		result[i] = tints[t]
		switch a.countries[i].name {
		case antarctica, "Greenland":
			result[i] = ice
		}
	}
	return result
}
