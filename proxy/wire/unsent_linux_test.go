package wire

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// unread returns how many bytes a connection takes whose client reads nothing.
func unread(t *testing.T, prepare func(*net.TCPConn)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.(*net.TCPConn).SetReadBuffer(64 << 10)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	prepare(server.(*net.TCPConn))
	total, piece := 0, make([]byte, 64<<10)
	for {
		_ = server.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := server.Write(piece)
		total += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return total
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// By default the kernel takes megabytes for a client that reads nothing, and a write goes on when a third of
// that has been sent: a slow client then looks stalled.
func TestKernelHoldsLittleUnsent(t *testing.T) {
	usual := unread(t, func(*net.TCPConn) {})
	limited := unread(t, limitUnsent)
	// What is under way fills the client's own buffer; beyond it there is maxUnsent, and the write in hand.
	if most := 2*maxUnsent + 512<<10; limited > most || limited >= usual {
		t.Errorf("the kernel took %d bytes (%d without the limit), want at most %d", limited, usual, most)
	}
}
