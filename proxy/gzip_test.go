package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func zip(t testing.TB, body string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Who does not take gzip gets what has arrived as soon as it can be unpacked, like everybody else.
func TestUnpackedBytesGoOutAsTheyArrive(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(vectorTile[:2000])) // into memory
	_ = z.Flush()
	first := packed.Len()
	_, _ = z.Write([]byte(vectorTile[2000:]))
	_ = z.Close()

	w := start(t)
	started := w.origin.lives(int64(packed.Len()))
	fills := make(chan *live, 1)
	go func() { l := <-started; fills <- l; send(t, l, packed.String()[:first]) }()
	response := w.open("/tiles/roads/1/0/0", w.as("Accept-Encoding", "identity")...)
	fill, got := <-fills, readFull(t, response.Body, 2000)
	go func() { send(t, fill, packed.String()[first:]); _ = fill.Close() }()
	rest, err := io.ReadAll(response.Body)
	if err != nil || got+string(rest) != vectorTile {
		t.Errorf("got %d more bytes, %v", len(rest), err)
	}
}

// store is zip without the labour of compressing.
func store(t testing.TB, body string) string {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = z.Write([]byte(body)) // into memory
	_ = z.Close()
	return b.String()
}

var vectorTile = "\x1a" + filler(5000)

// The four combinations of stored and asked for, once told by metadata and once by the first bytes.
func TestGzip(t *testing.T) {
	zipped := zip(t, vectorTile)
	for _, test := range []struct {
		name           string
		stored         object
		accept         string
		body, encoding string
		vary, ownTag   bool
	}{
		{"stored plain, asked plain", object{body: vectorTile}, "", vectorTile, "", false, false},
		{"stored plain, asked gzip", object{body: vectorTile}, "gzip", vectorTile, "", false, false},
		{"stored gzip by metadata, asked plain", object{body: zipped, encoding: "gzip"}, "", vectorTile, "", true, true},
		{"stored gzip by metadata, asked gzip", object{body: zipped, encoding: "gzip"}, "gzip, deflate, br", zipped, "gzip", true, false},
		{"stored gzip by magic, asked plain", object{body: zipped}, "identity", vectorTile, "", true, true},
		{"stored gzip by magic, asked gzip", object{body: zipped}, "br, gzip;q=0.5", zipped, "gzip", true, false},
		{"stored gzip, gzip refused", object{body: zipped, encoding: "gzip"}, "gzip;q=0", vectorTile, "", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t)
			test.stored.etag, test.stored.modified = `"stored"`, modified
			w.origin.put("roads", 1, 0, 0, test.stored)
			header := w.bearer()
			if test.accept != "" {
				header = append(header, "Accept-Encoding", test.accept)
			}
			for _, state := range []string{"miss", "hit"} {
				got := w.get("/tiles/roads/1/0/0.mvt", header...)
				if got.status != 200 || got.body != test.body || got.header.Get("Content-Encoding") != test.encoding || got.err != nil {
					t.Fatalf("%s: got %d, %d bytes, encoding %q, %v", state, got.status, len(got.body), got.header.Get("Content-Encoding"), got.err)
				}
				if got.header.Get("Content-Type") != "application/vnd.mapbox-vector-tile" {
					t.Errorf("%s: got type %q", state, got.header.Get("Content-Type"))
				}
				wantVary := ""
				if test.vary {
					wantVary = "Accept-Encoding"
				}
				if got.header.Get("Vary") != wantVary {
					t.Errorf("%s: got Vary %q, want %q", state, got.header.Get("Vary"), wantVary)
				}
				tag := got.header.Get("Etag")
				if own := tag != `"stored"`; own != test.ownTag || len(tag) < 3 || strings.HasPrefix(tag, "W/") {
					t.Errorf("%s: got ETag %q, its own: want %v", state, tag, test.ownTag)
				}
				if n := got.header.Get("Content-Length"); n != "" && n != fmt.Sprint(len(got.body)) {
					t.Errorf("%s: got Content-Length %q of %d bytes", state, n, len(got.body))
				}

				head := w.do(http.MethodHead, "/tiles/roads/1/0/0.mvt", "", header...)
				for _, name := range []string{"Etag", "Vary", "Content-Encoding", "Content-Type"} {
					if head.header.Get(name) != got.header.Get(name) {
						t.Errorf("%s: HEAD has %s %q, GET %q", state, name, head.header.Get(name), got.header.Get(name))
					}
				}
				again := w.get("/tiles/roads/1/0/0.mvt", append(header, "If-None-Match", tag)...)
				if again.status != 304 || again.header.Get("Etag") != tag || again.header.Get("Vary") != wantVary {
					t.Errorf("%s: asking again with its tag: got %d %v", state, again.status, again.header)
				}
				part := w.get("/tiles/roads/1/0/0.mvt", append(header, "Range", "bytes=10-19")...)
				if test.ownTag {
					if part.status != 200 || part.body != test.body {
						t.Errorf("%s: range of a decompressed tile: got %d, %d bytes, %v", state, part.status, len(part.body), part.header)
					}
				} else if part.status != 206 || part.body != test.body[10:20] || part.header.Get("Content-Encoding") != test.encoding {
					t.Errorf("%s: range: got %d, %d bytes", state, part.status, len(part.body))
				}
			}
			w.origin.wantAsked(t, 1)
		})
	}
}

// A tag names one representation: neither passes for the other.
func TestTagOfTheOtherEncodingDoesNotMatch(t *testing.T) {
	w := start(t)
	w.origin.put("roads", 1, 0, 0, object{body: zip(t, vectorTile), etag: `"stored"`, modified: modified})
	plain := w.get("/tiles/roads/1/0/0", w.bearer()...)
	if got := w.get("/tiles/roads/1/0/0", w.as("If-None-Match", `"stored"`)...); got.status != 200 || got.body != vectorTile {
		t.Errorf("plain asked with the gzip tag: got %d", got.status)
	}
	if got := w.get("/tiles/roads/1/0/0", w.as("Accept-Encoding", "gzip", "If-None-Match", plain.header.Get("Etag"))...); got.status != 200 {
		t.Errorf("gzip asked with the plain tag: got %d", got.status)
	}
	if got := w.get("/tiles/roads/1/0/0", w.as("If-Match", `"stored"`)...); got.status != 412 {
		t.Errorf("plain asked if it matches the gzip tag: got %d", got.status)
	}
	if got := w.get("/tiles/roads/1/0/0", w.as("If-Modified-Since", "Sun, 01 Nov 2026 10:20:30 GMT")...); got.status != 304 {
		t.Errorf("plain asked by date: got %d", got.status)
	}
}

// Stored bytes that do not decompress must not end like a whole tile.
func TestBrokenGzipAbortsTheConnection(t *testing.T) {
	zipped := zip(t, vectorTile)
	flipped := []byte(zipped)
	flipped[len(flipped)-6] ^= 1 // the checksum
	for name, body := range map[string]string{
		"truncated": zipped[:len(zipped)/2], "wrong checksum": string(flipped), "header alone": zipped[:10], "second member broken off": zipped + zipped[:len(zipped)/2],
	} {
		w := start(t)
		w.origin.put("roads", 1, 0, 0, object{body: body, etag: `"x"`, encoding: "gzip"})
		for _, state := range []string{"miss", "hit"} {
			r := w.request(http.MethodGet, "/tiles/roads/1/0/0", "", w.bearer()...)
			response, err := w.client.Do(r)
			if err != nil {
				continue // aborted before the first byte
			}
			got := readAll(response)
			if response.StatusCode == 200 && got.err == nil {
				t.Errorf("%s, %s: got a whole answer of %d bytes", name, state, len(got.body))
			}
		}
	}
}

// A kilobyte that decompresses to very many is sent on as it comes: memory is not what pays.
func TestDecompressionBombIsStreamed(t *testing.T) {
	w := start(t)
	const size = 1 << 20
	w.origin.put("roads", 1, 0, 0, object{body: zip(t, strings.Repeat("\x1a", size)), etag: `"x"`})
	before := w.cache.Stats().Bytes
	got := w.get("/tiles/roads/1/0/0", w.bearer()...)
	if got.err != nil || len(got.body) != size {
		t.Errorf("got %d bytes, %v", len(got.body), got.err)
	}
	if held := w.cache.Stats().Bytes - before; held > 16<<10 {
		t.Errorf("the cache holds %d bytes of it", held)
	}
}
