package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"tilegate/internal/tile"
)

const (
	// maxStyle is the size of the largest style, unpacked, in bytes.
	maxStyle = 8 << 20
	// maxStyleDepth is how deep a style may be nested. Expressions and GeoJSON, the deepest parts, stay far below.
	maxStyleDepth = 512
)

// errNoStyle says that JSON is no style.
var errNoStyle = errors.New("not a style: not a JSON object with \"version\": 8, sources and layers")

// rewriteStyle makes the URLs of a MapLibre style absolute. All other bytes stay as they are: the order of keys, the text
// of numbers, the spaces. What of a style is a URL stands in MapLibre's style specification (sprite, glyphs, font-faces
// and sources). A byte order mark is left out.
func rewriteStyle(style []byte, absolute func(string) string) ([]byte, error) {
	style = bytes.TrimPrefix(style, []byte("\ufeff"))
	if !json.Valid(style) {
		return nil, fmt.Errorf("%w: not valid JSON", errNoStyle)
	}
	w := styleWalker{source: style, absolute: absolute, decoder: json.NewDecoder(bytes.NewReader(style))}
	w.decoder.UseNumber()
	if err := w.walk(); err != nil {
		return nil, err
	}
	if !w.version || !w.sources || !w.layers {
		return nil, errNoStyle
	}
	return append(w.out, style[w.copied:]...), nil
}

// styleWalker reads a style token by token.
type styleWalker struct {
	source   []byte
	absolute func(string) string
	decoder  *json.Decoder
	levels   []styleLevel // that are open, the outermost first

	out    []byte
	copied int // bytes of source that out stands for

	version, sources, layers bool // seen, as a style has them
}

// styleLevel is an object or array that is open.
type styleLevel struct {
	array   bool
	key     string // of the current member; of an object
	pending bool   // the key has been read and its value has not
}

func (w *styleWalker) walk() error {
	for {
		before := w.decoder.InputOffset()
		token, err := w.decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errNoStyle, err)
		}
		n := len(w.levels)
		if n > 0 && !w.levels[n-1].array && !w.levels[n-1].pending {
			if key, ok := token.(string); ok {
				w.levels[n-1].key, w.levels[n-1].pending = key, true
				continue
			}
		}
		switch token := token.(type) {
		case json.Delim:
			if token == ']' || token == '}' {
				w.levels = w.levels[:n-1]
				w.valueRead()
				continue
			}
			if n == maxStyleDepth {
				return fmt.Errorf("%w: nested deeper than %d levels", errNoStyle, maxStyleDepth)
			}
			w.note(token)
			w.levels = append(w.levels, styleLevel{array: token == '['})
		case string:
			if w.isURL() {
				w.replace(int(before), int(w.decoder.InputOffset()), token)
			}
			w.valueRead()
		default:
			w.note(token)
			w.valueRead()
		}
	}
}

func (w *styleWalker) valueRead() {
	if n := len(w.levels); n > 0 {
		w.levels[n-1].pending = false
	}
}

// note looks for the members that make a style of an object.
func (w *styleWalker) note(value json.Token) {
	if len(w.levels) != 1 || w.levels[0].array {
		return
	}
	switch w.levels[0].key {
	case "version":
		number, ok := value.(json.Number)
		v, err := number.Float64()
		w.version = ok && err == nil && v == 8
	case "sources":
		w.sources = value == json.Delim('{')
	case "layers":
		w.layers = value == json.Delim('[')
	}
}

// isURL reports whether the string that has just been read is one of a style's URLs.
func (w *styleWalker) isURL() bool {
	l := w.levels
	at := func(level int, key string) bool { return !l[level].array && l[level].key == key }
	switch {
	case len(l) == 0 || l[0].array:
		return false
	case at(0, "sprite"):
		return len(l) == 1 || len(l) == 3 && l[1].array && at(2, "url")
	case at(0, "glyphs"):
		return len(l) == 1
	case at(0, "font-faces"): // {"name": url} or {"name": [{"url": url}]}; older, [{"url": url}]
		return len(l) == 2 && !l[1].array || len(l) == 3 && at(2, "url") || len(l) == 4 && l[2].array && at(3, "url")
	case at(0, "sources"):
		return len(l) == 3 && !l[1].array && (at(2, "url") || at(2, "data")) ||
			len(l) == 4 && !l[1].array && l[3].array && (at(2, "tiles") || at(2, "urls"))
	}
	return false
}

// replace writes the absolute URL in place of a string between two offsets, of which the first may stand before it.
func (w *styleWalker) replace(from, to int, text string) {
	full := w.absolute(text)
	if full == text {
		return
	}
	from += bytes.IndexByte(w.source[from:to], '"')
	var quoted bytes.Buffer
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	_ = e.Encode(full) // a string always encodes
	w.out = append(w.out, w.source[w.copied:from]...)
	w.out = append(w.out, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
	w.copied = to
}

// styleURLs makes URLs absolute that stand in one style.
type styleURLs struct {
	base  string // our own address, as base has it
	token string // of the path; "": none
	dir   string // of the style in its bundle's address, escaped: /assets/{bundle}/…/
}

// absolute returns a style's URL as a client has to ask for it. It stays as it is where it is foreign: of another scheme,
// host or port. The path token is put into our own tiles and bundles, and nowhere else.
func (s *styleURLs) absolute(text string) string {
	if rest, ok := strings.CutPrefix(text, "tilegate://"); ok {
		return s.named(text, rest)
	}
	switch {
	case text == "" || strings.HasPrefix(text, "//") || text[0] == '?' || text[0] == '#':
		return text
	case hasScheme(text):
		return s.ours(text)
	case text[0] == '/':
		return s.withToken(siteOf(s.base) + removeDots(text))
	}
	return s.withToken(siteOf(s.base) + removeDots(pathOf(s.base)+s.dir+text))
}

// named resolves tilegate://tilesets/ID and tilegate://bundles/ID/path.
func (s *styleURLs) named(text, rest string) string {
	kind, name, _ := strings.Cut(rest, "/")
	switch kind {
	case "tilesets":
		if tile.ValidID(name) {
			return s.withToken(s.base + "/tiles/" + name + ".json")
		}
	case "bundles":
		if id, path, ok := strings.Cut(name, "/"); ok && tile.ValidID(id) && path != "" {
			return s.withToken(siteOf(s.base) + removeDots(pathOf(s.base)+"/assets/"+id+"/"+path))
		}
	}
	return text
}

// ours adds the token to a URL with a scheme, if it is our own. What a browser could read in another way is foreign.
func (s *styleURLs) ours(text string) string {
	if s.token == "" || strings.ContainsAny(text, "\\@\t\r\n ") {
		return text
	}
	u, err := url.Parse(text)
	own, ownErr := url.Parse(s.base)
	if err != nil || ownErr != nil || u.Host == "" || u.User != nil || originOf(u) != originOf(own) {
		return text
	}
	_, rest, _ := strings.Cut(text, "://")
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return text
	}
	if with := s.withToken(siteOf(s.base) + removeDots(rest[slash:])); strings.Contains(with, "/t/"+s.token+"/") {
		return with
	}
	return text
}

// withToken puts the path token into the URL of a tile or an object of a bundle, of our own site.
func (s *styleURLs) withToken(full string) string {
	under, ok := strings.CutPrefix(full, s.base)
	if s.token == "" || !ok || !strings.HasPrefix(under, "/tiles/") && !strings.HasPrefix(under, "/assets/") {
		return full
	}
	return s.base + "/t/" + s.token + under
}

// hasScheme reports whether a URL begins with a scheme (RFC 3986 section 3.1).
func hasScheme(text string) bool {
	for i := range len(text) {
		c := text[i] | 0x20
		switch {
		case text[i] == ':':
			return i > 0
		case c >= 'a' && c <= 'z', i > 0 && (text[i] >= '0' && text[i] <= '9' || strings.IndexByte("+-.", text[i]) >= 0):
		default:
			return false
		}
	}
	return false
}

// siteOf is the scheme and host of an absolute URL, and pathOf what follows.
func siteOf(base string) string {
	after := strings.Index(base, "://") + len("://")
	if slash := strings.IndexByte(base[after:], '/'); slash >= 0 {
		return base[:after+slash]
	}
	return base
}

func pathOf(base string) string { return base[len(siteOf(base)):] }

// removeDots resolves the dot segments of a path that begins with / (RFC 3986 section 5.2.4). A query and a fragment stay
// as they are, and so do {placeholders}.
func removeDots(full string) string {
	path, rest := full, ""
	if end := strings.IndexAny(full, "?#"); end >= 0 {
		path, rest = full[:end], full[end:]
	}
	segments := strings.Split(path[1:], "/")
	kept := make([]string, 0, len(segments))
	for i, segment := range segments {
		last := i == len(segments)-1
		switch dotless(segment) {
		case ".":
			if last {
				kept = append(kept, "")
			}
		case "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/") + rest
}

// dotless is a segment with its escaped dots written out, as browsers read them.
func dotless(segment string) string {
	if len(segment) > len("%2e%2e") {
		return segment
	}
	return strings.NewReplacer("%2e", ".", "%2E", ".").Replace(segment)
}
