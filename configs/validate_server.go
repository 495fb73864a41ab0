package configs

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"regexp"
	"strings"

	"tilegate/internal/weborigin"
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
		var bad *weborigin.PatternError
		if _, err := weborigin.Parse(origin); errors.As(err, &bad) {
			v.fault(element("server.cors.origins", i), bad.Problem, bad.Hint)
		}
	}
	for i, name := range s.CORS.Headers {
		if problem, hint := badRequestHeader(name); problem != "" {
			v.fault(element("server.cors.headers", i), problem, hint)
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

// badRequestHeader returns why pages must not be allowed to send a header, or "".
func badRequestHeader(name string) (problem, hint string) {
	lower := strings.ToLower(name)
	switch {
	case name == "*":
		return "is taken literally by browsers, because requests carry credentials", "list the headers"
	case !headerName.MatchString(name):
		return "is not the name of a header", "write it as X-Client-Version"
	case lower == "x-origin-verify" || strings.HasPrefix(lower, "x-forwarded-") || strings.HasPrefix(lower, "x-original-") || lower == "x-envoy-original-path":
		return "is a header with which a proxy speaks to tilegate", "no page may send it"
	}
	return "", ""
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")
