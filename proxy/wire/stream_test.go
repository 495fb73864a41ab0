package wire_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"tilegate/internal/bubble"
	"tilegate/proxy/wire"
)

// pipes is a listener in memory, so that a test's link runs on the virtual clock of its bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// streams is an HTTP/2 client whose reading is in the test's hands.
type streams struct {
	*http2.Framer
	t      *testing.T
	fields bytes.Buffer
	hpack  *hpack.Encoder
	next   uint32
}

func newStreams(t *testing.T, conn net.Conn, streamWindow, connWindow uint32) *streams {
	t.Helper()
	c := &streams{Framer: http2.NewFramer(conn, conn), t: t, next: 1}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c.begin(streamWindow)
	const initial = 1<<16 - 1 // RFC 9113 section 6.9.2
	if connWindow > initial {
		if err := c.WriteWindowUpdate(0, connWindow-initial); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// begin says what each stream may be sent.
func (c *streams) begin(streamWindow uint32) {
	c.t.Helper()
	c.hpack = hpack.NewEncoder(&c.fields)
	if err := c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *streams) get(path string) {
	c.t.Helper()
	if err := c.tryGet(path); err != nil {
		c.t.Error(err)
	}
}

func (c *streams) tryGet(path string) error {
	c.fields.Reset()
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", path}} {
		if err := c.hpack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next, BlockFragment: c.fields.Bytes(), EndStream: true, EndHeaders: true})
	c.next += 2
	return err
}

// serve answers every request with size bytes until stop is called.
func serve(t *testing.T, l net.Listener, size int, stall time.Duration) (stop func()) {
	body := make([]byte, size)
	return serveWith(t, l, nil, stall, func(w *wire.Writer) {
		if err := cmp.Or(w.WriteWhole(body), w.Finish()); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
}

func serveWith(t *testing.T, l net.Listener, config *tls.Config, stall time.Duration, answer func(*wire.Writer)) (stop func()) {
	server := &wire.Server{TLS: config, WriteStall: stall, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var w wire.Writer
		w.Begin(rw, r, time.Now(), stall)
		defer w.End()
		answer(&w)
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

// Sixty tiles on a slow link each take far longer than the stall, and all of them arrive: whether the link
// itself is full, or the client opens the connection's window no faster.
func TestHTTP2StreamsWaitForTheirTurn(t *testing.T) {
	const tiles, size, stall = 60, 40_000, 400 * time.Millisecond
	for name, window := range map[string]uint32{"full link": 1 << 30, "small window": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				stop := serve(t, l, size, stall)
				conn := l.dial()
				c := newStreams(t, conn, 1<<20, window)
				answers := make(chan struct{})
				requested := make(chan struct{})
				go func() { // requests and answers cross on the pipe, which holds nothing
					defer close(requested)
					for i := range tiles {
						c.get(fmt.Sprintf("/%d", i))
					}
				}()
				begun := time.Now()
				go func() {
					defer close(answers)
					whole, read := 0, uint32(0)
					for whole < tiles {
						frame, err := c.ReadFrame()
						if err != nil {
							t.Errorf("after %d of %d: %v", whole, tiles, err)
							return
						}
						switch f := frame.(type) {
						case *http2.DataFrame:
							if f.StreamEnded() {
								whole++
							}
							bubble.Advance(8 * time.Millisecond) // the link, by the bubble's clock
							read += uint32(len(f.Data()))
							if read >= 32<<10 { // as clients do: at half of the initial window
								<-requested
								if err := c.WriteWindowUpdate(0, read); err != nil {
									t.Error(err)
									return
								}
								read = 0
							}
						case *http2.RSTStreamFrame:
							t.Errorf("stream %d was reset after %d of %d", f.StreamID, whole, tiles)
							return
						}
					}
				}()
				<-answers
				if took := time.Since(begun); took < 3*stall {
					t.Errorf("took %s, which shows nothing about streams that wait for longer than %s", took, stall)
				}
				_ = conn.Close()
				stop()
			})
		})
	}
}

// A client that opens its windows and then reads nothing is cut off after the stall.
func TestHTTP2StreamThatIsNotReadIsReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, l, 8<<20, 100*time.Millisecond)
	defer stop()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := newStreams(t, conn, 1<<16, 1<<30)
	c.get("/")
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			return
		}
		if _, ok := frame.(*http2.RSTStreamFrame); ok {
			return
		}
		if f, ok := frame.(*http2.DataFrame); ok && f.StreamEnded() {
			t.Fatal("the whole body came through a window of 64 KiB")
		}
	}
}

// An answer that net/http holds in its buffer when the handler returns ends like any other when its client
// opens no window for it.
func TestHTTP2AnswerThatIsNeverTakenIsReset(t *testing.T) {
	for name, size := range map[string]int{"small": 100, "large": 20_000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const stall = 30 * time.Second
				l := newPipes()
				stop := serve(t, l, size, stall)
				conn := l.dial()
				c := newStreams(t, conn, 0, 0)
				go c.get("/")
				begun := time.Now()
				for {
					frame, err := c.ReadFrame()
					if err != nil {
						t.Fatal(err)
					}
					if f, ok := frame.(*http2.DataFrame); ok && len(f.Data()) > 0 {
						t.Fatalf("got %d bytes through a window of none", len(f.Data()))
					}
					if f, ok := frame.(*http2.PingFrame); ok && !f.IsAck() {
						go func() { _ = c.WritePing(true, f.Data) }()
					}
					if _, ok := frame.(*http2.RSTStreamFrame); ok {
						break
					}
				}
				if took := time.Since(begun); took < stall || took > 3*stall/2 {
					t.Errorf("reset after %s, want one stall of %s or little more", took, stall)
				}
				_ = conn.Close()
				stop()
			})
		})
	}
}

// countedWrites counts what its connections write.
type countedWrites struct {
	net.Listener
	writes atomic.Int64
}

type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (l *countedWrites) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countedConn{conn, &l.writes}, err
}

func (c countedConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// net/http writes an HTTP/2 answer in up to five pieces. A tile leaves in one, with its header and the end of its
// stream, and tiles that are asked for together leave together.
func TestHTTP2TileLeavesInOneWrite(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	for name, config := range map[string]*tls.Config{"cleartext": nil, "TLS": {Certificates: certificate.TLS.Certificates, NextProtos: []string{"h2"}}} {
		for _, size := range []int{1, 3000, 4096, 5000, 20_000, 32 << 10, 60_000} {
			t.Run(fmt.Sprintf("%s/%d bytes", name, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pipes := newPipes()
					l := &countedWrites{Listener: pipes}
					stop := serveWith(t, l, config, time.Minute, func(w *wire.Writer) {
						if err := cmp.Or(w.WriteWhole(make([]byte, size)), w.Finish()); err != nil {
							t.Error(err)
						}
						bubble.Advance(time.Microsecond) // net/http writes the last piece when Write has returned
					})
					conn := pipes.dial()
					if config != nil {
						conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
					}
					c := newStreams(t, conn, 1<<20, 1<<30)
					ask := func() (writes int64) {
						synctest.Wait()
						before := l.writes.Load()
						c.get("/")
						for got := 0; ; {
							frame, err := c.ReadFrame()
							if err != nil {
								t.Fatal(err)
							}
							if f, ok := frame.(*http2.DataFrame); ok {
								if got += len(f.Data()); f.StreamEnded() {
									if got != size {
										t.Errorf("got %d bytes, want %d", got, size)
									}
									return l.writes.Load() - before
								}
							}
						}
					}
					ask()                                                   // with the handshake
					if writes := ask(); (writes == 1) != (size <= 32<<10) { // the last one shows that the count counts
						t.Errorf("it left in %d writes", writes)
					}
					_ = conn.Close()
					stop()
				})
			})
		}
	}
}

// What waits for a stream whose window is full does not wait for long: its client opens the window when it has it.
func TestHTTP2TileThroughASmallWindow(t *testing.T) {
	const window, size = 3000, 30_000
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		stop := serve(t, l, size, time.Minute)
		conn := l.dial()
		c := newStreams(t, conn, window, 1<<30)
		c.get("/")
		begun := time.Now()
		for got, ended := 0, false; !ended; {
			frame, err := c.ReadFrame()
			if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			f, ok := frame.(*http2.DataFrame)
			if !ok {
				continue
			}
			ended = f.StreamEnded()
			if got += len(f.Data()); got%window == 0 && !ended {
				if err := c.WriteWindowUpdate(f.StreamID, window); err != nil {
					t.Fatal(err)
				}
			}
		}
		if took := time.Since(begun); took > size/window*2*time.Millisecond {
			t.Errorf("took %s", took)
		}
		_ = conn.Close()
		stop()
	})
}
