package wire_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"tilegate/internal/bubble"
	"tilegate/proxy/wire"
)

// from is a connection in memory that comes from an address.
type from struct {
	net.Conn
	address net.Addr
}

func (c from) RemoteAddr() net.Addr { return c.address }

// dialFrom opens a connection that the server sees come from an address.
func (p *pipes) dialFrom(address string) net.Conn {
	client, server := net.Pipe()
	p.conns <- from{server, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1234))}
	return client
}

// counted answers every request with size bytes, and those that are refused with a status alone.
func counted(t *testing.T, l net.Listener, clients *wire.Clients, size int, stall time.Duration) (stop func()) {
	t.Helper()
	body := make([]byte, size)
	server := &wire.Server{WriteStall: stall, Clients: clients, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var w wire.Writer
		w.Begin(rw, r, time.Now(), stall)
		entry, err := clients.Enter(&w, netip.Addr{})
		defer func() {
			if err == nil { // a refusal does not wait for its client
				_ = w.Finish()
			}
			w.End()
			entry.Leave(time.Now())
		}()
		switch {
		case errors.Is(err, wire.ErrFlood):
			panic(http.ErrAbortHandler)
		case errors.Is(err, wire.ErrClientBusy):
			w.WriteHeader(http.StatusTooManyRequests)
			return
		case err != nil:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if werr := w.WriteWhole(body); werr != nil {
			err = werr
			panic(http.ErrAbortHandler)
		}
	})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l, time.Minute) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// frames reads frames until the connection ends.
func (c *streams) frames() <-chan http2.Frame {
	out := make(chan http2.Frame, 1000)
	go func() {
		defer close(out)
		for {
			frame, err := c.ReadFrame()
			if err != nil {
				return
			}
			switch frame.(type) {
			case *http2.HeadersFrame, *http2.RSTStreamFrame:
				out <- frame
			}
		}
	}()
	return out
}

// Streams whose client opens no window, or takes all of the answer but its end, are reset after the stall:
// answers that fit into net/http's buffer, such as a 401, like tiles.
func TestStreamsThatNobodyReadsEndWithTheStall(t *testing.T) {
	const stall = 3 * time.Second
	for _, size := range []int{1, 100, 4095, 4096, 4097, 8192, 8193, 12_287, 12_289, 20_000} {
		for _, window := range []int{0, size - 1} {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				stop := counted(t, l, nil, size, stall)
				conn := l.dial()
				c := newStreams(t, conn, uint32(window), 1<<20)
				frames := c.frames()
				begun := time.Now()
				c.get("/")
				for frame := range frames {
					if _, ok := frame.(*http2.RSTStreamFrame); ok {
						break
					}
				}
				// The stream is looked at once in a stall, so it may take two.
				if took := time.Since(begun); took < stall || took > 2*stall {
					t.Errorf("%d bytes, window %d: reset after %s, want %s", size, window, took, stall)
				}
				_ = conn.Close()
				stop()
			})
		}
	}
}

// 250 streams with a window of 0 on each of many connections: one client holds what its limit allows, is
// then refused, and in the end shut out. Another one notices nothing.
func TestStreamsWithoutWindowAreBoundedByClient(t *testing.T) {
	const limit, perConnection, connections = 20, 15, 20
	synctest.Test(t, func(t *testing.T) {
		logged := &lines{}
		clients := wire.NewClients(wire.ClientLimits{ClientRequests: limit, Logger: slog.New(slog.NewTextHandler(logged, nil))})
		l := newPipes()
		stop := counted(t, l, clients, 100, 10*time.Second)
		var refused, closed sync.Map
		var open []net.Conn
		for i := range connections {
			conn := l.dialFrom("192.0.2.1")
			open = append(open, conn)
			synctest.Wait()
			if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
				closed.Store(i, true)
				continue
			}
			c := &streams{Framer: http2.NewFramer(conn, conn), t: t, next: 1}
			c.begin(0)
			go func() {
				for frame := range c.frames() {
					if h, ok := frame.(*http2.HeadersFrame); ok && h.StreamEnded() {
						refused.Store([2]int{i, int(h.StreamID)}, true)
					}
				}
				closed.Store(i, true)
			}()
			for range perConnection {
				if c.tryGet("/") != nil {
					break
				}
				synctest.Wait()
			}
			synctest.Wait()
			if _, held := clients.Counts(); held > limit {
				t.Fatalf("%d requests are held, want at most %d", held, limit)
			}
		}
		n, shut := size(&refused), size(&closed)
		if n == 0 || n > 300 {
			t.Errorf("%d requests were refused", n)
		}
		if shut == 0 {
			t.Error("no connection was closed after hundreds of refusals")
		}
		if got := strings.Count(logged.String(), "client=192.0.2.1"); got != 1 {
			t.Errorf("the log names the client %d times:\n%s", got, logged)
		}
		other := newStreams(t, l.dialFrom("192.0.2.2"), 1<<20, 1<<20)
		answers := other.frames()
		other.get("/")
		if h, ok := (<-answers).(*http2.HeadersFrame); !ok || h.StreamEnded() {
			t.Error("another client is refused")
		}
		bubble.Advance(time.Minute) // by the bubble's clock: what is held is reset
		if _, held := clients.Counts(); held != 0 {
			t.Errorf("%d requests are held after the stall", held)
		}
		for _, conn := range open {
			_ = conn.Close()
		}
		bubble.Advance(time.Minute)
		again := newStreams(t, l.dialFrom("192.0.2.1"), 1<<20, 1<<20)
		answers = again.frames()
		again.get("/")
		if h, ok := (<-answers).(*http2.HeadersFrame); !ok || h.StreamEnded() {
			t.Error("the client is still refused")
		}
		stop()
		if connections, _ := clients.Counts(); connections != 0 {
			t.Errorf("%d connections are still counted", connections)
		}
	})
}

func size(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

// Over its limit, a client's oldest idle connections make room, and without one it gets no more.
func TestManyConnectionsOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clients := wire.NewClients(wire.ClientLimits{ClientConnections: 2})
		l := newPipes()
		stop := counted(t, l, clients, 100, time.Minute)
		ended := make(chan string, 10)
		dial := func(name, address string) net.Conn {
			conn := l.dialFrom(address)
			go func() {
				_, _ = io.Copy(io.Discard, conn) // until it is closed
				ended <- name
			}()
			synctest.Wait()
			return conn
		}
		dial("first", "192.0.2.1")
		second := dial("second", "192.0.2.1")
		dial("third", "192.0.2.1")
		if got := <-ended; got != "third" {
			t.Errorf("%s was closed, although the third was one too many and no connection was idle", got)
		}
		dial("another", "192.0.2.2")
		bubble.Advance(2 * time.Second)
		if _, err := io.WriteString(second, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil { // answered a moment ago, so not idle
			t.Fatal(err)
		}
		synctest.Wait()
		dial("fourth", "192.0.2.1")
		if got := <-ended; got != "first" {
			t.Errorf("%s was closed, want the one that was idle", got)
		}
		if connections, _ := clients.Counts(); connections != 3 {
			t.Errorf("%d connections are counted, want 3", connections)
		}
		if got := clients.Refused()["client_connections"]; got != 2 {
			t.Errorf("%d refusals were counted, want 2", got)
		}
		bubble.Advance(10 * time.Minute) // they are idle for too long
		if connections, _ := clients.Counts(); connections != 0 {
			t.Errorf("%d connections are still counted", connections)
		}
		stop()
	})
}

// A proxy's connections are not limited by its address.
func TestConnectionsOfATrustedProxyAreNotLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clients := wire.NewClients(wire.ClientLimits{ClientConnections: 1, ClientRequests: 1, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		l := newPipes()
		stop := counted(t, l, clients, 100, time.Minute)
		for range 5 {
			c := newStreams(t, l.dialFrom("10.1.2.3"), 0, 1<<20)
			answers := c.frames()
			for range 3 {
				c.get("/")
				if h, ok := (<-answers).(*http2.HeadersFrame); !ok || h.StreamEnded() {
					t.Error("a proxy is refused")
				}
			}
		}
		if connections, requests := clients.Counts(); connections != 5 || requests != 15 {
			t.Errorf("got %d connections and %d requests", connections, requests)
		}
		bubble.Advance(10 * time.Minute)
		stop()
	})
}

// A limit of all requests hits those first who hold many of them.
func TestModestClientsGoOnWhenThereAreTooManyRequests(t *testing.T) {
	clients := wire.NewClients(wire.ClientLimits{Requests: 100})
	enter := func(address string) error {
		_, err := clients.Enter(&wire.Writer{}, netip.MustParseAddr(address))
		return err
	}
	for i := range 100 {
		if err := enter("192.0.2.1"); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if err := enter("192.0.2.1"); !errors.Is(err, wire.ErrServerBusy) {
		t.Errorf("the client that holds all of them gets %v", err)
	}
	if err := enter("192.0.2.2"); err != nil {
		t.Errorf("another gets %v", err)
	}
	for range 200 {
		_ = enter("192.0.2.1") // refused, and still counted
	}
	if err := enter("192.0.2.3"); !errors.Is(err, wire.ErrServerBusy) {
		t.Errorf("far over the limit, a new client gets %v", err)
	}
}

// lines collects a log.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// A client that is refused all the time is named once a minute, with how often; many clients share a line.
func TestRefusedClientIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logged := &lines{}
		clients := wire.NewClients(wire.ClientLimits{ClientRequests: 1, Logger: slog.New(slog.NewTextHandler(logged, nil))})
		refuse := func(address netip.Addr) {
			first, _ := clients.Enter(&wire.Writer{}, address)
			second, err := clients.Enter(&wire.Writer{}, address)
			if err == nil {
				t.Fatalf("%s is not refused", address)
			}
			first.Leave(time.Now())
			second.Leave(time.Now())
		}
		address := netip.MustParseAddr("192.0.2.1")
		for range 150 { // two and a half minutes
			refuse(address)
			bubble.Advance(time.Second)
		}
		for i, part := range []string{"refused=1 ", "refused=60 ", "refused=60 "} {
			all := strings.Split(strings.TrimSpace(logged.String()), "\n")
			if len(all) != 3 || !strings.Contains(all[i], "level=WARN") || !strings.Contains(all[i], "client=192.0.2.1") || !strings.Contains(all[i], part) {
				t.Fatalf("line %d of 3 lacks %s:\n%s", i, part, logged)
			}
		}
		for i := range 5000 { // each from a network of its own
			refuse(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i)}))
		}
		if got := strings.Count(logged.String(), "\n"); got > 1100 {
			t.Errorf("%d lines for 5,000 clients", got)
		}
		if !strings.Contains(logged.String(), "many clients refused") {
			t.Error("the log does not say that there were more")
		}
	})
}

// An IPv6 network of 64 bits is one client: it has addresses without end.
func TestAddressesOfOneIPv6NetworkAreOneClient(t *testing.T) {
	clients := wire.NewClients(wire.ClientLimits{ClientRequests: 1})
	for _, test := range []struct {
		address string
		refused bool
	}{
		{"2001:db8:1:2::1", false},
		{"2001:db8:1:2:ffff::9", true},
		{"2001:db8:1:3::1", false},
		{"192.0.2.1", false},
		{"::ffff:192.0.2.1", true},
		{"192.0.2.2", false},
	} {
		_, err := clients.Enter(&wire.Writer{}, netip.MustParseAddr(test.address))
		if got := errors.Is(err, wire.ErrClientBusy); got != test.refused {
			t.Errorf("%s: got %v", test.address, err)
		}
	}
}

// The memory limit hears of many connections or requests, and of their end, and not of each one.
func TestManyRequestsAreTold(t *testing.T) {
	told := 0
	clients := wire.NewClients(wire.ClientLimits{Changed: func() { told++ }})
	var entries []wire.Entry
	for range 10_000 {
		e, err := clients.Enter(&wire.Writer{}, netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	up := told
	for range 1000 { // around one number
		e, _ := clients.Enter(&wire.Writer{}, netip.Addr{})
		e.Leave(time.Now())
	}
	around := told - up
	for i := range entries {
		entries[i].Leave(time.Now())
	}
	if down := told - up; up < 20 || up > 50 || down < 20 || down > 50 || around > 1 {
		t.Errorf("told %d times up, %d around, %d down", up, around, down)
	}
	if _, requests := clients.Counts(); requests != 0 {
		t.Errorf("%d requests are left", requests)
	}
}

// A client that floods is shut out for a while, although all of its connections have been closed, and for
// longer when it does so again.
func TestFloodIsRememberedWithoutAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clients := wire.NewClients(wire.ClientLimits{ClientRequests: 1})
		l := newPipes()
		stop := counted(t, l, clients, 100, time.Minute)
		isOpen := func() bool { // whether a new connection is served
			conn := l.dialFrom("192.0.2.1")
			defer func() {
				_ = conn.Close()
				synctest.Wait()
			}()
			synctest.Wait()
			_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			return err == nil
		}
		flood := func() {
			conn := l.dialFrom("192.0.2.1")
			c := newStreams(t, conn, 0, 1<<20)
			frames := c.frames()
			for n := 0; c.tryGet("/") == nil; n++ {
				if synctest.Wait(); n > 1000 {
					t.Fatal("a thousand requests are not taken for a flood")
				}
			}
			for range frames { // until the connection is closed
				continue
			}
			_ = conn.Close()
			synctest.Wait()
		}
		for _, lasts := range []time.Duration{10 * time.Second, 20 * time.Second} {
			if !isOpen() {
				t.Fatal("refused before the flood")
			}
			flood()
			bubble.Advance(lasts - time.Second)
			if isOpen() {
				t.Errorf("served %s after a flood", lasts-time.Second)
			}
			bubble.Advance(2*time.Second + lasts/2)
			if !isOpen() {
				t.Errorf("refused %s after a flood", lasts+lasts/2+time.Second)
			}
		}
		stop()
	})
}

// Connections that come and go by the thousand do not replace each other: that would cost more than to
// hold them.
func TestFewConnectionsAreReplacedInASecond(t *testing.T) {
	const limit, replaced = 200, 64
	synctest.Test(t, func(t *testing.T) {
		clients := wire.NewClients(wire.ClientLimits{ClientConnections: limit})
		l := newPipes()
		stop := counted(t, l, clients, 100, time.Minute)
		var open, closed int
		ended := make(chan string, 3*limit)
		dial := func(name string) {
			conn := l.dialFrom("192.0.2.1")
			go func() {
				_, _ = io.Copy(io.Discard, conn) // until it is closed
				ended <- name
			}()
			synctest.Wait()
		}
		for range limit {
			dial("old")
		}
		bubble.Advance(1500 * time.Millisecond)
		for range limit {
			dial("new")
		}
		for range limit {
			switch <-ended {
			case "old":
				open++
			default:
				closed++
			}
		}
		if open != replaced || closed != limit-replaced {
			t.Errorf("%d made room, and %d new ones were closed, want %d and %d", open, closed, replaced, limit-replaced)
		}
		bubble.Advance(10 * time.Minute)
		stop()
	})
}
