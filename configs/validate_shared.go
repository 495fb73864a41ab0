package configs

import (
	"crypto/x509"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

const sharedAddressHint = "write cache.internal:6379"

func (v *validator) shared() {
	s := &v.Shared
	if s.URL != "" {
		v.sharedURL(s.URL)
	}
	for i, address := range s.Addresses {
		if host, port, err := splitAddress(address); err != nil || host == "" || port == "0" {
			v.fault(element("shared.addresses", i), "is not host:port", sharedAddressHint)
		}
	}
	switch {
	case s.URL != "" && len(s.Addresses) > 0:
		v.fault("shared.addresses", "is given besides url", "url names one server; addresses are for a cluster or sentinels", "shared.url")
	case len(s.Addresses) > 0 && !s.Cluster && s.Sentinel.Master == "" && !v.aroundUnread["shared.sentinel"]:
		v.fault("shared.addresses", "are neither of a cluster nor of sentinels", "set cluster: true or sentinel.master, or name one server in url")
	case s.Cluster && s.Sentinel.Master != "":
		v.fault("shared.cluster", "does not go with sentinel", "a cluster has no sentinels", "shared.sentinel")
	case s.Cluster && len(s.Addresses) == 0:
		v.fault("shared.addresses", "is required by cluster", "list some of its nodes", "shared.cluster")
	case s.Sentinel.Master != "" && len(s.Addresses) == 0:
		v.fault("shared.addresses", "is required by sentinel", "list the sentinels", "shared.sentinel")
	}
	if s.Enabled() && len(v.Auth.SigningKeys) == 0 {
		v.fault("auth.signing_keys", "is required by shared", "all instances need the same keys; make one with tilegate keygen", "shared")
	}
	if s.Username != "" && !s.Password.IsSet() {
		v.fault("shared.password", "is required with username", referenceHint)
	}
	if s.Sentinel.Username != "" && !s.Sentinel.Password.IsSet() {
		v.fault("shared.sentinel.password", "is required with username", referenceHint)
	}
	if s.TLS.CAFile.IsSet() && !x509.NewCertPool().AppendCertsFromPEM(s.TLS.CAFile.Bytes()) {
		v.fault("shared.tls.ca_file", "holds no certificate in PEM", "")
	}
	if _, _, encrypted := s.Servers(); s.TLS.CAFile.IsSet() && s.Enabled() && !encrypted {
		v.fault("shared.tls.ca_file", "is given without TLS", "write rediss:// in url, or set tls.enabled")
	}
	if s.MaxObject < 1 || s.MaxObject > 64*mebibyte {
		v.fault("shared.max_object", "must be 1 byte to 64MiB", sizeHint)
	}
	if !sharedPrefix.MatchString(s.Prefix) {
		v.fault("shared.prefix", "must be 1 to 64 letters, digits and :._-", "it stands before the name of each key")
	}
}

func (v *validator) limits() {
	v.oneOf("limits.on_exceeded", v.Limits.OnExceeded, "reject", "slow", "log")
	if v.Limits.Requests.Rate > 3600*maxRate {
		v.fault("limits.requests.rate", "must be at most 100000/s", "")
	}
	if b := v.Limits.Requests.Burst; b < 1 || b > maxBurst {
		v.fault("limits.requests.burst", "must be 1 to 1000000", "")
	}
}

const (
	maxRate  = 100_000 // requests a second
	maxBurst = 1_000_000
)

// sharedPrefix leaves out braces: in a cluster they would put all keys onto one node.
var sharedPrefix = regexp.MustCompile(`^[A-Za-z0-9:._-]{1,64}$`)

func (v *validator) sharedURL(raw string) {
	const key, hint = "shared.url", "write redis://host:6379/0, or rediss:// with TLS"
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.Opaque != "" || u.Port() == "0":
		v.fault(key, "is not the URL of a Redis server", hint)
	case u.User != nil:
		v.fault(key, "holds a user or password", "write them into username and password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(raw, "#"):
		v.fault(key, "has a query or fragment", hint)
	default:
		path := strings.TrimPrefix(u.Path, "/")
		if n, err := strconv.ParseUint(path, 10, 10); path != "" && (err != nil || strconv.FormatUint(n, 10) != path) {
			v.fault(key, "does not end in the number of a database", hint)
		}
	}
}
