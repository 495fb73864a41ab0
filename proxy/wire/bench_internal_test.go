package wire

import (
	"net/netip"
	"testing"
	"time"
)

// What counting costs a request, of a client's own connection and through a proxy.
func BenchmarkEnter(b *testing.B) {
	for name, forwarded := range map[string]netip.Addr{"direct": {}, "forwarded": netip.MustParseAddr("2001:db8::1")} {
		b.Run(name, func(b *testing.B) {
			c := NewClients(ClientLimits{Requests: 1000, ClientRequests: 100, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
			conn := &connection{}
			conn.client.Store(c.acquire(netip.MustParseAddr("192.0.2.1")))
			w, now := &Writer{conn: conn}, time.Now()
			b.ReportAllocs()
			for b.Loop() {
				e, err := c.Enter(w, forwarded)
				if err != nil {
					b.Fatal(err)
				}
				e.Leave(now)
			}
		})
	}
}
