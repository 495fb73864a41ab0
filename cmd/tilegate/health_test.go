package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// health asks where the configuration says that the server listens, as it does in a container.
func TestHealthFollowsTheConfiguration(t *testing.T) {
	certificate, key := certificateFor(t, "tiles.example.com")
	const rest = `, admin_listen: ""}
aws: {endpoint: "http://127.0.0.1:1"}
tilesets:
  a: {public: true, source: "s3://tiles/{z}/{x}/{y}.png"}
`
	for _, test := range []struct{ name, host, more string }{
		{"loopback", "127.0.0.1", ""},
		{"another address of this machine", "127.0.0.2", ""},
		{"every address", "", ""},
		{"every IPv4 address", "0.0.0.0", ""},
		{"every IPv6 address", "[::]", ""},
		{"TLS under the public name", "127.0.0.1", fmt.Sprintf(", tls: {cert_file: %q, key_file: %q}", certificate, key)},
		{"TLS on every address", "", fmt.Sprintf(", tls: {cert_file: %q, key_file: %q}", certificate, key)},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, port, _ := net.SplitHostPort(freeAddress(t))
			address := test.host + ":" + port
			config := writeFile(t, "tilegate.yaml", fmt.Sprintf("server: {listen: %q%s", address, test.more)+rest)
			if _, errs, status := command(t, "health", "-c", config); status != 1 {
				t.Errorf("before it serves: got status %d and %q, want 1", status, errs)
			}
			start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
			if _, errs, status := command(t, "health", "-c", config); status != 0 {
				t.Errorf("got status %d and %q, want 0", status, errs)
			}
			p, _ := start(t, []string{"TILEGATE_CONFIG=" + config}, "health")
			if status := p.wait(); status != 0 {
				t.Errorf("by TILEGATE_CONFIG: got status %d and %q, want 0", status, p.log())
			}
		})
	}
}

// An image's TILEGATE_CONFIG names a file that a container which runs the demo does not have.
func TestHealthWithoutAConfiguration(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer server.Close()
	none := filepath.Join(t.TempDir(), "tilegate.yaml")
	for _, test := range []struct {
		name   string
		args   []string
		answer int
		status int
		says   string
	}{
		{"an address", []string{server.URL + "/health"}, 200, 0, ""},
		{"an address wins", []string{"-c", none, server.URL + "/health"}, 200, 0, ""},
		{"unwell", []string{server.URL + "/health"}, 503, 1, "answers 503"},
		{"a wrong configuration", []string{"-c", writeFile(t, "tilegate.yaml", "sever: {}\n")}, 200, 2, "sever"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status = test.answer
			if _, errs, got := command(t, append([]string{"health"}, test.args...)...); got != test.status || !strings.Contains(errs, test.says) {
				t.Errorf("got status %d and %q, want %d and %q", got, errs, test.status, test.says)
			}
		})
	}
	for _, command := range []healthCommand{{}, {Config: none}} {
		if at, err := command.where(); err != nil || at.String() != "http://127.0.0.1:8080/health" {
			t.Errorf("%+v: got %s, %v; want the default address", command, at, err)
		}
	}
}

// certificateFor is a certificate that nobody has signed for one name, and its key, in files.
func certificateFor(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))),
		writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}
