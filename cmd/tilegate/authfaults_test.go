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

// What package origin would refuse is reported together with the other faults of the file, by the commands
// that reach S3. A token can be minted without.
func TestFaultsOfTheOriginStandAmongTheOthers(t *testing.T) {
	path := writeFile(t, "tilegate.yaml", "logging: {format: xml}\ntilesets:\n  a: {public: true, source: \"s3://tiles/{z}/{x}/{y}.png\", missing: 410}\n")
	ofFile := []string{path + ":1:19: logging.format \"xml\": ", path + ":3:68: tilesets.a.missing \"410\": "}
	ofOrigin := path + ":1:1: aws.region: is not set"
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"check"}, append([]string{ofOrigin}, ofFile...)},
		{[]string{"token", "--subject", "s", "--tilesets", "a"}, ofFile},
	} {
		p, _ := start(t, nil, append(test.args, "-c", path)...)
		status := p.wait()
		lines := strings.Split(strings.TrimSpace(p.log()), "\n")
		if status != 2 || len(lines) != len(test.want) {
			t.Errorf("%s: got status %d and\n%s", test.args[0], status, p.log())
			continue
		}
		for i, want := range test.want {
			if !strings.HasPrefix(lines[i], want) {
				t.Errorf("%s: got %q, want it to begin with %q", test.args[0], lines[i], want)
			}
		}
	}
}
