package worldmap_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"image"
	"image/png"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"tilegate/internal/worldmap"
)

var madeFiles = sync.OnceValues(func() (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, make := range worldmap.StyleFiles() {
		body, err := make()
		if err != nil {
			return nil, err
		}
		files[name] = body
	}
	return files, nil
})

func styleFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := madeFiles()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

type mapStyle struct {
	Version        int
	Glyphs, Sprite string
	Sources        map[string]struct{ Type, URL, Data string }
	Layers         []struct {
		ID, Type, Source string
		Part             string `json:"source-layer"`
		Layout, Paint    map[string]json.RawMessage
	}
}

func readStyle(t *testing.T) (style mapStyle) {
	t.Helper()
	if err := json.Unmarshal(styleFiles(t)["style.json"], &style); err != nil {
		t.Fatal(err)
	}
	return style
}

// What the style names is there: sources, layers of the archive, glyphs, pictures.
func TestStyleNamesWhatIsThere(t *testing.T) {
	style, files := readStyle(t), styleFiles(t)
	if style.Version != 8 || style.Sources["countries"].URL != "tilegate://tilesets/"+worldmap.StyleTileset {
		t.Errorf("version %d, sources %v", style.Version, style.Sources)
	}
	if files[style.Sources["waters"].Data] == nil || files[style.Sprite+".json"] == nil || files[style.Sprite+"@2x.png"] == nil {
		t.Errorf("data %q or sprite %q is not there", style.Sources["waters"].Data, style.Sprite)
	}
	var parts []struct{ ID string }
	if err := json.Unmarshal([]byte(worldmap.VectorLayers), &parts); err != nil {
		t.Fatal(err)
	}
	var icons map[string]any
	if err := json.Unmarshal(files[style.Sprite+".json"], &icons); err != nil {
		t.Fatal(err)
	}
	fonts, pictures := 0, 0
	for _, layer := range style.Layers {
		if _, known := style.Sources[layer.Source]; !known && layer.Type != "background" {
			t.Errorf("layer %s has the source %q", layer.ID, layer.Source)
		}
		if layer.Source == "countries" && !slices.ContainsFunc(parts, func(p struct{ ID string }) bool { return p.ID == layer.Part }) {
			t.Errorf("layer %s is of %q, which the archive has not", layer.ID, layer.Part)
		}
		if stack := layer.Layout["text-font"]; stack != nil {
			var names []string
			if err := json.Unmarshal(stack, &names); err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				fonts++
				if path := strings.NewReplacer("{fontstack}", name, "{range}", "0-255").Replace(style.Glyphs); files[path] == nil {
					t.Errorf("layer %s wants %s", layer.ID, path)
				}
			}
		}
		for _, picture := range []json.RawMessage{layer.Layout["icon-image"], layer.Paint["fill-pattern"]} {
			if picture != nil {
				pictures++
				if icons[strings.Trim(string(picture), `"`)] == nil {
					t.Errorf("layer %s wants the picture %s", layer.ID, picture)
				}
			}
		}
	}
	if fonts < 3 || pictures < 2 {
		t.Errorf("%d fonts and %d pictures are named", fonts, pictures)
	}
	for _, url := range regexp.MustCompile(`"(https?:|//)[^"]*"`).FindAllString(string(files["style.json"]), -1) {
		t.Errorf("the style names %s, which is elsewhere", url)
	}
}

// glyph is a decoded one.
type glyph struct {
	bitmap                            []byte
	width, height, left, top, advance int
}

func readGlyphs(t *testing.T, file []byte) (name, letters string, glyphs map[rune]glyph) {
	t.Helper()
	glyphs = map[rune]glyph{}
	signed := func(n uint64) int { return int(int64(n>>1) ^ -int64(n&1)) }
	fields(t, file, func(_, _ uint64, stack []byte) {
		fields(t, stack, func(field, _ uint64, b []byte) {
			switch field {
			case 1:
				name = string(b)
			case 2:
				letters = string(b)
			case 3:
				var g glyph
				var id rune
				fields(t, b, func(field, n uint64, b []byte) {
					switch field {
					case 1:
						id = rune(n)
					case 2:
						g.bitmap = b
					case 3:
						g.width = int(n)
					case 4:
						g.height = int(n)
					case 5:
						g.left = signed(n)
					case 6:
						g.top = signed(n)
					case 7:
						g.advance = int(n)
					}
				})
				glyphs[id] = g
			}
		})
	})
	return name, letters, glyphs
}

// Every letter of every name that the map shows is in the fonts.
func TestGlyphsHaveTheLettersOfAllNames(t *testing.T) {
	var waters struct {
		Features []struct{ Properties struct{ Name string } }
	}
	if err := json.Unmarshal(styleFiles(t)["waters.geojson"], &waters); err != nil {
		t.Fatal(err)
	}
	var names strings.Builder
	for _, f := range waters.Features {
		names.WriteString(f.Properties.Name)
	}
	for _, tile := range vectorTiles(t) {
		for _, f := range countries(t, tile) {
			names.WriteString(f.name + strings.ToUpper(f.name))
		}
	}
	for _, font := range []string{"Go Medium", "Go Italic"} {
		name, letters, glyphs := readGlyphs(t, styleFiles(t)["fonts/"+font+"/0-255.pbf"])
		if name != font || letters != "0-255" || len(glyphs) < 180 {
			t.Errorf("%s: got %q, %q, %d letters", font, name, letters, len(glyphs))
		}
		for _, letter := range names.String() {
			g, ok := glyphs[letter]
			if letter == '\n' {
				continue
			}
			if !ok || g.advance < 4 || letter != ' ' && len(g.bitmap) != (g.width+6)*(g.height+6) {
				t.Fatalf("%s: %q is %d×%d with %d bytes, advance %d", font, letter, g.width, g.height, len(g.bitmap), g.advance)
			}
		}
	}
}

// A letter's field is high within its strokes, low around them and in its counter, and crosses 3/4 at the outline.
func TestGlyphsAreDistanceFields(t *testing.T) {
	_, _, glyphs := readGlyphs(t, styleFiles(t)["fonts/Go Medium/0-255.pbf"])
	for _, tc := range []struct {
		letter  rune
		x, y    float64 // share of the box
		covered bool
	}{
		{'I', 0.5, 0.5, true},
		{'O', 0.5, 0.5, false},
		{'O', 0.08, 0.5, true},
		{'O', 0.95, 0.5, true},
		{'H', 0.5, 0.2, false},
		{'L', 0.7, 0.3, false},
		{'L', 0.1, 0.3, true},
		{'é', 0.5, 0.4, false},
		{'%', 0.5, 0.5, true},
	} {
		g := glyphs[tc.letter]
		x, y := 3+int(tc.x*float64(g.width)), 3+int(tc.y*float64(g.height))
		if at := g.bitmap[y*(g.width+6)+x]; (at >= 191) != tc.covered {
			t.Errorf("%q at %v, %v: got %d", tc.letter, tc.x, tc.y, at)
		}
		if corner := g.bitmap[0]; corner > 128 {
			t.Errorf("%q: the corner outside is %d", tc.letter, corner)
		}
	}
	// Letters stand on one line: what is below the baseline is below it in all of them.
	if h, p := glyphs['H'], glyphs['p']; h.top-h.height != -26 || p.top-p.height >= -26 || h.height < 16 || h.height > 19 {
		t.Errorf("H is %d high from %d, p %d from %d", h.height, h.top, p.height, p.top)
	}
}

// Each icon lies within the picture, which is twice as large at 2x, and is not empty.
func TestSpriteShowsItsIcons(t *testing.T) {
	var width [3]int
	for ratio, name := range map[int]string{1: "sprites/world", 2: "sprites/world@2x"} {
		picture, err := png.Decode(bytes.NewReader(styleFiles(t)[name+".png"]))
		if err != nil {
			t.Fatal(err)
		}
		width[ratio] = picture.Bounds().Dx()
		var index map[string]struct{ X, Y, Width, Height, PixelRatio int }
		if err := json.Unmarshal(styleFiles(t)[name+".json"], &index); err != nil {
			t.Fatal(err)
		}
		for icon, at := range index {
			box := image.Rect(at.X, at.Y, at.X+at.Width, at.Y+at.Height)
			solid := 0
			for y := box.Min.Y; y < box.Max.Y; y++ {
				for x := box.Min.X; x < box.Max.X; x++ {
					if _, _, _, a := picture.At(x, y).RGBA(); a > 0x4000 {
						solid++
					}
				}
			}
			if at.PixelRatio != ratio || !box.In(picture.Bounds()) || solid < at.Width || solid >= at.Width*at.Height {
				t.Errorf("%s, %s: %v of %v, ratio %d, %d pixels", name, icon, box, picture.Bounds(), at.PixelRatio, solid)
			}
		}
	}
	if width[2] != 2*width[1] {
		t.Errorf("widths %v", width)
	}
}

// The same version makes the same bytes: what was cached stays good.
func TestStyleFilesAreTheSameEachTime(t *testing.T) {
	total := 0
	for name, make := range worldmap.StyleFiles() {
		body, err := make()
		if err != nil || !bytes.Equal(body, styleFiles(t)[name]) {
			t.Errorf("%s: got %d bytes, %v, then %d", name, len(styleFiles(t)[name]), err, len(body))
		}
		total += len(body)
	}
	if total > 1<<20 {
		t.Errorf("the files have %d bytes", total)
	}
}

// A letter that a font has not is left out, and the protocol buffer ends where it should.
func TestGlyphsLeaveOutWhatTheFontHasNot(t *testing.T) {
	file := styleFiles(t)["fonts/Go Medium/0-255.pbf"]
	if n, k := binary.Uvarint(file[1:]); file[0] != 1<<3|2 || int(n) != len(file)-1-k {
		t.Errorf("one stack of %d bytes in a file of %d", n, len(file))
	}
	if _, _, glyphs := readGlyphs(t, file); glyphs['\u0001'].advance != 0 {
		t.Error("a control character has a glyph")
	}
}
