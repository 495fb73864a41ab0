package worldmap

import (
	"image"
	"image/draw"
	"math"

	"golang.org/x/image/vector"
)

// room knows where within a polygon a label fits: a coarse bitmap of it, summed up so that a rectangle's share of land
// is four look-ups (Crow's summed-area table).
type room struct {
	min        point   // of the bitmap, in points from the world's corner
	cell       float64 // points
	cols, rows int
	sum        []int // (cols+1) × (rows+1), of coverage 0–255
	cx, cy     float64
}

func newRoom(rings []line, world float64) *room {
	const cells, margin = 48, 12 // along the longer side, and around: a label may hang over
	outer := rings[0]
	w, h := (outer.max.x-outer.min.x)*world, (outer.max.y-outer.min.y)*world
	r := &room{cell: max(w, h) / cells}
	r.cols, r.rows = int(w/r.cell)+2*margin+1, int(h/r.cell)+2*margin+1
	r.min = point{outer.min.x*world - margin*r.cell, outer.min.y*world - margin*r.cell}
	var raster vector.Rasterizer
	raster.Reset(r.cols, r.rows)
	raster.DrawOp = draw.Src
	for _, ring := range rings {
		for i, p := range ring.points {
			x, y := float32((p.x*world-r.min.x)/r.cell), float32((p.y*world-r.min.y)/r.cell)
			if i == 0 {
				raster.MoveTo(x, y)
			} else {
				raster.LineTo(x, y)
			}
		}
		raster.ClosePath()
	}
	mask := image.NewAlpha(image.Rect(0, 0, r.cols, r.rows))
	raster.Draw(mask, mask.Rect, image.Opaque, image.Point{})
	r.sum = make([]int, (r.cols+1)*(r.rows+1))
	var mass, mx, my float64
	for y := range r.rows {
		row := 0
		for x := range r.cols {
			a := int(mask.AlphaAt(x, y).A)
			row += a
			r.sum[(y+1)*(r.cols+1)+x+1] = r.sum[y*(r.cols+1)+x+1] + row
			mass, mx, my = mass+float64(a), mx+float64(a*x), my+float64(a*y)
		}
	}
	r.cx, r.cy = mx/mass, my/mass
	return r
}

// best finds the centre of the w × h rectangle that is most on land, near the middle if it can be, and that share.
func (r *room) best(w, h float64) (x, y, inside float64) {
	cols, rows := int(math.Ceil(w/r.cell)), int(math.Ceil(h/r.cell))
	score, stride := math.Inf(-1), r.cols+1
	for top := 0; top+rows <= r.rows; top++ {
		for left := 0; left+cols <= r.cols; left++ {
			land := r.sum[(top+rows)*stride+left+cols] - r.sum[top*stride+left+cols] -
				r.sum[(top+rows)*stride+left] + r.sum[top*stride+left]
			share := float64(land) / float64(255*cols*rows)
			if share <= score {
				continue // not even in the very middle
			}
			px, py := float64(left)+float64(cols)/2, float64(top)+float64(rows)/2
			if s := min(share, 0.97) - 0.006*math.Hypot(px-r.cx, py-r.cy); s > score {
				score, inside = s, share
				x, y = r.min.x+px*r.cell, r.min.y+py*r.cell
			}
		}
	}
	return x, y, inside
}
