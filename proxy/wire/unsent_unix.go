//go:build linux || darwin

package wire

import (
	"net"

	"golang.org/x/sys/unix"
)

// maxUnsent is how many bytes the kernel takes for a connection beyond those under way to its client.
const maxUnsent = 128 << 10

// limitUnsent lets a write go on as soon as half of maxUnsent has been sent. By default it goes on when a
// third of a buffer of megabytes is free: a slow client that reads all the time then looks stalled for
// minutes, and each such client holds as much of the kernel's memory. Bytes under way are not limited, so
// fast clients far away stay fast.
// https://lwn.net/Articles/560082/ (TCP_NOTSENT_LOWAT)
func limitUnsent(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // it is closed already
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent) // without it slow clients may be cut off early
	})
}
