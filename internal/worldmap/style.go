package worldmap

import (
	"bytes"
	_ "embed" // the style below
	"encoding/json"
	"fmt"
	"strings"
	"text/template"
)

// The style draws Archive as vector tiles, in the colours of the images. It names the archive's tileset as tilegate
// does in the bucket's styles, and everything else by its place beside itself.
//
//go:embed data/style.json
var styleText string

// StyleTileset is the tileset whose tiles the style draws: the archive's.
const StyleTileset = "countries"

// StyleFiles are the files of the vector map by name, each made when its function is called: the style, the names of the
// seas, the glyphs and the sprite.
func StyleFiles() map[string]func() ([]byte, error) {
	return map[string]func() ([]byte, error){
		"style.json":                          style8,
		"waters.geojson":                      watersFile,
		"fonts/" + uprightFont + "/0-255.pbf": func() ([]byte, error) { return glyphFile(uprightFont) },
		"fonts/" + italicFont + "/0-255.pbf":  func() ([]byte, error) { return glyphFile(italicFont) },
		"sprites/world.json":                  func() ([]byte, error) { return spriteIndex(1) },
		"sprites/world.png":                   func() ([]byte, error) { return spriteImage(1) },
		"sprites/world@2x.json":               func() ([]byte, error) { return spriteIndex(2) },
		"sprites/world@2x.png":                func() ([]byte, error) { return spriteImage(2) },
	}
}

// style8 fills the colours and fonts into the style, which is of version 8.
func style8() ([]byte, error) {
	hex := func(c rgb) string {
		p := c.round()
		return fmt.Sprintf("#%02x%02x%02x", p[0], p[1], p[2])
	}
	names := map[string]string{
		"deepSea": hex(deepSea), "shallowSea": hex(shallowSea), "coastline": hex(coastline), "borderline": hex(borderline), "graticule": hex(graticule),
		"landText": hex(landText), "landHalo": hex(landHalo), "seaText": hex(seaText), "upright": uprightFont, "italic": italicFont,
		"tileset": StyleTileset, "ice": hex(ice.fill), "iceEdge": hex(ice.edge),
	}
	byTint := func(edge bool) string { // an expression: the tint's number, then its colour
		var b strings.Builder
		for i, t := range tints {
			c := t.fill
			if edge {
				c = t.edge
			}
			fmt.Fprintf(&b, "%d, %q, ", i+1, hex(c))
		}
		return b.String()
	}
	t, err := template.New("style.json").Option("missingkey=error").Funcs(template.FuncMap{
		"fills": func() string { return byTint(false) },
		"edges": func() string { return byTint(true) },
	}).Parse(styleText)
	if err != nil {
		return nil, fmt.Errorf("read the style: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, names); err != nil {
		return nil, fmt.Errorf("write the style: %w", err)
	}
	return b.Bytes(), nil
}

// watersFile has the names of the seas at their places, and a line for every 30 degrees.
func watersFile() ([]byte, error) {
	type object = map[string]any
	var features []object
	add := func(kind string, coordinates any, properties object) {
		features = append(features, object{"type": "Feature", "properties": properties, "geometry": object{"type": kind, "coordinates": coordinates}})
	}
	for _, w := range waters {
		add("Point", []float64{w.lon, w.lat}, object{"name": w.name, "zoom": w.zoom, "size": w.size, "land": w.land})
	}
	const step, north = 30, 85
	for lon := -180; lon < 180; lon += step {
		add("LineString", [][]int{{lon, -north}, {lon, north}}, object{})
	}
	for lat := -60; lat <= 60; lat += step {
		add("LineString", [][]int{{-180, lat}, {180, lat}}, object{})
	}
	b, err := json.Marshal(object{"type": "FeatureCollection", "features": features})
	if err != nil {
		return nil, fmt.Errorf("write the waters: %w", err)
	}
	return b, nil
}
