package tile

import "math"

// edgeLatitude is what people round the map's edge to, 85.05112877980659 degrees. It counts as the edge
// itself, so that a box which ends there cuts off no row of tiles.
const edgeLatitude = 85.0511

// Project maps degrees to the unit square of Web Mercator (EPSG:3857): x grows eastwards from -180
// degrees, y southwards from the map's edge in the north. Latitudes beyond the edge are at the edge.
func Project(lon, lat float64) (x, y float64) {
	x = (lon + 180) / 360
	switch {
	case lat >= edgeLatitude:
		return x, 0
	case lat <= -edgeLatitude:
		return x, 1
	}
	return x, 0.5 - math.Asinh(math.Tan(lat*math.Pi/180))/(2*math.Pi)
}

// At returns the column and row of the tile of zoom z that shows a place given in degrees.
func At(z uint8, lon, lat float64) (x, y uint32) {
	px, py := Project(lon, lat)
	side := math.Ldexp(1, int(z))
	clamp := func(v float64) uint32 { return uint32(min(max(v*side, 0), side-1)) }
	return clamp(px), clamp(py)
}
