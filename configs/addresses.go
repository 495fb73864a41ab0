package configs

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const (
	addressHint  = `write ":8080", "127.0.0.1:8080" or "[::1]:8080"`
	relativeHint = "a relative path starts at the configuration's directory"
)

// splitAddress reads the address of a listener. An empty host stands for every address of the machine.
func splitAddress(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", errors.New("is not host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", "", errors.New("has no port from 0 to 65535")
	}
	return host, port, nil
}

func loopbackAddress(address string) bool {
	host, _, err := splitAddress(address)
	return err == nil && loopbackHost(host)
}

func loopbackHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// url checks the URL of a server, to which paths are added.
func (v *validator) url(key, raw string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		v.fault(key, "is not an absolute http or https URL", "write https://host/path")
	case u.User != nil:
		v.fault(key, "holds a user or password", "leave it out")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		v.fault(key, "has a fragment", "leave out # and what follows")
	case u.RawQuery != "" || u.ForceQuery:
		v.fault(key, "has a query", "leave out ? and what follows")
	}
}
