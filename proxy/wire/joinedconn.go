package wire

import (
	"net"
	"sync"
)

// netHTTPBuffer is the size of net/http's buffer for an answer, in bytes. A larger answer leaves in two
// writes: the header with the beginning of the body, and the rest.
const netHTTPBuffer = 4 << 10

// joinedConn is a TCP connection that can send both in one write. A write costs several times what
// tilegate itself does for a cached tile. Bytes are held only between hold and release, which Writer calls.
type joinedConn struct {
	*net.TCPConn
	held *[netHTTPBuffer]byte // nil unless holding
	full bool                 // held is filled, and must go out before anything else
	pair [2][]byte            // what is sent as one; it is a field so that it costs no allocation
	both net.Buffers
}

var heldBuffers = sync.Pool{New: func() any { return new([netHTTPBuffer]byte) }}

// joinedListener accepts joinedConns.
type joinedListener struct{ net.Listener }

func (l joinedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if overTCP, ok := conn.(*net.TCPConn); ok {
		return &joinedConn{TCPConn: overTCP}, nil
	}
	return conn, err
}

// hold lets a write of a full buffer wait for the one that follows it.
func (c *joinedConn) hold() { c.held = heldBuffers.Get().(*[netHTTPBuffer]byte) } //nolint:forcetypeassert // the pool holds nothing else

// release sends what still waits.
func (c *joinedConn) release() error {
	var err error
	if c.full {
		_, err = c.TCPConn.Write(c.held[:])
	}
	heldBuffers.Put(c.held)
	c.held, c.full = nil, false
	return err
}

// Write sends what was held and b, unless b is to be held itself.
func (c *joinedConn) Write(b []byte) (int, error) {
	switch {
	case c.full:
		c.full = false
		c.pair = [2][]byte{c.held[:], b}
		c.both = c.pair[:]
		n, err := c.both.WriteTo(c.TCPConn)
		c.pair = [2][]byte{}
		return max(0, int(n)-netHTTPBuffer), err
	case c.held != nil && len(b) == netHTTPBuffer:
		c.full = true
		return copy(c.held[:], b), nil
	}
	return c.TCPConn.Write(b)
}
