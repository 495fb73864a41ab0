package tile

import (
	"path"
	"slices"
	"strings"
)

// Format is what the tiles of a tileset are.
type Format struct {
	Name      string // its name in the configuration
	MediaType string // "" of Auto, where each tile has its own
	Vector    bool

	aliases []string               // other spellings of its extension, in paths and in keys of objects
	begins  func(head []byte) bool // nil where anything that is not markup may begin one
}

// SniffLength is how many of an object's first bytes tell what it is.
const SniffLength = 16

var formats = []*Format{
	{Name: "png", MediaType: "image/png", begins: prefix("\x89PNG\r\n\x1a\n")},
	{Name: "jpg", MediaType: "image/jpeg", aliases: []string{"jpeg"}, begins: prefix("\xff\xd8\xff")},
	{Name: "webp", MediaType: "image/webp", begins: func(b []byte) bool {
		return len(b) >= 12 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP"
	}},
	{Name: "avif", MediaType: "image/avif", begins: func(b []byte) bool {
		return len(b) >= 8 && string(b[4:8]) == "ftyp"
	}},
	{Name: "mvt", MediaType: "application/vnd.mapbox-vector-tile", aliases: []string{"pbf"}, Vector: true},
	{Name: "mlt", MediaType: "application/vnd.maplibre-tile", Vector: true},
	{Name: "json", MediaType: "application/json"},
	auto,
}

// auto is the format of tilesets that mix images: each tile's first bytes say what it is.
var auto = &Format{Name: "auto"}

func prefix(magic string) func([]byte) bool {
	return func(head []byte) bool { return strings.HasPrefix(string(head), magic) }
}

// FormatNames lists the names that FormatNamed knows.
func FormatNames() []string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = f.Name
	}
	return names
}

// FormatNamed returns the format with that name, nil when there is none.
func FormatNamed(name string) *Format {
	for _, f := range formats {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// FormatOf tells a format by the extension of an object's key, nil when that says nothing.
func FormatOf(key string) *Format {
	extension := strings.TrimPrefix(path.Ext(key), ".")
	for _, f := range formats {
		if f != auto && f.HasExtension(extension) {
			return f
		}
	}
	return nil
}

// Auto reports whether each tile has a format of its own, one of the images.
func (f *Format) Auto() bool { return f == auto }

// Extension is the one that URLs of tiles should have, with its dot; "" where it depends on the tile.
func (f *Format) Extension() string {
	if f.Auto() {
		return ""
	}
	return "." + f.Name
}

// HasExtension reports whether a path with that extension, without its dot, names a tile of this format.
func (f *Format) HasExtension(extension string) bool {
	if f.Auto() {
		return slices.ContainsFunc(formats, func(image *Format) bool { return image.begins != nil && image.HasExtension(extension) })
	}
	return f.Name == extension || slices.Contains(f.aliases, extension)
}

// Image reports whether tiles of this format are images, of which none is empty.
func (f *Format) Image() bool { return f.Auto() || f.begins != nil }

// Of returns the format of a tile that begins with head: f itself, or the image format of an Auto tile, nil where it
// is none.
func (f *Format) Of(head []byte) *Format {
	if !f.Auto() {
		return f
	}
	for _, image := range formats {
		if image.begins != nil && image.begins(head) {
			return image
		}
	}
	return nil
}

// Begins reports whether head is proof of this format. Formats without a signature have none.
func (f *Format) Begins(head []byte) bool {
	if f.Auto() {
		return f.Of(head) != nil
	}
	return f.begins != nil && f.begins(head)
}

// Contradiction names what the first bytes of an object are where they cannot be a tile of this format:
// the error document of a store that answers 200, another format, or compressed data. It is empty for bytes that it does
// not recognise: it guards against wrong answers, not against odd pictures. head is the first
// SniffLength bytes, or all where the object is shorter.
func (f *Format) Contradiction(head []byte) string {
	if f.Begins(head) {
		return ""
	}
	for _, other := range formats {
		if other != f && other.begins != nil && other.begins(head) {
			return other.Name
		}
	}
	switch {
	case strings.HasPrefix(string(head), "\x1f\x8b"):
		return "gzip"
	case strings.HasPrefix(string(head), "\x28\xb5\x2f\xfd"):
		return "zstd"
	case f.Name != "mlt" && len(head) >= 2 && head[0] == 0x78 && (int(head[0])<<8|int(head[1]))%31 == 0: // RFC 1950 section 2.2
		return "zlib"
	}
	text := strings.TrimLeft(strings.TrimPrefix(string(head), "\ufeff"), " \t\r\n")
	switch lower := strings.ToLower(text); {
	case strings.HasPrefix(lower, "<?xml"), strings.HasPrefix(lower, "<error"):
		return "XML"
	case strings.HasPrefix(lower, "<!doctype"), strings.HasPrefix(lower, "<html"):
		return "HTML"
	case f.Name != "json" && strings.HasPrefix(text, `{"`):
		return "JSON"
	}
	return ""
}
