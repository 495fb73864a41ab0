package proxy_test

import (
	"testing"

	"tilegate/proxy/viewer"
)

func withViewer(s *setup) { s.proxy.Viewer = viewer.New(viewer.Options{}) }

// The page and its files are answers like all others: the same table of errors, and no ranges of a script.
func TestViewerRoutes(t *testing.T) {
	w := start(t, withViewer)
	for _, test := range []struct {
		name, method, path string
		header             []string
		status             int
		contentType        string
	}{
		{"page", "GET", "/", nil, 200, "text/html; charset=utf-8"},
		{"page's head", "HEAD", "/", nil, 200, "text/html; charset=utf-8"},
		{"helper", "GET", "/tilegate.js", nil, 200, "text/javascript; charset=utf-8"},
		{"style", "GET", "/viewer/viewer.css", nil, 200, "text/css; charset=utf-8"},
		{"part of the helper", "GET", "/tilegate.js", []string{"Range", "bytes=0-9"}, 200, "text/javascript; charset=utf-8"},
		{"part that is not there", "GET", "/tilegate.js", []string{"Range", "bytes=999999-"}, 200, "text/javascript; charset=utf-8"},
		{"no such file", "GET", "/viewer/nope.js", nil, 404, problemJSON},
		{"no such file's head", "HEAD", "/viewer/nope.js", nil, 404, problemJSON},
		{"the template's source", "GET", "/viewer/index.html", nil, 404, problemJSON},
		{"the folder", "GET", "/viewer/", nil, 404, problemJSON},
		{"method", "POST", "/", nil, 405, problemJSON},
		{"method of a file", "DELETE", "/viewer/viewer.js", nil, 405, problemJSON},
	} {
		got := w.do(test.method, test.path, "", test.header...)
		if got.status != test.status || got.header.Get("Content-Type") != test.contentType || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: got %d %v, want %d of type %q", test.name, got.status, got.header, test.status, test.contentType)
		}
		if test.status == 200 && (got.header.Get("Cache-Control") != "private, no-store" || got.header.Get("Content-Length") == "" || (got.body == "") != (test.method == "HEAD")) {
			t.Errorf("%s: got %v, %d bytes", test.name, got.header, len(got.body))
		}
		if test.status >= 400 && test.method != "HEAD" && (got.problem(t).Type != "about:blank" || got.problem(t).Detail == "") {
			t.Errorf("%s: got %s", test.name, got.body)
		}
		if test.status == 405 && got.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: got Allow %q", test.name, got.header.Get("Allow"))
		}
	}
	if got := w.get("/tilegate.js").header.Get("Cross-Origin-Resource-Policy"); got != "cross-origin" {
		t.Errorf("the helper's policy is %q: pages of any site load it", got)
	}
}

const problemJSON = "application/problem+json"
