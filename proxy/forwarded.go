package proxy

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// peer is the address that the connection comes from; the zero Addr where there is none.
func peer(r *http.Request) netip.Addr {
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr().Unmap()
}

// trusts reports whether an address may speak for others: X-Forwarded-* and X-Original-* of anyone
// else are ignored.
func (p *Proxy) trusts(address netip.Addr) bool {
	for _, prefix := range p.opt.TrustedProxies {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// ClientAddress returns a function that tells the address of the client that a request comes from, if these
// proxies are trusted to say whom they speak for.
func ClientAddress(trusted []netip.Prefix) func(*http.Request) netip.Addr {
	p := &Proxy{opt: Options{TrustedProxies: trusted}}
	return p.client
}

// client is the address that the request comes from: the last one in X-Forwarded-For that is not a trusted
// proxy.
func (p *Proxy) client(r *http.Request) netip.Addr {
	address := peer(r)
	for _, hops := range slices.Backward(r.Header["X-Forwarded-For"]) {
		for more := true; more; {
			comma := strings.LastIndexByte(hops, ',')
			if !p.trusts(address) {
				return address
			}
			hop, err := netip.ParseAddr(strings.TrimSpace(hops[comma+1:]))
			if err != nil {
				return address
			}
			address = hop.WithZone("").Unmap() // a zone may be any text, and has no meaning here
			hops, more = hops[:max(comma, 0)], comma >= 0
		}
	}
	return address
}

// base is our own address as the client sees it, without a trailing slash: the configured public URL, else
// what a trusted proxy forwards, else the request's own. An invalid Host, which net/http accepts, is
// refused.
func (p *Proxy) base(r *http.Request) (string, error) {
	if p.opt.PublicURL != "" {
		return p.opt.PublicURL, nil
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if p.trusts(peer(r)) {
		if s := r.Header["X-Forwarded-Proto"]; len(s) == 1 && (s[0] == "http" || s[0] == "https") {
			scheme = s[0]
		}
		if s := r.Header["X-Forwarded-Host"]; len(s) == 1 && usableHost(s[0]) {
			host = s[0]
		}
	}
	if !usableHost(host) {
		return "", refuse(http.StatusBadRequest, "The request's Host is not one that a URL can be made of.")
	}
	return scheme + "://" + host, nil
}

// origin is the origin of base, "" where there is none.
func (p *Proxy) origin(r *http.Request) string {
	if p.publicOrigin != "" {
		return p.publicOrigin
	}
	base, err := p.base(r)
	if err != nil {
		return ""
	}
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return originOf(u)
}

// originOf is a URL's origin as browsers write it (RFC 6454 section 6.2).
func originOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	host = strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
	return u.Scheme + "://" + host
}

// usableHost reports whether s is a host with an optional port and nothing else.
func usableHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._:[]", rune(c)) {
			return false
		}
	}
	u, err := url.Parse("//" + s)
	return err == nil && u.Host == s && u.Hostname() != ""
}
