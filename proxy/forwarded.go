package proxy

import (
	"cmp"
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
	address, _ := p.hops(r)
	return address
}

// hops walks back along X-Forwarded-For from the connection's peer, as long as the addresses are those of
// trusted proxies. It returns the first address that is not, or the last that can be read, and how many
// trusted proxies the request has passed.
func (p *Proxy) hops(r *http.Request) (client netip.Addr, trusted int) {
	address := peer(r)
	for _, hops := range slices.Backward(r.Header["X-Forwarded-For"]) {
		for more := true; more; {
			comma := strings.LastIndexByte(hops, ',')
			if !p.trusts(address) {
				return address, trusted
			}
			trusted++
			hop, err := netip.ParseAddr(strings.TrimSpace(hops[comma+1:]))
			if err != nil {
				return address, trusted
			}
			address = hop.WithZone("").Unmap() // a zone may be any text, and has no meaning here
			hops, more = hops[:max(comma, 0)], comma >= 0
		}
	}
	if p.trusts(address) {
		trusted++
	}
	return address, trusted
}

// forwardedScheme is the scheme that the trusted proxy nearest to the client has written into
// X-Forwarded-Proto, "" where there is none. Each proxy appends to the list what it was asked by: what stands
// before the entry of the last trusted proxy may be the client's own word.
func (p *Proxy) forwardedScheme(r *http.Request) string {
	_, trusted := p.hops(r)
	given := r.Header["X-Forwarded-Proto"]
	if trusted == 0 || len(given) == 0 {
		return ""
	}
	list := strings.Split(strings.Join(given, ","), ",")
	scheme := strings.ToLower(strings.TrimSpace(list[max(len(list)-trusted, 0)]))
	if scheme != "http" && scheme != "https" {
		return ""
	}
	return scheme
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
		scheme = cmp.Or(p.forwardedScheme(r), scheme)
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
