package wire

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"
	"weak"

	"golang.org/x/net/http2"
)

// net/http keeps an HTTP/2 connection that has failed with streams open, some 100 KB, until its idle
// timer fires. Clients that come and go could fill the memory with them.
func TestFailedHTTP2ConnectionIsNotKept(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	clients := NewClients(ClientLimits{})
	kept := make(chan weak.Pointer[connection], 1)
	server := &Server{Clients: clients, Idle: time.Hour, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		kept <- weak.Make(connectionOf(r))
		<-r.Context().Done()
	})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l, time.Minute) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(conn, conn)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	block := []byte{0x82, 0x86, 0x84, 0x41, 0x01, 'x'} // GET http / of x (RFC 7541 appendix A)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	pointer := <-kept
	_ = conn.Close()
	for connections, _ := clients.Counts(); connections > 0; connections, _ = clients.Counts() {
		runtime.Gosched()
	}
	for begun := time.Now(); pointer.Value() != nil; runtime.GC() { // the goroutines of the connection have to end first
		if time.Since(begun) > time.Minute {
			t.Fatal("the connection is still in memory")
		}
		runtime.Gosched()
	}
}
