package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// How long a client may take nothing before it is cut off. Over HTTP/1.1 each write has a deadline
// (exchange.extendDeadline), and the kernel is told to tell early that it has sent something. Over
// HTTP/2 a deadline would be wrong: streams share a connection, and one of sixty tiles on a slow link
// waits for its turn far longer than its own bytes take. There a stream is watched: it is stalled when
// it waits while nothing moves on the whole connection.

const (
	// streamPiece is what a stream writes at once, in bytes: half a frame, so that something completes
	// often even where a client's window splits frames among many streams.
	streamPiece = 8 << 10
	// mostStalls is how many stalls long a stream may wait for its turn while others get theirs.
	mostStalls = 10
	// stuckAfter is how long nothing has moved on a connection that is closed when one of its streams was
	// to go: a reset is itself something to send.
	stuckAfter = 500 * time.Millisecond
)

// connection is a client's, shared by its requests.
type connection struct {
	socket net.Conn     // below TLS; nil in tests without a listener
	joined *joinedConn  // the same, where it can join writes
	moved  atomic.Int64 // Unix nanoseconds: the last time that a stream got rid of a piece
}

type connectionKey struct{}

// withConnection is an http.Server's ConnContext.
func withConnection(ctx context.Context, socket net.Conn) context.Context {
	if overTLS, ok := socket.(*tls.Conn); ok {
		socket = overTLS.NetConn()
	}
	c := &connection{socket: socket}
	switch overTCP := socket.(type) {
	case *net.TCPConn:
		limitUnsent(overTCP)
	case *joinedConn:
		limitUnsent(overTCP.TCPConn)
		c.joined = overTCP
	}
	c.moved.Store(time.Now().UnixNano())
	return context.WithValue(ctx, connectionKey{}, c)
}

// stream watches one HTTP/2 stream's writes.
type stream struct {
	conn       *connection
	stall      time.Duration
	controller *http.ResponseController

	mu    sync.Mutex
	timer *time.Timer // from the first write on
	since time.Time   // when the write under way began; zero: none is
	ended bool
}

// connectionOf finds a request's connection; tests may have none.
func connectionOf(r *http.Request) *connection {
	conn, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		conn = &connection{}
	}
	return conn
}

func newStream(r *http.Request, w http.ResponseWriter, stall time.Duration) *stream {
	s := &stream{conn: connectionOf(r), stall: stall, controller: http.NewResponseController(w)}
	_ = s.controller.SetWriteDeadline(time.Time{}) // the server's own, which runs even while nothing is written
	return s
}

// write sends b in pieces, so that progress shows.
func (s *stream) write(w io.Writer, b []byte) (n int, err error) {
	for {
		var m int
		piece := b[n:min(len(b), n+streamPiece)]
		s.watch(func() { m, err = w.Write(piece) })
		if n += m; err != nil || n >= len(b) {
			return n, err
		}
	}
}

func (s *stream) flush() (err error) {
	s.watch(func() { err = s.controller.Flush() })
	return err
}

// watch runs a write, which check may end.
func (s *stream) watch(write func()) {
	s.mu.Lock()
	s.since = time.Now()
	if s.timer == nil {
		s.timer = time.AfterFunc(s.stall, s.check)
	}
	s.mu.Unlock()
	write()
	now := time.Now()
	s.conn.moved.Store(now.UnixNano())
	s.mu.Lock()
	s.since = time.Time{}
	s.mu.Unlock()
}

// check resets a stalled stream, or comes again when it could be one.
func (s *stream) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	next := s.stall
	if !s.since.IsZero() {
		now := time.Now()
		waited := now.Sub(s.since)
		quiet := min(waited, s.conn.quiet(now))
		if quiet >= s.stall || waited >= mostStalls*s.stall {
			_ = s.controller.SetWriteDeadline(time.Unix(1, 0)) // it fails where there is nothing left to reset
			return
		}
		next -= quiet
	}
	s.timer.Reset(next)
}

// end stops watching. What the server still holds of the answer, less than 4 KiB, has a plain deadline.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	_ = s.controller.SetWriteDeadline(time.Now().Add(mostStalls * s.stall)) // as above
}

// cut makes a write that waits fail: by resetting the stream, and where not even that can be sent, by
// closing the connection.
func (s *stream) cut() {
	_ = s.controller.SetWriteDeadline(time.Unix(1, 0)) // as above
	time.AfterFunc(stuckAfter, s.closeIfStuck)
}

func (s *stream) closeIfStuck() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended || s.conn.socket == nil:
	case s.conn.quiet(time.Now()) >= stuckAfter:
		_ = s.conn.socket.Close() // its readers see that it has failed
	default:
		time.AfterFunc(stuckAfter, s.closeIfStuck)
	}
}

// quiet is for how long nothing has moved.
func (c *connection) quiet(now time.Time) time.Duration {
	return now.Sub(time.Unix(0, c.moved.Load()))
}
