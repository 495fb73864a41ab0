package proxy_test

import (
	"slices"
	"strings"
	"testing"

	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
	"tilegate/proxy"
)

// Serve and check --online ask the same function what an archive makes of a configuration, so that they cannot differ.
func TestFitOfAConfigurationToAnArchive(t *testing.T) {
	europe := pmtiles.Bounds{West: -10, South: 35, East: 30, North: 60}
	header := func(kind pmtiles.TileType, bounds pmtiles.Bounds) *pmtiles.Header {
		return &pmtiles.Header{TileType: kind, MinZoom: 2, MaxZoom: 9, Bounds: bounds}
	}
	given := func(g proxy.Given, format string, minZoom, maxZoom uint8, bounds tile.Box) proxy.Tileset {
		return proxy.Tileset{Given: g, Format: format, MinZoom: minZoom, MaxZoom: maxZoom, Bounds: bounds}
	}
	type zooms [2]uint8
	own := tile.Box{West: -10, South: 35, East: 30, North: 60}
	format, bounds := proxy.Given{Format: true}, proxy.Given{Bounds: true}
	for _, tc := range []struct {
		name    string
		tileset proxy.Tileset
		header  *pmtiles.Header
		format  string
		zooms   zooms
		bounds  tile.Box
		notes   []string // parts of them
		err     string   // a part of it
	}{
		{"nothing is given", given(proxy.Given{}, "", 0, 30, tile.World), header(pmtiles.MVT, europe), "mvt", zooms{2, 9}, own, nil, ""},
		{"what is not given does not count", given(proxy.Given{}, "png", 5, 6, tile.Box{West: 1, East: 2, North: 1}), header(pmtiles.MVT, europe), "mvt", zooms{2, 9}, own, nil, ""},
		{"the same format", given(format, "jpg", 0, 30, tile.World), header(pmtiles.JPEG, europe), "jpg", zooms{2, 9}, own, nil, ""},
		{"auto, of images", given(format, "auto", 0, 30, tile.World), header(pmtiles.WebP, europe), "auto", zooms{2, 9}, own, nil, ""},
		{"auto, of vectors", given(format, "auto", 0, 30, tile.World), header(pmtiles.MVT, europe), "", zooms{}, tile.Box{}, nil, "the archive has mvt tiles, and format: auto contradicts that"},
		{"another format", given(format, "png", 0, 30, tile.World), header(pmtiles.MLT, europe), "", zooms{}, tile.Box{}, nil, "the archive has mlt tiles, and format: png contradicts that"},
		{"no type", given(proxy.Given{}, "", 0, 30, tile.World), header(pmtiles.OtherTile, europe), "", zooms{}, tile.Box{}, nil, "set format"},
		{"no type, a format", given(format, "json", 0, 30, tile.World), header(pmtiles.OtherTile, europe), "json", zooms{2, 9}, own, nil, ""},
		{"narrower zooms", given(proxy.Given{MinZoom: true, MaxZoom: true}, "", 3, 8, tile.World), header(pmtiles.MVT, europe), "mvt", zooms{3, 8}, own, nil, ""},
		{
			"wider zooms", given(proxy.Given{MinZoom: true, MaxZoom: true}, "", 0, 12, tile.World), header(pmtiles.MVT, europe), "mvt",
			zooms{2, 9},
			own,
			[]string{"the zooms 2 to 9, and minzoom: 0 lies outside", "maxzoom: 12 lies outside"},
			"",
		},
		{"zooms above", given(proxy.Given{MinZoom: true}, "", 10, 30, tile.World), header(pmtiles.MVT, europe), "", zooms{}, tile.Box{}, nil, "leave none of them"},
		{"zooms below", given(proxy.Given{MaxZoom: true}, "", 0, 1, tile.World), header(pmtiles.MVT, europe), "", zooms{}, tile.Box{}, nil, "leave none of them"},
		{"bounds within", given(bounds, "", 0, 30, tile.Box{West: 0, South: 40, East: 10, North: 50}), header(pmtiles.MVT, europe), "mvt", zooms{2, 9}, tile.Box{West: 0, South: 40, East: 10, North: 50}, nil, ""},
		{"bounds beyond", given(bounds, "", 0, 30, tile.Box{West: 0, South: 0, East: 90, North: 50}), header(pmtiles.MVT, europe), "mvt", zooms{2, 9}, tile.Box{West: 0, South: 35, East: 30, North: 50}, []string{"reach beyond them"}, ""},
		{"bounds elsewhere", given(bounds, "", 0, 30, tile.Box{West: 100, East: 110, North: 10}), header(pmtiles.MVT, europe), "mvt", zooms{2, 9}, tile.Box{West: 100, East: 110, North: 10}, []string{"lie elsewhere"}, ""},
		{"bounds that touch", given(bounds, "", 0, 30, tile.Box{West: 30, South: 40, East: 40, North: 50}), header(pmtiles.MVT, europe), "mvt", zooms{2, 9}, tile.Box{West: 30, South: 40, East: 40, North: 50}, []string{"lie elsewhere"}, ""},
		{"the archive's are a point", given(proxy.Given{}, "", 0, 30, tile.World), header(pmtiles.MVT, pmtiles.Bounds{West: 5, South: 5, East: 5, North: 5}), "mvt", zooms{2, 9}, tile.World, nil, ""},
		{"bounds beside a point", given(bounds, "", 0, 30, own), header(pmtiles.MVT, pmtiles.Bounds{West: 90, South: 5, East: 90, North: 5}), "mvt", zooms{2, 9}, own, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, notes, err := tc.tileset.Fit(tc.header)
			if tc.err != "" || err != nil {
				if err == nil || tc.err == "" || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got error %v, want one with %q", err, tc.err)
				}
				return
			}
			if got.Format != tc.format || (zooms{got.MinZoom, got.MaxZoom}) != tc.zooms || got.Bounds != tc.bounds {
				t.Errorf("got %s, zooms %d-%d, bounds %v; want %s, %v, %v", got.Format, got.MinZoom, got.MaxZoom, got.Bounds, tc.format, tc.zooms, tc.bounds)
			}
			if !slices.EqualFunc(notes, tc.notes, strings.Contains) {
				t.Errorf("got the notes %q, want %q", notes, tc.notes)
			}
		})
	}
}
