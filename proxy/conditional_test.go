package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// conditions are RFC 9110 section 13's, on a tile with ETag "0123456789abcdef" of 2026-11-01 10:20:30.
var conditions = []struct {
	name   string
	header []string
	want   int
}{
	{"exact", []string{"If-None-Match", `"0123456789abcdef"`}, 304},
	{"compared weakly", []string{"If-None-Match", `W/"0123456789abcdef"`}, 304},
	{"in a list", []string{"If-None-Match", `"a", "b,c" ,"0123456789abcdef"`}, 304},
	{"in a second field", []string{"If-None-Match", `"a"`, "If-None-Match", `"0123456789abcdef"`}, 304},
	{"any", []string{"If-None-Match", "*"}, 304},
	{"other", []string{"If-None-Match", `"0123456789abcdeF"`}, 200},
	{"unquoted", []string{"If-None-Match", `0123456789abcdef`}, 200},
	{"prefix", []string{"If-None-Match", `"0123456789abcde"`}, 200},
	{"empty field", []string{"If-None-Match", ""}, 200},
	{"inside another tag", []string{"If-None-Match", `"x"0123456789abcdef"`}, 200},

	{"since then", []string{"If-Modified-Since", "Sun, 01 Nov 2026 10:20:30 GMT"}, 304},
	{"since later", []string{"If-Modified-Since", "Sun, 01 Nov 2026 10:20:31 GMT"}, 304},
	{"since earlier", []string{"If-Modified-Since", "Sun, 01 Nov 2026 10:20:29 GMT"}, 200},
	{"since in RFC 850 form", []string{"If-Modified-Since", "Sunday, 01-Nov-26 10:20:30 GMT"}, 304},
	{"since nonsense", []string{"If-Modified-Since", "yesterday"}, 200},
	{"the tag wins over the date, different", []string{"If-None-Match", `"other"`, "If-Modified-Since", "Sun, 01 Nov 2026 10:20:30 GMT"}, 200},
	{"the tag wins over the date, same", []string{"If-None-Match", `"0123456789abcdef"`, "If-Modified-Since", "Sun, 01 Nov 2020 10:20:30 GMT"}, 304},

	{"match", []string{"If-Match", `"0123456789abcdef"`}, 200},
	{"match any", []string{"If-Match", "*"}, 200},
	{"match in a list", []string{"If-Match", `"a", "0123456789abcdef"`}, 200},
	{"match other", []string{"If-Match", `"other"`}, 412},
	{"match is compared strongly", []string{"If-Match", `W/"0123456789abcdef"`}, 412},
	{"unmodified", []string{"If-Unmodified-Since", "Sun, 01 Nov 2026 10:20:30 GMT"}, 200},
	{"modified", []string{"If-Unmodified-Since", "Sun, 01 Nov 2026 10:20:29 GMT"}, 412},
	{"unmodified since nonsense", []string{"If-Unmodified-Since", "yesterday"}, 200},
	{"match wins over the date", []string{"If-Match", `"0123456789abcdef"`, "If-Unmodified-Since", "Sun, 01 Nov 2020 10:20:29 GMT"}, 200},
	{"failed match comes before a none-match", []string{"If-Match", `"other"`, "If-None-Match", `"0123456789abcdef"`}, 412},
	{"both hold", []string{"If-Match", `"0123456789abcdef"`, "If-None-Match", `"0123456789abcdef"`}, 304},
}

func TestConditionalRequests(t *testing.T) {
	w := start(t)
	header := w.bearer()
	x := uint32(0)
	for _, test := range conditions {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			x++
			w.origin.put("basemap", 10, x, 0, tilePNG)
			path := fmt.Sprintf("/tiles/basemap/10/%d/0.png", x)
			for _, state := range []string{"miss", "hit"} {
				got := w.do(method, path, "", append(header, test.header...)...)
				if got.status != test.want {
					t.Errorf("%s: %s on a %s: got %d, want %d", test.name, method, state, got.status, test.want)
				}
				if got.status == 304 {
					checkNotModified(t, test.name, got)
				}
			}
		}
	}
	w.origin.wantAsked(t, int(x))
}

// RFC 9110 section 15.4.5: what a 200 would have said of caching, and nothing of a body.
func checkNotModified(t *testing.T, name string, got reply) {
	t.Helper()
	if got.body != "" || got.header.Get("Content-Length") != "" || got.header.Get("Content-Type") != "" {
		t.Errorf("%s: a 304 speaks of a body: %v", name, got.header)
	}
	for field, want := range map[string]string{
		"Etag": tilePNG.etag, "Cache-Control": "private, max-age=3600, stale-while-revalidate=600",
	} {
		if got.header.Get(field) != want {
			t.Errorf("%s: 304 with %s %q, want %q", name, field, got.header.Get(field), want)
		}
	}
	if got.header.Get("Cache-Status") == "" || got.header.Get("Date") == "" {
		t.Errorf("%s: a 304 lacks Cache-Status or Date: %v", name, got.header)
	}
}

// A tile that S3 gives no validators for is served whole.
func TestConditionsWithoutValidators(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, object{body: pngBody(100)})
	for _, test := range []struct {
		header []string
		want   int
	}{
		{[]string{"If-None-Match", `""`}, 200},
		{[]string{"If-None-Match", `"x"`}, 200},
		{[]string{"If-None-Match", "*"}, 304},
		{[]string{"If-Modified-Since", "Sun, 01 Nov 2026 10:20:30 GMT"}, 200},
		{[]string{"If-Match", `""`}, 412},
		{[]string{"If-Range", `""`, "Range", "bytes=0-1"}, 200},
		{[]string{"If-Range", "Mon, 01 Jan 0001 00:00:00 GMT", "Range", "bytes=0-1"}, 200},
	} {
		got := w.get("/tiles/basemap/1/0/0.png", w.as(test.header...)...)
		if got.status != test.want || got.header.Get("Etag") != "" || got.header.Get("Last-Modified") != "" {
			t.Errorf("%q: got %d, %v", test.header, got.status, got.header)
		}
	}
}

// Who may not see a tile learns nothing about it from conditions either, warm as the cache may be.
func TestConditionsTellNothingToTheUnauthorized(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.get("/tiles/basemap/1/0/0", w.bearer()...)
	for _, header := range [][]string{{"If-None-Match", "*"}, {"If-None-Match", tilePNG.etag}, {"Range", "bytes=0-9"}, {"Range", "bytes=5000-"}, {"If-Match", `"x"`}} {
		for status, credential := range map[int][]string{401: nil, 403: {"Authorization", "Bearer " + w.token("secret")}} {
			got := w.get("/tiles/basemap/1/0/0", append(credential, header...)...)
			if got.status != status || got.header.Get("Etag") != "" || got.header.Get("Last-Modified") != "" || got.header.Get("Content-Range") != "" {
				t.Errorf("%q: got %d %v, want %d", header, got.status, got.header, status)
			}
		}
	}
}

// A 304 needs the tile's metadata, and the first bytes that show its format: it does not wait for the rest.
func TestNotModifiedDoesNotWaitForTheBody(t *testing.T) {
	w := start(t)
	started := w.origin.lives(1000)
	go func() { _, _ = io.WriteString(<-started, pngBody(100)) }()
	if got := w.get("/tiles/basemap/1/0/0", w.as("If-None-Match", `"live"`)...); got.status != http.StatusNotModified {
		t.Errorf("got %d, want 304", got.status)
	}
}
