package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"tilegate/internal/tile"
)

// open sends a request and returns its answer as soon as the header is there.
func (w *world) open(path string, header ...string) *http.Response {
	w.t.Helper()
	response, err := w.client.Do(w.request(http.MethodGet, path, "", header...))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func readFull(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func send(t *testing.T, l *live, s string) {
	t.Helper()
	if _, err := io.WriteString(l, s); err != nil {
		t.Error(err)
	}
}

// Bytes go out as they come in: each piece is read by the client before the next one is sent.
func TestEveryPieceArrivesBeforeTheNextIsSent(t *testing.T) {
	body := pngBody(200_000)
	for _, test := range []struct {
		name      string
		size, max int64 // of the object, and of objects that are kept
	}{
		{"kept", 200_000, 0},
		{"too large to keep", 200_000, 100_000},
		{"of unknown length, too large to keep", -1, 500},
	} {
		size := test.size
		w := start(t, func(s *setup) { s.cache.MaxObject = test.max })
		started := w.origin.lives(size)
		fills := make(chan *live, 1)
		go func() { l := <-started; fills <- l; send(t, l, body[:1000]) }()
		response := w.open("/tiles/basemap/1/0/0", w.bearer()...)
		fill, got := <-fills, readFull(t, response.Body, 1000)
		for _, n := range []int{1, 999, 70_000, 127_999} {
			go send(t, fill, body[len(got):len(got)+n])
			got += readFull(t, response.Body, n)
		}
		// The last piece is held back until the end has been seen: a checksum may still refuse it all.
		go func() { send(t, fill, body[len(got):]); _ = fill.Close() }()
		if rest, err := io.ReadAll(response.Body); err != nil || got+string(rest) != body {
			t.Errorf("%s: got %d more bytes, %v", test.name, len(rest), err)
		}
		if wantLength := map[bool]int64{true: -1, false: 200_000}[size < 0]; response.ContentLength != wantLength {
			t.Errorf("%s: got Content-Length %d", test.name, response.ContentLength)
		}
	}
}

// A late client gets what has arrived at once, and the rest as it comes.
func TestLateClientJoins(t *testing.T) {
	body := pngBody(100_000)
	w := start(t)
	started := w.origin.lives(100_000)
	fills := make(chan *live, 1)
	go func() { l := <-started; fills <- l; send(t, l, body[:50_000]) }()
	first := w.open("/tiles/basemap/1/0/0", w.bearer()...)
	readFull(t, first.Body, 50_000)
	second := w.open("/tiles/basemap/1/0/0", w.bearer()...)
	if got := readFull(t, second.Body, 50_000); got != body[:50_000] {
		t.Error("the second client's bytes differ")
	}
	if got := second.Header.Get("Cache-Status"); got != "tilegate; fwd=uri-miss; collapsed" && got != "tilegate; fwd=miss; collapsed" {
		t.Errorf("got Cache-Status %q", got)
	}
	fill := <-fills
	go func() { send(t, fill, body[50_000:]); _ = fill.Close() }()
	for _, response := range []*http.Response{first, second} {
		if rest, err := io.ReadAll(response.Body); err != nil || string(rest) != body[50_000:] {
			t.Errorf("got %d bytes, %v", len(rest), err)
		}
	}
	w.origin.wantAsked(t, 1)
}

func TestThousandClientsOneFetch(t *testing.T) {
	w := start(t)
	const clients = 1000
	gate := make(chan struct{})
	w.origin.respond(func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
		<-gate
		return wholeObject(tilePNG.body), nil
	})
	header := w.bearer()
	var all sync.WaitGroup
	failed := make(chan string, clients)
	for range clients {
		all.Go(func() {
			response, err := w.client.Do(w.request(http.MethodGet, "/tiles/basemap/1/0/0", "", header...))
			if err != nil {
				failed <- err.Error()
				return
			}
			if got := readAll(response); got.status != 200 || got.body != tilePNG.body || got.err != nil {
				failed <- fmt.Sprint(got.status, got.err)
			}
		})
	}
	w.waitForJoined(clients - 1)
	close(gate)
	all.Wait()
	close(failed)
	for what := range failed {
		t.Fatal(what)
	}
	w.origin.wantAsked(t, 1)
}

// When the origin breaks off and cannot resume, no client may end with what looks like a whole tile.
func TestBrokenBodyIsAnErrorForEveryClient(t *testing.T) {
	body := pngBody(100_000)
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		for _, size := range []int64{100_000, -1} {
			t.Run(fmt.Sprint(protocol, size), func(t *testing.T) {
				w := start(t, func(s *setup) {
					if size < 0 {
						s.cache.MaxObject = 500 // a smaller one is read to its end before its first byte goes out
					}
				})
				client := w.client
				if protocol == "HTTP/2" {
					client = cleartextHTTP2(t)
				}
				started := w.origin.lives(size)
				fills := make(chan *live, 1)
				go func() { l := <-started; fills <- l; send(t, l, body[:30_000]) }()
				response, err := client.Do(w.request(http.MethodGet, "/tiles/basemap/1/0/0", "", w.bearer()...))
				if err != nil {
					t.Fatal(err)
				}
				readFull(t, response.Body, 30_000)
				w.origin.respond(fails(tile.ErrUnreachable))
				_ = (<-fills).CloseWithError(errors.New("connection reset by peer"))
				if got := readAll(response); got.err == nil {
					t.Errorf("the client believes that it has all, after %d more bytes", len(got.body))
				}
				line := w.access.waitFor(1)[0]
				if !strings.Contains(line, `"status":200`) || !strings.Contains(line, `"aborted":true`) || !strings.Contains(line, `"bytes":30000`) {
					t.Errorf("got line %s", line)
				}
			})
		}
	}
}

// In HTTP/1.0 an answer of unknown length ends where its connection does, and nginx speaks it to its
// upstreams by default: what is broken off must not end like that.
func TestBrokenBodyIsAnErrorInHTTP10(t *testing.T) {
	for _, broken := range []bool{false, true} {
		w := start(t, func(s *setup) { s.cache.MaxObject = 500 })
		started := w.origin.lives(-1)
		conn := w.dial()
		fmt.Fprintf(conn, "GET /tiles/basemap/1/0/0 HTTP/1.0\r\nHost: x\r\nAuthorization: %s\r\n\r\n", w.bearer()[1])
		fill := <-started
		send(t, fill, pngBody(1000))
		reader := bufio.NewReader(conn)
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		readFull(t, response.Body, 1000)
		if broken {
			_ = fill.CloseWithError(errors.New("connection reset by peer"))
		} else {
			_ = fill.Close()
		}
		if rest, err := io.ReadAll(response.Body); (err != nil) != broken || len(rest) != 0 {
			t.Errorf("broken: %v, but got %v after %d more bytes", broken, err, len(rest))
		}
		_ = response.Body.Close()
	}
}

// Over budget the slowest readers are cut off, so that others get their tiles.
func TestSlowReadersMakeRoom(t *testing.T) {
	const size = 12 << 20 // more than the kernel takes on its way
	w := start(t, func(s *setup) { s.cache.Memory, s.cache.MaxObject = 40<<20, 16<<20 })
	w.origin.respond(func(_ context.Context, key tile.Key, _ tile.Condition) (*tile.Object, error) {
		return &tile.Object{Body: io.NopCloser(io.MultiReader(strings.NewReader(pngMagic), io.LimitReader(zeros{}, size-int64(len(pngMagic))))), Size: size, ETag: `"x"`}, nil
	})
	for x := range 3 {
		response := w.open(fmt.Sprintf("/tiles/basemap/4/%d/0", x), w.bearer()...)
		readFull(t, response.Body, 100) // and no more
	}
	got := w.get("/tiles/basemap/4/9/0", w.bearer()...)
	if got.status != 200 || len(got.body) != size || got.err != nil {
		t.Errorf("got %d, %d bytes, %v", got.status, len(got.body), got.err)
	}
	w.access.waitForLine(`"aborted":true`)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestBrokenBodyIsResumed(t *testing.T) {
	body := pngBody(100_000)
	w := start(t)
	started := w.origin.lives(100_000)
	fills := make(chan *live, 1)
	go func() { l := <-started; fills <- l; send(t, l, body[:30_000]) }()
	response := w.open("/tiles/basemap/1/0/0", w.bearer()...)
	readFull(t, response.Body, 30_000)
	w.origin.respond(func(_ context.Context, _ tile.Key, cond tile.Condition) (*tile.Object, error) {
		if cond.IfMatch != `"live"` || cond.Offset != 30_000 {
			t.Errorf("resumed with %+v", cond)
		}
		return &tile.Object{Body: io.NopCloser(bytes.NewReader([]byte(body[cond.Offset:]))), Size: 100_000, ETag: `"live"`}, nil
	})
	_ = (<-fills).CloseWithError(errors.New("connection reset by peer"))
	if got := readAll(response); got.err != nil || got.body != body[30_000:] {
		t.Errorf("got %d bytes, %v", len(got.body), got.err)
	}
}
