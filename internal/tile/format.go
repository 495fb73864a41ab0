package tile

import (
	"path"
	"slices"
	"strings"
)

// Format is what the tiles of a tileset are.
type Format struct {
	Name      string // its name in the configuration, and its extension in paths
	MediaType string
	Vector    bool

	aliases []string               // other extensions that objects have
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
	{Name: "json", MediaType: "application/json"},
}

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
		if f.Name == extension || slices.Contains(f.aliases, extension) {
			return f
		}
	}
	return nil
}

// Contradiction names what the first bytes of an object are where they cannot be a tile of this format:
// the error document of a store that answers 200, or another format. It is empty for bytes that it does
// not recognise: it guards against wrong answers, not against odd pictures. head is the first
// SniffLength bytes, or all where the object is shorter.
func (f *Format) Contradiction(head []byte) string {
	if f.begins != nil && f.begins(head) {
		return ""
	}
	for _, other := range formats {
		if other != f && other.begins != nil && other.begins(head) {
			return other.Name
		}
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
