package pmtiles

import "math/bits"

// MaxZoom is the deepest zoom that has tile ids here. The format itself has no limit.
const MaxZoom = 30

// maxID is the last id of MaxZoom, 1.5e18. Three times that plus one fits into 62 bits, so nothing below overflows.
const maxID = (1<<(2*(MaxZoom+1))-1)/3 - 1

// TileID numbers the tiles zoom by zoom, from 0/0/0, and within a zoom along a Hilbert curve, so that neighbours on the
// map are mostly neighbours in the archive. It reports whether there is such a tile: z ≤ MaxZoom, x and y < 2^z.
func TileID(z uint8, x, y uint32) (id uint64, ok bool) {
	if z > MaxZoom || x>>z != 0 || y>>z != 0 {
		return 0, false
	}
	id = firstID(z)
	for s := int(z) - 1; s >= 0; s-- {
		rx, ry := x>>s&1, y>>s&1
		id += uint64(3*rx^ry) << (2 * s)
		x, y = rotate(x, y, rx, ry)
	}
	return id, true
}

// ZXY is the inverse of TileID. It reports whether the id is one of a zoom up to MaxZoom.
func ZXY(id uint64) (z uint8, x, y uint32, ok bool) {
	if id > maxID {
		return 0, 0, 0, false
	}
	z = uint8(bits.Len64(3*id+1)-1) / 2
	rest := id - firstID(z)
	for s := range int(z) {
		quarter := uint32(rest>>(2*s)) & 3
		rx := quarter >> 1
		ry := (quarter ^ rx) & 1
		below := uint32(1)<<s - 1
		x, y = rotate(x, y, rx, ry)
		x, y = x&below|rx<<s, y&below|ry<<s
	}
	return z, x, y, true
}

// firstID counts the tiles of the zooms before z.
func firstID(z uint8) uint64 { return (1<<(2*z) - 1) / 3 }

// rotate converts coordinates within a quadrant, because the curve is rotated in two of the four quadrants. It also
// changes the bits above the quadrant's size, which the callers ignore.
func rotate(x, y, rx, ry uint32) (uint32, uint32) {
	if ry != 0 {
		return x, y
	}
	if rx != 0 {
		x, y = ^x, ^y
	}
	return y, x
}
