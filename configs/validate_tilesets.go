package configs

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"tilegate/internal/tile"
)

var version = regexp.MustCompile(`^[A-Za-z0-9._-]{0,64}$`)

// id checks the form of an id, even if its value could not be read.
func (v *validator) id(key, name string) {
	if !tile.ValidID(name) {
		v.add(key, "is not an id: a lower-case letter or digit, then at most 63 of those, _ and -", "")
	}
}

func (v *validator) tilesets() {
	if len(v.Tilesets) == 0 {
		v.fault("tilesets", "is required", "name at least one, with its source: s3://bucket/{z}/{x}/{y}.png")
	}
	first := "" // default tileset
	for i := range v.Tilesets {
		t := &v.Tilesets[i]
		key := child("tilesets", t.ID)
		v.id(key, t.ID)
		v.tileset(key, t)
		if t.Default && first != "" {
			v.fault(child(key, "default"), "a second default; the first is "+first, "one tileset is served without its name")
		} else if t.Default {
			first = key
		}
	}
}

func (v *validator) tileset(key string, t *Tileset) {
	v.source(key, t)
	v.location(key, t.Store, t.Region, t.Role)
	if t.Format != "" {
		v.oneOf(child(key, "format"), t.Format, tile.FormatNames()...)
	}
	if !version.MatchString(t.Version) {
		v.fault(child(key, "version"), "must be at most 64 letters, digits or ._-", "")
	}
	if t.MinZoom > t.MaxZoom {
		v.conflict(child(key, "minzoom"), child(key, "maxzoom"), fmt.Sprintf("minzoom (%d) is beyond maxzoom (%d)", t.MinZoom, t.MaxZoom), "")
	}
	if b := t.Bounds; v.box(child(key, "bounds"), b) && (b.Validate() != nil || b.CrossesAntimeridian()) {
		v.fault(child(key, "bounds"), "has no area", "write [west, south, east, north]; TileJSON's bounds never cross the antimeridian")
	}
	v.vectorLayers(child(key, "vector_layers"), t)
	v.encoding(child(key, "encoding"), t)
	v.archive(key, t)
	v.oneOf(child(key, "missing"), t.Missing, "404", "204", "transparent")
	if t.Missing == "transparent" && t.Format == "json" {
		v.fault(child(key, "missing"), "json has no transparent tile", "write 404 or 204")
	}
	v.oneOf(child(key, "missing_on_403"), t.MissingOn403, "auto", "true", "false")
	if problem, hint := badBrowser(t.Browser, t.Public); problem != "" {
		v.fault(child(key, "browser"), problem, hint)
	}
	switch {
	case !t.Vend:
	case t.Role.ARN == "":
		v.fault(child(key, "vend"), "needs a role that callers' credentials are made from", "set the role of its store, or its own")
	default:
		v.vend(child(key, "vend"), t)
	}
}

// vend refuses a tileset whose vended credentials would open objects of something else.
func (v *validator) vend(key string, t *Tileset) {
	refuse := func(other, hint string) {
		allows := "where * stops at no slash, allows its keys"
		if t.Source.Archive {
			allows = "which is one object, allows that"
		}
		v.fault(key, fmt.Sprintf("the credentials would open objects of %s, too: a policy for %s, %s",
			other, strings.Join(t.Source.Literals(), "*"), allows), hint)
	}
	for _, other := range v.Tilesets {
		if other.ID != t.ID && !other.Vend && t.Source.Overlaps(other.Source) {
			refuse(child("tilesets", other.ID), "keep the two under different names before the first placeholder, or vend both")
			return
		}
	}
	for _, f := range v.Files {
		if t.Source.Overlaps(f.Source) {
			refuse(child("files", f.ID), "keep the file elsewhere in the bucket")
			return
		}
	}
	for _, b := range v.Bundles {
		if t.Source.OverlapsBundle(b.Source) {
			refuse(child("bundles", b.ID), "keep the bundle elsewhere in the bucket")
			return
		}
	}
}

func (v *validator) source(key string, t *Tileset) {
	path := child(key, "source")
	other, convert := unconverted(t.Source.Key)
	switch {
	case t.Source.Bucket == "":
		v.fault(path, "is required", "write s3://bucket/{z}/{x}/{y}.png")
	case directoryBucket(t.Source.Bucket):
		v.fault(path, directoryProblem, directoryHint)
	case t.Source.isTemplateOfArchives():
		v.fault(path, "has placeholders, but a .pmtiles archive is one object with all tiles in it", "name the one archive: s3://bucket/tiles.pmtiles; several archives are several tilesets")
	case !t.Source.tiled() && other != "":
		v.fault(path, other, convert)
	case !t.Source.tiled() && !t.Source.Archive:
		v.fault(path, "has no placeholders and is no .pmtiles archive", "write s3://bucket/{z}/{x}/{y}.png; single objects belong under files")
	case t.Format == "" && !t.Source.Archive:
		v.fault(child(key, "format"), "is not told by the source's extension", "set one of "+strings.Join(tile.FormatNames(), ", "))
	case t.Source.has(quadkey) && t.MinZoom == 0:
		v.fault(child(key, "minzoom"), "must be 1 or more with {q}: zoom 0 has no quadkey", "")
	}
}

// directoryBucket reports whether a name is that of a directory bucket (S3 Express One Zone), or of an access
// point to one. They need another way to sign requests.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-bucket-naming-rules.html
func directoryBucket(name string) bool {
	return strings.HasSuffix(name, "--x-s3") || strings.HasSuffix(name, "--xa-s3")
}

const (
	directoryProblem = "is in a directory bucket (S3 Express One Zone), which tilegate cannot read"
	directoryHint    = "use a general purpose bucket"
)

// encoding refuses an encoding that contradicts the format: maps would draw elevations as a picture, or nothing.
func (v *validator) encoding(key string, t *Tileset) {
	f := tile.FormatNamed(t.Format)
	switch {
	case t.Encoding == "":
	case !slices.Contains([]string{"terrarium", "mapbox", "mlt"}, t.Encoding):
		v.oneOf(key, t.Encoding, "terrarium", "mapbox", "mlt")
	case f == nil: // an archive knows its own
	case t.Encoding == "mlt" && t.Format != "mlt":
		v.fault(key, "is for tilesets of format mlt only", "")
	case t.Encoding != "mlt" && !f.Image():
		v.fault(key, "is of elevations in images, and the format is "+t.Format, "")
	}
}

func (v *validator) vectorLayers(key string, t *Tileset) {
	if f := tile.FormatNamed(t.Format); len(t.VectorLayers) > 0 && (f == nil || !f.Vector) && !t.Source.Archive {
		v.fault(key, "are for tilesets of format mvt or mlt only", "")
	}
	var ids []string
	for i, layer := range t.VectorLayers {
		path := element(key, i)
		switch {
		case layer.ID == "":
			v.fault(child(path, "id"), "is required", "")
		case slices.Contains(ids, layer.ID):
			v.fault(child(path, "id"), "is another layer's already", "")
		}
		ids = append(ids, layer.ID)
		if layer.MinZoom != nil && layer.MaxZoom != nil && *layer.MinZoom > *layer.MaxZoom {
			v.fault(child(path, "minzoom"), "is beyond maxzoom", "")
		}
	}
}

var policies = []string{"strict", "balanced", "immutable"}

// badBrowser returns why a value is neither a policy nor a Cache-Control value that is safe for the tileset:
// what shared caches keep, they give to anybody. The problem is "" if the value may be used.
func badBrowser(value string, public bool) (problem, hint string) {
	if slices.Contains(policies, value) {
		return "", ""
	}
	names, err := cacheControl(value)
	has := func(name string) bool { return slices.Contains(names, name) }
	switch {
	case err != nil && nearest(value, policies) != "":
		return "is not a policy", didYouMean(value, policies)
	case err != nil:
		return err.Error(), "write strict, balanced, immutable or a Cache-Control value such as private, max-age=600"
	case public:
		return "", ""
	case has("public") || has("s-maxage") || has("proxy-revalidate"):
		return "invites shared caches to keep what not everybody may see", "use private; what CDNs are told is under cdn"
	case !has("private") && !has("no-store"):
		return "lets shared caches keep what not everybody may see", "add private"
	}
	return "", ""
}

// directives are those of a response's Cache-Control, and whether they take a number of seconds: RFC 9111
// section 5.2.2, RFC 5861 and RFC 8246.
var directives = map[string]bool{
	"max-age": true, "s-maxage": true, "stale-while-revalidate": true, "stale-if-error": true,
	"private": false, "public": false, "no-cache": false, "no-store": false, "no-transform": false, "immutable": false,
	"must-revalidate": false, "proxy-revalidate": false, "must-understand": false,
}

var seconds = regexp.MustCompile(`^[0-9]{1,10}$`)

// cacheControl returns the directives that a Cache-Control value holds.
func cacheControl(value string) ([]string, error) {
	var names []string
	for part := range strings.SplitSeq(value, ",") {
		name, argument, hasArgument := strings.Cut(strings.Trim(part, " "), "=")
		name = strings.ToLower(name)
		takesSeconds, known := directives[name]
		switch {
		case !known:
			return nil, errors.New("is neither a policy nor a Cache-Control value")
		case takesSeconds && !seconds.MatchString(argument):
			return nil, fmt.Errorf("has %s without its number of seconds", name)
		case !takesSeconds && hasArgument:
			return nil, fmt.Errorf("has %s with a value that it does not take", name)
		}
		names = append(names, name)
	}
	return names, nil
}
