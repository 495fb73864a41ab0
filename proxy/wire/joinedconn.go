package wire

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// netHTTPBuffer is the size of net/http's buffer for an answer, in bytes. A larger answer leaves in two
// writes: the header with the beginning of the body, and the rest.
const netHTTPBuffer = 4 << 10

// joinedConn is a connection that can send what net/http writes in several pieces in one write, which costs
// several times what tilegate itself does for a cached tile. It counts what it sends. It can also put header lines behind the
// status line of an answer, so that they need not be in net/http's map.
//
// net/http writes an answer's header only when its buffer has been flushed since the answer before, so the
// first write after splice begins with the status line. Write refuses anything else.
type joinedConn struct {
	net.Conn               // usually a *net.TCPConn
	sent     atomic.Int64  // bytes
	collects bool          // below TLS, whose records all wait; else a large piece goes out at once, uncopied
	stall    time.Duration // how long a write of sendLate may take

	connection *connection               // what this is the socket of; nil in tests without a listener
	gathering  atomic.Pointer[gathering] // over HTTP/2; nil before the first

	mu      turn
	status  int         // of the answer whose status line is followed by buffer.lines; 0: none is
	holding bool        // writes wait for release
	buffer  *joined     // nil while nothing waits
	late    *time.Timer // of sendLate; nil before a stream's writes have waited
}

// gathering is when the writes of HTTP/2 streams wait for each other.
type gathering struct{ streams atomic.Int32 }

// joined is what waits on a joinedConn. Below TLS it collects all records of an answer: their plaintext is
// at most what WriteWhole is given.
type joined struct {
	lines  []byte // header lines, a copy: the answer may be sent when its Writer serves another request
	held   []byte
	pair   [2][]byte // what is sent as one; a field, so that it costs no allocation
	writev net.Buffers
}

const (
	// maxHeld bounds what is collected, in bytes: more is written at once, with what there is.
	maxHeld = 48 << 10
	// maxGather bounds how long a write waits for those of other streams. A stream whose window is full does not
	// write on before its client has got what waits.
	maxGather = time.Millisecond
	// closeGrace is how long Close may take to send what waits.
	closeGrace = 100 * time.Millisecond
)

var joinedBuffers = sync.Pool{New: func() any {
	return &joined{lines: make([]byte, 0, 1<<10), held: make([]byte, 0, netHTTPBuffer+maxLines)}
}}

// CloseWrite sends FIN. net/http closes so after an error, so that the client can read what was said of it.
func (c *joinedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// SetLinger is that of a TCP connection.
func (c *joinedConn) SetLinger(sec int) error {
	if overTCP, ok := c.Conn.(*net.TCPConn); ok {
		return overTCP.SetLinger(sec)
	}
	return nil
}

// send writes, and counts.
func (c *joinedConn) send(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

// splice puts lines behind the status line that is written next. Without any it forgets those of an answer
// that was never sent.
func (c *joinedConn) splice(status int, lines []byte) {
	c.mu.lock()
	defer c.mu.unlock()
	c.status = 0
	if len(lines) > 0 {
		c.status = status
		c.need()
		c.buffer.lines = append(c.buffer.lines[:0], lines...)
	}
}

// hold lets writes wait for release.
func (c *joinedConn) hold() {
	c.mu.lock()
	defer c.mu.unlock()
	c.holding = true
}

// release sends what waits.
func (c *joinedConn) release() error {
	c.mu.lock()
	defer c.mu.unlock()
	c.holding = false
	if !c.waits() {
		return nil
	}
	_, err := c.send(c.buffer.held)
	c.recycle()
	return err
}

// gather lets writes wait until every stream that gathers has left, for maxGather at most. Then the next
// write sends what waits: net/http always writes one more, the end of the stream. It writes a tile of 20 KB in
// five pieces, since frames leave through a buffer of 4 KiB.
func (c *joinedConn) gather() *gathering {
	g := c.gathering.Load()
	if g == nil {
		g = new(gathering)
		if !c.gathering.CompareAndSwap(nil, g) {
			g = c.gathering.Load()
		}
	}
	g.streams.Add(1)
	return g
}

func (g *gathering) leave() { g.streams.Add(-1) }

// gathers reports whether the writes of streams wait.
func (c *joinedConn) gathers() bool {
	g := c.gathering.Load()
	return g != nil && g.streams.Load() > 0
}

// sendLate sends what has waited for maxGather.
func (c *joinedConn) sendLate() {
	c.mu.lock()
	defer c.mu.unlock()
	c.gathering.Store(new(gathering)) // the streams of the one before make nobody wait any more
	if !c.waits() {
		return
	}
	// net/http sets a deadline before each write of its own, so this one may stay.
	_ = c.SetWriteDeadline(time.Now().Add(c.stall))
	_, err := c.send(c.buffer.held)
	c.recycle()
	if err != nil {
		_ = c.Conn.Close() // net/http believes that the bytes were sent
	}
}

// Close sends what waits, unless the connection is stuck, and closes.
func (c *joinedConn) Close() error {
	if c.mu.tryLock() { // else a write is under way, which closing ends
		if c.waits() {
			_ = c.SetWriteDeadline(time.Now().Add(closeGrace))
			_, _ = c.send(c.buffer.held) // the connection ends either way
			c.recycle()
		}
		c.mu.unlock()
	}
	return c.Conn.Close()
}

func (c *joinedConn) waits() bool { return c.buffer != nil && len(c.buffer.held) > 0 }

func (c *joinedConn) need() {
	if c.buffer == nil {
		c.buffer = joinedBuffers.Get().(*joined) //nolint:forcetypeassert // the pool holds nothing else
	}
}

func (c *joinedConn) recycle() {
	if c.late != nil {
		c.late.Stop()
	}
	b := c.buffer
	c.buffer = nil
	if cap(b.held) <= maxHeld {
		b.held = b.held[:0]
		joinedBuffers.Put(b)
	}
}

// collect adds b to what waits, behind its status line the lines.
func (c *joinedConn) collect(b []byte) error {
	if c.gathers() && !c.waits() {
		if c.late == nil {
			c.late = time.AfterFunc(maxGather, c.sendLate)
		} else {
			c.late.Reset(maxGather)
		}
	}
	c.need()
	held := c.buffer.held
	if c.status != 0 {
		end, err := statusLine(b, c.status)
		if err != nil {
			return err
		}
		held = append(append(held, b[:end]...), c.buffer.lines...)
		b, c.status = b[end:], 0
	}
	if len(held)+len(b) > cap(held) {
		held = append(make([]byte, 0, max(maxHeld, len(held)+len(b))), held...)
	}
	c.buffer.held = append(held, b...)
	return nil
}

var errNoStatusLine = errors.New("wire: net/http wrote something before the answer's header")

// statusLine returns where the status line of an answer ends.
func statusLine(b []byte, status int) (end int, err error) {
	end = bytes.IndexByte(b, '\n') + 1
	const before = "HTTP/1.1 "
	if end <= len(before)+3 || string(b[:5]) != before[:5] {
		return 0, errNoStatusLine
	}
	if got, err := strconv.Atoi(string(b[len(before) : len(before)+3])); err != nil || got != status {
		return 0, errNoStatusLine
	}
	return end, nil
}

// mayWait reports whether b is worth the copy: over cleartext a large piece leaves together with what
// waits, without one.
func (c *joinedConn) mayWait(b []byte) bool {
	if !c.collects && !c.gathers() {
		return len(b) <= netHTTPBuffer
	}
	return c.buffer == nil || len(c.buffer.held)+len(b) <= maxHeld
}

// Write sends b, with what waits before it, unless b is to wait itself.
func (c *joinedConn) Write(b []byte) (int, error) {
	c.mu.lock()
	defer c.mu.unlock()
	held := c.holding || c.gathers()
	switch {
	case c.status == 0 && !held && !c.waits():
		return c.send(b)
	case held && c.mayWait(b):
		if err := c.collect(b); err != nil {
			return 0, err
		}
		return len(b), nil
	case c.status != 0 || c.waits() && len(b) <= netHTTPBuffer: // so little is worth the copy
		if err := c.collect(b); err != nil {
			return 0, err
		}
		_, err := c.send(c.buffer.held)
		c.recycle()
		return sent(b, err)
	case !c.waits():
		return c.send(b)
	}
	c.buffer.pair = [2][]byte{c.buffer.held, b}
	c.buffer.writev = c.buffer.pair[:]
	n, err := c.buffer.writev.WriteTo(c.Conn)
	c.sent.Add(n)
	c.buffer.pair = [2][]byte{}
	c.recycle()
	return sent(b, err)
}

// sent is what a Write returns: of b alone, whatever else was sent.
func sent(b []byte, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return len(b), nil
}
