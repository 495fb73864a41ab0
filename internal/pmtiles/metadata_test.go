package pmtiles_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"tilegate/internal/pmtiles"
)

func TestMetadata(t *testing.T) {
	tests := []struct {
		name string
		json string
		want pmtiles.Metadata
	}{
		{"empty", `{}`, pmtiles.Metadata{}},
		{"surrounded by space", " \n{} \t", pmtiles.Metadata{}},
		{
			"all that is known",
			`{"name":"Roads","description":"All of them","attribution":"© OSM","version":"1.2.0","type":"overlay","encoding":"terrarium","vector_layers":[{"id":"a","fields":{}}],"tileSize":512}`,
			pmtiles.Metadata{
				Name: "Roads", Description: "All of them", Attribution: "© OSM", Version: "1.2.0", Type: "overlay", Encoding: "terrarium",
				VectorLayers: []byte(`[{"id":"a","fields":{}}]`), TileSize: 512,
			},
		},
		{"statistics are left out", `{"tilestats":{"layers":[1,2,3]},"name":"x","planetiler:version":"1"}`, pmtiles.Metadata{Name: "x"}},
		{"a tile size converted from MBTiles", `{"tileSize":"512"}`, pmtiles.Metadata{TileSize: 512}},
		{"null", `{"name":null,"vector_layers":null,"tileSize":null}`, pmtiles.Metadata{}},
		{"no layers", `{"vector_layers":[]}`, pmtiles.Metadata{VectorLayers: []byte("[]")}},
	}
	for _, test := range tests {
		for _, c := range compressions {
			t.Run(test.name+" "+c.String(), func(t *testing.T) {
				got, err := pmtiles.DecodeMetadata(compress(t, []byte(test.json), c), c)
				if err != nil || !reflect.DeepEqual(*got, test.want) {
					t.Errorf("got %+v, %v, want %+v", got, err, test.want)
				}
			})
		}
	}
	if got, err := pmtiles.DecodeMetadata(nil, pmtiles.Gzip); err != nil || !reflect.DeepEqual(*got, pmtiles.Metadata{}) {
		t.Errorf("no bytes at all: got %+v, %v", got, err)
	}
}

var metadataFaults = []struct {
	name, json, says string
}{
	{"nothing", " ", "it is not a JSON object"},
	{"null", "null", "it is not a JSON object"},
	{"array", "[]", "it is not a JSON object"},
	{"text", `"{}"`, "it is not a JSON object"},
	{"HTML", "<html>", "it is not a JSON object"},
	{"cut off", `{"name":"x`, "it is not valid JSON, at byte 10"},
	{"trailing", `{}{}`, "it is not valid JSON, at byte 3"},
	{"name of another type", `{"name":{"en":"x"}}`, "name has the wrong type"},
	{"version of another type", `{"version":2}`, "version has the wrong type"},
	{"layers in an object", `{"vector_layers":{"id":"a"}}`, "vector_layers is not an array"},
	{"layers in a string", `{"vector_layers":"[]"}`, "vector_layers is not an array"},
	{"tile size 0", `{"tileSize":0}`, "tileSize is not a number from 1 to 16384"},
	{"tile size below 0", `{"tileSize":-256}`, "tileSize"},
	{"tile size 16385", `{"tileSize":16385}`, "tileSize"},
	{"tile size of 2^32", `{"tileSize":4294967808}`, "tileSize"},
	{"tile size in an array", `{"tileSize":[512]}`, "tileSize"},
	{"tile size with a fraction", `{"tileSize":512.5}`, "tileSize"},
	{"nested without end", `{"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}", "it is not valid JSON"},
}

func TestMetadataFaults(t *testing.T) {
	for _, test := range metadataFaults {
		t.Run(test.name, func(t *testing.T) {
			_, err := pmtiles.DecodeMetadata([]byte(test.json), pmtiles.None)
			wantFault(t, err, test.says)
		})
	}
	_, err := pmtiles.DecodeMetadata([]byte("{}"), pmtiles.Gzip)
	wantFault(t, err, "PMTiles metadata: it cannot be decompressed (gzip)")
}

func TestMetadataIsBounded(t *testing.T) {
	const frame = len(`{"x":""}`)
	exactly := fmt.Appendf(nil, `{"x":"%s"}`, bytes.Repeat([]byte("x"), pmtiles.MaxMetadata-frame))
	for _, c := range compressions {
		if _, err := pmtiles.DecodeMetadata(compress(t, exactly, c), c); err != nil {
			t.Errorf("%v: %v", c, err)
		}
		over := compress(t, append(bytes.Clone(exactly), ' '), c)
		var err error
		got := allocated(func() { _, err = pmtiles.DecodeMetadata(over, c) })
		wantFault(t, err, "over the limit of 16777216 bytes")
		if !errors.Is(err, pmtiles.ErrTooLarge) {
			t.Errorf("%v: got %v, want ErrTooLarge", c, err)
		}
		if got > 4*pmtiles.MaxMetadata+decoderMemory[c] {
			t.Errorf("%v: allocates %d bytes", c, got)
		}
	}
	h := pmtiles.Header{Metadata: pmtiles.Range{Offset: 127, Length: pmtiles.MaxMetadata}}
	if r, err := h.MetadataRange(); r != h.Metadata || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
	h.Metadata.Length++
	_, err := h.MetadataRange()
	wantFault(t, err, "it has 16777217 bytes: over the limit of 16777216 bytes")
}

func TestMetadataOfOthers(t *testing.T) {
	tests := map[string]struct{ name, layer string }{
		"fixture_mlt.pmtiles":         {"Overture", `"id"`},
		"fixture_mvt_gzip.pmtiles":    {"test_fixture_1.pmtiles", `"id"`},
		"fixture_unclustered.pmtiles": {"", ""},
	}
	for name, want := range tests {
		m, err := open(t, fixture(t, name)).metadata()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m.Name != want.name || !strings.Contains(string(m.VectorLayers), want.layer) {
			t.Errorf("%s: got %+v", name, m)
		}
		if size := int64(len(m.Name) + len(m.VectorLayers)); m.Size() < size || m.Size() > size+4096 {
			t.Errorf("%s: takes %d bytes", name, m.Size())
		}
	}
}
