package cloudfront_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"tilegate/proxy/cloudfront"
)

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// decode undoes CloudFront's own base64 alphabet.
func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCookiesOpenOneTilesetEach(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		pem    []byte
		verify func(digest, signature []byte) bool
	}{
		{"RSA, PKCS #8", pkcs8(t, rsaKey), func(d, s []byte) bool {
			return rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA1, d, s) == nil
		}},
		{"RSA, PKCS #1", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}), func(d, s []byte) bool {
			return rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA1, d, s) == nil
		}},
		{"ECDSA, PKCS #8", pkcs8(t, ecKey), func(d, s []byte) bool { return ecdsa.VerifyASN1(&ecKey.PublicKey, d, s) }},
		{"ECDSA, SEC 1", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ecDER}), func(d, s []byte) bool { return ecdsa.VerifyASN1(&ecKey.PublicKey, d, s) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			signer, err := cloudfront.New("K2JCJMDEHXQW5F", test.pem, http.SameSiteLaxMode)
			if err != nil {
				t.Fatal(err)
			}
			expires := time.Unix(1_800_000_000, 0)
			cookies, err := signer.Cookies("https://tiles.example.com", []string{"basemap", "roads"}, expires)
			if err != nil || len(cookies) != 6 {
				t.Fatalf("got %d cookies, %v, want 6", len(cookies), err)
			}
			for i, id := range []string{"basemap", "roads"} {
				values := map[string]string{}
				for _, c := range cookies[3*i : 3*i+3] {
					values[c.Name] = c.Value
					if c.Path != "/tiles/"+id+"/" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || !c.Expires.Equal(expires) {
						t.Errorf("%s: %s", id, c)
					}
				}
				policy := decode(t, values["CloudFront-Policy"])
				var got struct {
					Statement []struct {
						Resource  string
						Condition struct {
							DateLessThan struct {
								Epoch int64 `json:"AWS:EpochTime"`
							}
						}
					}
				}
				if err := json.Unmarshal(policy, &got); err != nil {
					t.Fatal(err)
				}
				s := got.Statement[0]
				if len(got.Statement) != 1 || s.Resource != "https://tiles.example.com/tiles/"+id+"/*" || s.Condition.DateLessThan.Epoch != expires.Unix() {
					t.Errorf("%s: policy %s", id, policy)
				}
				digest := sha1.Sum(policy)
				if !test.verify(digest[:], decode(t, values["CloudFront-Signature"])) {
					t.Errorf("%s: the signature does not fit the policy", id)
				}
				if values["CloudFront-Key-Pair-Id"] != "K2JCJMDEHXQW5F" {
					t.Errorf("%s: key pair %q", id, values["CloudFront-Key-Pair-Id"])
				}
			}
			for _, c := range signer.Expired([]string{"basemap"}) {
				if c.Value != "" || c.Expires.After(time.Unix(1, 0)) || c.Path != "/tiles/basemap/" {
					t.Errorf("taking it back: %s", c)
				}
			}
		})
	}
}

func TestKeysThatCloudFrontDoesNotTakeAreRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"RSA of another size": pkcs8(t, small), "another curve": pkcs8(t, p384), "Ed25519": pkcs8(t, ed),
		"nothing": nil, "no PEM": []byte("key"), "no key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
	} {
		if _, err := cloudfront.New("K", text, http.SameSiteLaxMode); err == nil {
			t.Errorf("%s: want it refused", name)
		}
	}
}

// In a policy's resource * and ? match anything.
func TestWildcardsAreNotSigned(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := cloudfront.New("K2JCJMDEHXQW5F", pkcs8(t, key), http.SameSiteLaxMode)
	if err != nil {
		t.Fatal(err)
	}
	for _, base := range []string{"https://*", "https://*.example.com", "https://tiles.example.com/*", "https://tiles.example.co?", "http*://tiles.example.com"} {
		if cookies, err := signer.Cookies(base, []string{"basemap"}, time.Unix(1_800_000_000, 0)); err == nil {
			t.Errorf("%s: got %v, want it refused", base, cookies)
		}
	}
}
