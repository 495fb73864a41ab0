package auth

import (
	"slices"
	"strings"
	"time"

	"tilegate/internal/area"
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
	// Key is an API key. It is good for no token: what it had minted would outlive its revocation, and could
	// be used where the key may not.
	Key
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
	case Key:
		return "key"
	}
	return "none"
}

// Grant says who holds a verified credential and what they may see. Requests share it: it must not be
// changed.
type Grant struct {
	Subject string // the token's sub, "" if it has none; "key:" and the id of an API key
	// ID names the token for revocation and logs: its jti, or one derived from its signed text.
	ID   string
	Kind Kind
	// Tilesets are ids, globs, "file:" and "bundle:" entries. They are for display: AdmitsTileset decides.
	Tilesets []string
	Expires  time.Time // the token's exp; zero for a grant that came from no token, and for a key that does not expire

	parts    []part // what any of them admits, the grant admits
	issuedAt int64  // iat of the access token that it came from, in Unix seconds; 0: the token had none
	mintedAt int64  // when the session that it is or came from was minted, in Unix seconds; 0: no session
	lineage  []ref  // its own id, then the ids of the tokens that it was minted from, the nearest first
	subject  ref
}

// part is tilesets with the zooms and the area that are granted of them. A grant has one, or one for each
// role that its holder has: the tilesets of one role must not get the zooms of another.
type part struct {
	tilesets   []string
	alsoWithin [][]string // further lists, each of which must admit an id too (see intersect)
	zoom       tile.ZoomRange
	place      place
}

// NewGrant makes a grant that comes from no token, for a caller who is trusted for another reason.
// Nil Tilesets admit nothing.
func NewGrant(l Limits) (*Grant, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	return grantOf([]part{partOf(l)}), nil
}

// partOf returns what limits grant, of which nil Tilesets are none.
func partOf(l Limits) part {
	p := part{tilesets: l.Tilesets, zoom: tile.AllZooms, place: newPlace(l)}
	if l.Zoom != nil {
		p.zoom = *l.Zoom
	}
	return p
}

func grantOf(parts []part) *Grant {
	g := &Grant{parts: simplify(parts)}
	g.describe()
	return g
}

// describe sets Tilesets.
func (g *Grant) describe() {
	if len(g.parts) == 1 {
		g.Tilesets = g.parts[0].tilesets
		return
	}
	g.Tilesets = []string{}
	for i := range g.parts {
		g.Tilesets = append(g.Tilesets, g.parts[i].tilesets...)
	}
	slices.Sort(g.Tilesets)
	g.Tilesets = slices.Compact(g.Tilesets)
}

// simplify drops parts that grant nothing or that another one covers, and joins those of the same zooms and
// area. What is granted stays the same. At least one part is left.
func simplify(parts []part) []part {
	if len(parts) < 2 {
		return parts
	}
	first := parts[0]
	parts = slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return len(p.tilesets) == 0 })
	switch len(parts) {
	case 0:
		return []part{first}
	case 1:
		return parts
	}
	var simple []part
	for _, p := range parts {
		same := slices.IndexFunc(simple, func(q part) bool { return q.joins(p) })
		if same < 0 {
			p.tilesets = slices.Clone(p.tilesets)
			simple = append(simple, p)
			continue
		}
		simple[same].tilesets = append(simple[same].tilesets, p.tilesets...)
	}
	for i := range simple {
		slices.Sort(simple[i].tilesets)
		simple[i].tilesets = slices.Compact(simple[i].tilesets)
	}
	var kept []part
	for i, p := range simple {
		if !slices.ContainsFunc(slices.Concat(kept, simple[i+1:]), func(q part) bool { return q.coversPart(p) }) {
			kept = append(kept, p)
		}
	}
	return kept
}

// joins reports whether both parts differ in their tilesets alone.
func (p part) joins(q part) bool {
	return p.alsoWithin == nil && q.alsoWithin == nil && p.zoom == q.zoom && p.place.equal(q.place)
}

// coversPart reports whether p admits all that q admits. It may return false although p does.
func (p part) coversPart(q part) bool {
	return (p.place.region.Whole() || p.place.equal(q.place)) && p.zoom.Min <= q.zoom.Min && q.zoom.Max <= p.zoom.Max &&
		!slices.ContainsFunc(q.tilesets, func(entry string) bool { return !p.covers(entry) })
}

// covers reports whether p admits every id that entry admits.
func (p *part) covers(entry string) bool {
	for _, list := range p.alsoWithin {
		if !coveredBy(list, entry) {
			return false
		}
	}
	return coveredBy(p.tilesets, entry)
}

// narrow narrows p to limits. Their nil Tilesets mean all of them, files included.
func (p *part) narrow(limits Limits) {
	if limits.Tilesets != nil {
		kept, also := intersect(p.tilesets, limits.Tilesets)
		p.tilesets = kept
		if also != nil {
			p.alsoWithin = append(slices.Clip(p.alsoWithin), also)
		}
	}
	if limits.Zoom != nil {
		p.zoom = p.zoom.Intersect(*limits.Zoom)
	}
	if limits.BBox != nil || limits.Areas != nil {
		p.place = p.place.intersect(newPlace(limits))
	}
}

// keep narrows p to tilesets that were asked for.
func (p *part) keep(asked []string) {
	if slices.ContainsFunc(asked, func(entry string) bool { return !p.covers(entry) }) {
		kept, also := intersect(asked, p.tilesets)
		p.tilesets = kept
		if also != nil {
			p.alsoWithin = append(slices.Clip(p.alsoWithin), also)
		}
		return
	}
	p.tilesets, p.alsoWithin = slices.Clone(asked), nil // all of p's lists cover them
	slices.Sort(p.tilesets)
	p.tilesets = slices.Compact(p.tilesets)
}

// empty reports whether no tile can be admitted, because no zoom or no area is left.
func (p *part) empty() bool { return !p.zoom.Valid() || p.place.empty() }

func (p *part) whole() bool {
	return p.zoom == tile.AllZooms && p.place.region.Whole()
}

// admitsID reports whether p names the tileset or, with the prefix "file:" or "bundle:", the file or bundle.
func (p *part) admitsID(prefix, id string) bool {
	if !admitsID(p.tilesets, prefix, id) {
		return false
	}
	for _, list := range p.alsoWithin {
		if !admitsID(list, prefix, id) {
			return false
		}
	}
	return true
}

// narrow narrows g to limits. Their nil Tilesets mean all of them, files included.
func (g *Grant) narrow(limits Limits) {
	g.change(func(p *part) { p.narrow(limits) })
}

// keep narrows g to tilesets that were asked for, each of which g covers.
func (g *Grant) keep(asked []string) {
	g.change(func(p *part) { p.keep(asked) })
}

// change changes the parts of g, which other grants may share.
func (g *Grant) change(each func(*part)) {
	parts := slices.Clone(g.parts)
	for i := range parts {
		each(&parts[i])
	}
	g.parts = simplify(parts)
	g.describe()
}

// Admits reports whether tile z/x/y of the tileset may be seen: the tileset is granted, z is
// within the zooms, and the tile shares area with the box and the areas. It does not look at Expires, which
// Authenticate has checked.
func (g *Grant) Admits(tileset string, z uint8, x, y uint32) bool {
	for i := range g.parts {
		p := &g.parts[i]
		if z >= p.zoom.Min && z <= p.zoom.Max && p.place.region.Meets(z, x, y) && p.admitsID("", tileset) {
			return true
		}
	}
	return false
}

// AdmitsTileset reports whether at least some tiles of the tileset may be seen.
func (g *Grant) AdmitsTileset(id string) bool {
	for i := range g.parts {
		if p := &g.parts[i]; !p.empty() && p.admitsID("", id) {
			return true
		}
	}
	return false
}

// AdmitsWhole reports whether all tiles of the tileset may be seen: it is granted without a zoom range, a box or an area.
func (g *Grant) AdmitsWhole(id string) bool {
	for i := range g.parts {
		if p := &g.parts[i]; p.whole() && p.admitsID("", id) {
			return true
		}
	}
	return false
}

// AdmitsBundle reports whether the bundle may be seen by its name. Only entries that begin with "bundle:" grant bundles.
// Zooms, box and areas do not matter, as for files.
func (g *Grant) AdmitsBundle(id string) bool {
	for i := range g.parts {
		if g.parts[i].admitsID(tile.BundlePrefix, id) {
			return true
		}
	}
	return false
}

// AdmitsFile reports whether the file may be seen. Only entries that begin with "file:" grant files. Zooms,
// box and areas do not matter: a file has none.
func (g *Grant) AdmitsFile(id string) bool {
	for i := range g.parts {
		if g.parts[i].admitsID(tile.FilePrefix, id) {
			return true
		}
	}
	return false
}

// covers reports whether a part of g admits every id that entry admits.
func (g *Grant) covers(entry string) bool {
	return slices.ContainsFunc(g.parts, func(p part) bool { return p.covers(entry) })
}

// empty reports whether nothing is granted.
func (g *Grant) empty() bool {
	return !slices.ContainsFunc(g.parts, func(p part) bool { return len(p.tilesets) > 0 && !p.empty() })
}

func admitsID(list []string, prefix, id string) bool {
	if strings.IndexByte(id, ':') >= 0 || strings.IndexByte(id, '*') >= 0 {
		return false // not an id, and it must not match as if it were an entry
	}
	for _, entry := range list {
		if prefix == "" {
			if matchGlob(entry, id) { // a "file:" or "bundle:" entry cannot: an id has no colon
				return true
			}
		} else if glob, ok := strings.CutPrefix(entry, prefix); ok && matchGlob(glob, id) {
			return true
		}
	}
	return false
}

// WholeTilesets reports whether the grant has no zoom range, no box and no area, so that S3 or a CDN can
// enforce it by prefixes.
func (g *Grant) WholeTilesets() bool {
	return !slices.ContainsFunc(g.parts, func(p part) bool { return !p.whole() })
}

// Zoom returns the least and the greatest zoom that the grant admits, of whichever tileset. It is for
// display: Admits decides.
func (g *Grant) Zoom() tile.ZoomRange {
	zoom := g.parts[0].zoom
	for _, p := range g.parts[1:] {
		zoom.Min, zoom.Max = min(zoom.Min, p.zoom.Min), max(zoom.Max, p.zoom.Max)
	}
	return zoom
}

// BBox returns the smallest box around what the grant admits, nil for the whole world. It is for display:
// Admits decides.
func (g *Grant) BBox() *tile.Box {
	var around *tile.Box
	for i := range g.parts {
		bounds, some := g.parts[i].place.region.Bounds()
		switch {
		case g.parts[i].place.region.Whole():
			return nil
		case !some:
		case around == nil:
			around = &bounds
		default:
			*around = around.Around(bounds)
		}
	}
	return around
}

// Clip narrows a tileset's zooms and bounds to the grant, for its TileJSON. It returns false if nothing
// remains.
func (g *Grant) Clip(tileset string, zoom tile.ZoomRange, bounds tile.Box) (tile.ZoomRange, tile.Box, bool) {
	var zooms tile.ZoomRange
	var around tile.Box
	some := false
	for i := range g.parts {
		p := &g.parts[i]
		z, b, ok := p.clip(zoom, bounds)
		switch {
		case !ok || !p.admitsID("", tileset):
		case !some:
			zooms, around, some = z, b, true
		default:
			zooms = tile.ZoomRange{Min: min(zooms.Min, z.Min), Max: max(zooms.Max, z.Max)}
			around = around.Around(b)
		}
	}
	return zooms, around, some
}

func (p *part) clip(zoom tile.ZoomRange, bounds tile.Box) (tile.ZoomRange, tile.Box, bool) {
	zoom = zoom.Intersect(p.zoom)
	if !zoom.Valid() {
		return tile.ZoomRange{}, tile.Box{}, false
	}
	if p.place.region.Whole() {
		return zoom, bounds, true
	}
	shared, some := p.place.region.Intersect(area.FromBoxes(tile.NewArea(&bounds))).Bounds()
	return zoom, shared, some
}
