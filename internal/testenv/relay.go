package testenv

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Relay passes TCP connections on to a server, and can do to them what networks do.
type Relay struct {
	Address string

	mu      sync.Mutex
	delay   time.Duration
	corrupt bool
	cut     bool
	conns   map[net.Conn]bool
}

// NewRelay starts a Relay in front of a server. It ends with the test.
func NewRelay(t testing.TB, server string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Address: l.Addr().String(), conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.pass(client, server) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.Cut(true)
		running.Wait()
	})
	return r
}

// Delay holds each piece of the server's answers back for so long.
func (r *Relay) Delay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// Corrupt changes a byte in each piece of the server's answers.
func (r *Relay) Corrupt(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.corrupt = on
}

// Cut breaks all connections, and each new one, until it is called with false.
func (r *Relay) Cut(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = on
	for c := range r.conns {
		_ = c.Close()
	}
}

// keep reports whether the connections may go on, and notes them so that Cut finds them.
func (r *Relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		r.conns[c] = true
	}
	return !r.cut
}

func (r *Relay) pass(client net.Conn, server string) {
	defer func() { _ = client.Close() }()
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer func() { _ = upstream.Close() }()
	if !r.keep(client, upstream) {
		return
	}
	var asking sync.WaitGroup
	asking.Go(func() {
		_, _ = io.Copy(upstream, client)
		_ = upstream.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := upstream.Read(buf)
		if err != nil {
			break
		}
		r.mu.Lock()
		delay, corrupt := r.delay, r.corrupt
		r.mu.Unlock()
		time.Sleep(delay)
		if corrupt {
			buf[n/2] ^= 0x55
		}
		if _, err := client.Write(buf[:n]); err != nil {
			break
		}
	}
	_ = client.Close()
	asking.Wait()
	r.mu.Lock()
	delete(r.conns, client)
	delete(r.conns, upstream)
	r.mu.Unlock()
}
