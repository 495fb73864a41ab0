package proxy

import (
	"fmt"
	"strings"
	"testing"

	"tilegate/internal/tile"
)

func TestTilePath(t *testing.T) {
	for _, test := range []struct {
		path string
		want tilePath
	}{
		{"basemap/7/66/44.png", tilePath{"basemap", 7, 66, 44, 1, "png"}},
		{"basemap/7/66/44", tilePath{"basemap", 7, 66, 44, 1, ""}},
		{"7/66/44.png", tilePath{"", 7, 66, 44, 1, "png"}},
		{"7/66/44@2x.png", tilePath{"", 7, 66, 44, 2, "png"}},
		{"a-b_9/0/0/0@9x", tilePath{"a-b_9", 0, 0, 0, 9, ""}},
		{"7/7/66/44", tilePath{"7", 7, 66, 44, 1, ""}},
		{"30/1073741823/1073741823.mvt", tilePath{"", 30, 1<<30 - 1, 1<<30 - 1, 1, "mvt"}},
		{"basemap/1/1/1.PNG", tilePath{"basemap", 1, 1, 1, 1, "PNG"}},
	} {
		got, ok := parseTilePath(test.path)
		if !ok || got != test.want {
			t.Errorf("%q: got %+v, %v, want %+v", test.path, got, ok, test.want)
		}
	}
}

// refusedPaths are spellings that must never name a tile: each would be a second URL for one, or a
// way around a check that looks at the first.
var refusedPaths = []string{
	"", "/", "basemap", "basemap/7", "basemap/7/66", "7/66", "7/66/", "7//66/44", "/7/66/44", "basemap/7/66/44/", "basemap/7/66/44.png/",
	"basemap/7/66/44/55", "../7/66/44", "basemap/../7/66/44", "./basemap/7/66/44", "basemap/7/66/.", "basemap/7/66/..",
	"basemap/07/66/44", "basemap/7/066/44", "basemap/7/66/044", "basemap/7/66/00", "basemap/+7/66/44", "basemap/-7/66/44", "basemap/7/-0/44",
	"basemap/7/6_6/44", "basemap/0x7/6/4", "basemap/7/6e1/44", "basemap/7.0/66/44", "basemap/７/66/44", "basemap/7/66/４４", "basemap/7/66/44\x00",
	"basemap/7/66/44 ", " basemap/7/66/44", "basemap/7/66/44\n", "basemap/7/128/44", "basemap/7/66/128", "basemap/0/1/0", "basemap/31/0/0",
	"basemap/99999999999999999999/0/0", "basemap/30/1073741824/0", "basemap/7/66/4294967340", "basemap/7/66/44@1x.png", "basemap/7/66/44@0x.png", "basemap/7/66/44@10x.png",
	"basemap/7/66/44@2.png", "basemap/7/66/44@x.png", "basemap/7/66/44@2X.png", "basemap/7/66/44@2x@2x.png", "basemap/7/66/44@02x", "basemap/7/66/44@2xpng",
	"basemap/7/66/44.", "basemap/7/66/.png", "basemap/7/66/44.png.png", "basemap/7/66/44.p~g", "basemap/7/66/44..png", "basemap/7/66/44.pngpngpng",
	"Basemap/7/66/44", "base.map/7/66/44", "_b/7/66/44", "-b/7/66/44", strings.Repeat("a", 65) + "/7/66/44", "base%6dap/7/66/44", "basemap/7;v=1/66/44",
	`basemap\7/66/44`, "basemap/7/66/44;a", "basemap/7/66/44?x", "bäse/7/66/44",
}

func TestTilePathRefusesEverySecondSpelling(t *testing.T) {
	for _, path := range refusedPaths {
		if got, ok := parseTilePath(path); ok {
			t.Errorf("%q: got %+v, want it refused", path, got)
		}
	}
}

// What is accepted is spelled in the one canonical way: writing it out gives the path back.
func FuzzTilePathIsCanonical(f *testing.F) {
	for _, path := range refusedPaths {
		f.Add(path)
	}
	f.Add("basemap/7/66/44@2x.png")
	f.Fuzz(func(t *testing.T, path string) {
		p, ok := parseTilePath(path)
		if !ok {
			return
		}
		back := fmt.Sprintf("%d/%d/%d", p.z, p.x, p.y)
		if p.tileset != "" {
			back = p.tileset + "/" + back
		}
		if p.scale != 1 {
			back += fmt.Sprintf("@%dx", p.scale)
		}
		if p.ext != "" {
			back += "." + p.ext
		}
		if back != path || p.z > tile.MaxZoom || p.x>>p.z != 0 || p.y>>p.z != 0 {
			t.Fatalf("%q was read as %+v", path, p)
		}
	})
}

func TestPathToken(t *testing.T) {
	token, path, ok := cutPathToken("v1.a-b_C/tiles/basemap/1/0/0.png")
	if token != "v1.a-b_C" || path != "basemap/1/0/0.png" || !ok {
		t.Errorf("got %q, %q, %v", token, path, ok)
	}
	for _, path := range []string{"", "a", "a/", "/tiles/x", "a/tile/x", "a/b/tiles/x", "a%2f/tiles/x", "a;/tiles/x", "a /tiles/x", "ä/tiles/x"} {
		if _, _, ok := cutPathToken(path); ok {
			t.Errorf("%q: want it refused", path)
		}
	}
}
