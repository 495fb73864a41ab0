package worldmap

import (
	"fmt"
	"image"
	"math"
	"sync"
	"unicode/utf8"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goitalic"
	"golang.org/x/image/font/gofont/gomedium"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// fonts are the Go fonts, by Bigelow and Holmes.
type fonts struct{ upright, italic *opentype.Font }

func readFonts() (f fonts, err error) {
	if f.upright, err = opentype.Parse(gomedium.TTF); err != nil {
		return f, fmt.Errorf("read the map's upright font: %w", err)
	}
	if f.italic, err = opentype.Parse(goitalic.TTF); err != nil {
		return f, fmt.Errorf("read the map's italic font: %w", err)
	}
	return f, nil
}

func (f fonts) face(s style, scale float64) font.Face {
	chosen := f.upright
	if s.sea {
		chosen = f.italic
	}
	// 72 dots per inch make a pixel a point; without hinting, widths are the same at every scale. It fails for no font
	// that Parse took.
	face, _ := opentype.NewFace(chosen, &opentype.FaceOptions{Size: s.size * scale, DPI: 72, Hinting: font.HintingNone})
	return face
}

// How a label's lines are set, in sizes of its letters.
const (
	leading  = 1.12 // from line to line
	capitals = 0.75 // above a line
	descents = 0.35 // below it
)

// measure is the size of a label, in points.
func (f fonts) measure(s style, lines []string) (w, h float64) {
	face := f.face(s, 1)
	for _, l := range lines {
		w = max(w, width(face, l, s.track))
	}
	return w, s.size * (leading*float64(len(lines)-1) + capitals)
}

func width(face font.Face, text string, track float64) float64 {
	return float64(font.MeasureString(face, text))/64 + track*float64(utf8.RuneCountInString(text)-1)
}

// sprite is a label in pixels: how much of each the letters cover, and the halo around them.
type sprite struct {
	min           image.Point // in the world's pixels
	letters, halo *image.Alpha
}

// draw turns a label into pixels.
func (f fonts) draw(l label, scale float64) sprite {
	const halo = 1.7 // points around the letters
	margin := int(math.Ceil(halo*scale)) + 2
	face := f.face(l.style, scale)
	w, h := int(math.Ceil(l.w*scale))+2*margin, int(math.Ceil((l.h+l.size*descents)*scale))+2*margin
	s := sprite{
		min:     image.Pt(int(math.Round((l.x-l.w/2)*scale))-margin, int(math.Round((l.y-l.h/2)*scale))-margin),
		letters: image.NewAlpha(image.Rect(0, 0, w, h)),
	}
	drawer := font.Drawer{Dst: s.letters, Src: image.Opaque, Face: face}
	for i, text := range l.lines {
		x := float64(margin) + (l.w*scale-width(face, text, l.track*scale))/2
		y := float64(margin) + l.size*scale*(capitals+leading*float64(i))
		drawer.Dot = fixed.Point26_6{X: fixed.Int26_6(x * 64), Y: fixed.Int26_6(y * 64)}
		var previous rune
		for _, letter := range text {
			drawer.Dot.X += face.Kern(previous, letter)
			drawer.DrawString(string(letter))
			drawer.Dot.X += fixed.Int26_6(l.track * scale * 64)
			previous = letter
		}
	}
	if !l.sea {
		s.halo = dilate(s.letters, halo*scale)
	}
	return s
}

// dilate spreads coverage over a disc.
func dilate(src *image.Alpha, radius float64) *image.Alpha {
	dst := image.NewAlpha(src.Rect)
	r := int(math.Ceil(radius))
	for dy := -r; dy <= r; dy++ {
		for dx := -r; dx <= r; dx++ {
			weight := max(0, min(1, radius+0.5-math.Hypot(float64(dx), float64(dy))))
			for y := max(0, -dy); y < src.Rect.Dy()-max(0, dy); y++ {
				for x := max(0, -dx); x < src.Rect.Dx()-max(0, dx); x++ {
					if a := src.Pix[(y+dy)*src.Stride+x+dx]; a > 0 {
						at := y*dst.Stride + x
						dst.Pix[at] = max(dst.Pix[at], uint8(weight*float64(a)))
					}
				}
			}
		}
	}
	return dst
}

// label gives the level its labels.
func (l *level) label(labels []label, f fonts) {
	l.labels = labels
	for _, one := range labels {
		l.sprites = append(l.sprites, sync.OnceValue(func() sprite { return f.draw(one, l.scale) }))
	}
}

// write draws the labels that touch the tile.
func (c *canvas) write(img *image.RGBA) {
	tile := image.Rect(0, 0, c.size, c.size).Add(image.Pt(int(c.ox), int(c.oy)))
	for i, l := range c.labels {
		reach := image.Pt(int((l.w/2+8)*c.scale), int((l.h/2+8)*c.scale))
		centre := image.Pt(int(l.x*c.scale), int(l.y*c.scale))
		for _, world := range [...]int{-1, 0, 1} {
			move := image.Pt(world*int(c.world), 0)
			if !(image.Rectangle{centre.Sub(reach), centre.Add(reach)}).Add(move).Overlaps(tile) {
				continue
			}
			s := c.sprites[i]()
			at := s.letters.Rect.Add(s.min).Add(move).Sub(tile.Min)
			if l.sea {
				blend(img, at, s.letters, seaText, 1)
				continue
			}
			blend(img, at, s.halo, landHalo, 0.75)
			blend(img, at, s.letters, landText, 1)
		}
	}
}

// blend lays a colour over the image, as far as mask and share say.
func blend(img *image.RGBA, at image.Rectangle, mask *image.Alpha, c rgb, share float32) {
	in := at.Intersect(img.Rect)
	for y := in.Min.Y; y < in.Max.Y; y++ {
		for x := in.Min.X; x < in.Max.X; x++ {
			if a := mask.Pix[mask.PixOffset(x-at.Min.X, y-at.Min.Y)]; a > 0 {
				p := img.RGBAAt(x, y)
				set(img, x, y, rgb{float32(p.R), float32(p.G), float32(p.B)}.mix(c, share*float32(a)/255))
			}
		}
	}
}
