// Package cloudfront signs the cookies by which Amazon CloudFront itself admits a viewer to tilesets, so
// that a tile which the edge holds needs no request to tilegate.
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-setting-signed-cookie-custom-policy.html
package cloudfront

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/cloudfront/sign"
)

// Signer signs with one key pair of a CloudFront key group. It satisfies proxy.CookieSigner.
type Signer struct {
	keyPairID string
	key       crypto.Signer
	sameSite  http.SameSite
}

// New makes a Signer from the key pair's ID and its private key in PEM: RSA of 2,048 bits, or ECDSA on
// P-256, which are what CloudFront takes.
func New(keyPairID string, privateKey []byte, sameSite http.SameSite) (*Signer, error) {
	block, rest := pem.Decode(privateKey)
	if keyPairID == "" || block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("a CloudFront key pair is an ID and one private key in PEM")
	}
	key, err := parse(block)
	if err != nil {
		return nil, fmt.Errorf("the CloudFront private key cannot be read: %w", err)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() != 2048 {
			return nil, fmt.Errorf("the CloudFront private key has %d bits; CloudFront takes RSA of 2048", k.N.BitLen())
		}
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() {
			return nil, fmt.Errorf("the CloudFront private key is on %s; CloudFront takes P-256", k.Curve.Params().Name)
		}
	default:
		return nil, fmt.Errorf("the CloudFront private key is a %T; CloudFront takes RSA and ECDSA", key)
	}
	return &Signer{keyPairID: keyPairID, key: key.(crypto.Signer), sameSite: sameSite}, nil //nolint:forcetypeassert // both kinds sign
}

func parse(block *pem.Block) (any, error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	default:
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	}
}

// Cookies returns a triplet for each tileset: a custom policy for base+"/tiles/{id}/*" until expires,
// sent by the browser to that path alone, so that the triplets do not replace each other and the short
// route of the default tileset, which says nothing of a tileset, has none. A base with * or ? is refused:
// in a policy they match anything.
func (s *Signer) Cookies(base string, ids []string, expires time.Time) ([]*http.Cookie, error) {
	if strings.ContainsAny(base, "*?") {
		return nil, fmt.Errorf("a CloudFront policy for %q would open more than one site's tiles", base)
	}
	cookies := make([]*http.Cookie, 0, 3*len(ids))
	for _, id := range ids {
		policy := &sign.Policy{Statements: []sign.Statement{{
			Resource:  base + "/tiles/" + id + "/*",
			Condition: sign.Condition{DateLessThan: sign.NewAWSEpochTime(expires)},
		}}}
		signature, encoded, err := policy.Sign(s.key)
		if err != nil {
			return nil, fmt.Errorf("sign the policy of %s: %w", id, err)
		}
		cookies = append(cookies,
			s.cookie("CloudFront-Policy", string(encoded), id, expires),
			s.cookie("CloudFront-Signature", string(signature), id, expires),
			s.cookie("CloudFront-Key-Pair-Id", s.keyPairID, id, expires))
	}
	return cookies, nil
}

func (s *Signer) cookie(name, value, id string, expires time.Time) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/tiles/" + id + "/", Expires: expires, Secure: true, HttpOnly: true, SameSite: s.sameSite} //nolint:gosec // Secure and HttpOnly, and SameSite as configured
}

// Expired returns cookies that take back those of Cookies when the viewer signs out. What a browser has
// handed on by then stays good until it expires: CloudFront asks nobody.
func (s *Signer) Expired(ids []string) []*http.Cookie {
	cookies := make([]*http.Cookie, 0, 3*len(ids))
	for _, id := range ids {
		for _, name := range []string{"CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id"} {
			cookies = append(cookies, s.cookie(name, "", id, time.Unix(1, 0)))
		}
	}
	return cookies
}
