package fakeaws

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// waitDelivered returns when the peer's kernel holds every byte that was written, or after five
// seconds. Linux tells how many it has not acknowledged (SIOCOUTQ, tcp(7)), and nothing that one
// could wait for.
func waitDelivered(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		unsent := 0
		if err := raw.Control(func(fd uintptr) { unsent, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil || unsent == 0 {
			return
		}
	}
}
