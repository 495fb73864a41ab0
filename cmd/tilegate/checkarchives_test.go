package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/pmtiles"
)

// archiveOf is an archive with the one tile 2/1/1.
func archiveOf(t *testing.T, o pmtiles.WriteOptions) []byte {
	t.Helper()
	id, ok := pmtiles.TileID(2, 1, 1)
	if !ok {
		t.Fatal("2/1/1 is no tile")
	}
	var b bytes.Buffer
	if err := pmtiles.Write(&b, o, func(yield func(uint64, []byte) bool) { yield(id, []byte("tile")) }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// check --online reads an archive as serve does, and tells what is in it, or why nothing of it can be served.
func TestCheckOnlineOfAnArchive(t *testing.T) {
	roads := archiveOf(t, pmtiles.WriteOptions{
		TileType: pmtiles.MVT, TileCompression: pmtiles.Gzip, InternalCompression: pmtiles.Zstd,
		Bounds: pmtiles.Bounds{West: -20, South: 10, East: 20, North: 50}, Metadata: json.RawMessage(`{"vector_layers":[{"id":"road","fields":{}}]}`),
	})
	changed := func(at int, to string) []byte {
		b := bytes.Clone(roads)
		copy(b[at:], to)
		return b
	}
	untyped := changed(99, "\x00")
	for _, test := range []struct {
		name    string
		body    []byte
		keys    string // of the tileset, besides its source
		service fakeaws.Service
		status  int
		want    []string
		never   []string
	}{
		{
			name: "what is in it", body: roads,
			want: []string{
				"roads.pmtiles", "note: PMTiles version 3, mvt, zooms 2-2, bounds [-20, 10, 20, 50], 1 tile, compression of tiles gzip, of directories zstd, clustered, ",
				" bytes, its strong ETag tells one version from the next",
			},
			never: []string{"FAILED", "lie outside", "vector_layers"},
		},
		{name: "not clustered", body: changed(96, "\x00"), want: []string{"not clustered (pmtiles cluster"}},
		{name: "a weak ETag", body: roads, service: fakeaws.Service{ETag: fakeaws.WeakETag}, want: []string{"it has no strong ETag, so that Last-Modified tells"}, never: []string{"FAILED"}},
		{
			name: "neither ETag nor Last-Modified", body: roads, status: 1, service: fakeaws.Service{ETag: func(string) string { return "" }, NoLastModified: true},
			want: []string{"FAILED", "the store gives neither a strong ETag nor a Last-Modified"},
		},
		{name: "a store without ranges", body: append(bytes.Clone(roads), make([]byte, 20<<10)...), status: 0, service: fakeaws.Service{IgnoreRange: true}, want: []string{"note: PMTiles version 3"}},
		{name: "no object", status: 1, want: []string{"FAILED", "no object could be read; roads.pmtiles: ", "NoSuchKey"}},
		{name: "an empty object", body: []byte{}, status: 1, want: []string{"FAILED"}},
		{name: "something else", body: []byte("<html>" + strings.Repeat(" ", 200)), status: 1, want: []string{"FAILED", "the object is not a PMTiles archive"}},
		{name: "MBTiles", body: []byte("SQLite format 3\x00" + strings.Repeat(" ", 200)), status: 1, want: []string{"FAILED", "pmtiles convert FILE.mbtiles FILE.pmtiles"}},
		{name: "version 2", body: []byte("PM\x02\x00" + strings.Repeat(" ", 200)), status: 1, want: []string{"FAILED", "the archive is of version 2; only version 3 can be read", "pmtiles convert OLD.pmtiles NEW.pmtiles"}},
		{name: "cut off", body: roads[:len(roads)-2], status: 1, want: []string{"FAILED", "but the object ends after", "was the upload cut off?"}},
		{name: "ten bytes", body: roads[:10], status: 1, want: []string{"FAILED", "the object ends after 10 bytes"}},
		{name: "a root that lies", body: changed(127, "\xff\xff\xff\xff"), status: 1, want: []string{"FAILED", "PMTiles"}},
		{name: "another format", body: roads, keys: "format: png", status: 1, want: []string{"FAILED", "the archive has mvt tiles, and format: png contradicts that", "note: PMTiles version 3"}},
		{name: "its own format", body: roads, keys: "format: mvt", never: []string{"FAILED"}},
		{name: "images, one or another", body: changed(99, "\x02"), keys: "format: auto", never: []string{"FAILED", "vector_layers"}},
		{name: "jpeg is jpg", body: changed(99, "\x03"), keys: "format: jpg", never: []string{"FAILED"}},
		{name: "auto, but vectors", body: roads, keys: "format: auto", status: 1, want: []string{"format: auto contradicts that"}},
		{name: "no type", body: untyped, status: 1, want: []string{"FAILED", "the archive does not say what its tiles are: set format"}},
		{name: "no type, but a format", body: untyped, keys: "format: mvt", never: []string{"FAILED"}},
		{
			name: "other zooms", body: roads, keys: "minzoom: 1, maxzoom: 14",
			want:  []string{"note: the archive has the zooms 2 to 2, and minzoom: 1 lies outside of them", "and maxzoom: 14 lies outside of them"},
			never: []string{"FAILED"},
		},
		{name: "no zoom", body: roads, keys: "minzoom: 3", status: 1, want: []string{"FAILED", "leave none of them"}},
		{name: "wider bounds", body: roads, keys: "bounds: [-30, 20, 10, 40]", want: []string{"note: the archive's bounds are [-20, 10, 20, 50], and the configured ones reach beyond them"}},
		{name: "narrower bounds", body: roads, keys: "bounds: [-10, 20, 10, 40]", never: []string{"configured ones"}},
		{name: "bounds elsewhere", body: roads, keys: "bounds: [100, 20, 110, 40]", want: []string{"lie elsewhere"}, never: []string{"FAILED"}},
		{name: "no layers", body: archiveOf(t, pmtiles.WriteOptions{TileType: pmtiles.MVT}), want: []string{"note: its metadata names no vector_layers"}},
		{name: "layers of its own", body: archiveOf(t, pmtiles.WriteOptions{TileType: pmtiles.MVT}), keys: "vector_layers: [{id: road}]", never: []string{"its metadata"}},
		{name: "broken metadata", body: archiveOf(t, pmtiles.WriteOptions{TileType: pmtiles.MVT, Metadata: json.RawMessage(`[]`)}), status: 1, want: []string{"FAILED", "PMTiles metadata"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bucket := privateBucketOf(t, fakeaws.Options{Service: test.service})
			bucket.Put("tiles", "base/0/0/0.png", fakeaws.Object{Body: []byte("\x89PNG\r\n\x1a\n")})
			if test.body != nil {
				bucket.Put("tiles", "roads.pmtiles", fakeaws.Object{Body: test.body})
			}
			useTestCredentials(t)
			config := writeFile(t, "tilegate.yaml", "aws: {endpoint: \""+bucket.URL()+"\", sts_endpoint: \""+bucket.URL()+"\", path_style: true, role: {arn: \""+testRole+"\"}}\n"+
				"tilesets:\n  base: {public: true, maxzoom: 0, source: \"s3://tiles/base/{z}/{x}/{y}.png\"}\n  roads: {public: true, source: \"s3://tiles/roads.pmtiles\", "+test.keys+"}\n")
			checkOnline(t, config, test.status, test.want, test.never)
		})
	}
}
