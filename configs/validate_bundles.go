package configs

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"tilegate/internal/tile"
)

// stylePath is a path within a bundle that needs no escapes in a URL, without empty and dot segments (see oddKey).
var stylePath = regexp.MustCompile(`^[A-Za-z0-9._~ -]+(/[A-Za-z0-9._~ -]+)*$`)

func (v *validator) bundles() {
	for i := range v.Bundles {
		b := &v.Bundles[i]
		key := child("bundles", b.ID)
		v.id(key, b.ID)
		if slices.ContainsFunc(v.Tilesets, func(t Tileset) bool { return t.ID == b.ID }) {
			v.fault(key, "is a tileset's id already", "give the bundle another one, such as "+b.ID+"-style")
		}
		v.bundle(key, b)
	}
}

func (v *validator) bundle(key string, b *Bundle) {
	path := child(key, "source")
	switch {
	case b.Source.Bucket == "":
		v.fault(path, "is required", "write s3://bucket/prefix/")
	case directoryBucket(b.Source.Bucket):
		v.fault(path, directoryProblem, directoryHint)
	case b.Source.tiled():
		v.fault(path, "is a prefix, and has no placeholders", "serve tiles under tilesets")
	case !strings.HasSuffix(b.Source.Key, "/"):
		v.fault(path, "does not end in /, so that it would open other keys which begin alike", "write "+b.Source.String()+"/")
	}
	v.location(key, b.Store, b.Region, b.Role)
	if !version.MatchString(b.Version) {
		v.fault(child(key, "version"), "must be at most 64 letters, digits or ._-", "")
	}
	ids := make([]string, len(v.Tilesets))
	for i, t := range v.Tilesets {
		ids[i] = t.ID
	}
	for i, id := range b.With {
		if !slices.Contains(ids, id) {
			v.fault(element(child(key, "with"), i), "is not one of tilesets", nearestHint(id, ids))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Styles)) {
		at, file := child(child(key, "styles"), name), b.Styles[name]
		switch {
		case !tile.ValidID(name):
			v.fault(at, "is not a style's name: a lower-case letter or digit, then at most 63 of those, _ and -", "")
		case !stylePath.MatchString(file) || oddKey.MatchString(file) || !strings.HasSuffix(strings.ToLower(file), ".json"):
			v.fault(at, "is not the path of a .json file in the bundle", "write it as it follows the source's prefix: style.json")
		}
	}
	v.oneOf(child(key, "missing_on_403"), b.MissingOn403, "auto", "true", "false")
	if problem, hint := badBrowser(b.Browser, b.Public); problem != "" {
		v.fault(child(key, "browser"), problem, hint)
	}
}

// bundleNotes tells of bundles that hold a tileset's tiles, or lie among them.
func (v *validator) bundleNotes(add func(key, text string)) {
	for _, b := range v.Bundles {
		key := child(child("bundles", b.ID), "source")
		for _, t := range v.Tilesets {
			if b.Source.Bucket == "" || b.Source.Bucket != t.Source.Bucket {
				continue
			}
			switch {
			case t.Source.OverlapsBundle(b.Source):
				add(key, "holds objects of "+child("tilesets", t.ID)+": whoever may see the bundle gets these without regard to the tileset's zooms and areas")
			case strings.HasPrefix(b.Source.Key, t.Source.Prefix()) && strings.HasSuffix(t.Source.Prefix(), "/"):
				add(key, "lies within the prefix of "+child("tilesets", t.ID))
			}
		}
	}
}
