package fakeaws

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// waitDelivered returns when the peer's kernel holds every byte that was written, when stop is
// closed, or when the peer has taken nothing for five seconds. Linux tells how many bytes are not
// acknowledged (SIOCOUTQ, tcp(7)), but lets nobody wait for them.
func waitDelivered(conn *net.TCPConn, stop <-chan struct{}) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	last, patience := 0, time.Now()
	for {
		pending := 0
		var failed error
		err := raw.Control(func(fd uintptr) { pending, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if err != nil || failed != nil || pending == 0 {
			return
		}
		if pending != last {
			last, patience = pending, time.Now().Add(5*time.Second)
		}
		select {
		case now := <-ticker.C:
			if now.After(patience) {
				return
			}
		case <-stop:
			return
		}
	}
}
