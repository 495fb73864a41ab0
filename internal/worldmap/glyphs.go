package worldmap

import (
	"fmt"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// The glyph ranges that MapLibre draws letters from: a protocol buffer (Mapbox's glyphs.proto) of 256 letters, each as
// a signed distance field. A pixel holds how far it is from the letter's outline, so that one size serves all sizes.
const (
	glyphSize   = 24 // pixels to which the letters are drawn
	glyphBorder = 3  // pixels around a letter's box
	// A pixel on the outline is 3/4 of 255; it gets darker to 0 six pixels outside.
	glyphEdge   = 0.75
	glyphRadius = 8 // pixels from 0 to 255
	// MapLibre sets the middle of a line 17 pixels below its top. This puts the middle of a capital there, which is 17
	// pixels high.
	glyphAscent = 26
)

// fontNames are the fonts as a style names them.
const (
	uprightFont = "Go Medium"
	italicFont  = "Go Italic"
)

// glyphs makes the letters from first to first+255 of a font.
func glyphs(name string, chosen *opentype.Font, first rune) ([]byte, error) {
	stack := appendBytes(nil, 1, []byte(name))
	stack = appendBytes(stack, 2, fmt.Appendf(nil, "%d-%d", first, first+255))
	var buffer sfnt.Buffer
	for letter := first; letter < first+256; letter++ {
		index, err := chosen.GlyphIndex(&buffer, letter)
		if err != nil {
			return nil, fmt.Errorf("find %q in %s: %w", letter, name, err)
		}
		if index == 0 { // the font does not have it
			continue
		}
		advance, err := chosen.GlyphAdvance(&buffer, index, fixed.I(glyphSize), font.HintingNone)
		if err != nil {
			return nil, fmt.Errorf("measure %q of %s: %w", letter, name, err)
		}
		outline, err := chosen.LoadGlyph(&buffer, index, fixed.I(glyphSize), nil)
		if err != nil {
			return nil, fmt.Errorf("read %q of %s: %w", letter, name, err)
		}
		stack = appendBytes(stack, 3, glyph(letter, advance.Round(), flatten(outline)))
	}
	return appendBytes(nil, 1, stack), nil
}

// segment is a straight piece of an outline, in pixels; y grows downwards from the baseline.
type segment struct{ a, b point }

// flatten makes segments of an outline. A TrueType font has straight lines and quadratic curves.
func flatten(outline sfnt.Segments) (edges []segment) {
	const steps = 8 // of a curve
	at := func(p fixed.Point26_6) point { return point{float64(p.X) / 64, float64(p.Y) / 64} }
	var pen point
	for _, s := range outline {
		switch s.Op {
		case sfnt.SegmentOpMoveTo:
			pen = at(s.Args[0])
		case sfnt.SegmentOpLineTo:
			to := at(s.Args[0])
			edges = append(edges, segment{pen, to})
			pen = to
		case sfnt.SegmentOpQuadTo:
			from, control, to := pen, at(s.Args[0]), at(s.Args[1])
			for i := 1; i <= steps; i++ {
				t := float64(i) / steps
				next := point{
					(1-t)*(1-t)*from.x + 2*t*(1-t)*control.x + t*t*to.x,
					(1-t)*(1-t)*from.y + 2*t*(1-t)*control.y + t*t*to.y,
				}
				edges = append(edges, segment{pen, next})
				pen = next
			}
		}
	}
	return edges
}

// glyph encodes one letter. One without an outline, such as a space, has no picture.
func glyph(letter rune, advance int, edges []segment) []byte {
	b := appendVarint(nil, 1, uint64(letter))
	var left, top, width, height int
	if len(edges) > 0 {
		least, most := edges[0].a, edges[0].a
		for _, e := range edges {
			least = point{min(least.x, e.b.x), min(least.y, e.b.y)}
			most = point{max(most.x, e.b.x), max(most.y, e.b.y)}
		}
		left, top = int(math.Floor(least.x)), int(math.Floor(least.y))
		width, height = int(math.Ceil(most.x))-left, int(math.Ceil(most.y))-top
		field := make([]byte, 0, (width+2*glyphBorder)*(height+2*glyphBorder))
		for y := top - glyphBorder; y < top+height+glyphBorder; y++ {
			for x := left - glyphBorder; x < left+width+glyphBorder; x++ {
				outside := distance(edges, point{float64(x) + 0.5, float64(y) + 0.5})
				field = append(field, uint8(math.Round(255*max(0, min(1, glyphEdge-outside/glyphRadius)))))
			}
		}
		b = appendBytes(b, 2, field)
		top = -top - glyphAscent
	}
	zigzag := func(n int) uint64 { return uint64(n<<1) ^ uint64(n>>63) }
	b = appendVarint(b, 3, uint64(width))
	b = appendVarint(b, 4, uint64(height))
	b = appendVarint(b, 5, zigzag(left))
	b = appendVarint(b, 6, zigzag(top))
	return appendVarint(b, 7, uint64(advance))
}

// distance is how far a point lies outside of the outline, negative within it.
func distance(edges []segment, p point) float64 {
	nearest, winding := math.Inf(1), 0
	for _, e := range edges {
		dx, dy := e.b.x-e.a.x, e.b.y-e.a.y
		t := 0.0
		if length := dx*dx + dy*dy; length > 0 {
			t = max(0, min(1, ((p.x-e.a.x)*dx+(p.y-e.a.y)*dy)/length))
		}
		nearest = min(nearest, math.Hypot(e.a.x+t*dx-p.x, e.a.y+t*dy-p.y))
		if (e.a.y <= p.y) != (e.b.y <= p.y) && e.a.x+(p.y-e.a.y)/dy*dx > p.x {
			if dy > 0 {
				winding++
			} else {
				winding--
			}
		}
	}
	if winding != 0 {
		return -nearest
	}
	return nearest
}

// glyphFile makes the letters that the map's names need: all of them are in Latin-1.
func glyphFile(name string) ([]byte, error) {
	f, err := readFonts()
	if err != nil {
		return nil, err
	}
	if name == italicFont {
		return glyphs(name, f.italic, 0)
	}
	return glyphs(name, f.upright, 0)
}
