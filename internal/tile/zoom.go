package tile

import (
	"errors"
	"strconv"
	"strings"
)

// MaxZoom is the deepest zoom of a tile. X and Y then fit in 30 bits.
const MaxZoom = 30

// ZoomRange is a range of zooms, both ends included, within 0 to MaxZoom.
type ZoomRange struct{ Min, Max uint8 }

// AllZooms is the range that excludes nothing.
var AllZooms = ZoomRange{Max: MaxZoom}

// ErrZoom says that a text is not a range of zooms.
var ErrZoom = errors.New(`zoom must be a range such as "0-14", within 0-30`)

// ParseZoom reads one zoom: a canonical decimal number from 0 to MaxZoom, without sign or leading zero.
func ParseZoom(s string) (uint8, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n > MaxZoom || strconv.FormatUint(n, 10) != s {
		return 0, ErrZoom
	}
	return uint8(n), nil
}

// ParseZoomRange reads "0-14": two zooms and a hyphen, nothing else.
func ParseZoomRange(s string) (ZoomRange, error) {
	low, high, _ := strings.Cut(s, "-")
	minimum, err1 := ParseZoom(low)
	maximum, err2 := ParseZoom(high)
	r := ZoomRange{Min: minimum, Max: maximum}
	if err1 != nil || err2 != nil || !r.Valid() {
		return ZoomRange{}, ErrZoom
	}
	return r, nil
}

// Valid reports whether r holds at least one zoom and none beyond MaxZoom.
func (r ZoomRange) Valid() bool { return r.Min <= r.Max && r.Max <= MaxZoom }

// Contains reports whether z is within r.
func (r ZoomRange) Contains(z uint8) bool { return z >= r.Min && z <= r.Max }

// Intersect returns what both ranges hold. It is not Valid when that is nothing.
func (r ZoomRange) Intersect(other ZoomRange) ZoomRange {
	return ZoomRange{Min: max(r.Min, other.Min), Max: min(r.Max, other.Max)}
}
