package main

import "syscall"

// smallReceiveBuffer keeps the kernel from reading on a slow client's behalf.
func smallReceiveBuffer(_, _ string, c syscall.RawConn) error {
	var err error
	if ctlErr := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
	}); ctlErr != nil {
		return ctlErr
	}
	return err
}
