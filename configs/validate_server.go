package configs

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"regexp"
	"strings"
)

func (v *validator) server() {
	s := &v.Server
	host, port, err := splitAddress(s.Listen)
	if err != nil {
		v.fault("server.listen", err.Error(), addressHint)
	}
	if s.AdminListen != "" {
		adminHost, adminPort, err := splitAddress(s.AdminListen)
		switch {
		case err != nil:
			v.fault("server.admin_listen", err.Error(), addressHint)
		case port == adminPort && port != "0" && (host == adminHost || host == "" || adminHost == ""):
			v.fault("server.admin_listen", "has the port of server.listen", "metrics, profiles and purging have a listener of their own")
		case !loopbackHost(adminHost) && !s.AdminToken.IsSet():
			v.fault("server.admin_token", "is required when admin_listen is not loopback", referenceHint)
		}
	}
	v.bearer("server.admin_token", s.AdminToken)
	if s.PublicURL != "" {
		v.url("server.public_url", s.PublicURL)
	}
	v.tls()
	for i, origin := range s.CORS.Origins {
		if problem, hint := badOrigin(origin); problem != "" {
			v.fault(element("server.cors.origins", i), problem, hint)
		}
	}
	if s.Limits.HeaderBytes < 4*kibibyte || s.Limits.HeaderBytes > mebibyte {
		v.fault("server.limits.header_bytes", "must be 4KiB to 1MiB", "a token alone may take 8KiB")
	}
	v.counts()
}

// counts holds the numbers of what clients may hold to what makes sense.
func (v *validator) counts() {
	l := v.Server.Limits
	if l.Streams < 1 || l.Streams > 1000 {
		v.fault("server.limits.streams", "must be 1 to 1000", "browsers ask for a hundred at once")
	}
	const most = 1 << 24
	for _, limit := range []struct {
		key   string
		value int
	}{
		{"server.limits.requests", l.Requests},
		{"server.limits.client_requests", l.ClientRequests},
		{"server.limits.client_connections", l.ClientConnections},
	} {
		if limit.value > most {
			v.fault(limit.key, "must be at most 16777216", "0 is no limit")
		}
	}
}

func (v *validator) tls() {
	files := v.Server.TLS
	switch {
	case files.CertFile == "" && files.KeyFile == "":
	case files.KeyFile == "":
		v.fault("server.tls.key_file", "is required with cert_file", "")
	case files.CertFile == "":
		v.fault("server.tls.cert_file", "is required with key_file", "")
	default:
		_, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == files.CertFile {
			v.fault("server.tls.cert_file", e.Err.Error(), relativeHint)
		} else if ok {
			v.fault("server.tls.key_file", e.Err.Error(), relativeHint)
		} else if err != nil {
			v.fault("server.tls", "the files are no pair: "+strings.TrimPrefix(err.Error(), "tls: "), "")
		}
	}
}

// minBearer is the least length of a secret that must not be guessed, in bytes.
const minBearer = 16

// bearer checks a secret that is sent in a header.
func (v *validator) bearer(key string, s Secret) {
	if !s.IsSet() {
		return
	}
	value := string(s.Bytes())
	switch {
	case len(value) < minBearer:
		v.fault(key, "the secret has fewer than 16 bytes", "make one with: openssl rand -hex 32")
	case !headerToken.MatchString(value):
		v.fault(key, "the secret holds white space or characters that a header cannot carry", "make one with: openssl rand -hex 32")
	}
}

var headerToken = regexp.MustCompile(`^[!-~]+$`)

var originHost = regexp.MustCompile(`^(\*\.)?([a-z0-9_-]+\.)*[a-z0-9_-]+(:[0-9]{1,5})?$|^\[[0-9a-f:]+\](:[0-9]{1,5})?$`)

// badOrigin returns why a browser would never send an origin, or why it must not be trusted. The problem is
// "" if neither is so.
func badOrigin(origin string) (problem, hint string) {
	const example = "write https://app.example.com or https://*.example.com"
	scheme, host, ok := strings.Cut(origin, "://")
	name, isWildcard := strings.CutPrefix(host, "*.")
	switch {
	case origin == "*" || origin == "null" || host == "*":
		return "would let any site read what its visitors may see", "list the sites"
	case !ok || scheme != "https" && scheme != "http":
		return "is not an origin", example
	case strings.ContainsAny(host, "/?#@"):
		return "is not an origin: it goes on after the host", "leave out path, query and user"
	case host != strings.ToLower(host):
		return "is not as browsers send it", "write it in lower case"
	case !originHost.MatchString(host):
		return "is not an origin", example
	case scheme == "https" && strings.HasSuffix(host, ":443"), scheme == "http" && strings.HasSuffix(host, ":80"):
		return "is not as browsers send it", "leave out the scheme's own port"
	case isWildcard && scheme != "https":
		return "is a wildcard over http, where anybody on the way can pose as a subdomain", "write https://*.…, or list the hosts"
	case isWildcard && !strings.Contains(name, "."):
		return "is a wildcard over a whole top-level domain", "list the sites"
	}
	return "", ""
}
