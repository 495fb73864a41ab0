package configs

import (
	"bytes"
	"crypto/ecdsa"
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

// SigningKey is a Secret whose Bytes are a key for tilegate's own tokens, 32 of them.
type SigningKey struct{ Secret }

// signingKeySize is the length of a signing key in bytes. A file holds exactly that many, so that text in
// another form is not taken for raw bytes.
const signingKeySize = 32

// ParseSigningKey reads a signing key: 32 raw bytes, or their base64 form (either alphabet, padded or not) or
// hexadecimal form, with white space around it. That includes the line that tilegate keygen writes. Errors
// quote nothing of the key.
func ParseSigningKey(data []byte) ([]byte, error) {
	isText := !bytes.ContainsFunc(data, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' && r != '\r' && r != '\t' })
	if !isText {
		return exactKey(data)
	}
	text := strings.TrimSpace(string(data))
	if key, err := hex.DecodeString(text); err == nil && len(key) == signingKeySize {
		return key, nil
	}
	urlAlphabet := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	key, err := base64.RawURLEncoding.Strict().DecodeString(urlAlphabet)
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

// cloudFrontKey reports whether data is a private key in PEM whose public key CloudFront accepts.
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
