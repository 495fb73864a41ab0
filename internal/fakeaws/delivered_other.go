//go:build !linux

package fakeaws

import "net"

// waitDelivered cannot be had here: a reset may swallow bytes that the peer has not yet read.
func waitDelivered(*net.TCPConn, <-chan struct{}) {}
