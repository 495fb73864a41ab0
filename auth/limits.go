package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tilegate/internal/tile"
)

// Limits bounds what may be seen. What nil means depends on the use, and is said there.
type Limits struct {
	// Tilesets are ids of tilesets, or globs over them ("acme-*"; * is the only wildcard), and
	// "file:" entries for files and "bundle:" entries for bundles, which no entry without that prefix covers.
	Tilesets []string
	Zoom     *tile.ZoomRange // nil: all zooms
	BBox     *tile.Box       // nil: the whole world
	Areas    []Area          // a tile must share area with one of them; nil: the whole world
}

// narrow reports whether l names zooms or an area.
func (l Limits) narrow() bool { return l.Zoom != nil || l.BBox != nil || l.Areas != nil }

// Validate returns what is wrong with l.
func (l Limits) Validate() error {
	var errs []error
	if err := validEntries(l.Tilesets); err != nil {
		errs = append(errs, err)
	}
	if l.Zoom != nil && !l.Zoom.Valid() {
		errs = append(errs, tile.ErrZoom)
	}
	if l.BBox != nil {
		if err := l.BBox.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func validEntries(entries []string) error {
	if len(entries) > tile.MaxPatterns {
		return fmt.Errorf("at most %d tilesets can be named; use globs", tile.MaxPatterns)
	}
	for i, entry := range entries {
		if !tile.ValidPattern(entry) {
			return fmt.Errorf("tilesets: entry %d is not the id of a tileset, a glob with *, or a file: or bundle: entry", i+1)
		}
	}
	return nil
}

// coveredBy reports whether list admits every id that entry admits. A glob is compared as if it were an id:
// no id holds a *, so only a * in list can match it, and that one matches whatever takes its place. It may
// return false for a glob that only several entries of list cover together.
func coveredBy(list []string, entry string) bool {
	kind, name := tile.CutPattern(entry)
	for _, pattern := range list {
		if of, glob := tile.CutPattern(pattern); of == kind && matchGlob(glob, name) {
			return true
		}
	}
	return false
}

// matchGlob reports whether s matches pattern, whose only wildcard is *. It backtracks to the last * only,
// so that a hostile pattern costs at most len(pattern)·len(s) steps.
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

// sameKind reports whether both patterns stand for tilesets, for files or for bundles.
func sameKind(a, b string) bool {
	kind, _ := tile.CutPattern(a)
	other, _ := tile.CutPattern(b)
	return kind == other
}

// intersect narrows entries to what allow admits too. Where two globs overlap and neither covers the other
// (a*, *b), their intersection is not a glob: then it returns allow as also, and an id must match both
// lists.
func intersect(entries, allow []string) (kept, also []string) {
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
			case sameKind(allowed, entry):
				overlap = true
			}
		}
		if overlap {
			kept, also = append(kept, entry), allow
		} else {
			kept = append(kept, narrower...)
		}
	}
	slices.Sort(kept)
	return slices.Compact(kept), also
}
