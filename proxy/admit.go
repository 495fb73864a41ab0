package proxy

import (
	"errors"
	"net/http"
	"net/netip"

	"tilegate/proxy/wire"
)

// admit counts a request among those of its client, and refuses it when there are too many. That comes
// before all else, so that a refusal costs nothing that could be saved. A CDN that proves itself brings
// many viewers from one address, and is not limited by it.
func (p *Proxy) admit(x *exchange, r *http.Request) (err error) {
	if p.opt.Clients == nil {
		return nil
	}
	var forwarded netip.Addr
	if x.FromProxy() {
		forwarded = p.client(r)
	}
	x.entry, err = p.opt.Clients.Enter(&x.Writer, forwarded)
	if x.FirstRequest() || errors.Is(err, wire.ErrClientBusy) {
		if p.edge.verified(r) {
			x.entry.Exempt()
			if !errors.Is(err, wire.ErrServerBusy) {
				err = nil
			}
		}
	}
	if err == nil || isProbe(r) {
		return nil
	}
	x.refused = true
	if errors.Is(err, wire.ErrFlood) {
		panic(http.ErrAbortHandler)
	}
	if r.ContentLength != 0 {
		x.Set("Connection", closeConnection) // the body is not read
	}
	p.cors.apply(x, r)
	return err
}

var closeConnection = []string{"close"}

// isProbe reports whether a request asks how the process is. Whoever restarts what does not answer must
// not do so because there are many requests. Over HTTP/2 a probe would be a way around the limits.
func isProbe(r *http.Request) bool {
	return r.ProtoMajor == 1 && (r.URL.Path == "/health" || r.URL.Path == "/ready")
}
