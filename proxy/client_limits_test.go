package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"tilegate/internal/tile"
	"tilegate/proxy"
	"tilegate/proxy/wire"
)

// limited lets a world limit its clients.
func limited(clients *wire.Clients) func(*setup) {
	return func(s *setup) { s.proxy.Clients, s.server.Clients = clients, clients }
}

// waitForCounts waits until so many requests are under way; go test's own timeout ends a wait that is in vain.
func waitForCounts(clients *wire.Clients, requests int64) {
	for {
		if _, now := clients.Counts(); now == requests {
			return
		}
		runtime.Gosched()
	}
}

// Error answers on streams that nobody reads end as tiles do, after write_stall.
func TestErrorAnswersThatNobodyReadsEndWithTheStall(t *testing.T) {
	w := start(t, func(s *setup) { s.proxy.WriteStall, s.server.WriteStall = 100*time.Millisecond, 100*time.Millisecond })
	for path, status := range map[string]string{"/tiles/roads/1/0/0": "401", "/nothing": "404", "/tiles/basemap/01/0/0": "400"} {
		c := dialHTTP2(t, w, 0, 1<<20)
		c.anonymous = true
		c.get(path)
		if got, ended := c.answer(); got != status || ended {
			t.Errorf("%s: got status %s, ended %v", path, got, ended)
		}
		if got, _ := c.answer(); got != "INTERNAL_ERROR" {
			t.Errorf("%s: got %s, want a reset", path, got)
		}
	}
}

// Streams with a window of 0, with a token or without: one client holds what its limit allows. What is more
// is refused with a header alone, which waits for no window, before anybody asks who it is.
func TestStreamsWithAWindowOfZeroAreRefused(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		clients := wire.NewClients(wire.ClientLimits{ClientRequests: 3})
		w := start(t, limited(clients))
		w.origin.put("basemap", 1, 0, 0, object{body: pngBody(20_000), etag: `"x"`})
		c := dialHTTP2(t, w, 0, 1<<20)
		c.anonymous = anonymous
		want := "200"
		if anonymous {
			want = "401"
		}
		for range 3 {
			c.get("/tiles/basemap/1/0/0")
			if got, ended := c.answer(); got != want || ended {
				t.Errorf("got %s, ended %v", got, ended)
			}
		}
		for range 5 {
			c.get("/tiles/basemap/1/0/0")
			if got, ended := c.answer(); got != "429 retry after 2" || !ended {
				t.Errorf("over the limit: got %s, ended %v", got, ended)
			}
		}
		if said := w.access.String(); strings.Contains(said, "429") {
			t.Errorf("refusals are in the access log, which they would fill:\n%s", said)
		}
		if got := clients.Refused()["client_requests"]; got != 5 {
			t.Errorf("%d refusals were counted", got)
		}
		other := w.dial()
		fmt.Fprintf(other, "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /catalog HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		said := closed(t, other)
		if !strings.HasPrefix(said, "HTTP/1.1 200 OK") || !strings.Contains(said, "HTTP/1.1 429 Too Many Requests") || !strings.Contains(said, `"status":429`) {
			t.Errorf("over HTTP/1.1: got %s", said)
		}
		_ = c.conn.Close()
		waitForCounts(clients, 0)
	}
}

// However a request ends, it no longer counts.
func TestEveryEndGivesThePlaceBack(t *testing.T) {
	clients := wire.NewClients(wire.ClientLimits{ClientRequests: 100, ClientConnections: 100})
	w := start(t, limited(clients), func(s *setup) {
		s.proxy.Readiness = []proxy.Readiness{{Name: "x", Missing: func() []string { panic("on purpose") }}}
	})
	w.origin.respond(func(ctx context.Context, key tile.Key, _ tile.Condition) (*tile.Object, error) {
		switch key.Z {
		case 1:
			return wholeObject(pngBody(20_000)), nil
		case 2: // less than was promised, and no more of it to be had
			broken := wholeObject(pngBody(100_000))
			broken.Size, broken.ETag = 300_000, ""
			return broken, nil
		case 3:
			broken := newLive(ctx, -1)
			go func() {
				_, _ = io.WriteString(broken, pngBody(100_000)) // it is cut off
				_ = broken.CloseWithError(io.ErrUnexpectedEOF)
			}()
			return broken.object, nil
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for name, ask := range map[string]func(){
		"whole":   func() { w.get("/tiles/basemap/1/0/0", w.bearer()...) },
		"refused": func() { w.get("/tiles/basemap/1/0/0") },
		"broken": func() {
			if response, err := w.client.Do(w.request("GET", "/tiles/basemap/2/0/0", "", w.bearer()...)); err == nil {
				readAll(response)
			}
		},
		"panicked": func() { w.get("/ready") },
		"HTTP/1.0": func() {
			conn := w.dial()
			fmt.Fprintf(conn, "GET /tiles/basemap/3/0/0 HTTP/1.0\r\nAuthorization: %s\r\n\r\n", w.bearer()[1])
			_, _ = io.Copy(io.Discard, conn) // it is reset
		},
		"left": func() {
			leave, left := w.cancellable("/tiles/basemap/4/0/0", w.bearer()...)
			waitForCounts(clients, 1)
			leave()
			if err := <-left; err == nil {
				t.Error("the request of a client that left was answered")
			}
		},
		"over HTTP/2": func() {
			response, err := cleartextHTTP2(t).Do(w.request("GET", "/tiles/basemap/1/0/0", "", w.bearer()...))
			if err == nil {
				readAll(response)
			}
		},
	} {
		ask()
		t.Log(name)
		waitForCounts(clients, 0)
	}
	w.client.CloseIdleConnections()
}

// A proxy in front that is trusted brings many viewers: they are limited, and it is not.
func TestTrustedProxyIsNotLimitedByItsOwnAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	clients := wire.NewClients(wire.ClientLimits{ClientRequests: 2, ClientConnections: 1, Proxies: trusted})
	w := start(t, limited(clients), func(s *setup) { s.proxy.TrustedProxies = trusted })
	w.origin.put("basemap", 1, 0, 0, object{body: pngBody(20_000), etag: `"x"`})
	hold := func(forwarded string) string {
		c := dialHTTP2(t, w, 0, 1<<20)
		c.forwarded = forwarded
		c.get("/tiles/basemap/1/0/0")
		status, _ := c.answer()
		return status
	}
	for i := range 10 {
		if got := hold(fmt.Sprintf("192.0.2.%d", i)); got != "200" {
			t.Errorf("viewer %d: got %s", i, got)
		}
	}
	for range 5 {
		if got := hold(""); got != "200" {
			t.Errorf("the proxy itself: got %s", got)
		}
	}
	if got := hold("192.0.2.1"); got != "200" {
		t.Errorf("a viewer's second request: got %s", got)
	}
	if got := hold("192.0.2.1"); got != "429 retry after 2" {
		t.Errorf("a viewer's third request: got %s", got)
	}
	if got := hold("203.0.113.9, 192.0.2.1"); got != "429 retry after 2" {
		t.Errorf("a viewer that claims to be another: got %s", got)
	}
}

// A CDN that proves itself is not limited by its address, and one that only claims to be one is.
func TestCDNIsNotLimitedByItsAddress(t *testing.T) {
	clients := wire.NewClients(wire.ClientLimits{ClientRequests: 2, ClientConnections: 3})
	w := start(t, limited(clients), func(s *setup) {
		s.proxy.Edge = proxy.Edge{Secrets: [][]byte{[]byte("the-cdns-own-secret")}, Authorizes: true, Tilesets: []string{"roads"}}
	})
	w.origin.put("basemap", 1, 0, 0, object{body: pngBody(20_000), etag: `"x"`})
	hold := func(secret string) string {
		c := dialHTTP2(t, w, 0, 1<<20)
		c.verify = secret
		c.get("/tiles/basemap/1/0/0")
		status, _ := c.answer()
		return status
	}
	for range 10 {
		if got := hold("the-cdns-own-secret"); got != "200" {
			t.Errorf("the CDN: got %s", got)
		}
	}
	for _, want := range []string{"200", "200", "429 retry after 2"} {
		if got := hold("a-guess"); got != want {
			t.Errorf("another: got %s, want %s", got, want)
		}
	}
}

// Scripts of pages that may read answers may read refusals, too.
func TestRefusalsHaveCORS(t *testing.T) {
	clients := wire.NewClients(wire.ClientLimits{ClientRequests: 1})
	w := start(t, limited(clients), func(s *setup) { s.proxy.CORS.Origins = []string{"https://app.example.com"} })
	w.origin.put("basemap", 1, 0, 0, object{body: pngBody(20_000), etag: `"x"`})
	c := dialHTTP2(t, w, 0, 1<<20)
	c.get("/tiles/basemap/1/0/0")
	c.answer()
	conn := w.dial()
	fmt.Fprint(conn, "POST /session HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example.com\r\nContent-Length: 5\r\n\r\nhello")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 429 || answer.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || !answer.Close || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d, close %v, %v", answer.StatusCode, answer.Close, answer.Header)
	}
}
