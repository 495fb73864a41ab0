package wire

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// maxStalls is how many stalls long a stream may wait for its turn while others get theirs.
	maxStalls = 10
	// stuckAfter is how long nothing has moved on a connection that is closed when one of its streams is
	// to be reset: a reset is itself something to send.
	stuckAfter = 500 * time.Millisecond
)

// past is a deadline that makes a write fail at once.
var past = time.Unix(1, 0)

// stream is one HTTP/2 stream, whose writes its connection watches.
type stream struct {
	conn       *connection
	stall      time.Duration
	controller *http.ResponseController
	begun      int64        // looks at the connection when its deadline was set
	since      atomic.Int64 // looks when the write under way began, and 1; 0: none is under way

	// Guarded by the connection's lock.
	previous, next *stream
	ended          bool
}

func newStream(conn *connection, w http.ResponseWriter, stall time.Duration) *stream {
	s := &stream{conn: conn, stall: stall, controller: http.NewResponseController(w), begun: conn.looks.Load()}
	conn.watch(s)
	return s
}

// write sends b. The server has given the stream maxStalls to end; one that takes longer gets as much again.
func (s *stream) write(w io.Writer, b []byte) (int, error) {
	looks := s.conn.looks.Load()
	if looks-s.begun >= maxStalls*looksAStall/2 {
		s.begun = looks
		_ = s.controller.SetWriteDeadline(time.Now().Add(maxStalls * s.stall)) // as in look
	}
	s.since.Store(looks + 1)
	n, err := w.Write(b)
	s.since.Store(0)
	return n, err
}

func (s *stream) flush() error {
	s.since.Store(s.conn.looks.Load() + 1)
	err := s.controller.Flush()
	s.since.Store(0)
	return err
}

// interrupt makes a write that waits fail. It resets the stream, and closes the connection where not even
// the reset can be sent.
func (s *stream) interrupt() {
	_ = s.controller.SetWriteDeadline(past) // as in look
	s.closeIfStuck(s.conn.socket.sent.Load())
}

// closeIfStuck closes the connection when it has sent nothing since.
func (s *stream) closeIfStuck(since int64) {
	time.AfterFunc(stuckAfter, func() {
		s.conn.mu.Lock()
		ended := s.ended
		s.conn.mu.Unlock()
		switch sent := s.conn.socket.sent.Load(); {
		case ended:
		case sent-since < minProgress:
			_ = s.conn.socket.Close() // its readers see that it has failed
		default:
			s.closeIfStuck(sent)
		}
	})
}
