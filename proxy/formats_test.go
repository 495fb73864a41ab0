package proxy_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"tilegate/internal/tile"
)

// Another spelling of the extension is the same tile, and the same entry of the cache.
func TestExtensionsOfOneFormatAreOneEntry(t *testing.T) {
	for format, test := range map[string]struct {
		body           string
		paths, refused []string
	}{
		"mvt": {"\x1a" + filler(100), []string{".pbf", ".mvt", ""}, []string{".mlt", ".png", ".PBF", ".pb"}},
		"jpg": {"\xff\xd8\xff\xe0" + filler(100), []string{".jpeg", ".jpg", ""}, []string{".png", ".jpe"}},
		"mlt": {"\x01" + filler(100), []string{".mlt", ""}, []string{".pbf", ".mvt"}},
		"png": {tilePNG.body, []string{".png", ""}, []string{".jpg", ".auto"}},
		// The extension that the client writes is no statement about the tile: old URLs keep working.
		"auto": {tilePNG.body, []string{".png", ".jpg", ".jpeg", ".webp", ".avif", ""}, []string{".pbf", ".mvt", ".json", ".auto"}},
	} {
		t.Run(format, func(t *testing.T) {
			w := start(t, func(s *setup) { s.tileset("basemap").Format = format })
			w.origin.put("basemap", 7, 66, 44, object{body: test.body, etag: `"1"`})
			for _, extension := range test.paths {
				if got := w.get("/tiles/basemap/7/66/44"+extension, w.bearer()...); got.status != http.StatusOK || got.body != test.body {
					t.Errorf("%s: got %d", extension, got.status)
				}
			}
			for _, extension := range test.refused {
				if got := w.get("/tiles/basemap/7/66/44"+extension, w.bearer()...); got.status != http.StatusNotFound {
					t.Errorf("%s: got %d, want 404", extension, got.status)
				}
			}
			w.origin.wantAsked(t, 1)
		})
	}
}

// A tileset of mixed images: each tile has the type that its own bytes have, a fresh one and one from the cache alike.
func TestEachTileOfFormatAutoHasItsType(t *testing.T) {
	w := start(t, func(s *setup) { s.tileset("basemap").Format = "auto" })
	for x, test := range []struct {
		body, want string
		status     int
	}{
		{pngBody(100), "image/png", 200},
		{"\xff\xd8\xff\xe0" + filler(100), "image/jpeg", 200},
		{"RIFF\x10\x00\x00\x00WEBPVP8 " + filler(100), "image/webp", 200},
		{"\x00\x00\x00\x1cftypavif" + filler(100), "image/avif", 200},
		{"\x1a" + filler(100), "application/problem+json", 502},
		{"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "application/problem+json", 502},
		{"<html><script>alert(1)</script></html>", "application/problem+json", 502},
		{`{"a":1}`, "application/problem+json", 502},
	} {
		w.origin.put("basemap", 7, uint32(x), 44, object{body: test.body, etag: `"1"`})
		path := "/tiles/basemap/7/" + string(rune('0'+x)) + "/44"
		for _, extension := range []string{"", ".jpg"} {
			got := w.get(path+extension, w.bearer()...)
			if got.status != test.status || got.header.Get("Content-Type") != test.want || test.status == 200 && got.body != test.body {
				t.Errorf("%.10q: got %d of type %q, want %d of %q", test.body, got.status, got.header.Get("Content-Type"), test.status, test.want)
			}
			if got.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%.10q: no nosniff", test.body)
			}
		}
	}
}

// TileJSON names what is the same for all tiles, and no more.
func TestTileJSONOfEachFormat(t *testing.T) {
	for format, want := range map[string]struct{ end, encoding string }{
		"mvt": {"/{z}/{x}/{y}.mvt", ""}, "mlt": {"/{z}/{x}/{y}.mlt", "mlt"}, "jpg": {"/{z}/{x}/{y}.jpg", ""}, "auto": {"/{z}/{x}/{y}", ""},
	} {
		w := start(t, func(s *setup) { s.tileset("basemap").Format = format })
		got := w.get("/tiles/basemap.json", w.bearer()...)
		var doc struct {
			Tiles    []string
			Encoding string
			Layers   json.RawMessage `json:"vector_layers"`
		}
		if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(doc.Tiles[0], want.end+"?v=2026-11") || doc.Encoding != want.encoding || (doc.Layers != nil) != tile.FormatNamed(format).Vector {
			t.Errorf("%s: got %s", format, got.body)
		}
	}
}
