//go:build linux || darwin

package proxy

import (
	"net"

	"golang.org/x/sys/unix"
)

// maxUnsent is how many bytes the kernel takes for a connection beyond those under way to its client.
const maxUnsent = 128 << 10

// limitUnsent lets a write go on as soon as half of maxUnsent has been sent. By default that is a third of
// a buffer of megabytes: a slow client that reads all the time looks stalled for minutes, and each holds
// as much of the kernel's memory. What is under way is not limited, so fast clients far away stay fast.
// https://lwn.net/Articles/560082/ (TCP_NOTSENT_LOWAT)
func limitUnsent(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // it is closed already
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent) // without it only slow clients fare worse
	})
}
