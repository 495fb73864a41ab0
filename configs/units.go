package configs

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written 512MiB.
type Size int64

const (
	kibibyte Size = 1 << 10
	mebibyte Size = 1 << 20
	gibibyte Size = 1 << 30
)

// String is the size in the largest unit that needs no fraction.
func (s Size) String() string {
	for _, unit := range sizeUnits {
		if s != 0 && s%unit.bytes == 0 {
			return strconv.FormatInt(int64(s/unit.bytes), 10) + unit.name
		}
	}
	return "0"
}

var sizeUnits = []struct {
	name  string
	bytes Size
}{{"GiB", gibibyte}, {"MiB", mebibyte}, {"KiB", kibibyte}, {"", 1}}

var errSize = errors.New("is not a size")

const sizeHint = "write 64KiB, 512MiB, 2GiB or a number of bytes"

// parseSize reads 512MiB, 64KiB, 2GiB or plain bytes. MB and M are refused: half of those who write
// them mean 10⁶ and the others 2²⁰.
func parseSize(text string) (Size, error) {
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(text, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || n > uint64(math.MaxInt64/unit.bytes) {
			return 0, errSize
		}
		return Size(n) * unit.bytes, nil
	}
	return 0, errSize
}

var errDuration = errors.New("is not a duration")

const durationHint = "write 90s, 10m or 24h"

// parseDuration reads 90s, 1h30m, 250ms or 0. There is nothing here of which less than none makes sense.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, errDuration
	}
	return d, nil
}

// maxZoom is the deepest zoom of a tile path.
const maxZoom = 30

var errZoom = errors.New("is not a zoom from 0 to 30")

func parseZoom(text string) (uint8, error) {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n > maxZoom {
		return 0, errZoom
	}
	return uint8(n), nil
}

// ZoomRange is a range of zooms, both ends included, written 0-14.
type ZoomRange struct{ Min, Max uint8 }

var errZoomRange = errors.New("is not a range of zooms within 0 to 30")

const zoomRangeHint = `write "0-14"`

func parseZoomRange(text string) (ZoomRange, error) {
	low, high, _ := strings.Cut(text, "-")
	minimum, err1 := parseZoom(low)
	maximum, err2 := parseZoom(high)
	if err1 != nil || err2 != nil || minimum > maximum {
		return ZoomRange{}, errZoomRange
	}
	return ZoomRange{Min: minimum, Max: maximum}, nil
}

// Bounds is west, south, east, north in degrees of WGS 84.
type Bounds [4]float64

// world is the square that Web Mercator shows.
var world = Bounds{-180, -85.0511, 180, 85.0511}

var errNumber = errors.New("is not a number")

func parseNumber(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, errNumber
	}
	return f, nil
}
