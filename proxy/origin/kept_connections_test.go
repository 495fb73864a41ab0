package origin_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tilegate/internal/tile"
)

// A request that S3 answers with a reset is sent a few times, however many connections are kept.
func TestResetsOfKeptConnectionsCostAFewRequests(t *testing.T) {
	const kept = 40
	var bad atomic.Int64
	var arrived sync.WaitGroup
	arrived.Add(kept)
	tiles := stub(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/1/0/1.png"):
			bad.Add(1)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.(*net.TCPConn).SetLinger(0) // closing then sends RST
			_ = conn.Close()
			return
		case strings.Contains(r.URL.Path, "/base/2/"):
			arrived.Done()
			arrived.Wait() // so that each is on a connection of its own
		}
		_, _ = io.WriteString(w, "a tile")
	})
	var all sync.WaitGroup
	for i := range uint32(kept) {
		all.Go(func() {
			if _, _, err := read(tiles.Fetch(t.Context(), tile.Key{Z: 2, X: i}, tile.Condition{})); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	_, _, err := read(tiles.Fetch(t.Context(), tile101, tile.Condition{}))
	if !errors.Is(err, tile.ErrUnreachable) {
		t.Errorf("got %v, want %v", err, tile.ErrUnreachable)
	}
	if n := bad.Load(); n > 8 {
		t.Errorf("%d requests for one", n)
	}
}
