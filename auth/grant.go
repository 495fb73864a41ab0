package auth

import (
	"strings"
	"time"

	"tilegate/internal/tile"
)

// Kind is what a credential is, which decides what it may ask for.
type Kind uint8

const (
	// Access is an issuer's token, or one from NewAccessToken: it may ask for sessions and path tokens.
	Access Kind = iota + 1
	// Session is the cookie's token: it may ask for path tokens.
	Session
	// Path is the token in a URL's path: it may ask for nothing.
	Path
)

// String is the name for a log or a metric label.
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

// Grant is who a verified credential speaks for and what it may see. It is shared between
// requests: read it, never change it.
type Grant struct {
	Subject string // the token's sub, "" if it has none
	// ID names the token for revocation and logs: its jti, or one derived from its signed text.
	ID   string
	Kind Kind
	// Tilesets are ids, globs and "file:" entries; a list alone does not decide, AdmitsTileset does.
	Tilesets         []string
	MinZoom, MaxZoom uint8
	Expires          time.Time // the token's exp; zero: none, for a grant that came from no token

	within   [][]string // further lists, each of which must admit an id too (see cut)
	area     tile.Area  // what the grant is limited to
	issuedAt int64      // Unix seconds of the access token that all came from; 0: it did not say
	mintedAt int64      // Unix seconds of the session that it is or came from; 0: none
	lineage  []ref      // own id and the ids it was minted from
	subject  ref
}

// NewGrant makes a grant that comes from no token: for a caller whom something else vouches for.
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

// cutTo narrows g to limits, whose nil Tilesets mean all of them, files included.
func (g *Grant) cutTo(limits Limits) {
	if limits.Tilesets != nil {
		kept, within := cut(g.Tilesets, limits.Tilesets)
		g.Tilesets = kept
		if within != nil {
			g.within = append(g.within, within)
		}
	}
	if limits.Zoom != nil {
		g.MinZoom, g.MaxZoom = max(g.MinZoom, limits.Zoom.Min), min(g.MaxZoom, limits.Zoom.Max)
	}
	g.area = g.area.Intersect(tile.NewArea(limits.BBox))
}

// empty reports whether no tile at all can be admitted, for want of a zoom or of area.
func (g *Grant) empty() bool {
	return g.MinZoom > g.MaxZoom || g.area.Empty()
}

// Admits reports whether tile z/x/y of the tileset may be seen: the tileset is granted, z is
// within the zooms, and the tile shares area with the box. It does not look at Expires, which
// Authenticate has checked.
func (g *Grant) Admits(tileset string, z uint8, x, y uint32) bool {
	return z >= g.MinZoom && z <= g.MaxZoom && g.area.Meets(z, x, y) && g.AdmitsTileset(tileset)
}

// AdmitsTileset reports whether anything of the tileset may be seen, some tiles at least.
func (g *Grant) AdmitsTileset(id string) bool {
	if g.empty() || !admitsID(g.Tilesets, "", id) {
		return false
	}
	for _, list := range g.within {
		if !admitsID(list, "", id) {
			return false
		}
	}
	return true
}

// AdmitsFile reports whether the file may be seen: only entries that begin with "file:" say so.
// Zooms and box, which a file has not, do not matter.
func (g *Grant) AdmitsFile(id string) bool {
	if !admitsID(g.Tilesets, tile.FilePrefix, id) {
		return false
	}
	for _, list := range g.within {
		if !admitsID(list, tile.FilePrefix, id) {
			return false
		}
	}
	return true
}

func admitsID(list []string, prefix, id string) bool {
	if strings.IndexByte(id, ':') >= 0 || strings.IndexByte(id, '*') >= 0 {
		return false // no id, and not to be taken for an entry
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

// WholeTilesets reports whether the grant has neither a zoom range nor a box: what can be
// enforced by a prefix alone, by S3 or by a CDN.
func (g *Grant) WholeTilesets() bool {
	return g.MinZoom == 0 && g.MaxZoom == tile.MaxZoom && g.area.Whole()
}

// BBox is the smallest box around what the grant admits, nil for the whole world. For display;
// Admits decides.
func (g *Grant) BBox() *tile.Box {
	if g.area.Whole() || g.area.Empty() {
		return nil
	}
	h := g.area.Hull()
	return &h
}

// Clip narrows a tileset's zooms and bounds to the grant, for its TileJSON; false if nothing remains.
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
