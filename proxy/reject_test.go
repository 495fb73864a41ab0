package proxy_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"tilegate/internal/tile"
)

// Twenty viewers of an object of unknown length cause one request, and the tile is kept.
func TestObjectsOfUnknownLengthAreKept(t *testing.T) {
	w := start(t)
	w.origin.respond(func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
		o := wholeObject(tilePNG.body)
		o.Size = -1
		return o, nil
	})
	for i := range 20 {
		got := w.get("/tiles/basemap/1/0/0.png", w.bearer()...)
		if got.status != http.StatusOK || got.body != tilePNG.body || got.header.Get("Content-Length") == "" {
			t.Errorf("got %d, %d bytes, Content-Length %q", got.status, len(got.body), got.header.Get("Content-Length"))
		}
		if status := got.header.Get("Cache-Status"); (i > 0) != strings.Contains(status, "hit") {
			t.Errorf("%d: got Cache-Status %q", i, status)
		}
	}
	w.origin.wantAsked(t, 1)
}

// The origin is told which objects cannot be served, and why.
func TestTheOriginIsToldWhatCannotBeServed(t *testing.T) {
	for _, tc := range []struct{ body, encoding, reason string }{
		{"<html>an error page, which is no tile at all</html>", "", "the object begins like"},
		{tilePNG.body, "compress", "Content-Encoding"},
	} {
		w := start(t)
		reasons := make(chan string, 1)
		object := func() *tile.Object {
			o := wholeObject(tc.body)
			o.Encoding = tc.encoding
			o.Reject = func(reason string) { reasons <- reason }
			return o
		}
		w.origin.respond(func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) { return object(), nil })
		if got := w.get("/tiles/basemap/1/0/0.png", w.bearer()...); got.status != http.StatusBadGateway {
			t.Errorf("got %d", got.status)
		}
		if reason := <-reasons; !strings.Contains(reason, tc.reason) {
			t.Errorf("told %q", reason)
		}
		if err := w.proxy.Examine(t.Context(), "basemap", object()); err == nil || !strings.Contains(err.Error(), tc.reason) {
			t.Errorf("Examine: %v", err)
		}
	}
	w := start(t)
	good := wholeObject(tilePNG.body)
	closed := false
	good.Body = struct {
		io.Reader
		io.Closer
	}{good.Body, closer(func() { closed = true })}
	if err := w.proxy.Examine(t.Context(), "basemap", good); err != nil || !closed {
		t.Errorf("a good object: %v, closed: %v", err, closed)
	}
}

type closer func()

func (c closer) Close() error {
	c()
	return nil
}
