//go:build !linux && !darwin

package wire

import "net"

// limitUnsent does nothing where the kernel cannot be told.
func limitUnsent(*net.TCPConn) {}
