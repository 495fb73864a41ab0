package configs_test

import (
	"testing"

	"tilegate/configs"
	"tilegate/internal/tile"
)

func TestMatcherReadsWhatObjectWrites(t *testing.T) {
	for _, source := range []string{
		"s3://tiles/base/{z}/{x}/{y}.png", "s3://tiles/{z}/{x}/{y}", "s3://tiles/base/{z}/{x}/{-y}@{scale}x.png", "s3://tiles/a.b/{z:02}/{x:03}/{y:08x}.mvt",
		"s3://tiles/base/{q}.jpg", "s3://tiles/q{q}/{scale}/{z}", "s3://tiles/base/{scale}/{z}-{x}-{y}", "s3://tiles/base/L{z:02}/R{-y:08x}/C{x:08x}.png",
	} {
		s, err := configs.ParseSource(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		match := s.Matcher()
		for _, k := range []tile.Key{{Scale: 1}, {Z: 1, X: 1, Scale: 1}, {Z: 7, X: 66, Y: 44, Scale: 1}, {Z: 7, X: 66, Y: 44, Scale: 2}, {Z: 30, X: 1<<30 - 1, Y: 1<<30 - 1, Scale: 1}} {
			if k.Scale > 1 && !s.Scalable() {
				continue
			}
			key := s.Object(k.Z, k.X, k.Y, k.Scale)
			if got, ok := match(key); !ok || got != k {
				t.Errorf("%s: %s is %+v, %v, want %+v", source, key, got, ok, k)
			}
		}
	}
}

func TestMatcherRefusesWhatObjectNeverWrites(t *testing.T) {
	for source, keys := range map[string][]string{
		"s3://tiles/base/{z}/{x}/{y}.png": {
			"", "base/", "base/0/0/0.jpg", "base/0/0/0.png.png", "base/00/0/0.png", "base/0/0/00.png", "base/1/2/0.png", "base/1/0/2.png", "base/31/0/0.png",
			"base/-1/0/0.png", "base/0/0/0Xpng", "other/0/0/0.png", "base/99999999999999999999/0/0.png", "base/0/0/0.png\n", "base/a/0/0.png",
		},
		"s3://tiles/{z}/{x}/{y:03}": {"1/0/0", "1/0/0000", "1/0/002"},
		"s3://tiles/{z}/{x}/{-y}":   {"1/0/2", "40/0/0"},
		"s3://tiles/{q}.png":        {"4.png", "0123012301230123012301230123012.png"},
	} {
		s, err := configs.ParseSource(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if got, ok := s.Matcher()(key); ok {
				t.Errorf("%s: %q is taken for %+v", source, key, got)
			}
		}
	}
}

func TestFoldersOfASource(t *testing.T) {
	for source, want := range map[string][2]string{
		"s3://tiles/base/{z}/{x}/{y}.png":     {"base/7/", "base/metadata.json"},
		"s3://tiles/base/{z:02}/{x}/{y}":      {"base/07/", "base/metadata.json"},
		"s3://tiles/{z}/{x}/{y}":              {"7/", ""},
		"s3://tiles/base/L{z}/{x}/{y}":        {"", ""},
		"s3://tiles/base/{z}-{x}-{y}":         {"", "base/metadata.json"},
		"s3://tiles/base/{scale}/{z}/{x}/{y}": {"", "base/metadata.json"},
		"s3://tiles/base/{q}":                 {"", "base/metadata.json"},
		"s3://tiles/base.pmtiles":             {"", ""},
	} {
		s, err := configs.ParseSource(source)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]string{s.ZoomFolder(7), s.MetadataKey()}; got != want {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
}
