package proxy_test

import (
	"bufio"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// segments is how many segments with data the kernel has received on a connection.
func segments(t *testing.T, conn net.Conn) uint32 {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	var failed error
	if err := raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return info.Data_segs_in
}

// A cached tile leaves in one write with its header. On loopback, whose segments hold 64 KiB, each write is
// a segment: net/http by itself makes two of an answer over 4 KiB.
func TestCachedTileLeavesInOneWrite(t *testing.T) {
	w := start(t)
	conn := w.dial()
	answers := bufio.NewReader(conn)
	for _, size := range []int{200, 3500, 3600, 3700, 3800, 3900, 4096, 5000, 7700, 7800, 8192, 12_000, 20_000, 100_000} {
		w.origin.put("basemap", 2, 1, 1, object{body: pngBody(size), etag: fmt.Sprintf(`"%d"`, size)})
		purge(t, w)
		if got := w.get("/tiles/basemap/2/1/1", w.bearer()...); got.status != 200 { // fills the cache
			t.Fatalf("%d bytes: got %d", size, got.status)
		}
		before := segments(t, conn)
		fmt.Fprintf(conn, "GET /tiles/basemap/2/1/1 HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n\r\n", w.bearer()[1])
		if got := readReply(t, answers); got.status != 200 || len(got.body) != size {
			t.Fatalf("%d bytes: got %d, %d bytes, %v", size, got.status, len(got.body), got.err)
		}
		if got := segments(t, conn) - before; (got == 1) != (size <= 20_000) { // the last one shows that the count counts
			t.Errorf("%d bytes left in %d writes", size, got)
		}
	}
}
