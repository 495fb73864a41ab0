package testenv

import (
	"context"
	"net"
	"sync"
)

// MemoryNetwork is a listener and the way to dial it, without the operating system: inside a
// testing/synctest bubble, where a goroutine that waits for a socket would keep time from moving.
type MemoryNetwork struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

var _ net.Listener = (*MemoryNetwork)(nil)

// NewMemoryNetwork has to be called inside the bubble.
func NewMemoryNetwork() *MemoryNetwork {
	return &MemoryNetwork{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// DialContext connects to the listener whatever the address, for an http.Transport.
func (m *MemoryNetwork) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case m.conns <- server:
		return client, nil
	case <-m.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (m *MemoryNetwork) Accept() (net.Conn, error) {
	select {
	case conn := <-m.conns:
		return conn, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; connections that were made stay.
func (m *MemoryNetwork) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

// Addr implements net.Listener. The name stands in for an address in URLs.
func (m *MemoryNetwork) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "localhost:80" }
