package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// ranges are of a tile of 1,000 bytes. RFC 9110 section 14: what is malformed is ignored.
var ranges = []struct {
	name, value string
	want        int
	first, last int // of a 206
}{
	{"first bytes", "bytes=0-9", 206, 0, 9},
	{"one byte", "bytes=0-0", 206, 0, 0},
	{"last byte", "bytes=999-999", 206, 999, 999},
	{"open end", "bytes=5-", 206, 5, 999},
	{"suffix", "bytes=-5", 206, 995, 999},
	{"suffix longer than the tile", "bytes=-5000", 206, 0, 999},
	{"end beyond the tile", "bytes=990-5000", 206, 990, 999},
	{"end beyond numbers", "bytes=990-99999999999999999999", 206, 990, 999},
	{"everything", "bytes=0-", 206, 0, 999},
	{"unit in another case", "Bytes=0-9", 206, 0, 9},
	{"start beyond the tile", "bytes=1000-", 416, 0, 0},
	{"both beyond the tile", "bytes=1000-1001", 416, 0, 0},
	{"start beyond numbers", "bytes=99999999999999999999-", 416, 0, 0},
	{"empty suffix", "bytes=-0", 416, 0, 0},
	{"two", "bytes=0-1,3-4", 200, 0, 0},
	{"many", "bytes=0-,0-,0-,0-,0-,0-,0-,0-", 200, 0, 0},
	{"backwards", "bytes=5-2", 200, 0, 0},
	{"another unit", "items=0-9", 200, 0, 0},
	{"no unit", "0-9", 200, 0, 0},
	{"no dash", "bytes=5", 200, 0, 0},
	{"nothing", "bytes=", 200, 0, 0},
	{"dash alone", "bytes=-", 200, 0, 0},
	{"negative", "bytes=--5", 200, 0, 0},
	{"signed", "bytes=+1-5", 200, 0, 0},
	{"hexadecimal", "bytes=0x1-5", 200, 0, 0},
	{"not a number", "bytes=a-b", 200, 0, 0},
	{"space inside", "bytes=1 -5", 200, 0, 0},
}

func TestRange(t *testing.T) {
	w := start(t)
	header := w.bearer()
	for i, test := range ranges {
		w.origin.put("basemap", 10, uint32(i), 0, tilePNG)
		path := fmt.Sprintf("/tiles/basemap/10/%d/0.png", i)
		for _, state := range []string{"miss", "hit"} {
			got := w.get(path, append(header, "Range", test.value)...)
			name := test.name + " on a " + state
			if got.status != test.want || got.err != nil {
				t.Errorf("%s: got %d %v, want %d", name, got.status, got.err, test.want)
				continue
			}
			switch test.want {
			case 206:
				checkPart(t, name, got, tilePNG.body, test.first, test.last)
			case 416:
				if got.header.Get("Content-Range") != "bytes */1000" {
					t.Errorf("%s: got Content-Range %q", name, got.header.Get("Content-Range"))
				}
			case 200:
				if got.body != tilePNG.body || got.header.Get("Content-Range") != "" {
					t.Errorf("%s: got %d bytes, Content-Range %q", name, len(got.body), got.header.Get("Content-Range"))
				}
			}
		}
	}
	w.origin.wantAsked(t, len(ranges))
}

func checkPart(t *testing.T, name string, got reply, body string, first, last int) {
	t.Helper()
	if got.body != body[first:last+1] {
		t.Errorf("%s: got %d bytes, want %d to %d", name, len(got.body), first, last)
	}
	for field, want := range map[string]string{
		"Content-Range": fmt.Sprintf("bytes %d-%d/%d", first, last, len(body)), "Content-Length": fmt.Sprint(last - first + 1),
		"Content-Type": "image/png", "Etag": tilePNG.etag, "X-Content-Type-Options": "nosniff",
	} {
		if got.header.Get(field) != want {
			t.Errorf("%s: got %s %q, want %q", name, field, got.header.Get(field), want)
		}
	}
}

func TestIfRange(t *testing.T) {
	w := start(t)
	for i, test := range []struct {
		name, value string
		want        int
	}{
		{"same tag", `"0123456789abcdef"`, 206},
		{"other tag", `"other"`, 200},
		{"weak tag", `W/"0123456789abcdef"`, 200},
		{"list of tags", `"0123456789abcdef", "b"`, 200},
		{"any", "*", 200},
		{"same date", "Sun, 01 Nov 2026 10:20:30 GMT", 206},
		{"later date", "Sun, 01 Nov 2026 10:20:31 GMT", 200},
		{"earlier date", "Sun, 01 Nov 2026 10:20:29 GMT", 200},
		{"nonsense", "whenever", 200},
	} {
		w.origin.put("basemap", 10, uint32(i), 0, tilePNG)
		for _, state := range []string{"miss", "hit"} {
			got := w.get(fmt.Sprintf("/tiles/basemap/10/%d/0.png", i), w.as("Range", "bytes=0-9", "If-Range", test.value)...)
			if got.status != test.want {
				t.Errorf("%s on a %s: got %d, want %d", test.name, state, got.status, test.want)
			}
			if test.want == 206 {
				checkPart(t, test.name, got, tilePNG.body, 0, 9)
			}
		}
	}
	// Without a Range it means nothing; an unsatisfiable one of another tile's is not 416 but the tile.
	if got := w.get("/tiles/basemap/10/0/0.png", w.as("If-Range", `"0123456789abcdef"`)...); got.status != 200 {
		t.Errorf("without Range: got %d", got.status)
	}
	if got := w.get("/tiles/basemap/10/0/0.png", w.as("Range", "bytes=5000-", "If-Range", `"other"`)...); got.status != 200 {
		t.Errorf("unsatisfiable of another: got %d", got.status)
	}
}

func TestRangeBesideOtherConditions(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	for _, test := range []struct {
		name, method string
		header       []string
		want         int
	}{
		{"not modified wins", "GET", []string{"Range", "bytes=0-9", "If-None-Match", tilePNG.etag}, 304},
		{"failed match wins", "GET", []string{"Range", "bytes=0-9", "If-Match", `"x"`}, 412},
		{"match and range", "GET", []string{"Range", "bytes=0-9", "If-Match", tilePNG.etag}, 206},
		{"HEAD has no ranges", "HEAD", []string{"Range", "bytes=0-9"}, 200},
		{"HEAD has no wrong ranges", "HEAD", []string{"Range", "bytes=5000-"}, 200},
		{"two fields", "GET", []string{"Range", "bytes=0-9", "Range", "bytes=20-29"}, 200},
	} {
		if got := w.do(test.method, "/tiles/basemap/1/0/0", "", w.as(test.header...)...); got.status != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got.status, test.want)
		}
	}
}

// A range of a tile that is still arriving is served as soon as its bytes are there.
func TestRangeOfWhatHasArrived(t *testing.T) {
	w := start(t)
	started := w.origin.lives(1000)
	conn := w.dial()
	fmt.Fprintf(conn, "GET /tiles/basemap/1/0/0 HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nRange: bytes=100-299\r\n\r\n", w.bearer()[1])
	fill := <-started
	body := pngBody(1000)
	if _, err := io.WriteString(fill, body[:300]); err != nil {
		t.Fatal(err)
	}
	got := readReply(t, bufio.NewReader(conn)) // while 700 bytes are still to come
	if got.status != http.StatusPartialContent || got.body != body[100:300] || got.err != nil {
		t.Errorf("got %d, %d bytes, %v", got.status, len(got.body), got.err)
	}
	if _, err := io.WriteString(fill, body[300:]); err != nil { // the fill goes on without its client
		t.Fatal(err)
	}
	_ = fill.Close()
}
