package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tilegate/internal/tile"
	"tilegate/proxy/wire"
)

func cleartextHTTP2(t testing.TB) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// closed reads until the other side closes, and returns what it said before.
func closed(t *testing.T, conn net.Conn) string {
	t.Helper()
	said, err := io.ReadAll(conn)
	if err != nil && !strings.Contains(err.Error(), "connection reset") {
		t.Fatal(err)
	}
	return string(said)
}

func TestCleartextHTTP2(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, object{body: pngBody(300_000), etag: `"x"`})
	client := cleartextHTTP2(t)
	for range 2 {
		response, err := client.Do(w.request("GET", "/tiles/basemap/1/0/0.png", "", w.bearer()...))
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(response); response.ProtoMajor != 2 || got.status != 200 || got.body != pngBody(300_000) {
			t.Errorf("got %s %d, %d bytes, %v", response.Proto, got.status, len(got.body), got.err)
		}
	}
	if got := w.send(client, w.request("GET", "/tiles/basemap/1/0/0.png", "")); got.status != 401 {
		t.Errorf("without credential: got %d", got.status)
	}
}

// Slowloris: a connection that dribbles its header is closed when read_header is over.
func TestSlowHeaderIsCutOff(t *testing.T) {
	w := start(t, func(s *setup) { s.server.ReadHeader = 50 * time.Millisecond })
	for _, sent := range []string{"", "GET /health HTTP/1.1\r\n", "GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "} {
		conn := w.dial()
		if _, err := io.WriteString(conn, sent); err != nil {
			t.Fatal(err)
		}
		if said := closed(t, conn); strings.Contains(said, " 200 ") {
			t.Errorf("%q: got %q", sent, said)
		}
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	for _, clients := range []*wire.Clients{nil, wire.NewClients(wire.ClientLimits{})} {
		w := start(t, limited(clients), func(s *setup) { s.server.Idle = 50 * time.Millisecond })
		conn := w.dial()
		fmt.Fprint(conn, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
		if said := closed(t, conn); !strings.Contains(said, " 200 OK") {
			t.Errorf("got %q", said)
		}
		streams := dialHTTP2(t, w, 1<<20, 1<<20)
		streams.get("/health")
		if status, _ := streams.answer(); status != "200" {
			t.Errorf("over HTTP/2: got %s", status)
		}
		closed(t, streams.conn)
	}
}

func TestOversizedHeaderIsRefused(t *testing.T) {
	w := start(t)
	for _, test := range []struct {
		size, want int
	}{{8 << 10, 200}, {64 << 10, 431}} {
		got := w.raw("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Large: " + strings.Repeat("a", test.size) + "\r\n\r\n")
		if got.status != test.want {
			t.Errorf("%d bytes: got %d, want %d", test.size, got.status, test.want)
		}
	}
	small := start(t, func(s *setup) { s.server.HeaderBytes = 1 << 10 })
	if got := small.raw("GET /health HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("a", 8<<10) + "\r\n\r\n"); got.status != 431 {
		t.Errorf("8 KiB where 1 KiB is allowed: got %d", got.status)
	}
	r := w.request("GET", "/health", "", "X-Large", strings.Repeat("a", 64<<10))
	if response, err := cleartextHTTP2(t).Do(r); err == nil && readAll(response).status != 431 {
		t.Errorf("over HTTP/2: got %d", response.StatusCode)
	}
}

// A proxy in front that goes by Content-Length, and we that go by Transfer-Encoding, would disagree
// where the first request ends: the second, which the attacker has hidden in the first one's body, must
// never be answered (RFC 9112 section 6.1).
func TestRequestSmuggling(t *testing.T) {
	w := start(t)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	const hidden = "GET /tiles/basemap/1/0/0 HTTP/1.1\r\nHost: x\r\nX-Hidden: yes\r\n\r\n"
	bearer := "Authorization: " + w.bearer()[1] + "\r\n"
	for _, test := range []struct{ name, request string }{
		{"CL.TE", "POST /session HTTP/1.1\r\nHost: x\r\n" + bearer + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5+len(hidden)) + hidden},
		{"CL.TE on a tile", "GET /tiles/basemap/1/0/0 HTTP/1.1\r\nHost: x\r\n" + bearer + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5+len(hidden)) + hidden},
		{"CL.TE on tokens", "POST /tokens HTTP/1.1\r\nHost: x\r\n" + bearer + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + hidden},
		{"two lengths", "POST /session HTTP/1.1\r\nHost: x\r\n" + bearer + fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n", len(hidden)) + hidden},
		{"length in a list", "POST /session HTTP/1.1\r\nHost: x\r\n" + bearer + fmt.Sprintf("Content-Length: 0, %d\r\n\r\n", len(hidden)) + hidden},
		{"signed length", "POST /session HTTP/1.1\r\nHost: x\r\n" + bearer + "Content-Length: +0\r\n\r\n" + hidden},
		{"another transfer coding", "POST /session HTTP/1.1\r\nHost: x\r\n" + bearer + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden},
		{"two transfer codings", "POST /session HTTP/1.1\r\nHost: x\r\n" + bearer + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden},
		{"white space before the colon", "POST /session HTTP/1.1\r\nHost: x\r\n" + bearer + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden},
		{"folded field", "POST /session HTTP/1.1\r\nHost: x\r\n" + bearer + fmt.Sprintf("X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n", 5+len(hidden)) + hidden},
		{"TE in HTTP/1.0", "POST /session HTTP/1.0\r\nHost: x\r\n" + bearer + "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + hidden},
		{"chunk size out of bounds", "POST /tokens HTTP/1.1\r\nHost: x\r\n" + bearer + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n0\r\n\r\n" + hidden},
	} {
		conn := w.dial()
		if _, err := io.WriteString(conn, test.request); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite() // an honest second request would still be answered
		said := closed(t, conn)
		// net/http's own 400, which ends the connection, answers nobody.
		if strings.Count(said, "HTTP/1.")-strings.Count(said, "\r\n\r\n400 Bad Request") > 1 {
			t.Errorf("%s: the hidden request was answered:\n%s", test.name, said)
		}
	}
}

func TestHonestPipeliningWorks(t *testing.T) {
	w := start(t)
	conn := w.dial()
	fmt.Fprint(conn, strings.Repeat("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 3))
	reader := bufio.NewReader(conn)
	for range 3 {
		if got := readReply(t, reader); got.status != 200 {
			t.Errorf("got %d", got.status)
		}
	}
}

// A client that takes nothing any more is cut off after write_stall, and what it held is let go.
func TestStalledReaderIsCutOff(t *testing.T) {
	for _, test := range []struct {
		name, accept string
		object       object
		tileset      string
	}{
		{"plain", "", object{body: pngBody(16 << 20), etag: `"x"`}, "basemap"},
		{"decompressed", "", object{body: store(t, "\x1a"+filler(16<<20)), etag: `"x"`}, "roads"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t, func(s *setup) {
				s.cache.MaxObject, s.proxy.WriteStall, s.server.WriteStall = 32<<20, 200*time.Millisecond, 200*time.Millisecond
			})
			w.origin.put(test.tileset, 1, 0, 0, test.object)
			conn := w.dial()
			fmt.Fprintf(conn, "GET /tiles/%s/1/0/0 HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n\r\n", test.tileset, w.bearer()[1])
			line := w.access.waitFor(1)[0]
			if !strings.Contains(line, `"aborted":true`) {
				t.Errorf("got line %s", line)
			}
			if retired := w.cache.Stats().Retired; retired != 0 {
				t.Errorf("%d bytes are still held for it", retired)
			}
			if got, err := io.Copy(io.Discard, conn); err == nil && got >= 16<<20 {
				t.Errorf("it got everything, %d bytes", got)
			}
		})
	}
}

func TestStalledHTTP2StreamIsCutOff(t *testing.T) {
	w := start(t, func(s *setup) {
		s.cache.MaxObject, s.proxy.WriteStall, s.server.WriteStall = 32<<20, 200*time.Millisecond, 200*time.Millisecond
	})
	w.origin.put("basemap", 1, 0, 0, object{body: pngBody(16 << 20), etag: `"x"`})
	w.origin.put("basemap", 1, 1, 0, tilePNG)
	client := cleartextHTTP2(t)
	response, err := client.Do(w.request("GET", "/tiles/basemap/1/0/0", "", w.bearer()...)) // its body is not read: the window closes
	if err != nil {
		t.Fatal(err)
	}
	if line := w.access.waitFor(1)[0]; !strings.Contains(line, `"aborted":true`) {
		t.Errorf("got line %s", line)
	}
	if got := readAll(response); got.err == nil {
		t.Error("the stream ended as if it were whole")
	}
	if got := w.send(client, w.request("GET", "/tiles/basemap/1/1/0", "", w.bearer()...)); got.status != 200 {
		t.Errorf("the connection's other streams: got %d", got.status)
	}
}

// An origin may take longer than a client's write may stall: waiting is not stalling.
func TestSlowOriginIsNotAStalledClient(t *testing.T) {
	for name, client := range map[string]*http.Client{"HTTP/1.1": newClient(t), "HTTP/2": cleartextHTTP2(t)} {
		t.Run(name, func(t *testing.T) {
			const stall = 50 * time.Millisecond
			w := start(t, func(s *setup) { s.proxy.WriteStall, s.server.WriteStall = stall, stall })
			w.origin.respond(func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
				<-time.After(4 * stall)
				return wholeObject(pngBody(200_000)), nil
			})
			response, err := client.Do(w.request("GET", "/tiles/basemap/1/0/0", "", w.bearer()...))
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(response); got.status != 200 || got.body != pngBody(200_000) {
				t.Errorf("got %d, %d bytes, %v", got.status, len(got.body), got.err)
			}
		})
	}
}

// A client that is promised to send a body and does not is not waited for without end.
func TestSlowBodyIsCutOff(t *testing.T) {
	w := start(t, func(s *setup) { s.server.ReadHeader, s.proxy.ReadBody = 100*time.Millisecond, 100*time.Millisecond })
	for _, head := range []string{
		"POST /tokens HTTP/1.1\r\nHost: x\r\nAuthorization: " + w.bearer()[1] + "\r\nContent-Length: 100\r\n\r\n{",
		"POST /tokens HTTP/1.1\r\nHost: x\r\nAuthorization: " + w.bearer()[1] + "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
		"POST /session HTTP/1.1\r\nHost: x\r\nAuthorization: " + w.bearer()[1] + "\r\nContent-Length: 100\r\n\r\n{",
		"GET /tiles/basemap/1/0/0 HTTP/1.1\r\nHost: x\r\nAuthorization: " + w.bearer()[1] + "\r\nContent-Length: 100\r\n\r\n{",
	} {
		conn := w.dial()
		fmt.Fprint(conn, head)
		said := closed(t, conn)
		if strings.HasPrefix(head, "POST /tokens") && !strings.HasPrefix(said, "HTTP/1.1 4") {
			t.Errorf("%.20s: got %q", head, said)
		}
	}
}

func TestGracefulShutdown(t *testing.T) {
	w, s := build(t)
	started := w.origin.lives(1000)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address, w.client = l.Addr().String(), newClient(t)
	s.server.Handler = w.proxy
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(ctx, l, time.Minute) }()
	answered := make(chan reply, 1)
	header := w.bearer()
	go func() {
		response, err := w.client.Do(w.request("GET", "/tiles/basemap/1/0/0", "", header...))
		if err != nil {
			answered <- reply{err: err}
			return
		}
		answered <- readAll(response)
	}()
	fill := <-started
	stop()
	for { // until it takes no connections any more
		conn, err := net.Dial("tcp", w.address)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	send(t, fill, pngBody(1000))
	_ = fill.Close()
	if got := <-answered; got.status != 200 || got.body != pngBody(1000) || got.err != nil {
		t.Errorf("the request under way: got %d, %v", got.status, got.err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestShutdownHasAnEnd(t *testing.T) {
	w, s := build(t)
	started := w.origin.lives(1000)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address, w.client = l.Addr().String(), newClient(t)
	s.server.Handler, s.server.Logger = w.proxy, nil
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(ctx, l, 20*time.Millisecond) }()
	_, left := w.cancellable("/tiles/basemap/1/0/0", w.bearer()...)
	<-started
	stop()
	if err := <-ended; err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that requests were still under way", err)
	}
	if err := <-left; err == nil {
		t.Error("the request that was cut off looks complete")
	}
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := (&wire.Server{Handler: http.NotFoundHandler()}).Serve(context.Background(), l, time.Second); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
