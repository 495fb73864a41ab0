package auth

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
)

// parsePublicKey reads the one public key of a PEM file: PKIX, PKCS #1 or a certificate, whose dates and
// issuer do not matter. Errors quote nothing of the file.
func parsePublicKey(data []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("is not a public key in PEM")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("holds more than the one public key")
	case strings.Contains(block.Type, "PRIVATE"):
		return nil, errors.New("is a private key, which belongs to the issuer alone")
	}
	var key crypto.PublicKey
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
