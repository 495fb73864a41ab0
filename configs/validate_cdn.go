package configs

import (
	"regexp"
	"slices"
	"strings"

	"tilegate/internal/tile"
)

var keyPairID = regexp.MustCompile(`^[A-Z0-9]{1,64}$`)

func (v *validator) cdn() {
	c := &v.CDN
	for i, s := range c.OriginSecrets {
		key := element("cdn.origin_secrets", i)
		if !s.IsSet() {
			v.fault(key, "names no secret", referenceHint)
		}
		v.bearer(key, s)
	}
	if c.EdgeAuthorizes && len(c.OriginSecrets) == 0 {
		v.fault("cdn.origin_secrets", "is required by edge_authorizes", "without a secret anybody could claim to be the CDN")
	}
	if c.EdgeAuthorizes && len(c.Tilesets) == 0 {
		v.fault("cdn.tilesets", "is required by edge_authorizes", "name the tilesets that the CDN checks viewers for")
	}
	ids := make([]string, len(v.Tilesets))
	for i, t := range v.Tilesets {
		ids[i] = t.ID
	}
	for _, b := range v.Bundles {
		ids = append(ids, tile.BundlePrefix+b.ID)
	}
	for i, id := range c.Tilesets {
		if !slices.Contains(ids, id) {
			v.fault(element("cdn.tilesets", i), "is not one of tilesets", nearestHint(id, ids))
		}
	}
	v.cloudFront()
}

func (v *validator) cloudFront() {
	c := v.CDN.CloudFront
	switch {
	case c.KeyPairID == "" && !c.PrivateKey.IsSet():
		return
	case c.KeyPairID == "":
		v.fault("cdn.cloudfront.key_pair_id", "is required with private_key", "CloudFront calls it the public key's ID")
	case !keyPairID.MatchString(c.KeyPairID):
		v.fault("cdn.cloudfront.key_pair_id", "is not a public key's ID", "it looks like K2JCJMDEHXQW5F")
	case !c.PrivateKey.IsSet():
		v.fault("cdn.cloudfront.private_key", "is required with key_pair_id", referenceHint)
	}
	if c.PrivateKey.IsSet() && !cloudFrontKey(c.PrivateKey.Bytes()) {
		v.fault("cdn.cloudfront.private_key", "is not an RSA 2048 or ECDSA P-256 private key in PEM", "openssl genrsa 2048")
	}
	if url := v.Server.PublicURL; !strings.HasPrefix(url, "https://") || strings.Contains(url, "*") {
		v.conflict("server.public_url", "cdn.cloudfront", "cloudfront needs an https server.public_url", "the cookies are signed for that address: the distribution's, without *")
	}
	if len(v.CDN.Tilesets) == 0 && !v.CDN.EdgeAuthorizes {
		v.fault("cdn.tilesets", "is required by cloudfront", "name the tilesets that CloudFront checks viewers for")
	}
}
