package worldmap

import "image"

// Paint draws a square of any size, tile x, y of a grid of such squares, before it is encoded.
func (m *Map) Paint(z, scale uint8, x, y uint32, size int) *image.RGBA {
	return m.levels[z][scale-1]().paint(x, y, size)
}

// Labels are the names on a zoom, and each one's centre and size in points.
func (m *Map) Labels(z uint8) (names [][]string, boxes [][4]float64) {
	for _, l := range m.levels[z][0]().labels {
		names = append(names, l.lines)
		boxes = append(boxes, [4]float64{l.x, l.y, l.w, l.h})
	}
	return names, boxes
}

// SharedTints lists the pairs of neighbours that have the same colour.
func SharedTints() ([][2]string, error) {
	a, err := readAtlas()
	if err != nil {
		return nil, err
	}
	tints := chooseTints(a)
	var shared [][2]string
	user := map[int]int{}
	for i, c := range a.countries {
		for _, polygon := range c.polygons {
			for _, r := range polygon {
				for _, arc := range r {
					arc = max(arc, ^arc)
					if j, ok := user[arc]; ok && j != i && tints[i] == tints[j] {
						shared = append(shared, [2]string{a.countries[j].name, c.name})
					}
					user[arc] = i
				}
			}
		}
	}
	return shared, nil
}
