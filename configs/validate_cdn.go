package configs

import (
	"net/netip"
	"net/url"
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
	v.cdnPurge()
}

// The forms of IDs, which become parts of paths.
var (
	distributionID = regexp.MustCompile(`^E[A-Z0-9]{1,63}$`)
	fastlyService  = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
	cloudflareZone = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

func (v *validator) cdnPurge() {
	p := &v.CDN.Purge
	for _, c := range []struct {
		name, idKey, id string
		form            *regexp.Regexp
		like            string
		token           *Secret // nil: it needs none
		endpoint        string
	}{
		{"cloudfront", "distribution", p.CloudFront.Distribution, distributionID, "it looks like E1A2B3C4D5E6F7", nil, p.CloudFront.Endpoint},
		{"fastly", "service", p.Fastly.Service, fastlyService, "it looks like SU1Z0isxPaozGVKXdv0eY", &p.Fastly.Token, p.Fastly.Endpoint},
		{"cloudflare", "zone", p.Cloudflare.Zone, cloudflareZone, "the overview of the zone shows it: 32 hexadecimal digits", &p.Cloudflare.Token, p.Cloudflare.Endpoint},
	} {
		key := child("cdn.purge", c.name)
		idKey := child(key, c.idKey)
		switch hasToken := c.token != nil && c.token.IsSet(); {
		case c.id == "" && hasToken:
			v.fault(idKey, "is required with token", c.like, child(key, "token"))
		case c.id == "" && c.endpoint != "":
			v.fault(idKey, "is required with endpoint", c.like, child(key, "endpoint"))
		case c.id != "" && !c.form.MatchString(c.id):
			v.fault(idKey, "is not an ID of "+c.name, c.like)
		case c.id != "" && c.token != nil && !hasToken:
			v.fault(child(key, "token"), "is required with "+c.idKey, referenceHint)
		}
		if c.token != nil {
			v.bearer(child(key, "token"), *c.token)
		}
		if c.endpoint != "" {
			v.url(child(key, "endpoint"), c.endpoint)
			if host, plain := strings.CutPrefix(c.endpoint, "http://"); plain && !loopbackURL(host) {
				v.fault(child(key, "endpoint"), "would get the credentials in clear", "write https://")
			}
		}
	}
	if p.Enabled() && !v.CDN.EdgeAuthorizes {
		v.fault("cdn.edge_authorizes", "is required by purge", "only an edge that authorizes gets the tags by which it can be purged", "cdn.purge")
	}
}

func loopbackURL(rest string) bool {
	u, err := url.Parse("http://" + rest)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && address.IsLoopback()
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
