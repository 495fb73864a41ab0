package worldmap

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"iter"
	"math"
	"slices"
)

type rgb8 = [3]uint8

// run is a number of pixels of one colour, one after the other.
type run struct {
	colour rgb8
	pixels int
}

func runs(img *image.RGBA) iter.Seq[run] {
	return func(yield func(run) bool) {
		last := run{colour: rgb8(img.Pix[:3])}
		for i := 0; i < len(img.Pix); i += 4 {
			if c := rgb8(img.Pix[i : i+3]); c != last.colour {
				if !yield(last) {
					return
				}
				last = run{colour: c}
			}
			last.pixels++
		}
		yield(last)
	}
}

// encode writes a PNG with a palette of the image's 256 commonest colours, those of lines and letters first: few pixels
// have them, and all depends on those. The rest, shades along edges, become the nearest of them.
func encode(img *image.RGBA) ([]byte, error) {
	const always = math.MaxInt
	count := map[rgb8]int{}
	for run := range runs(img) {
		count[run.colour] += run.pixels
	}
	for _, c := range inks() {
		count[c] = always
	}
	colours := make([]run, 0, len(count))
	for c, n := range count {
		colours = append(colours, run{c, n})
	}
	slices.SortFunc(colours, func(a, b run) int {
		return cmp.Or(cmp.Compare(b.pixels, a.pixels), slices.Compare(a.colour[:], b.colour[:]))
	})
	index := make(map[rgb8]uint8, len(colours))
	var palette color.Palette
	for i, c := range colours {
		if i < 256 {
			palette = append(palette, color.RGBA{c.colour[0], c.colour[1], c.colour[2], 0xff})
			index[c.colour] = uint8(i)
		} else {
			index[c.colour] = nearest(colours[:256], c.colour)
		}
	}
	out := image.NewPaletted(img.Rect, palette)
	pix := out.Pix[:0]
	for run := range runs(img) {
		i := index[run.colour]
		for range run.pixels {
			pix = append(pix, i)
		}
	}
	var file bytes.Buffer
	err := (&png.Encoder{CompressionLevel: png.DefaultCompression}).Encode(&file, out)
	return file.Bytes(), err
}

// inks are the colours of lines and letters, and their shades into what is usually around them.
func inks() []rgb8 {
	const shades = 8
	var all []rgb8
	for _, pair := range [...][2]rgb{
		{landText, landHalo}, {seaText, deepSea}, {seaText, shallowSea}, {coastline, shallowSea}, {borderline, landHalo},
	} {
		for i := range shades {
			all = append(all, pair[0].mix(pair[1], float32(i)/shades).round())
		}
	}
	return all
}

func nearest(palette []run, c rgb8) uint8 {
	best, at := math.MaxInt, 0
	for i, p := range palette {
		dr, dg, db := int(c[0])-int(p.colour[0]), int(c[1])-int(p.colour[1]), int(c[2])-int(p.colour[2])
		if d := dr*dr + dg*dg + db*db; d < best {
			best, at = d, i
		}
	}
	return uint8(at)
}
