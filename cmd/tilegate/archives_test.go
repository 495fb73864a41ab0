package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/worldmap"
)

// A PMTiles archive in a private bucket needs nothing but its source: everything else is in it.
func TestServesAnArchiveOfAPrivateBucket(t *testing.T) {
	world, err := worldmap.Archive()
	if err != nil {
		t.Fatal(err)
	}
	s := privateBucket(t)
	s.Put("tiles", "maps/countries.pmtiles", fakeaws.Object{Body: world})
	s.Put("tiles", "maps/broken.pmtiles", fakeaws.Object{Body: []byte(strings.Repeat("no archive ", 2000))})
	s.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: []byte("\x89PNG\r\n\x1a\n")})
	config, _ := tenLines(t, s.URL(), testRole)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "  countries:\n    source: s3://tiles/maps/countries.pmtiles\n    raw: true\n  broken:\n    source: s3://tiles/maps/broken.pmtiles\n  absent:\n    source: s3://tiles/maps/absent.pmtiles\n"...)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	bearer := "Bearer " + mintToken(t, config, "--tilesets", "*")
	for path, status := range map[string]int{
		"/tiles/basemap/0/0/0.png": 200, "/tiles/countries/5/16/10.mvt": 200, "/tiles/countries/5/0/15": 404, "/tiles/countries/9/0/0": 404,
		"/tiles/broken/0/0/0": 502, "/tiles/broken.json": 502, "/tiles/absent/0/0/0": 404, "/tiles/absent.json": 404, "/tiles/broken.pmtiles": 404,
	} {
		if answer, body := get(t, server.url+path, "Authorization", bearer); answer.StatusCode != status {
			t.Errorf("%s: got %s %.200q", path, answer.Status, body)
		}
		if answer, _ := get(t, server.url+path); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a token: got %s", path, answer.Status)
		}
	}
	answer, body := get(t, server.url+"/tiles/countries.json", "Authorization", bearer)
	var described struct {
		Name         string
		Attribution  string
		MaxZoom      int
		Tiles        []string
		VectorLayers json.RawMessage `json:"vector_layers"`
	}
	if err := json.Unmarshal(body, &described); err != nil || answer.StatusCode != 200 || described.Name != "Countries of the world" || described.MaxZoom != worldmap.MaxZoom ||
		described.Attribution != worldmap.Attribution || string(described.VectorLayers) != worldmap.VectorLayers ||
		len(described.Tiles) != 1 || described.Tiles[0] != server.url+"/tiles/countries/{z}/{x}/{y}.mvt" {
		t.Errorf("TileJSON: got %s %s, error %v", answer.Status, body, err)
	}
	if answer, body := get(t, server.url+"/tiles/countries.pmtiles", "Authorization", bearer, "Range", "bytes=0-7"); answer.StatusCode != 206 || string(body) != "PMTiles\x03" {
		t.Errorf("the file by ranges: got %s %q", answer.Status, body)
	}
	for range 3 { // a fault is told once, however often it is met
		get(t, server.url+"/tiles/broken/0/0/0", "Authorization", bearer)
	}
	if _, body := get(t, server.url+"/ready"); !strings.Contains(string(body), "degraded") {
		t.Errorf("/ready beside an archive that cannot be served: %s", body)
	}
	if log := server.log(); strings.Count(log, `"msg":"an object cannot be served","source":"broken"`) != 1 {
		t.Errorf("the log does not say once what is wrong with the archive: %s", log)
	}
	if n := s.Count("GetObject", "tiles", "maps/countries.pmtiles"); n > 6 {
		t.Errorf("two tiles, TileJSON and a range took %d requests", n)
	}
}
