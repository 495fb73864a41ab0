package configs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// SigningKey is a Secret whose Bytes are the 32 of a key for tilegate's own tokens.
type SigningKey struct{ Secret }

// signingKeySize is the length of a signing key in bytes: what HMAC-SHA256 and HKDF make full use of.
const signingKeySize = 32

// ParseSigningKey reads a signing key: 32 raw bytes, or their base64 (either alphabet, padded or not) or
// hexadecimal form with white space around it, such as the line that tilegate keygen writes. Errors
// quote nothing of it.
func ParseSigningKey(data []byte) ([]byte, error) {
	isText := !bytes.ContainsFunc(data, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' && r != '\r' && r != '\t' })
	if !isText {
		return exactKey(data)
	}
	text := strings.TrimSpace(string(data))
	if key, err := hex.DecodeString(text); err == nil && len(key) == signingKeySize {
		return key, nil
	}
	plain := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	key, err := base64.RawURLEncoding.Strict().DecodeString(plain)
	if err != nil || strings.ContainsAny(text, "\r\n") { // encoding/base64 skips line breaks
		return nil, errors.New("is neither 32 raw bytes nor their base64 or hexadecimal form")
	}
	return exactKey(key)
}

func exactKey(key []byte) ([]byte, error) {
	if len(key) != signingKeySize {
		return nil, fmt.Errorf("holds %d bytes instead of %d", len(key), signingKeySize)
	}
	return bytes.Clone(key), nil
}

// parsePublicKey reads the one public key, or certificate with one, that a PEM file holds.
func parsePublicKey(data []byte) (any, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("is not a public key in PEM")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("holds more than the one public key")
	case strings.Contains(block.Type, "PRIVATE"):
		return nil, errors.New("is a private key, which belongs to the issuer alone")
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = certificate.PublicKey
		}
	default:
		return nil, errors.New("is PEM, but no public key")
	}
	if err != nil {
		return nil, errors.New("is PEM, but what it holds is no key")
	}
	return key, nil
}

// curves are the algorithms of elliptic curves: RFC 7518 section 3.4.
var curves = map[elliptic.Curve]string{elliptic.P256(): "ES256", elliptic.P384(): "ES384", elliptic.P521(): "ES512"}

// fits reports whether a public key can verify an algorithm's signatures, and is strong enough to be believed.
func fits(public any, algorithm string) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		isRSA := strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
		return isRSA && k.N.BitLen() >= 2048 && k.N.BitLen() <= 8192
	case *ecdsa.PublicKey:
		return curves[k.Curve] == algorithm
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// cloudFrontKey reports whether CloudFront takes the public half of a key.
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-trusted-signers.html
func cloudFrontKey(data []byte) bool {
	block, rest := pem.Decode(data)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return false
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return false
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return k.N.BitLen() == 2048
	case *ecdsa.PrivateKey:
		return k.Curve == elliptic.P256()
	}
	return false
}
