package configs

import (
	"regexp"
	"strconv"
	"strings"

	"tilegate/internal/tile"
)

// numbers are the digits of a number, by whether it is hexadecimal.
var numbers = map[bool]string{false: `[0-9]`, true: `[0-9a-f]`}

// expression matches the keys that Object can return, with a group for each placeholder.
func (s Source) expression() *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`^`)
	for _, p := range s.pieces {
		switch p.is {
		case literal:
			b.WriteString(regexp.QuoteMeta(p.text))
		case quadkey:
			b.WriteString(`([0-3]*)`)
		case scale:
			b.WriteString(`([1-9][0-9]*)`)
		case atScale:
			b.WriteString(`((?:@[2-9][0-9]*x)?)`)
		default:
			b.WriteString(`(` + numbers[p.hex] + `+)`)
		}
	}
	b.WriteString(`$`)
	return regexp.MustCompile(b.String())
}

// Matcher returns a function that says which tile a key is, of a source with placeholders. It returns false for a key that
// Object never returns.
func (s Source) Matcher() func(key string) (tile.Key, bool) {
	pattern := s.expression()
	return func(key string) (tile.Key, bool) {
		values := pattern.FindStringSubmatch(key)
		if values == nil {
			return tile.Key{}, false
		}
		k, ok := s.read(values[1:])
		return k, ok && s.Object(k.Z, k.X, k.Y, k.Scale) == key // each in its one form, and all say the same
	}
}

// read makes a tile of the values of the placeholders.
func (s Source) read(values []string) (tile.Key, bool) {
	var z, x, y, n uint64 = 0, 0, 0, 1
	var tms uint64
	fromSouth := false
	for _, p := range s.pieces {
		if p.is == literal {
			continue
		}
		text := values[0]
		values = values[1:]
		base := 10
		if p.hex {
			base = 16
		}
		var err error
		switch p.is {
		case zoom:
			z, err = strconv.ParseUint(text, base, 8)
		case column:
			x, err = strconv.ParseUint(text, base, 32)
		case row:
			y, err = strconv.ParseUint(text, base, 32)
		case tmsRow:
			tms, err = strconv.ParseUint(text, base, 32)
			fromSouth = true
		case scale:
			n, err = strconv.ParseUint(text, 10, 8)
		case atScale:
			if text != "" {
				n, err = strconv.ParseUint(text[1:len(text)-1], 10, 8)
			}
		case quadkey:
			if len(text) > tile.MaxZoom {
				return tile.Key{}, false
			}
			z, x, y = uint64(len(text)), 0, 0
			for _, digit := range []byte(text) {
				x, y = x<<1|uint64(digit-'0')&1, y<<1|uint64(digit-'0')>>1
			}
		}
		if err != nil {
			return tile.Key{}, false
		}
	}
	if z > tile.MaxZoom {
		return tile.Key{}, false
	}
	if fromSouth {
		if tms >= 1<<z {
			return tile.Key{}, false
		}
		y = 1<<z - 1 - tms
	}
	if x >= 1<<z || y >= 1<<z {
		return tile.Key{}, false
	}
	return tile.Key{Z: uint8(z), X: uint32(x), Y: uint32(y), Scale: uint8(n)}, true
}

// ZoomFolder returns the prefix of the keys of one zoom, where a key begins with a text and then its zoom as a folder. It
// returns "" for other sources.
func (s Source) ZoomFolder(z uint8) string {
	p := s.pieces
	if len(p) > 0 && p[0].is == zoom { // at the bucket's root
		p = append([]piece{{}}, p...)
	}
	if len(p) < 3 || p[0].is != literal || p[1].is != zoom || p[2].is != literal || p[0].text != "" && !strings.HasSuffix(p[0].text, "/") || !strings.HasPrefix(p[2].text, "/") {
		return ""
	}
	return string(p[1].number([]byte(p[0].text), uint64(z))) + "/"
}

// MetadataKey returns the key of metadata.json beside the tiles, where tippecanoe and mb-util write one: in the folder with
// whose name every key begins. It is "" where there is no such folder.
func (s Source) MetadataKey() string {
	if prefix := s.Prefix(); s.tiled() && strings.HasSuffix(prefix, "/") {
		return prefix + "metadata.json"
	}
	return ""
}
