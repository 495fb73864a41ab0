package fakeaws

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// waitDelivered returns when the peer's kernel holds every byte that was written, when stop is
// closed, or after five seconds. Linux tells how many bytes it has not acknowledged (SIOCOUTQ,
// tcp(7)), but lets nobody wait for them.
func waitDelivered(conn *net.TCPConn, stop <-chan struct{}) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(5 * time.Second)
	for {
		pending := 0
		var failed error
		err := raw.Control(func(fd uintptr) { pending, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if err != nil || failed != nil || pending == 0 {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			return
		case <-stop:
			return
		}
	}
}
