package configs_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tilegate/configs"
)

func TestParseSigningKey(t *testing.T) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(0xfa + i) // uses + and / in base64
	}
	raw[31] = '\n' // which must not be taken for a line break
	for _, tc := range []struct {
		name, text string
		want       bool
	}{
		{"raw", string(raw), true},
		{"base64url", "-vv8_f7_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGAo", true},
		{"with a line break", "-vv8_f7_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGAo\n", true},
		{"padded", "-vv8_f7_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGAo=\r\n", true},
		{"base64", "+vv8/f7/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGAo=", true},
		{"hexadecimal", fmt.Sprintf("%x\n", raw), true},
		{"HEXADECIMAL", fmt.Sprintf("%X", raw), true},
		{"raw with a line break", string(raw) + "\n", false},
		{"31 bytes", string(raw[:31]), false},
		{"32 letters", "abcdefghijklmnopqrstuvwxyzabcdef", false},
		{"hexadecimal of 16 bytes", fmt.Sprintf("%x", raw[:16]), false},
		{"base64 of 48 bytes", strings.Repeat("Zz09", 16), false},
		{"loose last bits", "-vv8_f7_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGAp", false},
		{"line break inside", "-vv8_f7_AAECAwQFBgcICQ\noLDA0ODxAREhMUFRYXGAo", false},
		{"a password", "correct horse battery staple", false},
		{"nothing", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := configs.ParseSigningKey([]byte(tc.text))
			if tc.want && (err != nil || string(got) != string(raw)) {
				t.Errorf("got %x, %v", got, err)
			}
			if !tc.want && err == nil {
				t.Errorf("got %x, want an error", got)
			}
			if err != nil && tc.text != "" && strings.Contains(err.Error(), strings.TrimSpace(tc.text)) {
				t.Errorf("the error quotes the key: %v", err)
			}
		})
	}
}

func TestServerCertificate(t *testing.T) {
	certificate, key := selfSigned(t)
	other, _ := ecKey(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"cert.pem": certificate, "key.pem": key, "other.pem": other} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "tilegate.yaml")
	for keyFile, want := range map[string]string{"key.pem": "", "other.pem": "server.tls: the files are no pair: private key does not match public key"} {
		text := minimal + "server: {tls: {cert_file: cert.pem, key_file: " + keyFile + "}}"
		c, err := configs.Parse(file, []byte(text), env())
		switch {
		case want == "" && (err != nil || !c.Server.TLS.Enabled()):
			t.Errorf("%s: got %v", keyFile, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %s", keyFile, err, want)
		}
	}
}

func TestCloudFrontKey(t *testing.T) {
	ecKey := func(curve elliptic.Curve) []byte {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(edKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, block string
		der         []byte
		want        bool
	}{
		{"RSA 2048", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), true},
		{"P-256", "EC PRIVATE KEY", ecKey(elliptic.P256()), true},
		{"P-384", "EC PRIVATE KEY", ecKey(elliptic.P384()), false},
		{"Ed25519", "PRIVATE KEY", pkcs8, false},
		{"hollow", "PRIVATE KEY", []byte("none"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key := pem.EncodeToMemory(&pem.Block{Type: tc.block, Bytes: tc.der})
			file := minimal + "server: {public_url: 'https://tiles.example.com'}\ncdn: {tilesets: [basemap], cloudfront: {key_pair_id: K2JCJMDEHXQW5F, private_key: {env: KEY}}}"
			_, err := configs.Parse("tilegate.yaml", []byte(file), env("KEY="+string(key)))
			if got := err == nil; got != tc.want {
				t.Errorf("got %v, want accepted: %t", err, tc.want)
			}
		})
	}
}

// TestPublicKeys: each form of a public key is taken for the algorithms that it fits, and no other.
func TestPublicKeys(t *testing.T) {
	certificate, _ := selfSigned(t)
	_, public := ecKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edDER, err := x509.MarshalPKIXPublicKey(edKey)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{
		"certificate": certificate,
		"P-256":       public,
		"RSA":         string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)})),
		"Ed25519":     string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: edDER})),
	}
	fit := map[string]string{"certificate": "ES256", "P-256": "ES256", "RSA": "RS256, RS384, RS512, PS256, PS384, PS512", "Ed25519": "EdDSA"}
	for name, key := range keys {
		parse(t, strings.Replace(algorithms(fit[name], "key: {env: KEY}"), "# !", "", 1), "KEY="+key)
		for other, list := range fit {
			if fit[other] == fit[name] {
				continue
			}
			got := faults(t, algorithms(list, "key: {env: KEY}"), "KEY="+key)
			if len(got) != 1 || !strings.Contains(got[0].Problem, "is no key for") {
				t.Errorf("%s for %s: got %v", name, list, got)
			}
		}
	}
}
