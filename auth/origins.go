package auth

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// ValidOrigin reports whether pattern can be an origin of an API key: an origin as browsers send it
// (https://shop.example.com), or every subdomain of a domain over https (https://*.example.com), unless
// anybody can have one of those.
func ValidOrigin(pattern string) bool {
	domain, isWildcard := strings.CutPrefix(pattern, "https://*.")
	if !isWildcard {
		origin, ok := originOf(pattern)
		return ok && origin == pattern
	}
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return isDomain(domain) && strings.Contains(domain, ".") && suffix != domain
}

// isDomain reports whether s is a domain in lower case, without a port.
func isDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// originMatches reports whether one of the patterns admits origin, which is as browsers send it.
func originMatches(patterns []string, origin string) bool {
	for _, pattern := range patterns {
		if pattern == origin {
			return true
		}
		domain, isWildcard := strings.CutPrefix(pattern, "https://*.")
		host, isHTTPS := strings.CutPrefix(origin, "https://")
		if isWildcard && isHTTPS && isDomain(host) && strings.HasSuffix(host, "."+domain) {
			return true
		}
	}
	return false
}

// originOf returns the origin of an absolute URL as browsers write it (RFC 6454 section 6.2).
func originOf(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" || u.Opaque != "" || u.User != nil || u.Hostname() == "" {
		return "", false
	}
	host := strings.ToLower(u.Host)
	if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.:[]") != "" {
		return "", false // above all a *
	}
	host = strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
	return u.Scheme + "://" + host, true
}

// pageOrigin returns the origin of the page that sent a request: what Origin says, or else the origin of
// Referer, as image elements send that alone. It is not ok if there is neither, or one of them twice. An
// Origin that is null, or of another page, is never outdone by the Referer.
func pageOrigin(h http.Header) (origin string, ok bool) {
	if given := h["Origin"]; given != nil {
		if len(given) != 1 {
			return "", false
		}
		origin, ok = originOf(given[0])
		return origin, ok && origin == given[0]
	}
	if referer := h["Referer"]; len(referer) == 1 {
		return originOf(referer[0])
	}
	return "", false
}

// peerAddress is the address that the connection comes from; the zero Addr where there is none.
func peerAddress(r *http.Request) netip.Addr {
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr().Unmap().WithZone("")
}
