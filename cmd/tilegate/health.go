package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

type healthCommand struct {
	Config string `short:"c" env:"TILEGATE_CONFIG" placeholder:"FILE" help:"The configuration file, which says where the server listens."`
	URL    string `arg:"" optional:"" help:"The URL to ask; by default /health where the configured server listens."`
}

// Run succeeds when the server answers 200.
func (h healthCommand) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	at, err := h.where()
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return usageError{err}
	}
	transport := &http.Transport{} // no proxy: the server is near
	if h.URL == "" || loopback(at.Hostname()) {
		// The certificate names the public host, never this address of the machine's own, and on the way
		// there is nobody whom it could keep out.
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // as said
	}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", at, answer.Status)
	}
	return nil
}

// where is the URL that was given, or the one at which the configured listener is reached from this machine.
func (h healthCommand) where() (*url.URL, error) {
	if h.URL != "" {
		at, err := url.Parse(h.URL)
		if err != nil {
			return nil, usageError{err}
		}
		return at, nil
	}
	at := &url.URL{Scheme: "http", Host: "127.0.0.1:8080", Path: "/health"}
	if h.Config == "" {
		return at, nil
	}
	config, err := configFlag{h.Config}.load()
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil // the image's TILEGATE_CONFIG, in a container that runs the demo
	}
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(config.Server.Listen)
	if err != nil {
		return nil, err
	}
	if address, err := netip.ParseAddr(host); host == "" || err == nil && address.IsUnspecified() {
		host = "127.0.0.1"
	}
	at.Host = net.JoinHostPort(host, port)
	if config.Server.TLS.Enabled() {
		at.Scheme = "https"
	}
	return at, nil
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
