package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
)

// A bundle of a private bucket: its objects come by name, with credentials that a session policy limits to its prefix, and S3
// is asked for just the bytes of a range.
func TestServesABundleOfAPrivateBucket(t *testing.T) {
	s := privateBucket(t)
	large := strings.Repeat("0123456789", 200_000)
	for key, body := range map[string]string{
		"styles/style.json":                  `{"version":8,"sources":{"a":{"url":"tilegate://tilesets/basemap"}},"layers":[]}`,
		"styles/fonts/Noto Sans/0-255.pbf":   "glyphs",
		"styles/city.tif":                    large,
		"styles-of-others/style.json":        "secret",
		"basemap/0/0/0.png":                  "\x89PNG\r\n\x1a\n",
		"styles/fonts/Noto Sans,X/0-255.pbf": "both",
	} {
		s.Put("tiles", key, fakeaws.Object{Body: []byte(body)})
	}
	config, _ := tenLines(t, s.URL(), testRole)
	file, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteString("cache: {memory: 64MiB, max_object: 1MiB}\nbundles:\n  cartography:\n    source: s3://tiles/styles/\n    with: [basemap]\n    styles: {basic: style.json}\n")
	if err != nil || file.Close() != nil {
		t.Fatal(err)
	}
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	token := mintToken(t, config, "--tilesets", "basemap")
	for _, test := range []struct {
		path, given string
		status      int
		body        string
	}{
		{"style.json", "", 200, `{"version":8,"sources":{"a":{"url":"` + server.url + `/tiles/basemap.json"}},"layers":[]}`},
		{"fonts/Noto%20Sans/0-255.pbf", "", 200, "glyphs"},
		{"fonts/Arial,Noto%20Sans/0-255.pbf", "", 200, "glyphs"},
		{"fonts/Noto%20Sans,X/0-255.pbf", "", 200, "both"},
		{"none.json", "", 404, ""},
		{"city.tif", "bytes=1500003-1500007", 206, "34567"},
		{"city.tif", "bytes=1500003-1500007", 206, "34567"},
		{"city.tif", "", 200, large},
		{"../styles-of-others/style.json", "", 400, ""},
	} {
		header := []string{"Authorization", "Bearer " + token}
		if test.given != "" {
			header = append(header, "Range", test.given)
		}
		answer, body := get(t, server.url+"/assets/cartography/"+test.path, header...)
		if answer.StatusCode != test.status || test.body != "" && string(body) != test.body {
			t.Errorf("%s %s: got %s %.200q", test.path, test.given, answer.Status, body)
		}
	}
	if n := s.Count("GetObject", "tiles", "styles/city.tif"); n != 3 {
		t.Errorf("two equal ranges and the whole object took %d requests, want 3: its head, the range, the whole", n)
	}
	if answer, _ := get(t, server.url+"/assets/cartography/style.json"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: got %s", answer.Status)
	}
}
