package tile

import (
	"errors"
	"fmt"
	"math"
)

// Box is a rectangle in degrees of longitude (-180 to 180) and latitude (-90 to 90). West beyond East
// crosses the antimeridian (RFC 7946 section 5.2).
type Box struct{ West, South, East, North float64 }

// World is the square that Web Mercator shows, in the digits that people write.
var World = Box{West: -180, South: -85.0511, East: 180, North: 85.0511}

// ErrBox says that numbers are not a Box.
var ErrBox = errors.New("bbox must be [west, south, east, north] in degrees and have an area; west > east crosses the antimeridian")

// ParseBox makes a box of [west, south, east, north].
func ParseBox(degrees []float64) (Box, error) {
	if len(degrees) != 4 {
		return Box{}, ErrBox
	}
	b := Box{West: degrees[0], South: degrees[1], East: degrees[2], North: degrees[3]}
	return b, b.Validate()
}

// Validate returns ErrBox for a number that is NaN or out of range, and for a box without area.
func (b Box) Validate() error {
	if _, problem := b.OutOfRange(); problem != "" || b.South >= b.North || b.West == b.East || b.West == 180 && b.East == -180 {
		return ErrBox
	}
	return nil
}

// OutOfRange returns the index in Degrees of the first number that is NaN or out of range, and what is
// wrong with it. The problem is "" if all are in range.
func (b Box) OutOfRange() (index int, problem string) {
	limits := [4]float64{180, 90, 180, 90}
	for i, v := range b.Degrees() {
		if !(math.Abs(v) <= limits[i]) { // true for NaN
			return i, fmt.Sprintf("is not within -%g to %g degrees", limits[i], limits[i])
		}
	}
	return -1, ""
}

// CrossesAntimeridian reports whether the box reaches over 180 degrees. TileJSON cannot say that.
func (b Box) CrossesAntimeridian() bool { return b.West > b.East }

// Degrees returns [west, south, east, north].
func (b Box) Degrees() [4]float64 { return [4]float64{b.West, b.South, b.East, b.North} }

// Center returns the middle of a box that does not cross the antimeridian, in degrees.
func (b Box) Center() (lon, lat float64) { return (b.West + b.East) / 2, (b.South + b.North) / 2 }

// Around returns the smallest box that holds both, neither of which crosses the antimeridian.
func (b Box) Around(other Box) Box {
	return Box{
		West: min(b.West, other.West), South: min(b.South, other.South),
		East: max(b.East, other.East), North: max(b.North, other.North),
	}
}
