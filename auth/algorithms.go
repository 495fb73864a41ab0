package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"math/big"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is one alg of RFC 7518 (or EdDSA, RFC 8037, with Ed25519 alone): how it is verified and
// which key it takes. golang-jwt does the mathematics; this package decides what may be used with what.
type algorithm struct {
	name    string
	method  jwt.SigningMethod
	family  family
	keySize int // EC: bits of the curve; HMAC: bytes of the hash, the least that a secret may have
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

// supportedAlgorithms are all that a configuration may name; "none" is not among them.
var supportedAlgorithms = []algorithm{
	{"RS256", jwt.SigningMethodRS256, rsaFamily, 0},
	{"RS384", jwt.SigningMethodRS384, rsaFamily, 0},
	{"RS512", jwt.SigningMethodRS512, rsaFamily, 0},
	{"PS256", strictPSS(jwt.SigningMethodPS256), rsaFamily, 0},
	{"PS384", strictPSS(jwt.SigningMethodPS384), rsaFamily, 0},
	{"PS512", strictPSS(jwt.SigningMethodPS512), rsaFamily, 0},
	{"ES256", jwt.SigningMethodES256, ecFamily, 256},
	{"ES384", jwt.SigningMethodES384, ecFamily, 384},
	{"ES512", jwt.SigningMethodES512, ecFamily, 521},
	{"EdDSA", jwt.SigningMethodEdDSA, edFamily, 0},
	{"HS256", jwt.SigningMethodHS256, hmacFamily, 32},
	{"HS384", jwt.SigningMethodHS384, hmacFamily, 48},
	{"HS512", jwt.SigningMethodHS512, hmacFamily, 64},
}

func algorithmNamed(name string) (*algorithm, bool) {
	name = canonicalAlgorithm(name)
	for i := range supportedAlgorithms {
		if supportedAlgorithms[i].name == name {
			return &supportedAlgorithms[i], true
		}
	}
	return &algorithm{}, false
}

func algorithmNames() []string {
	names := make([]string, len(supportedAlgorithms), len(supportedAlgorithms)+1)
	for i, alg := range supportedAlgorithms {
		names[i] = alg.name
	}
	return append(names, "Ed25519")
}

// canonicalAlgorithm returns the name under which an algorithm is known here. EdDSA and Ed25519 are the same:
// of the curves that EdDSA stands for, Ed25519 is the only one that is used (RFC 9864 section 2.2).
func canonicalAlgorithm(name string) string {
	if name == "Ed25519" {
		return "EdDSA"
	}
	return name
}

// canonicalAlgorithms returns the names without repetition, in their order.
func canonicalAlgorithms(names []string) []string {
	var all []string
	for _, name := range names {
		if name = canonicalAlgorithm(name); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// strictPSS requires a salt of the hash's length (RFC 7518 section 3.5); golang-jwt accepts any length.
func strictPSS(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: m.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
	}
}

// takes reports whether alg may be verified with this key: its type, size and curve are right, and it is
// not weak.
func (alg *algorithm) takes(public crypto.PublicKey) bool {
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

// soundRSA reports whether an RSA key may be used. It refuses keys that are too small, that are too large
// to verify cheaply, whose exponent makes any signature valid, and that Infineon's library made factorable.
func soundRSA(k *rsa.PublicKey) bool {
	bits := k.N.BitLen()
	return bits >= minRSABits && bits <= maxRSABits && k.N.Bit(0) == 1 && k.E >= 3 && k.E&1 == 1 && !isROCA(k)
}

// isROCA recognizes the keys of CVE-2017-15361: their modulus is a power of 65537 modulo each of these
// primes. One in 2^27 sound keys is, too.
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

func modulo(k *rsa.PublicKey, n int64) int64 {
	return new(big.Int).Mod(k.N, big.NewInt(n)).Int64()
}
