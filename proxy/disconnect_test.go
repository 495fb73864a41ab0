package proxy_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"tilegate/internal/tile"
)

// cancellable sends a request that the test can abandon.
func (w *world) cancellable(path string, header ...string) (leave func(), left <-chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		response, err := w.client.Do(w.request(http.MethodGet, path, "", header...).WithContext(ctx))
		if err == nil {
			err = readAll(response).err
		}
		ended <- err
	}()
	w.t.Cleanup(cancel)
	return cancel, ended
}

// Whoever leaves before the answer is a 499 in the log, and the fetch that nobody waits for ends.
func TestClientLeavesBeforeTheAnswer(t *testing.T) {
	w := start(t)
	asked := make(chan struct{})
	ended := make(chan struct{})
	w.origin.respond(func(ctx context.Context, _ tile.Key, _ tile.Condition) (*tile.Object, error) {
		close(asked)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	leave, left := w.cancellable("/tiles/basemap/1/0/0", w.bearer()...)
	<-asked
	leave()
	if err := <-left; err == nil {
		t.Error("it got an answer")
	}
	<-ended
	line := w.access.waitFor(1)[0]
	if !strings.Contains(line, `"status":499`) || !strings.Contains(line, `"bytes":0`) {
		t.Errorf("got line %s", line)
	}
}

// The fill belongs to the server: the client that began it may leave, the others keep theirs.
func TestFirstClientLeavesTheOthersStay(t *testing.T) {
	body := pngBody(300_000)
	for _, phase := range []string{"before the header", "in the body"} {
		t.Run(phase, func(t *testing.T) {
			w := start(t)
			started := w.origin.lives(300_000)
			header := w.bearer()
			leave, left := w.cancellable("/tiles/basemap/1/0/0", header...)
			fill := <-started
			sent := 0
			if phase == "in the body" {
				sent = 1000
				send(t, fill, body[:sent])
			}
			stays := make(chan reply, 1)
			go func() {
				response, err := w.client.Do(w.request(http.MethodGet, "/tiles/basemap/1/0/0", "", header...))
				if err != nil {
					stays <- reply{err: err}
					return
				}
				stays <- readAll(response)
			}()
			w.waitForJoined(1)
			leave()
			if err := <-left; err == nil {
				t.Error("it got a whole answer")
			}
			w.access.waitFor(1) // and the first one has gone
			send(t, fill, body[sent:])
			_ = fill.Close()
			if got := <-stays; got.err != nil || got.status != 200 || got.body != body {
				t.Errorf("got %d, %d bytes, %v", got.status, len(got.body), got.err)
			}
			w.origin.wantAsked(t, 1)
		})
	}
}

func TestLastClientLeavesInTheBody(t *testing.T) {
	w := start(t)
	started := w.origin.lives(1_000_000)
	leave, left := w.cancellable("/tiles/basemap/1/0/0", w.bearer()...)
	fill := <-started
	send(t, fill, pngBody(1000))
	leave()
	if err := <-left; err == nil {
		t.Error("it got a whole answer")
	}
	<-fill.ctx.Done() // far from done and unwanted: it stops
	if line := w.access.waitFor(1)[0]; !strings.Contains(line, `"aborted":true`) && !strings.Contains(line, `"status":499`) {
		t.Errorf("got line %s", line)
	}
	w.origin.respond(always(pngBody(100)))
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...); got.status != 200 || got.body != pngBody(100) {
		t.Errorf("the next one: got %d, %d bytes", got.status, len(got.body))
	}
}
