package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What package auth would refuse is reported like any other fault of the file, by every command that reads
// it and together with the others.
func TestFaultsOfAuthHaveTheirPlace(t *testing.T) {
	path := writeFile(t, "tilegate.yaml", `aws: {region: us-east-1}
auth:
  signing_keys: [{env: SIGNING_KEY}]
  issuers:
    - issuer: https://id.example.com/
      audience: [tiles]
      algorithms: [RS256]
      key: {file: weak.pem}
tilesets:
  a: {source: "s3://tiles/{z}/{x}/{y}.png", missing: 410}
`)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	weak := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: key.N, E: 1})})
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "weak.pem"), weak, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SIGNING_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
	want := []string{
		path + ":8:7: auth.issuers[0].key: is no key for RS256, or a weak one; ",
		path + ":10:54: tilesets.a.missing \"410\": is none of ",
	}
	for _, args := range [][]string{{"check"}, {"serve"}, {"token", "--subject", "s", "--tilesets", "a"}} {
		_, errs, status := command(t, append(args, "-c", path)...)
		lines := strings.Split(errs, "\n")
		if status != 2 || len(lines) != len(want) {
			t.Errorf("%s: got status %d and\n%s", args[0], status, errs)
			continue
		}
		for i := range want {
			if !strings.HasPrefix(lines[i], want[i]) {
				t.Errorf("%s: got %q, want it to begin with %q", args[0], lines[i], want[i])
			}
		}
	}
}
