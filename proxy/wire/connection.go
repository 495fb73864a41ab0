package wire

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// looksAStall is how often a connection with streams is looked at within one stall.
	looksAStall = 4
	// minProgress is how many bytes a connection must send between two looks to count as moving. A client
	// that takes no answer can still provoke acknowledgements of its pings and settings, of some 40 bytes.
	minProgress = 512
)

// connection is a client's, shared by its requests.
type connection struct {
	socket *joinedConn // below TLS
	clear  bool        // there is no TLS: socket sees what net/http writes

	looks atomic.Int64 // at the streams so far

	mu      sync.Mutex
	streams *stream     // of HTTP/2, under way: a list
	timer   *time.Timer // of the next look; nil before the first stream
	looking bool        // timer runs
	sent    int64       // by the socket, when it was last seen to move
	quiet   int64       // looks since then

	client  atomic.Pointer[client] // nil: not limited by address
	proxied bool                   // the peer is a trusted proxy
	asked   atomic.Bool            // it has had a request
	active  atomic.Int32           // requests under way
	leftAt  atomic.Int64           // Unix nanoseconds: when the latest request ended, or the connection began
}

type connectionKey struct{}

// newConnection prepares a client's connection.
func newConnection(socket net.Conn, encrypted bool, stall time.Duration) *connection {
	if overTCP, ok := socket.(*net.TCPConn); ok {
		limitUnsent(overTCP)
	}
	c := &connection{socket: &joinedConn{Conn: socket, collects: encrypted, stall: stall}, clear: !encrypted}
	c.socket.connection = c
	c.leftAt.Store(time.Now().UnixNano())
	return c
}

// connectionUnder finds the connection of what net/http has accepted. It is nil for another listener's.
func connectionUnder(socket net.Conn) *connection {
	if overTLS, ok := socket.(*tls.Conn); ok {
		socket = overTLS.NetConn()
	}
	if joined, ok := socket.(*joinedConn); ok {
		return joined.connection
	}
	return nil
}

// connectionOf finds a request's connection. It is nil in tests that have no listener.
func connectionOf(r *http.Request) *connection {
	c, _ := r.Context().Value(connectionKey{}).(*connection)
	return c
}

// watch begins to look at a stream.
func (c *connection) watch(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.next = c.streams
	if s.next != nil {
		s.next.previous = s
	}
	c.streams = s
	if c.looking {
		return
	}
	c.looking, c.quiet = true, 0
	if c.timer == nil {
		c.timer = time.AfterFunc(s.stall/looksAStall, func() { c.look(s.stall) })
	} else {
		c.timer.Reset(s.stall / looksAStall)
	}
}

// unwatch ends that.
func (c *connection) unwatch(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.previous != nil {
		s.previous.next = s.next
	} else if c.streams == s {
		c.streams = s.next
	}
	if s.next != nil {
		s.next.previous = s.previous
	}
	s.previous, s.next, s.ended = nil, nil, true
}

// look resets the streams that are stalled, and sets the time of the next look while there are streams.
func (c *connection) look(stall time.Duration) {
	var stalled []*stream
	c.mu.Lock()
	looks := c.looks.Add(1)
	if sent := c.socket.sent.Load(); sent-c.sent >= minProgress {
		c.sent, c.quiet = sent, 0
	} else {
		c.quiet++
	}
	for s := c.streams; s != nil; s = s.next {
		since := s.since.Load()
		if since == 0 {
			continue
		}
		waited := looks - since
		if min(waited, c.quiet) >= looksAStall || waited >= maxStalls*looksAStall {
			stalled = append(stalled, s)
		}
	}
	if c.looking = c.streams != nil; c.looking {
		c.timer.Reset(stall / looksAStall)
	}
	c.mu.Unlock()
	for _, s := range stalled {
		_ = s.controller.SetWriteDeadline(past) // it fails where there is nothing left to reset
	}
}
