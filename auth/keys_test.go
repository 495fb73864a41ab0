package auth_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
)

func set(jwks ...map[string]any) string { return asJSON(map[string]any{"keys": jwks}) }

func with(jwk map[string]any, changes map[string]any) map[string]any {
	jwk = maps.Clone(jwk)
	for name, value := range changes {
		if value == nil {
			delete(jwk, name)
		} else {
			jwk[name] = value
		}
	}
	return jwk
}

func TestKeySetYieldsUsableKeysAlone(t *testing.T) {
	rsaJWK, ecJWK, edJWK := rsaSigner("r").jwk(), ecSigner("e").jwk(), edSigner("o").jwk()
	weak := signer{kid: "w", alg: "RS256", private: generateRSA(1024)}.jwk()
	huge := with(rsaJWK, map[string]any{"n": base64.RawURLEncoding.EncodeToString(append([]byte{0xff}, make([]byte, 1025)...)) + "AAE"})
	otherPoint := ecSigner("e").jwk()
	oct := map[string]any{"kty": "oct", "kid": "s", "alg": "RS256", "k": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}
	good := func(jwks ...map[string]any) string { return set(append(jwks, edJWK)...) } // one good key beside
	for _, tt := range []struct {
		name string
		doc  string
		want []string // nil: refused altogether
	}{
		{"one of each", set(rsaJWK, ecJWK, edJWK), []string{"r/RS256", "e/ES256", "o/EdDSA"}},
		{"alg left out", set(with(rsaJWK, map[string]any{"alg": nil})), []string{"r/RS256", "r/PS256"}},
		{"use left out", set(with(rsaJWK, map[string]any{"use": nil})), []string{"r/RS256"}},
		{"kid left out", set(with(rsaJWK, map[string]any{"kid": nil})), []string{"/RS256"}},
		{"key_ops verify", set(with(rsaJWK, map[string]any{"key_ops": []string{"sign", "verify"}})), []string{"r/RS256"}},
		{"unknown members", set(with(rsaJWK, map[string]any{"x5t": "AAAA", "x5c": []string{"!"}, "n2": 1})), []string{"r/RS256"}},
		{"the same key twice", set(rsaJWK, rsaJWK), []string{"r/RS256"}},
		{"one kid for two types", set(rsaJWK, with(ecJWK, map[string]any{"kid": "r"})), []string{"r/RS256", "r/ES256"}},

		{"not JSON", `keys`, nil},
		{"an array", `[]`, nil},
		{"no keys member", `{}`, nil},
		{"keys null", `{"keys":null}`, nil},
		{"keys an object", `{"keys":{}}`, nil},
		{"a key that is no object", `{"keys":[` + asJSON(rsaJWK) + `,7]}`, nil},
		{"empty", set(), nil},
		{"keys twice", `{"keys":[` + asJSON(rsaJWK) + `],"keys":[` + asJSON(edJWK) + `]}`, nil},
		{"a member twice", `{"keys":[{"kid":"x",` + asJSON(rsaJWK)[1:] + `]}`, nil},
		{"one key a thousand times", set(slices.Repeat([]map[string]any{rsaJWK}, 1000)...), []string{"r/RS256"}},
		{"only symmetric keys", set(oct), nil},

		{"symmetric", good(oct), []string{"o/EdDSA"}},
		{"symmetric without kty", good(with(oct, map[string]any{"kty": nil})), []string{"o/EdDSA"}},
		{"type none", good(map[string]any{"kty": "none", "kid": "n", "alg": "none"}), []string{"o/EdDSA"}},
		{"alg none", good(with(rsaJWK, map[string]any{"alg": "none"})), []string{"o/EdDSA"}},
		{"alg not listed", good(with(rsaJWK, map[string]any{"alg": "RS512"})), []string{"o/EdDSA"}},
		{"alg of another type", good(with(rsaJWK, map[string]any{"alg": "ES256"})), []string{"o/EdDSA"}},
		{"alg HS256 on an RSA key", good(with(rsaJWK, map[string]any{"alg": "HS256"})), []string{"o/EdDSA"}},
		{"alg null", good(with(rsaJWK, map[string]any{"alg": null})), []string{"o/EdDSA"}},
		{"for encryption", good(with(rsaJWK, map[string]any{"use": "enc"})), []string{"o/EdDSA"}},
		{"use null", good(with(rsaJWK, map[string]any{"use": null})), []string{"o/EdDSA"}},
		{"key_ops encrypt", good(with(rsaJWK, map[string]any{"key_ops": []string{"encrypt"}})), []string{"o/EdDSA"}},
		{"key_ops empty", good(with(rsaJWK, map[string]any{"key_ops": []string{}})), []string{"o/EdDSA"}},
		{"key_ops a string", good(with(rsaJWK, map[string]any{"key_ops": "verify"})), []string{"o/EdDSA"}},
		{"private", good(with(rsaJWK, map[string]any{"d": "AQAB"})), []string{"o/EdDSA"}},
		{"RSA of 1024 bits", good(weak), []string{"o/EdDSA"}},
		{"RSA of 8200 bits", good(huge), []string{"o/EdDSA"}},
		{"RSA without n", good(with(rsaJWK, map[string]any{"n": nil})), []string{"o/EdDSA"}},
		{"RSA with padding", good(with(rsaJWK, map[string]any{"n": rsaJWK["n"].(string) + "="})), []string{"o/EdDSA"}},
		{"exponent 1", good(with(rsaJWK, map[string]any{"e": "AQ"})), []string{"o/EdDSA"}},
		{"exponent even", good(with(rsaJWK, map[string]any{"e": "AQAA"})), []string{"o/EdDSA"}},
		{"exponent of 64 bits that wraps to 65537", good(with(rsaJWK, map[string]any{"e": "AQAAAAAAAQAB"})), []string{"o/EdDSA"}},
		{"kid a number", good(with(rsaJWK, map[string]any{"kid": 7})), []string{"o/EdDSA"}},
		{"kid empty", good(with(rsaJWK, map[string]any{"kid": ""})), []string{"o/EdDSA"}},
		{"EC off the curve", good(with(ecJWK, map[string]any{"y": otherPoint["y"]})), []string{"o/EdDSA"}},
		{"EC at infinity", good(with(ecJWK, map[string]any{"x": base64.RawURLEncoding.EncodeToString(make([]byte, 32)), "y": base64.RawURLEncoding.EncodeToString(make([]byte, 32))})), []string{"o/EdDSA"}},
		{"EC of another curve", good(with(ecJWK, map[string]any{"crv": "P-384"})), []string{"o/EdDSA"}},
		{"EC on secp256k1", good(with(ecJWK, map[string]any{"crv": "secp256k1"})), []string{"o/EdDSA"}},
		{"EC coordinate too short", good(with(ecJWK, map[string]any{"x": "AQAB"})), []string{"o/EdDSA"}},
		{"X25519", good(with(edJWK, map[string]any{"kid": "x", "crv": "X25519"})), []string{"o/EdDSA"}},
		{"Ed25519 too short", good(with(edJWK, map[string]any{"kid": "x", "x": "AQAB"})), []string{"o/EdDSA"}},
		{"two keys of one kid", good(rsaJWK, signer{kid: "r", alg: "RS256", private: rsaTwo()}.jwk()), []string{"o/EdDSA"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := auth.UsableKeys([]byte(tt.doc), []string{"RS256", "PS256", "ES256", "EdDSA"})
			if (err == nil) != (tt.want != nil) || !slices.Equal(got, tt.want) {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestKeyIsChosenByKidAndAlgorithm(t *testing.T) {
	r, r2, e := rsaSigner("r"), signer{kid: "r2", alg: "RS256", private: rsaTwo()}, ecSigner("e")
	algorithms := []string{"RS256", "PS256", "ES256"}
	without := func(s signer) signer { s.kid = ""; return s }
	as := func(s signer, kid, alg string) signer { s.kid, s.alg = kid, alg; return s }
	for _, tt := range []struct {
		name string
		doc  string
		s    signer
		want bool
	}{
		{"by kid", set(r.jwk(), r2.jwk(), e.jwk()), r2, true},
		{"another's kid", set(r.jwk(), r2.jwk()), as(r, "r2", "RS256"), false},
		{"kid of a key for another algorithm", set(r.jwk(), e.jwk()), as(r, "e", "RS256"), false},
		{"kid in another case", set(r.jwk()), as(r, "R", "RS256"), false},
		{"kid that no key has", set(with(r.jwk(), map[string]any{"kid": nil})), r, false},
		{"no kid, one key for the algorithm", set(r.jwk(), e.jwk()), without(r), true},
		{"no kid, two keys for the algorithm, signed by the first", set(r.jwk(), r2.jwk()), without(r), false},
		{"no kid, two keys for the algorithm, signed by the last", set(r.jwk(), r2.jwk()), without(r2), false},
		{"no kid, the other key is marked for encryption", set(r.jwk(), with(r2.jwk(), map[string]any{"use": "enc"})), without(r), true},
		{"marked for another algorithm", set(r.jwk()), as(r, "r", "PS256"), false},
		{"not marked: any listed algorithm of its type", set(with(r.jwk(), map[string]any{"alg": nil})), as(r, "r", "PS256"), true},
		{"not marked, and not listed", set(with(r.jwk(), map[string]any{"alg": nil})), as(r, "r", "PS512"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := auth.VerifyWithKeySet([]byte(tt.doc), algorithms, tt.s.token(claims(nil)))
			if (err == nil) != tt.want {
				t.Errorf("got %v, want accepted: %v", err, tt.want)
			}
		})
	}
}

func TestPSSSaltMustHaveTheHashsLength(t *testing.T) {
	s := signer{kid: "r", alg: "PS256", private: rsaKey()}
	token := s.token(claims(nil))
	if _, err := auth.VerifyWithKeySet([]byte(set(s.jwk())), []string{"PS256"}, token); err != nil {
		t.Fatal(err)
	}
	dot := strings.LastIndexByte(token, '.')
	hash := sha256.Sum256([]byte(token[:dot]))
	other, err := rsa.SignPSS(rand.Reader, rsaKey(), crypto.SHA256, hash[:], &rsa.PSSOptions{SaltLength: 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := auth.VerifyWithKeySet([]byte(set(s.jwk())), []string{"PS256"}, token[:dot+1]+base64.RawURLEncoding.EncodeToString(other)); err == nil {
		t.Error("a signature with another salt was accepted")
	}
}

func TestPublicKeyPEM(t *testing.T) {
	k := rsaKey()
	public, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "id"}, NotAfter: start.Add(-time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	token := rsaSigner("").token(claims(nil))
	for _, tt := range []struct {
		name       string
		pem        []byte
		algorithms []string
		want       string // in the error; "": accepted
	}{
		{"PKIX", block("PUBLIC KEY", public), []string{"RS256"}, ""},
		{"PKCS #1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&k.PublicKey)), []string{"RS256", "PS256"}, ""},
		{"certificate", block("CERTIFICATE", certificate), []string{"RS256"}, ""},
		{"private key", block("PRIVATE KEY", private), []string{"RS256"}, "is a private key"},
		{"two keys, the second one signs", append(edSigner("").pem(), block("PUBLIC KEY", public)...), []string{"RS256", "EdDSA"}, ""},
		{"two keys of one algorithm, the second one signs", append(signer{private: rsaTwo()}.pem(), block("PUBLIC KEY", public)...), []string{"RS256"}, ""},
		{"two keys, one of no algorithm", append(block("PUBLIC KEY", public), ecSigner("").pem()...), []string{"RS256"}, "its key 2 fits none of the algorithms"},
		{"two keys, an algorithm without one", append(block("PUBLIC KEY", public), ecSigner("").pem()...), []string{"RS256", "ES256", "ES384"}, "is no key for ES384"},
		{"a public key and a private one", append(block("PUBLIC KEY", public), block("PRIVATE KEY", private)...), []string{"RS256"}, "is a private key"},
		{"a public key and something else", append(block("PUBLIC KEY", public), "and more"...), []string{"RS256"}, "holds something after its public keys"},
		{"nine keys", bytes.Repeat(block("PUBLIC KEY", public), 9), []string{"RS256"}, "more than 8 public keys"},
		{"no PEM", []byte("ssh-rsa AAAA"), []string{"RS256"}, "is not a public key in PEM"},
		{"broken", block("PUBLIC KEY", public[:20]), []string{"RS256"}, "what it holds is no key"},
		{"an algorithm of another type listed", block("PUBLIC KEY", public), []string{"RS256", "ES256"}, "is no key for ES256"},
		{"RSA of 1024 bits", signer{private: generateRSA(1024)}.pem(), []string{"RS256"}, "is no key for RS256, or a weak one"},
		{"RSA of exponent 1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: k.N, E: 1})), []string{"RS256"}, "is no key for RS256, or a weak one"},
		{"P-224", signer{private: p224}.pem(), []string{"ES256"}, "is no key for ES256"},
		{"P-256 for ES384", ecSigner("").pem(), []string{"ES384"}, "is no key for ES384"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(newClock(), rsaSigner(""))
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].Algorithms = tt.pem, tt.algorithms
			a, err := auth.New(o)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want it to contain %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			authenticate(t, a, token)
		})
	}
}

// manyKeys is a set of n keys with the kids 0, 1 and so on, and one for encryption before each.
func manyKeys(n int) string {
	jwk, jwks := edSigner("").jwk(), make([]map[string]any, 0, 2*n)
	for i := range n {
		public := make([]byte, ed25519.PublicKeySize)
		binary.BigEndian.PutUint32(public, uint32(i))
		jwk := with(jwk, map[string]any{"kid": strconv.Itoa(i), "x": base64.RawURLEncoding.EncodeToString(public)})
		jwks = append(jwks, with(jwk, map[string]any{"use": "enc"}), jwk)
	}
	return set(jwks...)
}

// A large identity provider publishes hundreds of keys. The ones that cannot be used do not count.
func TestKeySetOf500KeysIsKeptWhole(t *testing.T) {
	for _, tt := range []struct {
		name      string
		published int
		kept      int
		warns     bool
	}{
		{"130 keys", 130, 130, false},
		{"500 keys", 500, 500, false},
		{"501 keys", 501, 500, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := auth.UsableKeys([]byte(manyKeys(tt.published)), []string{"EdDSA"})
			if err != nil || len(got) != tt.kept || got[0] != "0/EdDSA" || got[tt.kept-1] != strconv.Itoa(tt.kept-1)+"/EdDSA" {
				t.Fatalf("got %d keys, %v, want the first %d", len(got), err, tt.kept)
			}
			var log bytes.Buffer
			k := &keyServer{}
			k.serve(jwksURL, manyKeys(tt.published))
			a := newAuth(t, auth.Options{
				Issuers:     []auth.Issuer{{Issuer: "https://id.example.com/", Algorithms: []string{"EdDSA"}, JWKSURL: jwksURL}},
				SigningKeys: [][]byte{make([]byte, 32)},
				HTTPClient:  &http.Client{Transport: k},
				Logger:      slog.New(slog.NewTextHandler(&log, nil)),
			})
			for range 2 { // the same set again is no news
				status := a.FetchKeySets(t.Context())[0]
				if status.Err != nil || status.Keys != tt.kept {
					t.Fatalf("got %+v", status)
				}
			}
			want := 0
			if tt.warns {
				want = 1
			}
			if got := strings.Count(log.String(), "level=WARN"); got != want {
				t.Errorf("got %d warnings, want %d:\n%s", got, want, log.String())
			}
		})
	}
}

// 500 RSA keys, the largest that are common, fit into what is read of an answer.
func TestKeySetOf500LargeRSAKeysIsRead(t *testing.T) {
	jwk, jwks := rsaSigner("").jwk(), make([]map[string]any, 500)
	for i := range jwks {
		modulus := bytes.Repeat([]byte{0xff}, 512)
		binary.BigEndian.PutUint32(modulus[8:], uint32(i))
		jwks[i] = with(jwk, map[string]any{
			"kid": base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(make([]byte, 28), uint32(i))),
			"n":   base64.RawURLEncoding.EncodeToString(modulus), "x5t#S256": strings.Repeat("A", 43),
		})
	}
	k := &keyServer{}
	k.serve(jwksURL, set(jwks...))
	a := newAuth(t, auth.Options{
		Issuers:     []auth.Issuer{{Issuer: "https://id.example.com/", Algorithms: []string{"RS256", "PS256"}, JWKSURL: jwksURL}},
		SigningKeys: [][]byte{make([]byte, 32)},
		HTTPClient:  &http.Client{Transport: k},
	})
	if status := a.FetchKeySets(t.Context())[0]; status.Err != nil || status.Keys != 500 {
		t.Errorf("got %+v, want 500 keys", status)
	}
}
