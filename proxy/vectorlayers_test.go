package proxy_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"tilegate/internal/tile"
)

func layersOf(t *testing.T, w *world) string {
	t.Helper()
	got := w.get("/tiles/roads.json", w.bearer()...)
	var said struct {
		VectorLayers json.RawMessage `json:"vector_layers"`
	}
	if err := json.Unmarshal([]byte(got.body), &said); err != nil || got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	return string(said.VectorLayers)
}

// TileJSON has the layers that metadata.json beside the tiles names. Whatever that holds, TileJSON is answered.
func TestVectorLayersFromMetadata(t *testing.T) {
	const road = `{"id":"road","fields":{"name":"String"}}`
	zipped := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(s))
		_ = z.Close()
		return b.String()
	}
	quoted, _ := json.Marshal(`{"vector_layers":[` + road + `],"tilestats":{}}`)
	for name, test := range map[string]struct{ body, want string }{
		"members of their own":     {`{"name":"x","vector_layers":[` + road + `]}`, "[" + road + "]"},
		"tippecanoe and mb-util":   {`{"name":"x","minzoom":"0","json":` + string(quoted) + `}`, "[" + road + "]"},
		"compressed":               {zipped(`{"vector_layers":[` + road + `]}`), "[" + road + "]"},
		"some of them no layers":   {`{"vector_layers":[7,{"id":""},{"id":"a"},` + road + `,null]}`, "[" + road + "]"},
		"none":                     {`{"name":"x"}`, "[]"},
		"no JSON":                  {"<html>", "[]"},
		"json that is none":        {`{"json":"<html>"}`, "[]"},
		"another type":             {`{"vector_layers":"road"}`, "[]"},
		"empty":                    {"", "[]"},
		"too large":                {`{"vector_layers":[` + road + `]}` + strings.Repeat(" ", 1<<20), "[]"},
		"too large once unpacked":  {zipped(`{"vector_layers":[` + road + `]}` + strings.Repeat(" ", 1<<21)), "[]"},
		"cut off while compressed": {zipped(`{"vector_layers":[` + road + `]}`)[:20], "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, func(s *setup) { s.tileset("roads").Metadata = true })
			w.origin.putKey(tile.Key{Tileset: "roads", Path: "metadata.json"}, object{body: test.body, etag: `"m"`, modified: modified})
			if got := layersOf(t, w); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// The layers are fetched once, refreshed like a tile, purged with the tiles, and never an error.
func TestVectorLayersAreCachedLikeATile(t *testing.T) {
	w := start(t, func(s *setup) { s.tileset("roads").Metadata = true })
	key := tile.Key{Tileset: "roads", Path: "metadata.json"}
	if got := layersOf(t, w); got != "[]" {
		t.Errorf("without metadata.json: got %s", got)
	}
	w.clock.Advance(policy.MissingFor + time.Second)
	w.origin.putKey(key, object{body: `{"vector_layers":[{"id":"a","fields":{}}]}`, etag: `"1"`, modified: modified})
	for range 3 {
		if got := layersOf(t, w); !strings.Contains(got, `"a"`) {
			t.Errorf("got %s", got)
		}
	}
	w.origin.wantAsked(t, 2)
	w.origin.respond(fails(tile.ErrTimeout))
	w.clock.Advance(policy.Fresh + time.Second)
	if got := layersOf(t, w); !strings.Contains(got, `"a"`) {
		t.Errorf("while S3 fails: got %s", got)
	}
	if _, err := w.cache.Purge(t.Context(), tile.Purge{Tileset: "roads"}); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Second)
	if got := layersOf(t, w); got != "[]" {
		t.Errorf("after a purge, while S3 fails: got %s", got)
	}
}

// Whoever may not see the tileset causes no fetch of its metadata.
func TestVectorLayersAreAuthorizedFirst(t *testing.T) {
	w := start(t, func(s *setup) { s.tileset("roads").Metadata = true })
	w.get("/tiles/roads.json")
	w.get("/tiles/roads.json", "Authorization", "Bearer "+w.token("basemap"))
	w.origin.wantAsked(t, 0)
}
