package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is how one alg of RFC 7518 (or EdDSA, RFC 8037, with Ed25519 alone) is verified and
// which key it takes. golang-jwt does the mathematics; what may be used with what is decided here.
type algorithm struct {
	method  jwt.SigningMethod
	keySize int // EC: bits of the curve; HMAC: bytes of the hash, the least that a secret may have
	family  family
}

type family uint8

const (
	hmacFamily family = iota + 1
	rsaFamily
	ecFamily
	edFamily
)

const (
	minRSABits = 2048 // RFC 7518 section 3.3
	maxRSABits = 8192 // beyond it one verification would take a millisecond
)

// algorithms lists all that a configuration may name; "none" is not among them.
func algorithms(name string) (algorithm, bool) {
	switch name {
	case "HS256":
		return algorithm{method: jwt.SigningMethodHS256, family: hmacFamily, keySize: 32}, true
	case "HS384":
		return algorithm{method: jwt.SigningMethodHS384, family: hmacFamily, keySize: 48}, true
	case "HS512":
		return algorithm{method: jwt.SigningMethodHS512, family: hmacFamily, keySize: 64}, true
	case "RS256":
		return algorithm{method: jwt.SigningMethodRS256, family: rsaFamily}, true
	case "RS384":
		return algorithm{method: jwt.SigningMethodRS384, family: rsaFamily}, true
	case "RS512":
		return algorithm{method: jwt.SigningMethodRS512, family: rsaFamily}, true
	case "PS256":
		return algorithm{method: strictPSS(jwt.SigningMethodPS256), family: rsaFamily}, true
	case "PS384":
		return algorithm{method: strictPSS(jwt.SigningMethodPS384), family: rsaFamily}, true
	case "PS512":
		return algorithm{method: strictPSS(jwt.SigningMethodPS512), family: rsaFamily}, true
	case "ES256":
		return algorithm{method: jwt.SigningMethodES256, family: ecFamily, keySize: 256}, true
	case "ES384":
		return algorithm{method: jwt.SigningMethodES384, family: ecFamily, keySize: 384}, true
	case "ES512":
		return algorithm{method: jwt.SigningMethodES512, family: ecFamily, keySize: 521}, true
	case "EdDSA":
		return algorithm{method: jwt.SigningMethodEdDSA, family: edFamily}, true
	}
	return algorithm{}, false
}

// strictPSS holds the salt to the hash's length (RFC 7518 section 3.5); golang-jwt verifies any.
func strictPSS(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: m.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	}
}

// takes reports whether alg may be verified with this key: right type, right size, right curve.
func (alg algorithm) takes(public crypto.PublicKey) bool {
	switch k := public.(type) {
	case []byte:
		return alg.family == hmacFamily && len(k) >= alg.keySize // RFC 7518 section 3.2
	case *rsa.PublicKey:
		return alg.family == rsaFamily && soundRSA(k)
	case *ecdsa.PublicKey:
		return alg.family == ecFamily && k.Curve.Params().BitSize == alg.keySize
	case ed25519.PublicKey:
		return alg.family == edFamily && len(k) == ed25519.PublicKeySize
	}
	return false
}

// soundRSA refuses keys that are too small, too large to verify cheaply, of an exponent that
// signs nothing, or of the kind that Infineon's library made factorable.
func soundRSA(k *rsa.PublicKey) bool {
	bits := k.N.BitLen()
	return bits >= minRSABits && bits <= maxRSABits && k.N.Bit(0) == 1 && k.E >= 3 && k.E&1 == 1 && !isROCA(k)
}

// isROCA recognizes the primes of CVE-2017-15361: the modulus is a power of 65537 modulo each
// small prime, which of sound keys one in 2^27 is.
func isROCA(k *rsa.PublicKey) bool {
	for _, prime := range [...]int64{
		11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
	} {
		var powers []int64
		for p := int64(1); !slices.Contains(powers, p); p = p * 65537 % prime {
			powers = append(powers, p)
		}
		if !slices.Contains(powers, modulo(k, prime)) {
			return false
		}
	}
	return true
}
