package proxy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/proxy/wire"
)

// writePair makes a certificate for 127.0.0.1 and writes it and its key to two files.
func writePair(t *testing.T, certFile, keyFile, name string, modified time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert := writePair(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), "tiles.test", time.Now())
	config, err := wire.TLSConfig(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(s *setup) { s.server.TLS = config })
	w.origin.put("basemap", 1, 0, 0, object{body: pngBody(300_000), etag: `"x"`})
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: protocol == "HTTP/2.0"}
		t.Cleanup(transport.CloseIdleConnections)
		r := w.request("GET", "/tiles/basemap/1/0/0.png", "", w.bearer()...)
		r.URL.Scheme = "https"
		response, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(response); response.Proto != protocol || got.status != 200 || got.body != pngBody(300_000) {
			t.Errorf("%s: got %s %d, %d bytes, %v", protocol, response.Proto, got.status, len(got.body), got.err)
		}
		described := w.request("GET", "/tiles/basemap.json", "", w.bearer()...)
		described.URL.Scheme = "https"
		response, err = (&http.Client{Transport: transport}).Do(described)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(response); !strings.Contains(got.body, `"https://`+w.address+`/tiles/basemap/`) {
			t.Errorf("TileJSON over TLS: got %s", got.body)
		}
	}
	if _, err := tls.Dial("tcp", w.address, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

func TestCertificateIsReloaded(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(name string, modified time.Time) { writePair(t, certFile, keyFile, name, modified) }
	write("first.test", time.Unix(1000, 0))
	synctest.Test(t, func(t *testing.T) {
		log := newLines()
		config, err := wire.TLSConfig(certFile, keyFile, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		serves := func(want string) {
			t.Helper()
			<-time.After(time.Minute) // the bubble's, which takes no time
			pair, err := config.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			if cert, err := x509.ParseCertificate(pair.Certificate[0]); err != nil || cert.DNSNames[0] != want {
				t.Errorf("got %v, %v, want %s", cert.DNSNames, err, want)
			}
		}
		serves("first.test")
		write("second.test", time.Unix(2000, 0))
		serves("second.test")
		if err := os.WriteFile(certFile, []byte("half a cert"), 0o600); err != nil { // in the middle of being replaced
			t.Fatal(err)
		}
		serves("second.test")
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), certFile) {
			t.Errorf("nobody is told: %s", log)
		}
		if err := os.Remove(certFile); err != nil {
			t.Fatal(err)
		}
		serves("second.test")
		write("third.test", time.Unix(3000, 0))
		serves("third.test")
		if strings.Contains(log.String(), "PRIVATE KEY") {
			t.Error("the log shows the key")
		}
	})
}

func TestTLSConfigSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := wire.TLSConfig(certFile, keyFile, nil); err == nil || !strings.Contains(err.Error(), certFile) {
		t.Errorf("no file: got %v", err)
	}
	writePair(t, certFile, filepath.Join(dir, "other.pem"), "a.test", time.Now())
	writePair(t, filepath.Join(dir, "other.pem"), keyFile, "b.test", time.Now())
	if _, err := wire.TLSConfig(certFile, keyFile, nil); err == nil || !strings.Contains(err.Error(), keyFile) {
		t.Errorf("another certificate's key: got %v", err)
	}
}
