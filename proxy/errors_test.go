package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tilegate/internal/tile"
)

func TestOriginFailures(t *testing.T) {
	const inner = "AKIAEXAMPLE at 10.0.0.1 s3://acme-private"
	wrap := func(class error) error { return fmt.Errorf("get object %s: %w", inner, class) }
	for _, test := range []struct {
		name string
		err  error
		want int
	}{
		{"denied", wrap(tile.ErrDenied), 502},
		{"bad answer", wrap(tile.ErrBadAnswer), 502},
		{"unreachable", wrap(tile.ErrUnreachable), 502},
		{"slow down", wrap(tile.ErrSlowDown), 503},
		{"no credentials", wrap(tile.ErrNoCredentials), 503},
		{"timeout", wrap(tile.ErrTimeout), 504},
		{"missing", wrap(tile.ErrMissing), 404},
		{"timeout, without more ado", tile.ErrTimeout, 504},
		{"not modified, though nothing was held", wrap(tile.ErrNotModified), 502},
		{"changed, though nothing had begun", wrap(tile.ErrChanged), 502},
		{"of no class", errors.New(inner), 502},
		{"its own cancellation", fmt.Errorf("%s: %w", inner, context.Canceled), 502},
		{"its own deadline", fmt.Errorf("%s: %w", inner, context.DeadlineExceeded), 502},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t)
			w.origin.respond(fails(test.err))
			for _, method := range []string{"GET", "HEAD"} {
				got := w.do(method, "/tiles/basemap/1/0/0", "", w.bearer()...)
				if got.status != test.want {
					t.Errorf("%s: got %d %s, want %d", method, got.status, got.body, test.want)
				}
				if (got.header.Get("Retry-After") != "") != (test.want == 503) {
					t.Errorf("%s: a %d with Retry-After %q", method, got.status, got.header.Get("Retry-After"))
				}
				for name, values := range got.header {
					if strings.Contains(strings.Join(values, " "), "AKIA") {
						t.Errorf("%s: %s leaks: %q", method, name, values)
					}
				}
				if strings.Contains(got.body, "AKIA") || strings.Contains(got.body, "acme") || strings.Contains(got.body, "10.0.0.1") {
					t.Errorf("%s: the body leaks: %s", method, got.body)
				}
				w.clock.Advance(2 * time.Second) // beyond the pause after a failure
			}
			if line := w.access.waitFor(1)[0]; test.want != 404 && !strings.Contains(line, `"error":"`) {
				t.Errorf("the operator does not learn why: %s", w.access)
			}
		})
	}
}

// What a store answers instead of a tile must never be served as one, nor kept.
func TestWrongBody(t *testing.T) {
	for _, test := range []struct{ name, tileset, body, encoding string }{
		{"error document", "basemap", `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code></Error>`, ""},
		{"error document without declaration", "basemap", "<Error><Code>SlowDown</Code></Error>", ""},
		{"error document for a vector tile", "roads", `<?xml version="1.0"?><Error/>`, ""},
		{"page", "basemap", "<!DOCTYPE html><html><body>sign in</body></html>", ""},
		{"page after a byte order mark", "basemap", "\ufeff \n<HTML>", ""},
		{"JPEG for PNG", "basemap", "\xff\xd8\xff\xe0" + filler(100), ""},
		{"JSON for PNG", "basemap", `{"message":"Forbidden"}`, ""},
		{"unknown encoding", "basemap", pngBody(100), "compress"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t)
			w.origin.put(test.tileset, 1, 0, 0, object{body: test.body, etag: `"x"`, encoding: test.encoding})
			path := "/tiles/" + test.tileset + "/1/0/0"
			if got := w.get(path, w.bearer()...); got.status != 502 || strings.Contains(got.body, "<") {
				t.Errorf("got %d %s", got.status, got.body)
			}
			w.clock.Advance(2 * time.Second)
			good := map[string]string{"basemap": pngBody(100), "roads": vectorTile}[test.tileset]
			w.origin.put(test.tileset, 1, 0, 0, object{body: good, etag: `"y"`})
			if got := w.get(path, w.bearer()...); got.status != 200 || got.body != good {
				t.Errorf("mended: got %d", got.status)
			}
		})
	}
}

// A body that breaks before its first byte is still an error with a status.
func TestBodyThatBreaksAtOnce(t *testing.T) {
	w := start(t)
	w.origin.respond(func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
		return &tile.Object{Body: io.NopCloser(strings.NewReader("")), Size: 1000}, nil
	})
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...); got.status != 502 {
		t.Errorf("got %d %s, want 502", got.status, got.body)
	}
}

func TestFailureOfADecompressionThatHasNotBegun(t *testing.T) {
	w := start(t)
	for i, body := range []string{"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + strings.Repeat("\xff", 100), "\x1f\x8bno header at all"} {
		w.origin.put("roads", 2, uint32(i), 0, object{body: body, etag: `"x"`})
		if got := w.get(fmt.Sprintf("/tiles/roads/2/%d/0", i), w.bearer()...); got.status != 502 {
			t.Errorf("%d: got %d %s, want 502", i, got.status, got.body)
		}
	}
}

func TestClosedCacheIsUnavailable(t *testing.T) {
	w := start(t)
	if err := w.cache.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %v", got.status, got.header)
	}
}

func TestPanicCostsOneRequest(t *testing.T) {
	w := start(t)
	w.origin.presign = func(tileKey) (tile.Signed, error) { panic("boom with a secret") }
	got := w.get("/presign/basemap/1/0/0", w.bearer()...)
	if got.status != http.StatusInternalServerError || strings.Contains(got.body, "boom") {
		t.Errorf("got %d %s", got.status, got.body)
	}
	line := w.logged.waitForLine("panic while answering")
	if !strings.Contains(line, "boom") || !strings.Contains(line, "presign_test.go") && !strings.Contains(line, "errors_test.go") {
		t.Errorf("the log does not tell where: %s", line)
	}
	if lines := w.access.waitFor(1); len(lines) != 1 || !strings.Contains(lines[0], `"status":500`) {
		t.Errorf("got access lines %q", lines)
	}
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...); got.status != 200 {
		t.Errorf("the next request: got %d", got.status)
	}
}

// A fill that panics fails its waiters, not the process.
func TestPanicInAFetch(t *testing.T) {
	w := start(t)
	w.origin.respond(func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) { panic("boom") })
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...); got.status != 500 && got.status != 502 || strings.Contains(got.body, "boom") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestRequestID(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	for _, test := range []struct {
		name, given string
		echoed      bool
	}{
		{"a UUID", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", true},
		{"a trace", "1-67891233:abcdef.0_1", true},
		{"too long", strings.Repeat("a", 129), false},
		{"a quote", `x"y`, false},
		{"white space", "a b", false},
		{"beyond ASCII", "a\xc3\xbc", false},
	} {
		for path, isError := range map[string]bool{"/tiles/basemap/1/0/0": false, "/tiles/basemap/1/1/1": true, "/nowhere": true} {
			got := w.get(path, w.as("X-Request-Id", test.given)...)
			id := got.header.Get("X-Request-Id")
			if (id == test.given) != test.echoed || isError != (id != "") && !test.echoed {
				t.Errorf("%s on %s: got %q", test.name, path, id)
			}
		}
	}
	first, second := w.get("/nowhere"), w.get("/nowhere")
	if a, b := first.header.Get("X-Request-Id"), second.header.Get("X-Request-Id"); a == b || len(a) < 16 {
		t.Errorf("got ids %q and %q", a, b)
	}
	if id := first.header.Get("X-Request-Id"); !strings.Contains(first.body, id) || w.access.waitForLine(id) == "" {
		t.Errorf("%q stands neither in %s nor in the log", id, first.body)
	}
}

func TestServerTiming(t *testing.T) {
	w := start(t, func(s *setup) { s.proxy.ServerTiming = true })
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	for range 2 {
		got := w.get("/tiles/basemap/1/0/0", w.bearer()...).header.Get("Server-Timing")
		for _, part := range []string{"auth;", "cache;", "origin;"} {
			if !strings.Contains(got, part) || strings.Count(got, "dur=") != 3 {
				t.Errorf("got %q", got)
			}
		}
	}
	plain := start(t)
	plain.origin.put("basemap", 1, 0, 0, tilePNG)
	if got := plain.get("/tiles/basemap/1/0/0", plain.bearer()...).header.Get("Server-Timing"); got != "" {
		t.Errorf("not asked for, but got %q", got)
	}
}
