// Package weborigin reads the origins that browsers send (RFC 6454, the Fetch standard's Origin header), and the
// patterns with which a configuration allows them:
//
//	https://app.example.com       one origin
//	capacitor://localhost         one origin of an app, by its own scheme
//	https://*.example.com         every subdomain, at any depth
//	https://myapp-*.example.app   a * within the first label stands for at least one character of that label
//	http://localhost:*            every port of the visitor's own machine
//
// An Origin that is not exactly as browsers write it matches nothing: it is compared part by part, never by its end
// alone.
package weborigin

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Pattern allows one origin, or a family of them. The zero value allows none.
type Pattern struct {
	scheme string
	host   string // the whole host where there is no *, else what follows the first label, without its dot
	port   string // "": the scheme's own; "*": every one
	kind   kind

	before, after string // labels: what stands around the * in the first label
}

type kind uint8

const (
	exact      kind = iota + 1
	subdomains      // *.example.com
	labels          // myapp-*.example.com
)

// PatternError says why a text is no pattern that can be allowed.
type PatternError struct {
	Problem string // e.g. "is not an origin"
	Hint    string // what to write instead, or ""
}

func (e *PatternError) Error() string { return e.Problem }

const example = "write https://app.example.com, https://*.example.com or capacitor://localhost"

// opaque are the schemes of pages whose origin browsers send as null, and those that pages do not have.
var opaque = []string{"file", "data", "blob", "javascript", "about", "ws", "wss", "ftp", "mailto"}

// Parse reads a pattern. Its error is a *PatternError.
func Parse(s string) (Pattern, error) {
	bad := func(problem, hint string) (Pattern, error) { return Pattern{}, &PatternError{problem, hint} }
	if s == "*" || s == "null" || s == "https://*" || s == "http://*" {
		return bad("would let any site read what its visitors may see", "list the sites")
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !isScheme(strings.ToLower(scheme)) {
		return bad("is not an origin", example)
	}
	if slices.Contains(opaque, scheme) {
		return bad("is an origin that browsers send as null, which is everybody's", "serve the page over https, or give it a path token")
	}
	if strings.ContainsAny(rest, "/?#@") {
		return bad("is not an origin: it goes on after the host", "leave out path, query and user")
	}
	if s != strings.ToLower(s) {
		return bad("is not as browsers send it", "write it in lower case")
	}
	web := scheme == "http" || scheme == "https"
	p := Pattern{scheme: scheme, kind: exact}
	if p.host, p.port, ok = cutPort(rest); !ok {
		return bad("is not an origin", example)
	}
	if p.port == "*" && (!web || !isLoopback(p.host)) {
		return bad("allows every port of a host that is not the visitor's own machine", "list the ports; only localhost, 127.0.0.1 and [::1] may have *")
	}
	if p.port != "" && p.port != "*" && (!isPort(p.port) || p.port == defaultPorts[scheme]) {
		if p.port == defaultPorts[scheme] {
			return bad("is not as browsers send it", "leave out the scheme's own port")
		}
		return bad("is not an origin", example)
	}
	if !strings.Contains(p.host, "*") {
		if !isHost(p.host) {
			return bad("is not an origin", example)
		}
		return p, nil
	}
	first, domain, _ := strings.Cut(p.host, ".")
	before, after, _ := strings.Cut(first, "*")
	switch {
	case strings.Contains(domain, "*") || strings.Contains(after, "*"):
		return bad("is not an origin: one * may stand in the first label alone", "as in https://*.example.com or https://myapp-*.example.com")
	case !web:
		return bad("is a wildcard over an app's own scheme", "list the hosts")
	case scheme == "http":
		return bad("is a wildcard over http, where anybody on the way can pose as a subdomain", "write https, or list the hosts")
	case !strings.Contains(domain, "."):
		return bad("is a wildcard over a whole top-level domain", "list the sites")
	case !isHost(domain) || !isLabelPart(before) || !isLabelPart(after):
		return bad("is not an origin", example)
	}
	p.host, p.kind = domain, subdomains
	if before+after != "" {
		p.kind, p.before, p.after = labels, before, after
	}
	return p, nil
}

// Exact reports whether the pattern allows one origin alone.
func (p Pattern) Exact() bool { return p.kind == exact && p.port != "*" }

// AnyPort reports whether the pattern allows every port of its host.
func (p Pattern) AnyPort() bool { return p.port == "*" }

// Shared reports whether the pattern is over names that anybody can register: those under a public suffix, such as
// vercel.app or co.uk (https://publicsuffix.org).
func (p Pattern) Shared() bool {
	if p.kind != subdomains && p.kind != labels {
		return false
	}
	suffix, _ := publicsuffix.PublicSuffix(p.host)
	return suffix == p.host
}

// Site returns the site of what the pattern allows; see Site.
func (p Pattern) Site() string { return siteOf(p.scheme, p.host) }

// Matches reports whether an Origin header's value is an origin that the pattern allows.
func (p Pattern) Matches(origin string) bool {
	scheme, rest, ok := strings.Cut(origin, "://")
	if !ok || scheme != p.scheme {
		return false
	}
	host, port, ok := cutPort(rest)
	if !ok || !isHost(host) || port != "" && (!isPort(port) || port == defaultPorts[scheme]) {
		return false
	}
	if p.port != "*" && p.port != port {
		return false
	}
	switch p.kind {
	case exact:
		return host == p.host
	case subdomains:
		under, ok := strings.CutSuffix(host, p.host)
		return ok && len(under) > 1 && strings.HasSuffix(under, ".")
	case labels:
		first, domain, _ := strings.Cut(host, ".")
		return domain == p.host && len(first) > len(p.before)+len(p.after) &&
			strings.HasPrefix(first, p.before) && strings.HasSuffix(first, p.after)
	}
	return false
}

// Site returns the scheme and the registrable domain of an origin. Two origins that share them are same-site (the HTML
// standard, "sites"). An origin that cannot be parsed, or has no domain, is a site of its own.
func Site(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return origin
	}
	return siteOf(u.Scheme, u.Hostname())
}

func siteOf(scheme, host string) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		domain = host
	}
	return scheme + "://" + domain
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// cutPort splits host[:port]. A colon that no port follows is refused.
func cutPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") {
		return s, "", true
	}
	return s[:i], s[i+1:], i+1 < len(s)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0' && s[0] != '+'
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

// isHost reports whether s is a host as browsers serialize it: labels in lower case, an IPv4 address, or an IPv6 address
// in brackets.
func isHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && strings.Contains(inner, ":") && strings.Trim(inner, "0123456789abcdef:.") == ""
	}
	for len(s) > 0 {
		label, rest, more := strings.Cut(s, ".")
		if label == "" || !isLabelPart(label) || more && rest == "" {
			return false
		}
		if !more {
			return true
		}
		s = rest
	}
	return false
}

func isLabelPart(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "[::1]"
}
