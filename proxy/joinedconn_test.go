package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"testing"

	"tilegate/internal/tile"
)

// Whatever its size, above all around that of net/http's buffer, a tile arrives whole, and so does the next
// answer on its connection.
func TestTileOfAnySizeArrivesWhole(t *testing.T) {
	w := start(t)
	sizes := []int{16, 1000, 20_000, 32 << 10, 32<<10 + 1, 100_000}
	for size := 3400; size < 4200; size += 3 { // the header takes some hundred bytes of the first 4 KiB
		sizes = append(sizes, size, size+4096)
	}
	key := w.bearer()[1]
	body := pngBody(100_000)
	conn := w.dial()
	answers := bufio.NewReader(conn)
	for _, size := range sizes {
		w.origin.put("basemap", 1, 0, 0, object{body: body[:size], etag: fmt.Sprintf(`"%d"`, size)})
		purge(t, w)
		for _, ask := range []string{"a miss", "a hit", "a part"} {
			part := ""
			if ask == "a part" {
				part = "Range: bytes=1-\r\n"
			}
			fmt.Fprintf(conn, "GET /tiles/basemap/1/0/0 HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%s\r\n", key, part)
			got := readReply(t, answers)
			want, status := body[:size], http.StatusOK
			if part != "" {
				want, status = body[1:size], http.StatusPartialContent
			}
			if got.status != status || got.body != want {
				t.Fatalf("%d bytes, %s: got %d, %d bytes, %v", size, ask, got.status, len(got.body), got.err)
			}
		}
	}
}

func purge(t testing.TB, w *world) {
	t.Helper()
	if _, err := w.cache.Purge(context.Background(), tile.Purge{Tileset: "basemap"}); err != nil {
		t.Fatal(err)
	}
}
