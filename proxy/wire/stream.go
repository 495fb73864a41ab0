package wire

import (
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// streamPiece is what a stream writes at once, in bytes: half a frame, so that something completes
	// often even where a client's window splits frames among many streams.
	streamPiece = 8 << 10
	// maxStalls is how many stalls long a stream may wait for its turn while others get theirs.
	maxStalls = 10
	// stuckAfter is how long nothing has moved on a connection that is closed when one of its streams is
	// to be reset: a reset is itself something to send.
	stuckAfter = 500 * time.Millisecond
)

// past is a deadline that makes a write fail at once.
var past = time.Unix(1, 0)

// stream watches the writes of one HTTP/2 stream.
type stream struct {
	conn       *connection
	stall      time.Duration
	controller *http.ResponseController

	mu    sync.Mutex
	timer *time.Timer // from the first write on
	since time.Time   // when the write under way began; zero: none is
	ended bool
}

func newStream(conn *connection, w http.ResponseWriter, stall time.Duration) *stream {
	if conn == nil {
		conn = &connection{}
	}
	s := &stream{conn: conn, stall: stall, controller: http.NewResponseController(w)}
	_ = s.controller.SetWriteDeadline(time.Time{}) // the server's own runs even while nothing is written
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

// check resets a stalled stream. Otherwise it sets the time of the next check.
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
		if quiet >= s.stall || waited >= maxStalls*s.stall {
			_ = s.controller.SetWriteDeadline(past) // it fails where there is nothing left to reset
			return
		}
		next -= quiet
	}
	s.timer.Reset(next)
}

// end stops watching. What the server still holds of the answer, less than 4 KiB, gets a plain deadline.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	_ = s.controller.SetWriteDeadline(time.Now().Add(maxStalls * s.stall)) // as in check
}

// interrupt makes a write that waits fail. It resets the stream, and closes the connection where not even
// the reset can be sent.
func (s *stream) interrupt() {
	_ = s.controller.SetWriteDeadline(past) // as in check
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
