package auth

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// maxPEMKeys bounds how many keys a PEM file may hold: a token without kid is tried with each.
const maxPEMKeys = 8

// parsePublicKeys reads the public keys of a PEM file: PKIX, PKCS #1 or certificates, whose dates and
// issuers do not matter. Errors quote nothing of the file.
func parsePublicKeys(data []byte) ([]crypto.PublicKey, error) {
	var keys []crypto.PublicKey
	for {
		block, rest := pem.Decode(data)
		switch {
		case block == nil && len(keys) > 0 && len(bytes.TrimSpace(data)) == 0:
			return keys, nil
		case block == nil && len(keys) > 0:
			return nil, errors.New("holds something after its public keys that is no PEM")
		case block == nil:
			return nil, errors.New("is not a public key in PEM")
		case len(keys) == maxPEMKeys:
			return nil, fmt.Errorf("holds more than %d public keys", maxPEMKeys)
		}
		key, err := parsePublicKey(block)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
		data = rest
	}
}

func parsePublicKey(block *pem.Block) (crypto.PublicKey, error) {
	if strings.Contains(block.Type, "PRIVATE") {
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
