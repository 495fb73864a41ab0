package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"math/big"
	"slices"
)

// maxKeys is how many usable keys of a published set are kept.
const maxKeys = 500

var (
	errMalformedSet = errors.New("the key set is malformed")
	errEmptySet     = errors.New("the key set holds no usable key")
)

// emptySetError is errEmptySet, with the reasons.
type emptySetError struct{ ignored []IgnoredKey }

func (e *emptySetError) Error() string { return errEmptySet.Error() }
func (e *emptySetError) Unwrap() error { return errEmptySet }

// parseKeySet reads a JWK set (RFC 7517 section 5). Keys that are of no use here are ignored, as the RFC
// asks: of another type, use, operation or algorithm, symmetric, private or weak. Two different keys of one
// kid and algorithm are both ignored, since it is unknown which one is meant. Of the others the first
// maxKeys are kept.
func parseKeySet(data []byte, configured []string) (*keySet, error) {
	document, err := parseObject(data, maxDocumentValues)
	if err != nil {
		return nil, errMalformedSet
	}
	members, ok := document["keys"].([]any)
	if !ok {
		return nil, errMalformedSet
	}
	var usable []key
	set := &keySet{}
	byKID := map[string][]int{} // indices in usable
	for _, member := range members {
		jwk, ok := member.(map[string]any)
		if !ok {
			return nil, errMalformedSet
		}
		k, reason := parseJWK(jwk, configured)
		switch {
		case reason != "":
			set.ignore(jwk, reason)
		case slices.ContainsFunc(byKID[k.id], func(i int) bool { return usable[i].equal(k) }):
			set.ignore(jwk, "it is in the set twice")
		default:
			byKID[k.id] = append(byKID[k.id], len(usable))
			usable = append(usable, k)
		}
	}
	for i, k := range usable {
		isAmbiguous := k.id != "" && slices.ContainsFunc(byKID[k.id], func(other int) bool {
			return other != i && slices.ContainsFunc(k.algs, func(alg string) bool { return slices.Contains(usable[other].algs, alg) })
		})
		if isAmbiguous {
			set.ignored = append(set.ignored, IgnoredKey{ID: printable(k.id), Reason: "another key has the same kid and algorithm"})
			continue
		}
		set.keys = append(set.keys, k)
	}
	if len(set.keys) == 0 {
		return nil, &emptySetError{set.ignored}
	}
	if len(set.keys) > maxKeys {
		set.dropped = len(set.keys) - maxKeys
		set.keys = slices.Clip(set.keys[:maxKeys])
	}
	return set, nil
}

// IgnoredKey is a key of a published set that is of no use here.
type IgnoredKey struct {
	ID     string // its kid, "" if it has none
	Reason string // constant text
}

// ignore notes that a key is not used.
func (s *keySet) ignore(jwk map[string]any, reason string) {
	id, _ := jwk["kid"].(string)
	s.ignored = append(s.ignored, IgnoredKey{ID: printable(id), Reason: reason})
}

// parseJWK reads one key (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2). It returns why
// the key is of no use here, "" if it is.
func parseJWK(jwk map[string]any, configured []string) (k key, whyNot string) {
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
			return key{}, "it is a secret or private key: everybody who can read the set could sign"
		}
	}
	if use, ok := jwk["use"]; ok && use != "sig" {
		return key{}, "it is not for signatures (use)"
	}
	if operations, ok := jwk["key_ops"]; ok {
		if list, _ := operations.([]any); !slices.Contains(list, any("verify")) {
			return key{}, "it is not for verifying (key_ops)"
		}
	}
	if alg, ok := jwk["alg"]; ok {
		name, _ := alg.(string)
		if name = canonicalAlgorithm(name); !slices.Contains(configured, name) {
			return key{}, "its alg is none of the issuer's algorithms in the configuration"
		}
		configured = []string{name}
	}
	k.id = text("kid")
	if _, ok := jwk["kid"]; ok && k.id == "" {
		return key{}, "its kid is not a string"
	}
	switch text("kty") {
	case "RSA":
		n, e := new(big.Int).SetBytes(number("n")), new(big.Int).SetBytes(number("e"))
		if e.BitLen() > 31 { // crypto/rsa takes no larger one
			return key{}, "its exponent is too large"
		}
		k.public = &rsa.PublicKey{N: n, E: int(e.Int64())}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[text("crv")]
		if curve == nil {
			return key{}, "its curve is not P-256, P-384 or P-521"
		}
		size := (curve.Params().BitSize + 7) / 8
		x, y := number("x"), number("y")
		if len(x) != size || len(y) != size { // RFC 7518 section 6.2.1.2: full length, zeros included
			return key{}, "its point has the wrong length"
		}
		public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
		if err != nil {
			return key{}, "its point is not on the curve"
		}
		k.public = public
	case "OKP":
		if text("crv") != "Ed25519" {
			return key{}, "its curve is not Ed25519"
		}
		k.public = ed25519.PublicKey(number("x"))
	default:
		return key{}, "its kty is not RSA, EC or OKP"
	}
	if k.algs = fitting(k.public, configured); len(k.algs) == 0 {
		return key{}, "it fits none of the issuer's algorithms in the configuration, or is weak"
	}
	return k, ""
}
