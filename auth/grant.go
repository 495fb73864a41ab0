package auth

import (
	"strings"
	"time"

	"tilegate/internal/tile"
)

// Kind says what a credential is. It decides what else the holder may ask for.
type Kind uint8

const (
	// Access is an issuer's token, or one from NewAccessToken. It is good for sessions and path tokens.
	Access Kind = iota + 1
	// Session is the cookie's token. It is good for path tokens.
	Session
	// Path is the token in a URL's path. It is good for no other token.
	Path
)

// String returns the name for a log or a metric label.
func (k Kind) String() string {
	switch k {
	case Access:
		return "access"
	case Session:
		return "session"
	case Path:
		return "path"
	}
	return "none"
}

// Grant says who holds a verified credential and what they may see. Requests share it: it must not be
// changed.
type Grant struct {
	Subject string // the token's sub, "" if it has none
	// ID names the token for revocation and logs: its jti, or one derived from its signed text.
	ID   string
	Kind Kind
	// Tilesets are ids, globs and "file:" entries. They are for display: AdmitsTileset decides.
	Tilesets         []string
	MinZoom, MaxZoom uint8
	Expires          time.Time // the token's exp; zero for a grant that came from no token

	alsoWithin [][]string // further lists, each of which must admit an id too (see intersect)
	area       tile.Area  // what the grant is limited to
	issuedAt   int64      // iat of the access token that it came from, in Unix seconds; 0: the token had none
	mintedAt   int64      // when the session that it is or came from was minted, in Unix seconds; 0: no session
	lineage    []ref      // its own id, then the ids of the tokens that it was minted from, the nearest first
	subject    ref
}

// NewGrant makes a grant that comes from no token, for a caller who is trusted for another reason.
// Nil Tilesets admit nothing.
func NewGrant(l Limits) (*Grant, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	return grantOf(l), nil
}

func grantOf(l Limits) *Grant {
	g := &Grant{Tilesets: l.Tilesets, MaxZoom: tile.MaxZoom, area: tile.NewArea(l.BBox)}
	if l.Zoom != nil {
		g.MinZoom, g.MaxZoom = l.Zoom.Min, l.Zoom.Max
	}
	return g
}

// narrow narrows g to limits. Their nil Tilesets mean all of them, files included.
func (g *Grant) narrow(limits Limits) {
	if limits.Tilesets != nil {
		kept, also := intersect(g.Tilesets, limits.Tilesets)
		g.Tilesets = kept
		if also != nil {
			g.alsoWithin = append(g.alsoWithin, also)
		}
	}
	if limits.Zoom != nil {
		g.MinZoom, g.MaxZoom = max(g.MinZoom, limits.Zoom.Min), min(g.MaxZoom, limits.Zoom.Max)
	}
	g.area = g.area.Intersect(tile.NewArea(limits.BBox))
}

// empty reports whether no tile can be admitted, because no zoom or no area is left.
func (g *Grant) empty() bool {
	return g.MinZoom > g.MaxZoom || g.area.Empty()
}

// Admits reports whether tile z/x/y of the tileset may be seen: the tileset is granted, z is
// within the zooms, and the tile shares area with the box. It does not look at Expires, which
// Authenticate has checked.
func (g *Grant) Admits(tileset string, z uint8, x, y uint32) bool {
	return z >= g.MinZoom && z <= g.MaxZoom && g.area.Meets(z, x, y) && g.AdmitsTileset(tileset)
}

// AdmitsTileset reports whether at least some tiles of the tileset may be seen.
func (g *Grant) AdmitsTileset(id string) bool {
	if g.empty() || !admitsID(g.Tilesets, "", id) {
		return false
	}
	for _, list := range g.alsoWithin {
		if !admitsID(list, "", id) {
			return false
		}
	}
	return true
}

// AdmitsFile reports whether the file may be seen. Only entries that begin with "file:" grant files. Zooms
// and box do not matter: a file has neither.
func (g *Grant) AdmitsFile(id string) bool {
	if !admitsID(g.Tilesets, tile.FilePrefix, id) {
		return false
	}
	for _, list := range g.alsoWithin {
		if !admitsID(list, tile.FilePrefix, id) {
			return false
		}
	}
	return true
}

func admitsID(list []string, prefix, id string) bool {
	if strings.IndexByte(id, ':') >= 0 || strings.IndexByte(id, '*') >= 0 {
		return false // not an id, and it must not match as if it were an entry
	}
	for _, entry := range list {
		if prefix == "" {
			if matchGlob(entry, id) { // a "file:" entry cannot: an id has no colon
				return true
			}
		} else if glob, ok := strings.CutPrefix(entry, prefix); ok && matchGlob(glob, id) {
			return true
		}
	}
	return false
}

// WholeTilesets reports whether the grant has neither a zoom range nor a box, so that S3 or a CDN can
// enforce it by prefixes.
func (g *Grant) WholeTilesets() bool {
	return g.MinZoom == 0 && g.MaxZoom == tile.MaxZoom && g.area.Whole()
}

// BBox returns the smallest box around what the grant admits, nil for the whole world. It is for display:
// Admits decides.
func (g *Grant) BBox() *tile.Box {
	if g.area.Whole() || g.area.Empty() {
		return nil
	}
	h := g.area.Hull()
	return &h
}

// Clip narrows a tileset's zooms and bounds to the grant, for its TileJSON. It returns false if nothing
// remains.
func (g *Grant) Clip(zoom tile.ZoomRange, bounds tile.Box) (tile.ZoomRange, tile.Box, bool) {
	zoom = zoom.Intersect(tile.ZoomRange{Min: g.MinZoom, Max: g.MaxZoom})
	if !zoom.Valid() {
		return tile.ZoomRange{}, tile.Box{}, false
	}
	if g.area.Whole() {
		return zoom, bounds, true
	}
	shared := g.area.Intersect(tile.NewArea(&bounds))
	if shared.Empty() {
		return tile.ZoomRange{}, tile.Box{}, false
	}
	return zoom, shared.Hull(), true
}
