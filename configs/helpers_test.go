package configs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tilegate/configs"
)

// signingKey is 32 bytes as tilegate keygen writes them.
const signingKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n"

// minimal is the least that is valid: one tileset and one way in.
const (
	minimalAuth     = "auth:\n  signing_keys: [{env: SIGNING_KEY}]\n"
	minimalTilesets = "tilesets:\n  basemap:\n    source: s3://acme/{z}/{x}/{y}.png\n"
	minimal         = minimalAuth + minimalTilesets
)

// env is an environment of the given variables and what minimal needs.
func env(pairs ...string) func(string) (string, bool) {
	set := map[string]string{"SIGNING_KEY": signingKey}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		set[name] = value
	}
	return func(name string) (string, bool) {
		value, ok := set[name]
		return value, ok
	}
}

// parse is Parse of a file that must be valid.
func parse(t *testing.T, file string, pairs ...string) *configs.Config {
	t.Helper()
	c, err := configs.Parse("tilegate.yaml", []byte(file), env(pairs...))
	if err != nil {
		t.Fatalf("a valid file is refused:\n%v", err)
	}
	return c
}

// faults is the faults of a file that must have some.
func faults(t *testing.T, file string, pairs ...string) []configs.Fault {
	t.Helper()
	_, err := configs.Parse("tilegate.yaml", []byte(file), env(pairs...))
	var e *configs.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e.Faults
}

// write puts a file into a new directory and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ecKey is a new P-256 key pair in PEM.
func ecKey(t *testing.T) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	publicDER, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}))
}

// exponentOne is a public RSA key in PEM for which every padded hash is its own signature.
func exponentOne(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der := x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: key.N, E: 1})
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: der}))
}

// selfSigned is a new certificate and its key in PEM.
func selfSigned(t *testing.T) (certificate, private string) {
	t.Helper()
	private, _ = ecKey(t)
	block, _ := pem.Decode([]byte(private))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.(*ecdsa.PrivateKey).Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), private
}
