package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"tilegate/auth"
)

// start is where the virtual clocks of these tests begin; it is on no window's edge.
var start = time.Date(2026, 11, 22, 12, 3, 4, 500e6, time.UTC)

// clock is a virtual one.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: start} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// signer signs tokens as an identity provider does, and can be made to sign nonsense.
type signer struct {
	kid, alg string
	private  crypto.PrivateKey // or []byte
}

var (
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return generateRSA(2048) })
	rsaTwo = sync.OnceValue(func() *rsa.PrivateKey { return generateRSA(2048) })
)

func generateRSA(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

func rsaSigner(kid string) signer { return signer{kid: kid, alg: "RS256", private: rsaKey()} }

func ecSigner(kid string) signer { return signer{kid: kid, alg: "ES256", private: generateEC(256)} }

func generateEC(bits int) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(map[int]elliptic.Curve{256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}[bits], rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func edSigner(kid string) signer {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return signer{kid: kid, alg: "EdDSA", private: k}
}

func secretSigner(secret []byte) signer { return signer{alg: "HS256", private: secret} }

func (s signer) jwk() map[string]any {
	encode := base64.RawURLEncoding.EncodeToString
	jwk := map[string]any{"kid": s.kid, "alg": s.alg, "use": "sig"}
	switch k := s.private.(type) {
	case *rsa.PrivateKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", encode(k.N.Bytes()), "AQAB"
	case *ecdsa.PrivateKey:
		point, err := k.PublicKey.Bytes()
		if err != nil {
			panic(err)
		}
		jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", k.Params().Name, encode(point[1:1+len(point)/2]), encode(point[1+len(point)/2:])
	case ed25519.PrivateKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", encode(k.Public().(ed25519.PublicKey))
	}
	return jwk
}

func (s signer) pem() []byte {
	der, err := x509.MarshalPKIXPublicKey(s.private.(crypto.Signer).Public())
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// sign makes a token of header and payload as they stand.
func (s signer) sign(header, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	return signed + "." + encode(s.signature(signed))
}

func (s signer) signature(signed string) []byte {
	signature, err := jwt.GetSigningMethod(s.alg).Sign(signed, s.private)
	if err != nil {
		panic(err)
	}
	return signature
}

func (s signer) header() string {
	h := map[string]string{"alg": s.alg, "typ": "JWT"}
	if s.kid != "" {
		h["kid"] = s.kid
	}
	return asJSON(h)
}

// token makes a sound token of claims.
func (s signer) token(claims map[string]any) string { return s.sign(s.header(), asJSON(claims)) }

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// claims are a sound token's, overridden by changes; nil in changes removes one.
func claims(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": "https://id.example.com/", "aud": "tiles", "sub": "alice", "jti": "token-1",
		"iat": start.Unix(), "exp": start.Add(time.Hour).Unix(), "tilesets": []string{"basemap"},
	}
	for name, value := range changes {
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
	return c
}

var null = json.RawMessage("null")

func testOptions(c *clock, s signer) auth.Options {
	return auth.Options{
		Issuers: []auth.Issuer{{
			Issuer: "https://id.example.com/", Audience: []string{"tiles", "maps"},
			Algorithms: []string{s.alg}, PublicKeyPEM: s.pem(),
		}},
		Leeway: 30 * time.Second, MaxLifetime: 24 * time.Hour,
		SigningKeys:  [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
		SecureCookie: true, Clock: c.Now,
	}
}

func newAuth(t testing.TB, o auth.Options) *auth.Authenticator {
	t.Helper()
	a, err := auth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// standard is one issuer with a fixed key.
func standard(t testing.TB) (*auth.Authenticator, *clock, signer) {
	t.Helper()
	c, s := newClock(), rsaSigner("")
	return newAuth(t, testOptions(c, s)), c, s
}

func request(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/tiles/basemap/1/0/0", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func bearer(token string) *http.Request { return request("Authorization", "Bearer "+token) }

func authenticate(t testing.TB, a *auth.Authenticator, token string) *auth.Grant {
	t.Helper()
	g, err := a.Authenticate(bearer(token), "")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// errorDescription is what RFC 6750 section 3 lets error_description hold.
var errorDescription = regexp.MustCompile(`^[\x20-\x21\x23-\x5B\x5D-\x7E]+$`)

// wantInvalid checks that err is an *InvalidError, fit for a header, whose description contains want.
func wantInvalid(t testing.TB, err error, want string) {
	t.Helper()
	var invalid *auth.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("got error %v, want an InvalidError", err)
	}
	if !strings.Contains(invalid.Description, want) {
		t.Errorf("got description %q, want it to contain %q", invalid.Description, want)
	}
	if !errorDescription.MatchString(invalid.Description) {
		t.Errorf("description %q holds characters that RFC 6750 does not allow", invalid.Description)
	}
}
