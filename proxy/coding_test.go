package proxy_test

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"tilegate/internal/tile"
)

// pack compresses a body with a writer of a coding.
func pack(t testing.TB, body string, writer func(io.Writer) io.WriteCloser) string {
	t.Helper()
	var b bytes.Buffer
	w := writer(&b)
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func packed(t testing.TB, coding, body string) string {
	return pack(t, body, func(w io.Writer) io.WriteCloser {
		switch coding {
		case "br":
			return brotli.NewWriter(w)
		case "zstd":
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		case "raw":
			f, err := flate.NewWriter(w, 6)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		return zlib.NewWriter(w)
	})
}

// br, zstd and deflate go to clients that accept them as they are stored, and are unpacked for the others: that is
// another representation, with a tag of its own and without ranges.
func TestStoredCodings(t *testing.T) {
	for name, coding := range map[string]string{"br": "br", "zstd": "zstd", "zlib": "deflate", "raw": "deflate"} {
		t.Run(name, func(t *testing.T) {
			stored := packed(t, name, vectorTile)
			w := start(t)
			w.origin.put("roads", 1, 0, 0, object{body: stored, encoding: coding, etag: `"1"`})
			for range 2 { // from the origin, then from the cache
				got := w.get("/tiles/roads/1/0/0.pbf", w.as("Accept-Encoding", "gzip, deflate, br, zstd")...)
				if got.status != 200 || got.body != stored || got.header.Get("Content-Encoding") != coding || got.header.Get("Etag") != `"1"` {
					t.Errorf("accepted: got %d, %d bytes, %v", got.status, len(got.body), got.header)
				}
				plain := w.get("/tiles/roads/1/0/0.pbf", w.as("Accept-Encoding", "gzip", "Range", "bytes=0-9")...)
				if plain.status != 200 || plain.body != vectorTile || plain.header.Get("Content-Encoding") != "" || plain.header.Get("Etag") != `"1-identity"` {
					t.Errorf("not accepted: got %d, %d bytes, %v", plain.status, len(plain.body), plain.header)
				}
				for _, a := range []reply{got, plain} {
					if !strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Accept-Encoding") {
						t.Errorf("Vary is %q", a.header.Values("Vary"))
					}
				}
			}
			if again := w.get("/tiles/roads/1/0/0.pbf", w.as("If-None-Match", `"1-identity"`)...); again.status != http.StatusNotModified {
				t.Errorf("revalidated: got %d", again.status)
			}
			w.origin.wantAsked(t, 1)
		})
	}
}

// A Content-Encoding that names no coding says nothing of the bytes. It is logged once.
func TestWordsThatNameNoCodingAreIgnored(t *testing.T) {
	w := start(t)
	for i, word := range []string{"UTF-8", "none", "binary", "base64", "8bit", "null"} {
		w.origin.put("basemap", 7, uint32(i), 44, object{body: tilePNG.body, encoding: word})
		got := w.get(fmt.Sprintf("/tiles/basemap/7/%d/44.png", i), w.bearer()...)
		if got.status != 200 || got.body != tilePNG.body || got.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: got %d, %q", word, got.status, got.header)
		}
	}
	if n := strings.Count(w.logged.String(), "names no coding"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, w.logged)
	}
	zipped := zip(t, vectorTile)
	w.origin.put("roads", 1, 0, 0, object{body: zipped, encoding: "x-gzip"})
	if got := w.get("/tiles/roads/1/0/0.pbf", w.as("Accept-Encoding", "gzip")...); got.body != zipped || got.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("x-gzip: got %d, %v", got.status, got.header)
	}
}

// What no client could draw is an error with its reason, and not a blank map.
func TestTilesThatCannotBeTilesAreRefused(t *testing.T) {
	for _, test := range []struct{ name, tileset, body, encoding, reason string }{
		{"zlib", "roads", packed(t, "zlib", vectorTile), "", "begins like zlib"},
		{"zstd", "roads", packed(t, "zstd", vectorTile), "", "begins like zstd"},
		{"zstd said to be gzip", "roads", packed(t, "zstd", vectorTile), "gzip", "begins like zstd"},
		{"gzip in gzip", "roads", zip(t, zip(t, vectorTile)), "gzip", "unpacked, the object begins like gzip"},
		{"gzip in gzip by magic", "roads", zip(t, zip(t, vectorTile)), "", "unpacked, the object begins like gzip"},
		{"zlib in gzip", "roads", zip(t, packed(t, "zlib", vectorTile)), "gzip", "begins like zlib"},
		{"gzip in br", "roads", packed(t, "br", zip(t, vectorTile)), "br", "unpacked, the object begins like gzip"},
		{"gzip in zstd", "roads", packed(t, "zstd", zip(t, vectorTile)), "zstd", "unpacked, the object begins like gzip"},
		{"gzip in deflate", "roads", packed(t, "zlib", zip(t, vectorTile)), "deflate", "unpacked, the object begins like gzip"},
		{"gzip in raw deflate", "roads", packed(t, "raw", zip(t, vectorTile)), "deflate", "unpacked, the object begins like gzip"},
		{"zstd in br", "roads", packed(t, "br", packed(t, "zstd", vectorTile)), "br", "unpacked, the object begins like zstd"},
		{"zlib in zstd", "roads", packed(t, "zstd", packed(t, "zlib", vectorTile)), "zstd", "unpacked, the object begins like zlib"},
		{"much gzip in br", "roads", packed(t, "br", zip(t, noise(300<<10))), "br", "unpacked, the object begins like gzip"},
		{"much gzip in zstd", "roads", packed(t, "zstd", zip(t, noise(300<<10))), "zstd", "unpacked, the object begins like gzip"},
		{"an error document in br", "roads", packed(t, "br", "<?xml version='1.0'?><Error/>"), "br", "begins like XML"},
		{"an error document in gzip", "roads", zip(t, "<?xml version='1.0'?><Error/>"), "gzip", "begins like XML"},
		{"a PNG in gzip", "roads", zip(t, tilePNG.body), "gzip", "begins like png"},
		{"compress", "roads", "\x1a" + filler(100), "compress", "only gzip, br, zstd and deflate"},
		{"two codings", "roads", "\x1a" + filler(100), "gzip, br", "only gzip, br, zstd and deflate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t)
			w.origin.put(test.tileset, 1, 0, 0, object{body: test.body, encoding: test.encoding})
			got := w.get("/tiles/"+test.tileset+"/1/0/0", w.as("Accept-Encoding", "gzip")...)
			if got.status != http.StatusBadGateway {
				t.Errorf("got %d", got.status)
			}
			if line := w.access.waitForLine("/1/0/0"); !strings.Contains(line, test.reason) {
				t.Errorf("the log has no %q: %s", test.reason, line)
			}
		})
	}
}

// noise is what no coding makes smaller, the same in each run.
func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return string(b)
}

// Images that somebody stored compressed are served: format auto tells what they are by what they hold. A large image
// tells it by its first bytes, too.
func TestCompressedImages(t *testing.T) {
	for _, format := range []string{"auto", "png"} {
		for _, size := range []int{100, 300 << 10} {
			image := pngBody(100) + noise(size) + strings.Repeat(vectorTile, size>>12)
			w := start(t, func(s *setup) { s.tileset("basemap").Format = format })
			for x, coding := range []string{"br", "zstd", "zlib", "raw", "gzip"} {
				stated, stored := coding, ""
				switch coding {
				case "gzip":
					stored = zip(t, image)
				case "zlib", "raw":
					stated = "deflate"
					fallthrough
				default:
					stored = packed(t, coding, image)
				}
				w.origin.put("basemap", 7, uint32(x), 44, object{body: stored, encoding: stated, etag: `"1"`})
				path := fmt.Sprintf("/tiles/basemap/7/%d/44", x)
				got := w.get(path, w.as("Accept-Encoding", "gzip, deflate, br, zstd")...)
				if got.status != 200 || got.body != stored || got.header.Get("Content-Encoding") != stated || got.header.Get("Content-Type") != "image/png" {
					t.Errorf("%s, %s of %d: got %d, %d bytes, %v", format, coding, size, got.status, len(got.body), got.header)
				}
				if plain := w.get(path, w.as("Accept-Encoding", "identity")...); plain.status != 200 || plain.body != image || plain.header.Get("Content-Type") != "image/png" {
					t.Errorf("%s, %s of %d, unpacked: got %d, %d bytes, %v", format, coding, size, plain.status, len(plain.body), plain.header)
				}
			}
		}
	}
}

// Bytes that only claim to be compressed take no more memory than the bounds say, and end nothing.
func TestLyingCompressedHeads(t *testing.T) {
	hugeWindow := "\x28\xb5\x2f\xfd\x00\xb8" + "\xfd\xff\x3f" + filler(1000) // a window of 8 GiB, a block of 512 KiB
	for x, o := range []object{
		{body: hugeWindow, encoding: "zstd"},
		{body: noise(40 << 10), encoding: "br"},
		{body: noise(40 << 10), encoding: "deflate"},
		{body: "\x50\x2a\x4d\x18\xff\xff\xff\xff" + filler(1000), encoding: "zstd"},
	} {
		w := start(t, func(s *setup) { s.tileset("basemap").Format = "auto" })
		w.origin.put("basemap", 7, uint32(x), 44, o)
		if got := w.get(fmt.Sprintf("/tiles/basemap/7/%d/44", x), w.as("Accept-Encoding", "identity")...); got.status != http.StatusBadGateway {
			t.Errorf("%d: got %d", x, got.status)
		}
	}
}

// Nothing is no image, and what a client would draw as a broken one. It is an empty vector tile.
func TestEmptyObjects(t *testing.T) {
	for format, want := range map[string]int{"png": 404, "jpg": 404, "auto": 404, "mvt": 200, "mlt": 200, "json": 200} {
		w := start(t, func(s *setup) { s.tileset("basemap").Format = format })
		for x, encoding := range []string{"", "gzip", "br", "zstd"} {
			w.origin.put("basemap", 7, uint32(x), 44, object{encoding: encoding, etag: `"1"`})
			got := w.get(fmt.Sprintf("/tiles/basemap/7/%d/44", x), w.bearer()...)
			if got.status != want || want == 200 && (got.body != "" || got.header.Get("Content-Encoding") != "") {
				t.Errorf("%s, %q: got %d, %q", format, encoding, got.status, got.body)
			}
		}
	}
}

// Uploads that appended to what was there leave bytes behind a gzip stream's end. Browsers do not see them.
func TestGzipIsUnpackedToItsEnd(t *testing.T) {
	for name, body := range map[string]string{
		"zeros": zip(t, vectorTile) + strings.Repeat("\x00", 600), "text": zip(t, vectorTile) + "trailing",
		"half a header": zip(t, vectorTile) + "\x1f\x8b", "two members": zip(t, vectorTile[:100]) + zip(t, vectorTile[100:]),
	} {
		w := start(t)
		w.origin.put("roads", 1, 0, 0, object{body: body, encoding: "gzip"})
		if got := w.get("/tiles/roads/1/0/0.pbf", w.as("Accept-Encoding", "identity")...); got.status != 200 || got.body != vectorTile {
			t.Errorf("%s: got %d, %d bytes, want %d", name, got.status, len(got.body), len(vectorTile))
		}
	}
}

// A tile that breaks off while its first bytes are examined is no tile, however it is encoded.
func TestGzipThatBreaksOffIsNoTile(t *testing.T) {
	zipped := zip(t, vectorTile)
	w := start(t)
	w.origin.respond(func(_ context.Context, _ tile.Key, _ tile.Condition) (*tile.Object, error) {
		o := wholeObject(zipped)
		o.Encoding = "gzip"
		o.Body = io.NopCloser(io.MultiReader(strings.NewReader(zipped[:200]), iotest.ErrReader(io.ErrUnexpectedEOF)))
		return o, nil
	})
	for _, accept := range []string{"gzip", "identity"} {
		if got := w.get("/tiles/roads/1/0/0.pbf", w.as("Accept-Encoding", accept)...); got.err == nil && got.status == 200 {
			t.Errorf("%s: got 200 with %d bytes", accept, len(got.body))
		}
	}
}
