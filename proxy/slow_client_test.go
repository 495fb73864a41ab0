package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawHTTP2 is a client whose reading is in the test's hands.
type rawHTTP2 struct {
	*http2.Framer
	t      *testing.T
	w      *world
	conn   net.Conn
	fields bytes.Buffer
	hpack  *hpack.Encoder
	next   uint32 // stream

	anonymous bool   // sends no token
	forwarded string // X-Forwarded-For
	verify    string // X-Origin-Verify
	decode    *hpack.Decoder
}

// dialHTTP2 opens a connection whose streams may send streamWindow bytes each before they wait, and all of
// them together connWindow.
func dialHTTP2(t *testing.T, w *world, streamWindow, connWindow uint32) *rawHTTP2 {
	t.Helper()
	c := &rawHTTP2{t: t, w: w, conn: w.dial(), next: 1}
	c.Framer = http2.NewFramer(c.conn, c.conn)
	c.hpack = hpack.NewEncoder(&c.fields)
	_, err := io.WriteString(c.conn, http2.ClientPreface)
	if err == nil {
		err = c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow})
	}
	const initial = 1<<16 - 1 // RFC 9113 section 6.9.2
	if err == nil && connWindow > initial {
		err = c.WriteWindowUpdate(0, connWindow-initial)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *rawHTTP2) get(path string) {
	c.t.Helper()
	c.fields.Reset()
	fields := [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", path}}
	if !c.anonymous {
		fields = append(fields, [2]string{"authorization", c.w.bearer()[1]})
	}
	if c.forwarded != "" {
		fields = append(fields, [2]string{"x-forwarded-for", c.forwarded})
	}
	if c.verify != "" {
		fields = append(fields, [2]string{"x-origin-verify", c.verify})
	}
	for _, f := range fields {
		if err := c.hpack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			c.t.Fatal(err)
		}
	}
	err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next, BlockFragment: c.fields.Bytes(), EndStream: true, EndHeaders: true})
	if err != nil {
		c.t.Fatal(err)
	}
	c.next += 2
}

// answer reads on to the next header of an answer, or the reset of a stream. It returns the status, or why
// the stream was reset, and whether the stream has ended.
func (c *rawHTTP2) answer() (status string, ended bool) {
	c.t.Helper()
	if c.decode == nil {
		c.decode = hpack.NewDecoder(4096, nil)
	}
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return err.Error(), true
		}
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			fields, err := c.decode.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				c.t.Fatal(err)
			}
			for _, field := range fields {
				switch field.Name {
				case ":status":
					status = field.Value
				case "retry-after":
					status += " retry after " + field.Value
				}
			}
			return status, f.StreamEnded()
		case *http2.RSTStreamFrame:
			return f.ErrCode.String(), true
		}
	}
}

// receiveBuffer bounds what the kernel reads on a client's behalf.
func receiveBuffer(conn net.Conn, size int) { _ = conn.(*net.TCPConn).SetReadBuffer(size) }

// A client that has opened its windows and then reads nothing of the connection holds up neither the
// streams, which could not even be reset on it, nor what others need the memory for.
func TestHTTP2ClientThatReadsNothingIsCutOff(t *testing.T) {
	const streams = 4
	for _, test := range []struct {
		name   string
		size   int
		memory int64
		stall  time.Duration
	}{
		{"after write_stall", 4 << 20, 256 << 20, 200 * time.Millisecond},
		{"when others need the memory", 16 << 20, 40 << 20, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := start(t, func(s *setup) {
				s.cache.Memory, s.cache.MaxObject = test.memory, 32<<20
				s.proxy.WriteStall, s.server.WriteStall = test.stall, test.stall
			})
			body := pngBody(test.size)
			for x := range uint32(streams) {
				w.origin.put("basemap", 3, x, 0, object{body: body, etag: `"x"`})
			}
			c := dialHTTP2(t, w, 1<<30, 1<<30)
			receiveBuffer(c.conn, 16<<10)
			for x := range streams {
				c.get(fmt.Sprintf("/tiles/basemap/3/%d/0", x))
			}
			for _, line := range w.access.waitFor(streams) {
				if !strings.Contains(line, `"aborted":`) && !strings.Contains(line, `"status":499`) {
					t.Errorf("got line %s", line)
				}
			}
			if retired := w.cache.Stats().Retired; retired != 0 {
				t.Errorf("%d bytes are still held for it", retired)
			}
		})
	}
}

// A client that reads slowly, but all the time, is not stalled. wire's TestKernelHoldsLittleUnsent shows the
// other half: how little the kernel buffers for it.
func TestSteadySlowReaderIsServed(t *testing.T) {
	const size, stall = 5 << 20, 3 * time.Second
	w := start(t, func(s *setup) {
		s.cache.MaxObject, s.proxy.WriteStall, s.server.WriteStall = 32<<20, stall, stall
	})
	w.origin.put("basemap", 1, 0, 0, object{body: pngBody(size), etag: `"x"`})
	conn := w.dial()
	receiveBuffer(conn, 128<<10)
	fmt.Fprintf(conn, "GET /tiles/basemap/1/0/0 HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nConnection: close\r\n\r\n", w.bearer()[1])
	link := time.NewTicker(8 * time.Millisecond) // 8 KiB each: 1 MB/s
	defer link.Stop()
	total, piece := 0, make([]byte, 8<<10)
	for {
		<-link.C
		n, err := conn.Read(piece)
		total += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("cut off after %d of %d bytes: %v", total, size, err)
		}
	}
	if total < size {
		t.Errorf("got %d of %d bytes", total, size)
	}
}
