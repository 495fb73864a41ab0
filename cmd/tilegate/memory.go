package main

import (
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync/atomic"
)

const (
	memoryBase       = 48 << 20 // bytes for the program itself, its stacks and its S3 connections
	memoryConnection = 64 << 10 // bytes for one client's connection: buffers, stack, header
	memoryStep       = 256      // connections by which the limit moves
)

// memoryLimit keeps Go's soft memory limit where the cache and the connections of the moment fit, so
// that the garbage collector neither lets memory grow to twice the cache nor works itself to death
// when many clients come. An operator who sets GOMEMLIMIT knows better, and is left alone.
type memoryLimit struct {
	cache       int64
	connections atomic.Int64
}

func newMemoryLimit(cache int64) *memoryLimit {
	if os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	m := &memoryLimit{cache: cache}
	m.set(0)
	return m
}

func (m *memoryLimit) set(connections int64) {
	debug.SetMemoryLimit(m.cache + m.cache/8 + memoryBase + (connections+memoryStep)*memoryConnection)
}

// connState counts connections for http.Server.ConnState.
func (m *memoryLimit) connState(_ net.Conn, state http.ConnState) {
	if m == nil {
		return
	}
	var n int64
	switch state {
	case http.StateNew:
		n = m.connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		n = m.connections.Add(-1)
	default:
		return
	}
	if n%memoryStep == 0 {
		m.set(n)
	}
}
