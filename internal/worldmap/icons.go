package worldmap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
)

// icons are the pictures of the style's sprite, beside one another: each says how much of a point its colour covers.
var icons = []struct {
	name string
	size int // points, both ways
	draw func(x, y, blur float64) (rgb, float64)
}{
	// A country that is too small for its name has a dot beside it.
	{"dot", 12, func(x, y, blur float64) (rgb, float64) {
		r := math.Hypot(x-6, y-6)
		inner := cover(3.2-r, blur)
		return landHalo.mix(landText, float32(inner)), cover(4.8-r, blur)
	}},
	// Ice is hatched. The pattern goes on where it ends.
	{"ice", 16, func(x, y, blur float64) (rgb, float64) {
		across := math.Mod(x+y, 8) - 4
		return deepSea, 0.55 * cover(0.5-math.Abs(across)/math.Sqrt2, blur)
	}},
}

// cover is how much of a pixel is covered whose centre is so far inside; blur is the pixel's size.
func cover(inside, blur float64) float64 { return max(0, min(1, inside/blur+0.5)) }

// spriteImage draws the icons, at 1 or 2 pixels a point.
func spriteImage(ratio int) ([]byte, error) {
	w, h := spriteSize()
	img := image.NewNRGBA(image.Rect(0, 0, w*ratio, h*ratio))
	left := 0
	for _, icon := range icons {
		for y := range icon.size * ratio {
			for x := range icon.size * ratio {
				c, share := icon.draw((float64(x)+0.5)/float64(ratio), (float64(y)+0.5)/float64(ratio), 1/float64(ratio))
				p := c.round()
				img.SetNRGBA(left*ratio+x, y, color.NRGBA{p[0], p[1], p[2], uint8(255*share + 0.5)})
			}
		}
		left += icon.size
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("encode the sprite: %w", err)
	}
	return b.Bytes(), nil
}

func spriteSize() (w, h int) {
	for _, icon := range icons {
		w, h = w+icon.size, max(h, icon.size)
	}
	return w, h
}

// spriteIndex says where each icon is in the image.
func spriteIndex(ratio int) ([]byte, error) {
	type place struct {
		Width      int `json:"width"`
		Height     int `json:"height"`
		X          int `json:"x"`
		Y          int `json:"y"`
		PixelRatio int `json:"pixelRatio"`
	}
	index, left := map[string]place{}, 0
	for _, icon := range icons {
		index[icon.name] = place{Width: icon.size * ratio, Height: icon.size * ratio, X: left * ratio, PixelRatio: ratio}
		left += icon.size
	}
	b, err := json.Marshal(index)
	if err != nil {
		return nil, fmt.Errorf("describe the sprite: %w", err)
	}
	return b, nil
}
