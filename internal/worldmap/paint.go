package worldmap

import (
	"image"
	"image/color"
	"image/draw"
	"math"
	"slices"

	"golang.org/x/image/vector"
)

// How far, in units, a line changes the colours around it: on land beside a border, at sea off a coast.
const (
	landReach = 9
	seaReach  = 15
)

// canvas is one tile being painted. Everything in it is a function of the world's pixels alone, so tiles that meet
// agree along their seam.
type canvas struct {
	*level
	size   int     // pixels
	ox, oy float64 // the tile's corner in the world's pixels
}

// paint draws tile x, y of a level.
func (l *level) paint(x, y uint32, size int) *image.RGBA {
	c := canvas{level: l, size: size, ox: float64(x) * float64(size), oy: float64(y) * float64(size)}
	border := c.distances(l.borders, landReach)
	coast := c.distances(l.coast, seaReach)
	sum, covered := c.land(border, coast)

	// Lines get finer on the smallest maps.
	pen := 0.4*float32(l.scale) + 0.4*l.unit
	meridians, parallels := c.graticule()
	img := image.NewRGBA(image.Rect(0, 0, size, size))
	for py := range size {
		for px := range size {
			i := py*size + px
			var colour rgb
			if land := covered[i]; land < 1 {
				sea := seaColour(coast[i]/c.unit).mix(graticule, max(meridians[px], parallels[py]))
				for k := range colour {
					colour[k] = sum[i][k] + sea[k]*(1-land)
				}
			} else {
				for k := range colour {
					colour[k] = sum[i][k] / land
				}
			}
			colour = colour.mix(borderline, 0.8*stroke(border[i], 0.9*pen))
			colour = colour.mix(coastline, stroke(coast[i], pen))
			set(img, px, py, colour)
		}
	}
	c.write(img)
	return img
}

func set(img *image.RGBA, x, y int, c rgb) {
	p := c.round()
	img.SetRGBA(x, y, color.RGBA{p[0], p[1], p[2], 0xff})
}

// stroke is how much of a pixel a line covers that is so wide and so far away.
func stroke(distance, width float32) float32 {
	return max(0, min(1, width/2-distance+0.5)) * min(1, width)
}

// seaColour shades the water: three steps into the deep, units off the coast.
func seaColour(distance float32) rgb {
	var depth float32
	for _, step := range [...]float32{3.5, 8, 14} {
		depth += max(0, min(1, distance-step+0.5)) / 3
	}
	return shallowSea.mix(deepSea, depth)
}

// land adds up the colours of the countries, each by its share of a pixel, and those shares.
func (c *canvas) land(border, coast []float32) (sum []rgb, covered []float32) {
	sum, covered = make([]rgb, c.size*c.size), make([]float32, c.size*c.size)
	var raster vector.Rasterizer
	var mask image.Alpha
	for _, s := range c.shapes {
		window := c.window(s.rings)
		if window.Empty() {
			continue
		}
		raster.Reset(window.Dx(), window.Dy())
		raster.DrawOp = draw.Src
		for _, ring := range s.rings {
			c.copies(ring, 0, func(shift float64) { c.trace(&raster, window, ring.points, shift) })
		}
		mask.Rect, mask.Stride = window, window.Dx()
		mask.Pix = slices.Grow(mask.Pix[:0], window.Dx()*window.Dy())[:window.Dx()*window.Dy()]
		raster.Draw(&mask, window, image.Opaque, image.Point{})
		for y := window.Min.Y; y < window.Max.Y; y++ {
			for x := window.Min.X; x < window.Max.X; x++ {
				share := float32(mask.Pix[mask.PixOffset(x, y)]) / 255
				if share == 0 {
					continue
				}
				i := y*c.size + x
				colour := s.tint.fill.mix(s.tint.edge, edge(min(border[i], 2*coast[i])/c.unit))
				for k := range colour {
					sum[i][k] += colour[k] * share
				}
				covered[i] += share
			}
		}
	}
	return sum, covered
}

// window is the part of the tile that rings may touch.
func (c *canvas) window(rings []line) image.Rectangle {
	var all image.Rectangle
	for _, ring := range rings {
		c.copies(ring, 0, func(shift float64) {
			all = all.Union(image.Rect(
				int(max(0, (ring.min.x+shift)*c.world-c.ox)), int(max(0, ring.min.y*c.world-c.oy)),
				int(min(float64(c.size), (ring.max.x+shift)*c.world-c.ox+1)), int(min(float64(c.size), ring.max.y*c.world-c.oy+1))))
		})
	}
	return all
}

// edge is the strength of a country's colour, units away from its border.
func edge(distance float32) float32 {
	t := max(0, 1-distance/landReach)
	return t * t
}

// copies calls f with each whole number of worlds to move a line by so that it comes within margin pixels of the tile.
func (c *canvas) copies(l line, margin float64, f func(shift float64)) {
	if l.max.y*c.world < c.oy-margin || l.min.y*c.world > c.oy+float64(c.size)+margin {
		return
	}
	first := math.Ceil((c.ox-margin)/c.world - l.max.x)
	last := math.Floor((c.ox+float64(c.size)+margin)/c.world - l.min.x)
	for shift := first; shift <= last; shift++ {
		f(shift)
	}
}

// trace adds a closed line to the window's raster. Of a run of points beyond one side of the window, those between the
// first and the last are left out: nothing within depends on them.
func (c *canvas) trace(raster *vector.Rasterizer, window image.Rectangle, points []point, shift float64) {
	dx, dy := shift*c.world-c.ox-float64(window.Min.X), -c.oy-float64(window.Min.Y)
	width, height := float64(window.Dx()), float64(window.Dy())
	place := func(p point) (q point, beyond uint8) {
		q = point{p.x*c.world + dx, p.y*c.world + dy}
		for bit, is := range [...]bool{q.x < 0, q.x > width, q.y < 0, q.y > height} {
			if is {
				beyond |= 1 << bit
			}
		}
		return q, beyond
	}
	here, beyond := place(points[0])
	raster.MoveTo(float32(here.x), float32(here.y))
	before := beyond
	here, beyond = place(points[1])
	for _, p := range points[2:] {
		next, beyondNext := place(p)
		if before&beyond&beyondNext == 0 {
			raster.LineTo(float32(here.x), float32(here.y))
			before = beyond
		}
		here, beyond = next, beyondNext
	}
	raster.LineTo(float32(here.x), float32(here.y))
	raster.ClosePath()
}

// distances measures, in pixels, from each pixel's centre to the nearest of the lines, up to reach units.
func (c *canvas) distances(lines []line, reach float32) []float32 {
	size, r := c.size, float64(reach*c.unit)
	squares := make([]float32, size*size)
	for i := range squares {
		squares[i] = float32(r * r)
	}
	for _, l := range lines {
		c.copies(l, r, func(shift float64) {
			for i := 1; i < len(l.points); i++ {
				a, b := l.points[i-1], l.points[i]
				if onSeam(a) && onSeam(b) {
					continue
				}
				approach(squares, size, r,
					(a.x+shift)*c.world-c.ox, a.y*c.world-c.oy,
					(b.x+shift)*c.world-c.ox, b.y*c.world-c.oy)
			}
		})
	}
	for i, d := range squares {
		squares[i] = float32(math.Sqrt(float64(d)))
	}
	return squares
}

// onSeam tells whether a point lies on the antimeridian, where Fiji is cut although no coast is there.
func onSeam(p point) bool {
	const quantum = 1.1e-5 // one step of the data's grid
	return math.Abs(p.x-math.Round(p.x)) < quantum
}

// approach lowers the squared distances around the segment a–b.
func approach(squares []float32, size int, reach, ax, ay, bx, by float64) {
	x0 := max(0, int(min(ax, bx)-reach))
	x1 := min(size, int(max(ax, bx)+reach)+1)
	y0 := max(0, int(min(ay, by)-reach))
	y1 := min(size, int(max(ay, by)+reach)+1)
	if x0 >= x1 || y0 >= y1 {
		return
	}
	dx, dy := float32(bx-ax), float32(by-ay)
	var inverse float32
	if length2 := dx*dx + dy*dy; length2 > 0 {
		inverse = 1 / length2
	}
	for y := y0; y < y1; y++ {
		row := squares[y*size : (y+1)*size]
		py := float32(float64(y) + 0.5 - ay)
		px := float32(float64(x0) + 0.5 - ax)
		for x := x0; x < x1; x++ {
			t := max(0, min(1, (px*dx+py*dy)*inverse))
			ex, ey := px-t*dx, py-t*dy
			row[x] = min(row[x], ex*ex+ey*ey)
			px++
		}
	}
}

// graticule is the share of each column that a meridian takes, and of each row that a parallel takes.
func (c *canvas) graticule() (meridians, parallels []float32) {
	const strength = 0.9
	step := 30.0
	if c.world/c.scale >= 256*8 {
		step = 10
	}
	meridians, parallels = make([]float32, c.size), make([]float32, c.size)
	rule := func(line []float32, at, width float64) {
		for i := max(0, int(at)-2); i < min(c.size, int(at)+3); i++ {
			d := float32(math.Abs(float64(i) + 0.5 - at))
			line[i] = max(line[i], strength*stroke(d, float32(width*c.scale)))
		}
	}
	for lon := -180.0; lon <= 180; lon += step {
		rule(meridians, project(lon, 0).x*c.world-c.ox, 0.8)
	}
	for lat := -90 + step; lat < 90; lat += step {
		width := 0.8
		if lat == 0 {
			width = 1.4
		}
		rule(parallels, project(0, lat).y*c.world-c.oy, width)
	}
	return meridians, parallels
}
