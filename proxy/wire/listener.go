package wire

import (
	"net"
	"time"
)

const (
	// refusedAtOnce is how many connections Accept refuses before it pauses for refusalPause. Go looks for new data on connections
	// only when no goroutine can run, or every 10 ms: on one processor, a long row of refusals would delay all requests.
	refusedAtOnce = 32
	refusalPause  = time.Millisecond
)

// listener accepts clients' connections, as joinedConns. It refuses those that a client may not have before net/http, which
// takes a goroutine and buffers for each, sees them.
type listener struct {
	net.Listener
	clients   *Clients
	stall     time.Duration
	encrypted bool // TLS is above
}

func (l listener) Accept() (net.Conn, error) {
	for refused := 1; ; refused++ {
		socket, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := newConnection(socket, l.encrypted, l.stall)
		if l.clients.connect(c) {
			return c.socket, nil
		}
		_ = c.socket.SetLinger(0) // a reset: the kernel need not wait for this client's answer
		_ = c.socket.Close()      // nothing was written
		if refused%refusedAtOnce == 0 {
			time.Sleep(refusalPause)
		}
	}
}
