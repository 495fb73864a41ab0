package auth

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	maxZoom    = 30  // the deepest zoom of a tile path
	maxEntries = 256 // tilesets that one grant may name
)

// Limits bounds what may be seen. What nil means is said where Limits is used.
type Limits struct {
	// Tilesets are ids of tilesets, or globs over them ("acme-*"; * is the only wildcard), and
	// "file:" entries for files, which no entry without that prefix covers.
	Tilesets []string
	Zoom     *ZoomRange // nil: all zooms
	BBox     *BBox      // nil: the whole world
}

// Validate says what is wrong with l.
func (l Limits) Validate() error {
	var errs []error
	if err := validEntries(l.Tilesets); err != nil {
		errs = append(errs, err)
	}
	if l.Zoom != nil && (l.Zoom.Min > l.Zoom.Max || l.Zoom.Max > maxZoom) {
		errs = append(errs, errZoom)
	}
	if l.BBox != nil {
		if err := l.BBox.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ZoomRange is a range of zooms, both ends included, within 0 to 30.
type ZoomRange struct{ Min, Max uint8 }

var errZoom = errors.New(`zoom must be a range such as "0-14", within 0-30`)

// ParseZoom reads "0-14": two canonical decimal numbers and a hyphen, nothing else.
func ParseZoom(s string) (ZoomRange, error) {
	low, high, _ := strings.Cut(s, "-")
	minimum, err1 := parseZoomNumber(low)
	maximum, err2 := parseZoomNumber(high)
	if err1 != nil || err2 != nil || minimum > maximum {
		return ZoomRange{}, errZoom
	}
	return ZoomRange{Min: minimum, Max: maximum}, nil
}

func parseZoomNumber(s string) (uint8, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n > maxZoom || strconv.FormatUint(n, 10) != s {
		return 0, errZoom
	}
	return uint8(n), nil
}

// BBox is a box in degrees of longitude (-180 to 180) and latitude (-90 to 90). West beyond East
// crosses the antimeridian (RFC 7946 section 5.2).
type BBox struct{ West, South, East, North float64 }

var errBBox = errors.New("bbox must be [west, south, east, north] in degrees and have an area; west > east crosses the antimeridian")

// ParseBBox makes a box of [west, south, east, north].
func ParseBBox(degrees []float64) (BBox, error) {
	if len(degrees) != 4 {
		return BBox{}, errBBox
	}
	b := BBox{West: degrees[0], South: degrees[1], East: degrees[2], North: degrees[3]}
	return b, b.Validate()
}

// Validate says what is wrong with b: a number that is none, one out of range, or no area.
func (b BBox) Validate() error {
	within := func(v, limit float64) bool { return math.Abs(v) <= limit } // false for NaN
	if !within(b.West, 180) || !within(b.East, 180) || !within(b.South, 90) || !within(b.North, 90) ||
		b.South >= b.North || b.West == b.East || b.West == 180 && b.East == -180 {
		return errBBox
	}
	return nil
}

const filePrefix = "file:"

func validEntries(entries []string) error {
	if len(entries) > maxEntries {
		return fmt.Errorf("at most %d tilesets can be named; use globs", maxEntries)
	}
	for i, entry := range entries {
		if !validEntry(entry) {
			return fmt.Errorf("tilesets: entry %d is not the id of a tileset, a glob with *, or a file: entry", i+1)
		}
	}
	return nil
}

// validEntry holds an entry to the alphabet of ids (DESIGN section 5), with * for any run of it.
func validEntry(entry string) bool {
	id := strings.TrimPrefix(entry, filePrefix)
	if id == "" || len(id) > 64 || id[0] == '_' || id[0] == '-' {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '*' {
			return false
		}
	}
	return true
}

// coveredBy reports whether every id that entry admits is admitted by list too. A glob is
// compared as if it were an id: its * is in no id's alphabet, so only a * of list's can match it,
// and that one matches whatever takes its place. Sound, though not complete.
func coveredBy(list []string, entry string) bool {
	file, isFile := strings.CutPrefix(entry, filePrefix)
	for _, glob := range list {
		fileGlob, globIsFile := strings.CutPrefix(glob, filePrefix)
		if isFile == globIsFile && matchGlob(fileGlob, file) {
			return true
		}
	}
	return false
}

// matchGlob matches s with pattern, whose only wildcard is *. It backtracks to the last * alone,
// so a hostile pattern costs at most len(pattern)·len(s).
func matchGlob(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// cut narrows entries to what allow admits as well. Where two globs overlap without one covering
// the other (a*, *b) their intersection is no glob: then allow itself comes back as within, and
// an id must match both lists.
func cut(entries, allow []string) (kept, within []string) {
	kept = []string{}
	for _, entry := range entries {
		if coveredBy(allow, entry) {
			kept = append(kept, entry)
			continue
		}
		if !strings.Contains(entry, "*") {
			continue
		}
		var narrower []string
		overlap := false
		for _, allowed := range allow {
			switch {
			case coveredBy([]string{entry}, allowed):
				narrower = append(narrower, allowed)
			case strings.HasPrefix(allowed, filePrefix) == strings.HasPrefix(entry, filePrefix):
				overlap = true
			}
		}
		if overlap {
			kept, within = append(kept, entry), allow
		} else {
			kept = append(kept, narrower...)
		}
	}
	slices.Sort(kept)
	return slices.Compact(kept), within
}
