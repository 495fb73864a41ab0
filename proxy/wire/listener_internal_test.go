package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// A client that comes back all the time with more connections than it may have gets nothing but a reset: net/http, which would
// take a goroutine and buffers for each of them, does not see them.
func TestFloodOfConnectionsDoesNotReachNetHTTP(t *testing.T) {
	underlying, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	clients := NewClients(ClientLimits{ClientConnections: 1})
	accepts := listener{Listener: underlying, clients: clients, stall: time.Second}
	t.Cleanup(func() { _ = accepts.Close() })
	dial := func() (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", underlying.Addr().String())
		if err == nil {
			t.Cleanup(func() { _ = conn.Close() })
			err = conn.SetDeadline(time.Now().Add(time.Minute)) // for a listener that does not refuse
		}
		return conn, err
	}
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := accepts.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	first, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	held := <-accepted
	connectionUnder(held).active.Add(1) // not idle, so that it need not make room for another
	if held.RemoteAddr().String() != first.LocalAddr().String() {
		t.Fatalf("accepted %s, want %s", held.RemoteAddr(), first.LocalAddr())
	}
	const many = 100
	for range many {
		conn, err := dial()
		if err != nil {
			continue // it has been reset already
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v, want the end of a connection that the client may not have", err)
		}
	}
	if open, _ := clients.Counts(); open != 1 {
		t.Errorf("%d connections are counted, want 1", open)
	}
	if n := clients.Refused()["client_connections"]; n != many {
		t.Errorf("%d are counted as refused, want %d", n, many)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	clients.disconnect(connectionUnder(held))
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the first connection: got %v, want its end", err)
	}
	last, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	if conn := <-accepted; conn.RemoteAddr().String() != last.LocalAddr().String() {
		t.Errorf("accepted %s, want %s, which came when there was room again", conn.RemoteAddr(), last.LocalAddr())
	}
}
