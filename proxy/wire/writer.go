package wire

import (
	"cmp"
	"crypto/tls"
	"net/http"
	"time"
)

// Writer is the response writer of one request. It knows what has been sent, and cuts off a client that
// takes nothing for longer than a stall. The zero value is of no use: Begin makes it ready. It may be
// reused for another request once End has been called.
type Writer struct {
	http.ResponseWriter
	status  int
	bytes   int64
	stall   time.Duration // how long one write may take
	renewAt time.Time     // from when on the header needs a new deadline for its write
	conn    *connection   // nil in tests without a listener
	stream  *stream       // of HTTP/2; nil over HTTP/1

	together *gathering // the whole body has been written, until End

	fields []field // set and not yet sent
	lines  []byte  // the same as header lines; kept for its memory
}

// Begin makes w the writer of the request r, which came in at start. Over HTTP/1.1 the answer gets a
// deadline for its write; an answer that takes a while to find gets a new one with its header.
func (w *Writer) Begin(rw http.ResponseWriter, r *http.Request, start time.Time, stall time.Duration) {
	*w = Writer{
		ResponseWriter: rw, stall: stall, renewAt: start.Add(stall / 8), conn: connectionOf(r),
		fields: w.fields[:0], lines: w.lines[:0],
	}
	switch {
	case w.conn == nil:
	case r.ProtoMajor > 1:
		w.stream = newStream(w.conn, rw, stall)
	default:
		_ = w.conn.socket.SetWriteDeadline(start.Add(stall)) // the server's own is longer
	}
}

// Finish sends what net/http still holds of an HTTP/2 answer, under the watch that its writes had: the client
// may take nothing of it, either. An error says that the client has not got the whole answer.
func (w *Writer) Finish() error {
	if w.stream == nil {
		return nil // the answer has a deadline
	}
	return w.stream.flush()
}

// End ends the watch over the request's writes. It must be called once, after the last of them. Of what w
// refers to only memory for the next request is left.
func (w *Writer) End() {
	if w.stream != nil {
		w.conn.unwatch(w.stream)
	}
	if w.together != nil {
		w.together.leave() // the end of the stream, which net/http writes when the handler has returned, sends it
	}
	clear(w.fields)
	*w = Writer{fields: w.fields[:0], lines: w.lines[:0]}
}

// joins reports whether the writes of an answer can be joined.
func (w *Writer) joins() bool { return w.stream == nil && w.conn != nil }

// Unwrap lets http.ResponseController reach the connection.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Status is the status that has been sent, 0 before the header is out.
func (w *Writer) Status() int { return w.status }

// Bytes is how much of the body has been written.
func (w *Writer) Bytes() int64 { return w.bytes }

// WriteHeader sends the header with this status.
func (w *Writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		if now := time.Now(); !now.Before(w.renewAt) {
			w.ExtendDeadline(now)
		}
		w.place(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (w *Writer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	var n int
	var err error
	if w.stream != nil {
		n, err = w.stream.write(w.ResponseWriter, b)
	} else {
		n, err = w.ResponseWriter.Write(b)
	}
	w.bytes += int64(n)
	return n, err
}

// WriteWhole sends the whole body. It leaves in one write together with the header; over HTTP/2, together
// with the end of the stream, and with what other streams of the connection send at the same time.
func (w *Writer) WriteWhole(b []byte) error {
	switch {
	case w.conn == nil:
		_, err := w.Write(b)
		return err
	case w.stream != nil:
		if w.together == nil {
			w.together = w.conn.socket.gather()
		}
		_, err := w.Write(b)
		return err
	}
	w.conn.socket.hold()
	_, err := w.Write(b)
	if err == nil { // net/http's buffer may have the end of the body
		err = http.NewResponseController(w.ResponseWriter).Flush()
	}
	return cmp.Or(err, w.conn.socket.release())
}

// ExtendDeadline gives the client another stall's time, from now, to take what is written next.
func (w *Writer) ExtendDeadline(now time.Time) {
	if w.stream != nil {
		return // it is watched
	}
	// A writer without deadlines (a test's recorder) has no connection that could stall.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(w.stall))
}

// FlushError sends what has been written so far. http.ResponseController finds it by this name.
func (w *Writer) FlushError() error {
	if w.stream != nil {
		return w.stream.flush()
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Interrupt returns what makes a write that waits for this client fail. It may be called from another
// goroutine, until End is called.
func (w *Writer) Interrupt() func() {
	if w.stream != nil {
		return w.stream.interrupt
	}
	controller := http.NewResponseController(w.ResponseWriter)
	return func() { _ = controller.SetWriteDeadline(past) } // without deadlines there is nothing to interrupt
}

// Reset makes an abort felt where it would look like an end: in HTTP/1.0, which nginx speaks to its
// upstreams unless told otherwise, an answer of unknown length ends with its connection.
func (w *Writer) Reset(r *http.Request) {
	if r.ProtoAtLeast(1, 1) {
		return
	}
	conn, _, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return // a test's recorder
	}
	if overTLS, ok := conn.(*tls.Conn); ok {
		conn = overTLS.NetConn()
	}
	if overTCP, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = overTCP.SetLinger(0) // closing then sends RST in place of FIN
	}
	_ = conn.Close() // it is meant to fail
}
