package wire

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// connection is a client's, shared by its requests.
type connection struct {
	socket net.Conn     // below TLS
	joined *joinedConn  // the same, where it can join writes
	clear  bool         // there is no TLS: joined sees what net/http writes
	moved  atomic.Int64 // Unix nanoseconds: the last time that a stream got rid of a piece
}

type connectionKey struct{}

// withConnection is an http.Server's ConnContext.
func withConnection(ctx context.Context, socket net.Conn) context.Context {
	overTLS, encrypted := socket.(*tls.Conn)
	if encrypted {
		socket = overTLS.NetConn()
	}
	c := &connection{socket: socket, clear: !encrypted}
	switch overTCP := socket.(type) {
	case *net.TCPConn:
		limitUnsent(overTCP)
	case *joinedConn:
		limitUnsent(overTCP.TCPConn)
		overTCP.collects = encrypted
		c.joined = overTCP
	}
	c.moved.Store(time.Now().UnixNano())
	return context.WithValue(ctx, connectionKey{}, c)
}

// connectionOf finds a request's connection. It is nil in tests that have no listener.
func connectionOf(r *http.Request) *connection {
	c, _ := r.Context().Value(connectionKey{}).(*connection)
	return c
}

// quiet returns for how long nothing has moved.
func (c *connection) quiet(now time.Time) time.Duration {
	return now.Sub(time.Unix(0, c.moved.Load()))
}
