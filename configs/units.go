package configs

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"tilegate/internal/tile"
)

// Size is a number of bytes, written 512MiB.
type Size int64

const (
	kibibyte Size = 1 << 10
	mebibyte Size = 1 << 20
	gibibyte Size = 1 << 30
)

// String returns the size in the largest unit that needs no fraction.
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

// parseSize reads 512MiB, 64KiB, 2GiB or a number of bytes. MB and M are refused: some people mean 10⁶ by
// them, and others 2²⁰.
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

// Rate is a number of requests an hour, written 50/s.
type Rate int64

var errRate = errors.New("is not a rate")

const rateHint = "write 50/s, 600/m, 10000/h, or 0 for no limit"

// parseRate reads 50/s, 600/m, 10000/h or 0.
func parseRate(text string) (Rate, error) {
	if text == "0" {
		return 0, nil
	}
	digits, unit, _ := strings.Cut(text, "/")
	hourly := map[string]Rate{"s": 3600, "m": 60, "h": 1}[unit]
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n == 0 || hourly == 0 {
		return 0, errRate
	}
	return Rate(n) * hourly, nil
}

var errDuration = errors.New("is not a duration")

const durationHint = "write 90s, 10m or 24h"

// parseDuration reads 90s, 1h30m, 250ms or 0. No key takes a negative duration.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, errDuration
	}
	return d, nil
}

// parseCount reads how many there may be of something.
func parseCount(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, errors.New("is not a whole number from 0 up")
	}
	return int(n), nil
}

var errZoom = fmt.Errorf("is not a zoom from 0 to %d", tile.MaxZoom)

func parseZoom(text string) (uint8, error) {
	z, err := tile.ParseZoom(text)
	if err != nil {
		return 0, errZoom
	}
	return z, nil
}

var errZoomRange = fmt.Errorf("is not a range of zooms within 0 to %d", tile.MaxZoom)

const zoomRangeHint = `write "0-14"`

func parseZoomRange(text string) (tile.ZoomRange, error) {
	r, err := tile.ParseZoomRange(text)
	if err != nil {
		return r, errZoomRange
	}
	return r, nil
}

var errNumber = errors.New("is not a number")

func parseNumber(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, errNumber
	}
	return f, nil
}
