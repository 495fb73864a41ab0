package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
)

const maxKeys = 128 // that a key set may hold

// key verifies signatures of its algorithms.
type key struct {
	id     string   // kid, "" if the set gives none
	algs   []string // what it may verify: of the issuer's algorithms those that fit it
	public crypto.PublicKey
}

// keySet is the keys of one issuer; it never changes. Remembered tokens are bound to the set that
// verified them by its address.
type keySet struct {
	keys    []key
	ignored int  // keys of the published set that are of no use here
	fixed   bool // one configured key: kid does not matter
}

// errUnknownKID says that the set has no key of the token's kid, which a newer set may have.
var errUnknownKID = errors.New("unknown kid")

// find picks the one key that may verify j. A token without kid needs a set that leaves no choice.
func (s *keySet) find(j *jws) (*key, error) {
	var found *key
	named := false
	for i := range s.keys {
		k := &s.keys[i]
		if j.hasKID && !s.fixed {
			if k.id != j.kid {
				continue
			}
			named = true
		}
		if !slices.Contains(k.algs, j.alg) {
			continue
		}
		if found != nil {
			return nil, unverified("several keys fit the token")
		}
		found = k
	}
	switch {
	case found != nil:
		return found, nil
	case j.hasKID && !s.fixed && !named:
		return nil, errUnknownKID
	}
	return nil, unverified("no key fits the token's algorithm")
}

// verify checks the signature with k, which find has picked.
func (k *key) verify(j *jws) error {
	alg, ok := algorithms(j.alg)
	if !ok || !slices.Contains(k.algs, j.alg) {
		return unverified("the key does not fit the algorithm")
	}
	if alg.method.Verify(j.signed, j.signature, k.public) != nil {
		return unverified("wrong signature")
	}
	return nil
}

// fitting lists the algorithms of configured that public may verify.
func fitting(public crypto.PublicKey, configured []string) []string {
	var fit []string
	for _, name := range configured {
		if alg, ok := algorithms(name); ok && alg.takes(public) {
			fit = append(fit, name)
		}
	}
	return fit
}

// newFixedSet is the set of an issuer whose one key stands in the configuration. Each configured
// algorithm must fit it.
func newFixedSet(public crypto.PublicKey, configured []string) (*keySet, error) {
	fit := fitting(public, configured)
	if len(fit) != len(configured) || len(fit) == 0 {
		return nil, errors.New("the key does not fit every algorithm that is listed, or is too weak: " +
			"RSA needs 2048 to 8192 bits, HS256 a secret of 32 bytes (HS384 48, HS512 64), ES256 the curve P-256")
	}
	return &keySet{keys: []key{{algs: fit, public: public}}, fixed: true}, nil
}

// parsePEM reads one public key: PKIX, PKCS #1 or a certificate, whose dates and issuer do not
// matter. A private key is refused: it has no place here.
func parsePEM(data []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("more than one PEM block: give the public key alone")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	}
	return nil, errors.New("not a PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE: tilegate needs the public key")
}

var (
	errMalformedSet = errors.New("the key set is malformed")
	errEmptySet     = errors.New("the key set holds no usable key")
)

// parseKeySet reads a JWK set (RFC 7517 section 5). Keys that are of no use here are ignored, as
// the RFC asks: another type, use, operation or algorithm, symmetric or private ones, weak ones.
// Two different keys of one kid and algorithm are both ignored: which is meant is anybody's guess.
func parseKeySet(data []byte, configured []string) (*keySet, error) {
	document, err := parseObject(data, maxDocumentValues)
	if err != nil {
		return nil, errMalformedSet
	}
	members, ok := document["keys"].([]any)
	if !ok || len(members) > maxKeys {
		return nil, errMalformedSet
	}
	var usable []key
	for _, member := range members {
		jwk, ok := member.(map[string]any)
		if !ok {
			return nil, errMalformedSet
		}
		if k, ok := parseJWK(jwk, configured); ok && !slices.ContainsFunc(usable, k.equal) {
			usable = append(usable, k)
		}
	}
	set := &keySet{}
	for i, k := range usable {
		ambiguous := slices.ContainsFunc(slices.Concat(usable[:i], usable[i+1:]), func(other key) bool {
			return k.id != "" && k.id == other.id && slices.ContainsFunc(k.algs, func(alg string) bool {
				return slices.Contains(other.algs, alg)
			})
		})
		if !ambiguous {
			set.keys = append(set.keys, k)
		}
	}
	set.ignored = len(members) - len(set.keys)
	if len(set.keys) == 0 {
		return nil, errEmptySet
	}
	return set, nil
}

func (k key) equal(other key) bool {
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.id == other.id && slices.Equal(k.algs, other.algs) && public.Equal(other.public)
}

func (s *keySet) equal(other *keySet) bool {
	return other != nil && slices.EqualFunc(s.keys, other.keys, key.equal)
}

// parseJWK reads one key (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2); false if
// it is of no use here.
func parseJWK(jwk map[string]any, configured []string) (key, bool) {
	text := func(name string) string {
		s, _ := jwk[name].(string)
		return s
	}
	number := func(name string) []byte {
		b, err := decodeBase64(text(name))
		if err != nil {
			return nil
		}
		return b
	}
	for _, private := range [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, ok := jwk[private]; ok {
			return key{}, false // a key that the whole world can sign with
		}
	}
	if use, ok := jwk["use"]; ok && use != "sig" {
		return key{}, false
	}
	if operations, ok := jwk["key_ops"]; ok {
		if list, _ := operations.([]any); !slices.Contains(list, any("verify")) {
			return key{}, false
		}
	}
	if alg, ok := jwk["alg"]; ok {
		configured = slices.DeleteFunc(slices.Clone(configured), func(name string) bool { return alg != name })
	}
	k := key{id: text("kid")}
	if _, ok := jwk["kid"]; ok && k.id == "" {
		return key{}, false
	}
	switch text("kty") {
	case "RSA":
		n, e := new(big.Int).SetBytes(number("n")), new(big.Int).SetBytes(number("e"))
		if e.BitLen() > 31 { // crypto/rsa takes no larger one
			return key{}, false
		}
		k.public = &rsa.PublicKey{N: n, E: int(e.Int64())}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[text("crv")]
		if curve == nil {
			return key{}, false
		}
		size := (curve.Params().BitSize + 7) / 8
		x, y := number("x"), number("y")
		if len(x) != size || len(y) != size { // RFC 7518 section 6.2.1.2: full length, zeros included
			return key{}, false
		}
		public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
		if err != nil {
			return key{}, false
		}
		k.public = public
	case "OKP":
		if text("crv") != "Ed25519" {
			return key{}, false
		}
		k.public = ed25519.PublicKey(number("x"))
	default:
		return key{}, false
	}
	k.algs = fitting(k.public, configured)
	return k, len(k.algs) > 0
}

func modulo(k *rsa.PublicKey, n int64) int64 {
	return new(big.Int).Mod(k.N, big.NewInt(n)).Int64()
}
