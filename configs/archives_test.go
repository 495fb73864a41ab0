package configs_test

import (
	"strings"
	"testing"

	"tilegate/configs"
)

// An archive has its own format, zooms, bounds and texts. A key with a value takes their place, and Given tells which do.
func TestArchivesNeedNothingButTheirSource(t *testing.T) {
	c := parse(t, minimalAuth+`
tilesets:
  roads: {source: s3://acme/roads.pmtiles}
  rivers: {source: s3://acme/r/rivers.pmtiles, format: , minzoom: , maxzoom: ~, bounds: null, name: "", attribution: , vector_layers: }
  places:
    source: s3://acme/places.pmtiles
    raw: true
    tile_size: 512
    format: mvt
    minzoom: 0
    maxzoom: 30
    bounds: [-180, -85.0511, 180, 85.0511]
    name: Places
    attribution: ""
    vector_layers: []
  peaks: {source: s3://acme/peaks.pmtiles, maxzoom: 9}
`)
	all := configs.Given{Format: true, MinZoom: true, MaxZoom: true, Bounds: true, Name: true, Attribution: true, VectorLayers: true}
	for i, want := range []struct {
		given          configs.Given
		format, prefix string
		raw            bool
		size           int
	}{
		{configs.Given{}, "", "roads.pmtiles", false, 0},
		{configs.Given{}, "", "r/rivers.pmtiles", false, 0},
		{all, "mvt", "places.pmtiles", true, 512},
		{configs.Given{MaxZoom: true}, "", "peaks.pmtiles", false, 0},
	} {
		s := c.Tilesets[i]
		if !s.Source.Archive || s.Given != want.given || s.Format != want.format || s.Source.Prefix() != want.prefix || s.Raw != want.raw || s.TileSize != want.size {
			t.Errorf("%s: got %+v", s.ID, s)
		}
	}
	for _, note := range c.Notes {
		if strings.HasPrefix(note.Key, "tilesets") {
			t.Errorf("got the note %s", note)
		}
	}
}

// What cannot be a tileset may still be a file, which is handed out as it is.
func TestFilesNeedNoConversion(t *testing.T) {
	parse(t, minimal+"files: {a: {source: s3://acme/world.mbtiles}, b: {source: s3://acme/dem.tif}, c: {source: s3://acme/tiles.zip}}")
}

// A policy for one object allows nothing beside it, but whoever else serves that object shares it.
func TestVendingAnArchive(t *testing.T) {
	const role = "aws: {role: {arn: 'arn:aws:iam::123456789012:role/tiles'}}\n"
	vended := func(others string) string {
		return minimalAuth + role + "tilesets:\n  roads: {source: s3://acme/a/roads.pmtiles, vend: true}\n" + others
	}
	parse(t, vended("  world: {source: 's3://acme/{z}/{x}/{y}.png'}\n  beside: {source: s3://acme/a/roads2.pmtiles}\n"))
	for others, want := range map[string]string{
		"  again: {source: s3://acme/a/roads.pmtiles}\n":          "would open objects of tilesets.again, too: a policy for a/roads.pmtiles, which is one object, allows that",
		"files: {roads: {source: s3://acme/a/roads.pmtiles}}\n":   "would open objects of files.roads, too",
		"bundles: {a: {source: s3://acme/a/}}\n":                  "would open objects of bundles.a, too",
		"  all: {source: 's3://acme/{z}/{x}/{y}', format: mvt}\n": "", // numbers are no names
	} {
		file := vended(others)
		if want == "" {
			parse(t, file)
			continue
		}
		if got := faults(t, file); len(got) != 1 || got[0].Key != "tilesets.roads.vend" || !strings.Contains(got[0].Problem, want) {
			t.Errorf("%s: got %v, want %s", others, got, want)
		}
	}
	// The other way around, * of another tileset's policy matches the archive's key.
	got := faults(t, minimalAuth+role+"tilesets:\n  all: {source: 's3://acme/{z}/{x}/{y}', format: mvt, vend: true}\n  roads: {source: s3://acme/a/b/roads.pmtiles}\n")
	if len(got) != 1 || got[0].Key != "tilesets.all.vend" || !strings.Contains(got[0].Problem, "objects of tilesets.roads, too") {
		t.Errorf("got %v", got)
	}
}
