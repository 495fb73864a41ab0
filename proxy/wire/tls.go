package wire

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheck is how often a handshake looks whether the certificate's files have changed.
const certificateCheck = 10 * time.Second

// certificate is a pair of files that may be replaced while the server runs, as ACME clients and
// Kubernetes secrets do.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]time.Time // the files' modification times when current was read
	checked time.Time
}

// TLSConfig serves the certificate in two PEM files and follows their changes. A pair that cannot be
// read is reported and the one before stays in use.
func TLSConfig(certFile, keyFile string, logger *slog.Logger) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	if err := c.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.get(time.Now()), nil
		},
	}, nil
}

func (c *certificate) get(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		if stamp, err := c.stamps(); err != nil || stamp != c.stamp {
			if err := c.load(); err != nil {
				c.logger.Error("certificate not reloaded; the one before stays in use", "error", err)
			} else {
				c.logger.Info("certificate reloaded", "file", c.certFile)
			}
		}
	}
	return c.current
}

func (c *certificate) load() error {
	stamp, err := c.stamps()
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("read certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current, c.stamp = &pair, stamp
	return nil
}

func (c *certificate) stamps() (stamp [2]time.Time, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return stamp, err
		}
		stamp[i] = info.ModTime()
	}
	return stamp, nil
}
