package proxy_test

import (
	"strings"
	"testing"
)

const chromiumImages = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"

// An image element cannot show a problem's text, and a browser that finds JSON where an image should be names its own
// blocking in place of the status.
func TestRefusedImageHasItsStatusAndNoBody(t *testing.T) {
	w := start(t, func(s *setup) { s.proxy.CORS.Origins = []string{"https://app.example.com"} })
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	for _, test := range []struct {
		name   string
		header []string
		empty  bool
	}{
		{"an image element", []string{"Sec-Fetch-Dest", "image", "Accept", chromiumImages}, true},
		{"an image element over plain http", []string{"Accept", chromiumImages}, true},
		{"Firefox over plain http", []string{"Accept", "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"}, true},
		{"a script", []string{"Sec-Fetch-Dest", "empty", "Accept", "*/*"}, false},
		{"a script that asks for images, as MapLibre does", []string{"Sec-Fetch-Dest", "empty", "Accept", "image/webp,*/*"}, false},
		{"a page", []string{"Sec-Fetch-Dest", "document", "Accept", "text/html,application/xhtml+xml,image/avif"}, false},
		{"curl", []string{"Accept", "*/*"}, false},
		{"a client that says nothing", nil, false},
		{"a client that wants problems", []string{"Accept", "application/problem+json, image/png"}, false},
	} {
		for path, want := range map[string]int{
			"/tiles/basemap/1/0/0": 401, "/tiles/basemap/01/0/0": 400, "/t/x/tiles/basemap/1/0/0": 401, "/nowhere": 404, "/tiles/open/1/1/1": 404, "/tiles/open/20/1/1": 404,
		} {
			r := w.request("GET", path, "", test.header...)
			response, err := w.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			got := readAll(response)
			if got.status != want || (got.body == "") != test.empty {
				t.Errorf("%s: %s: got %d %q, want %d, without a body: %v", test.name, path, got.status, got.body, want, test.empty)
			}
			if test.empty && (got.header.Get("Content-Type") != "" || got.header.Get("Content-Length") != "0") {
				t.Errorf("%s: %s: got %v", test.name, path, got.header)
			}
			for _, name := range []string{"Access-Control-Allow-Origin", "Cross-Origin-Resource-Policy", "X-Request-Id", "Cache-Control", "X-Content-Type-Options"} {
				if got.header.Get(name) == "" {
					t.Errorf("%s: %s: no %s", test.name, path, name)
				}
			}
			if (want == 401) != strings.HasPrefix(got.header.Get("Www-Authenticate"), "Bearer") {
				t.Errorf("%s: %s: got Www-Authenticate %q", test.name, path, got.header.Get("Www-Authenticate"))
			}
		}
	}
}

// A shared cache keeps one copy of an absence for all clients.
func TestSharedAbsenceIsTheSameForImages(t *testing.T) {
	w := start(t, withEdge(true))
	for _, header := range [][]string{{"Sec-Fetch-Dest", "image"}, nil} {
		got := w.get("/tiles/basemap/1/1/1.png", append(header, throughEdge, string(edgeSecret))...)
		if got.status != 404 || got.problem(t).Status != 404 {
			t.Errorf("got %d %q", got.status, got.body)
		}
	}
}

// A page of any site may use a URL that carries its credential; it may not use the visitor's cookie by such a URL.
func TestForeignPageCannotSpendTheCookieUnderAPathToken(t *testing.T) {
	w := start(t, withQuery)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	token := w.token("*")
	cookie := []string{"Cookie", w.cookie(token), "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Dest", "image"}
	for _, path := range []string{"/t/x/tiles/basemap/1/0/0.png", "/t/-/tiles/basemap/1/0/0.png", "/t/x/tiles/basemap.json", "/t/" + w.session(token) + "/tiles/basemap/1/0/0.png"} {
		r := w.request("GET", path, "", cookie...)
		response, err := w.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(response); got.status != 401 || got.body != "" {
			t.Errorf("%s: got %d, want 401", path, got.status)
		}
	}
	good := w.get("/t/"+w.pathToken(token)+"/tiles/basemap/1/0/0.png", cookie...)
	if good.status != 200 || good.header.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
		t.Errorf("by the token: got %d %v", good.status, good.header)
	}
	ambient := w.get("/tiles/basemap/1/0/0.png", cookie...)
	if ambient.status != 200 || ambient.header.Get("Cross-Origin-Resource-Policy") != "same-site" {
		t.Errorf("by the cookie: got %d %v", ambient.status, ambient.header)
	}
}
