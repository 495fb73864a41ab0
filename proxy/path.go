package proxy

import (
	"cmp"
	"net/url"
	"path"
	"slices"
	"strings"

	"tilegate/internal/tile"
)

// tilePath is the path of a tile, parsed. Whether the tileset exists is another question.
type tilePath struct {
	tileset string // "": the default tileset
	z       uint8  // 0 to tile.MaxZoom
	x, y    uint32 // each below 1<<z
	scale   uint8  // 1 without "@{n}x"
	ext     string // without its dot; "" when the path has none
}

// parseTilePath reads what follows "/tiles/": [{tileset}/]{z}/{x}/{y}[@{n}x][.{ext}].
// A tile has one spelling only, so that one accepted path is one object key. Everything that is not ASCII
// in canonical form (signs, leading zeros, empty or dot segments, escapes) is refused.
func parseTilePath(s string) (tilePath, bool) {
	var p tilePath
	first, rest, ok := strings.Cut(s, "/")
	if !ok {
		return p, false
	}
	if strings.Count(rest, "/") == 2 {
		if !tile.ValidID(first) {
			return p, false
		}
		p.tileset = first
		first, rest, _ = strings.Cut(rest, "/")
	}
	second, third, ok := strings.Cut(rest, "/")
	if !ok {
		return p, false
	}
	z, ok := parseNumber(first, tile.MaxZoom)
	if !ok {
		return p, false
	}
	last := uint32(1)<<z - 1
	p.z = uint8(z)
	if p.x, ok = parseNumber(second, last); !ok {
		return p, false
	}
	y := third
	if i := strings.IndexByte(y, '.'); i >= 0 {
		y, p.ext = y[:i], y[i+1:]
		if !isExtension(p.ext) {
			return p, false
		}
	}
	p.scale = 1
	if i := strings.IndexByte(y, '@'); i >= 0 {
		// "@2x" to "@9x": one digit, and not the redundant "@1x".
		if s := y[i+1:]; len(s) == 2 && s[0] >= '2' && s[0] <= '9' && s[1] == 'x' {
			p.scale = s[0] - '0'
		} else {
			return p, false
		}
		y = y[:i]
	}
	p.y, ok = parseNumber(y, last)
	return p, ok
}

// parseNumber reads 0|[1-9][0-9]* in ASCII, at most limit.
func parseNumber(s string, limit uint32) (uint32, bool) {
	if s == "" || len(s) > 10 || (s[0] == '0' && len(s) > 1) {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return uint32(n), n <= uint64(limit)
}

// isExtension reports whether s can be an extension. Whether it is the right one depends on the tileset.
func isExtension(s string) bool {
	if s == "" || len(s) > 8 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// ownSegments are the first segments of our own paths.
var ownSegments = []string{"assets", "auth", "catalog", "credentials", "files", "health", "presign", "ready", "session", "t", "tilegate.js", "tilegate.mjs", "tiles", "tokens", "viewer"}

// unstrippedPrefix is what the paths of a public URL's requests begin with where the proxy in front does not strip it; ""
// where nothing does. A prefix that begins like a route of ours cannot be told from it, and has to be stripped.
func unstrippedPrefix(public *url.URL) string {
	prefix := strings.TrimSuffix(public.Path, "/")
	first, _, _ := strings.Cut(strings.TrimPrefix(prefix, "/"), "/")
	if public.RawPath != "" || path.Clean("/"+prefix) != prefix || slices.Contains(ownSegments, first) {
		return ""
	}
	return prefix
}

// cutPrefix takes a prefix off a URL's path, once. A path in which the prefix is escaped stays as it is, and an escape
// behind the prefix stays to be seen.
func cutPrefix(u *url.URL, prefix string) {
	under, ok := strings.CutPrefix(u.Path, prefix)
	if !ok || under != "" && under[0] != '/' || u.RawPath != "" && !strings.HasPrefix(u.RawPath, prefix+"/") {
		return
	}
	u.Path = cmp.Or(under, "/")
	u.RawPath = strings.TrimPrefix(u.RawPath, prefix)
}

// cleansToTile reports whether a path is a second spelling of a tile's path, with // or a dot segment.
func cleansToTile(s string) bool {
	clean := path.Clean(s)
	return strings.HasPrefix(clean, "/tiles/") || strings.HasPrefix(clean, "/t/")
}

// cleansToAsset is cleansToTile for bundles.
func cleansToAsset(s string) bool { return strings.HasPrefix(path.Clean(s), assetsPath) }

// cutPathToken splits what follows "/t/" into the token and what follows "tiles/" behind it.
func cutPathToken(s string) (token, path string, ok bool) {
	token, rest, ok := strings.Cut(s, "/")
	path, under := strings.CutPrefix(rest, "tiles/")
	if !ok || !under || !validToken(token) {
		return "", "", false
	}
	return token, path, true
}

// validToken reports whether s can be a path token: base64url with dots.
func validToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return s != ""
}
