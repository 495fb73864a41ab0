package configs

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"tilegate/internal/tile"
)

var algorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
}

var (
	queryParameter = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,63}$`)
)

func (v *validator) auth() {
	a := &v.Auth
	issuers := map[string]int{}
	for i, issuer := range a.Issuers {
		key := element("auth.issuers", i)
		v.issuer(key, issuer)
		if first, twice := issuers[issuer.Issuer]; twice && issuer.Issuer != "" {
			v.fault(child(key, "issuer"), "is "+element("auth.issuers", first)+"'s already", "keep one entry for an issuer")
		} else {
			issuers[issuer.Issuer] = i
		}
		if len(a.Issuers) > 1 && (issuer.Allow == nil || issuer.Allow.Tilesets == nil) {
			v.fault(child(child(key, "allow"), "tilesets"), "is required with two issuers or more", `say what each may grant: {tilesets: ["acme-*"]}`)
		}
	}
	v.claims()
	if len(a.SigningKeys) > 8 {
		v.fault("auth.signing_keys", "are more than 8", "drop those whose tokens have expired")
	}
	for i, k := range a.SigningKeys {
		if !k.IsSet() {
			v.fault(element("auth.signing_keys", i), "names no secret", referenceHint)
		}
	}
	if a.MaxLifetime != 0 && a.MaxLifetime < time.Second {
		v.fault("auth.max_lifetime", "must be at least 1s", "0 is unlimited")
	}
	v.oneOf("auth.session.same_site", a.Session.SameSite, "lax", "strict", "none")
	if a.Session.Partitioned && a.Session.SameSite != "none" {
		v.fault("auth.session.partitioned", "goes with same_site: none only", "leave it out, or set same_site: none")
	}
	if a.Session.SameSite == "none" && !v.SecureCookie() {
		v.fault("auth.session.same_site", "needs a secure cookie, which browsers take over https only", "set server.tls or an https server.public_url")
	}
	switch p := a.QueryParameter; {
	case p == "":
	case !queryParameter.MatchString(p):
		v.fault("auth.query_parameter", "must be a letter, then letters, digits or _.-", "write access_token")
	case slices.Contains([]string{"v", "redirect", "cdn"}, p):
		v.fault("auth.query_parameter", "is a parameter that tilegate gives another meaning", "write access_token")
	}
	if a.VerifyHeader != "" {
		v.oneOf("auth.verify_header", a.VerifyHeader, "X-Original-URI", "X-Forwarded-Uri")
		if len(v.Server.TrustedProxies) == 0 {
			v.fault("auth.verify_header", "is believed from trusted proxies only, and there are none", "set server.trusted_proxies")
		}
	}
	v.wayIn()
}

// wayIn refuses a configuration that nobody could ever use.
func (v *validator) wayIn() {
	a := &v.Auth
	if len(a.Issuers) > 0 || len(a.SigningKeys) > 0 {
		return
	}
	const hint = "set auth.issuers, or auth.signing_keys and mint tokens with tilegate token"
	for _, t := range v.Tilesets {
		if !t.Public && (!v.CDN.EdgeAuthorizes || !slices.Contains(v.CDN.Tilesets, t.ID)) {
			v.fault("auth", "has no way to authenticate, but tilesets that are not public", hint)
			return
		}
	}
	if len(v.Files) > 0 {
		v.fault("auth", "has no way to authenticate, but files are never public", hint)
	}
}

func (v *validator) issuer(key string, i Issuer) {
	isURL := strings.Contains(i.Issuer, "://")
	discovery := i.JWKSURL == "" && !i.Key.IsSet() && !v.doubtful(child(key, "key"))
	switch {
	case i.Issuer == "":
		v.fault(child(key, "issuer"), "is required", "write what its tokens have in iss")
	case i.Issuer == "tilegate":
		v.fault(child(key, "issuer"), "is the name in tilegate's own tokens", "they need no issuer: set auth.signing_keys")
	case isURL || discovery:
		v.url(child(key, "issuer"), i.Issuer, issuerURL)
	}
	if len(i.Audience) == 0 {
		v.fault(child(key, "audience"), "is required", "without it, a token that was meant for another service would be accepted")
	}
	for n, audience := range i.Audience {
		if audience == "" {
			v.fault(element(child(key, "audience"), n), "is empty", "")
		}
	}
	v.algorithms(key, i)
	if i.JWKSURL != "" {
		v.url(child(key, "jwks_url"), i.JWKSURL, jwksURL)
		if i.Key.IsSet() {
			v.fault(child(key, "key"), "does not go with jwks_url", "keep one of them")
		}
	}
	if i.JWKSRefresh < time.Second {
		v.fault(child(key, "jwks_refresh"), "must be at least 1s", "")
	}
	v.limits(child(key, "allow"), i.Allow)
	v.limits(child(key, "grant"), i.Grant)
	if i.Allow != nil && i.Allow.Tilesets != nil && len(i.Allow.Tilesets) == 0 {
		v.fault(child(child(key, "allow"), "tilesets"), "is empty, so that nothing this issuer says counts", "name tilesets, or remove the issuer")
	}
}

// algorithms holds an issuer's algorithms to its keys: a public key that is taken for an HMAC secret
// lets anybody sign.
func (v *validator) algorithms(key string, i Issuer) {
	list := child(key, "algorithms")
	if len(i.Algorithms) == 0 {
		v.fault(list, "is required", "list what the issuer signs with, e.g. [RS256]: a token must not choose")
	}
	least := 0 // an HMAC secret's length: RFC 7518 section 3.2
	for n, alg := range i.Algorithms {
		if !slices.Contains(algorithms, alg) {
			v.fault(element(list, n), "is not a signature algorithm", didYouMean(alg, algorithms))
			continue
		}
		switch alg {
		case "HS256":
			least = max(least, 32)
		case "HS384":
			least = max(least, 48)
		case "HS512":
			least = max(least, 64)
		default:
			continue
		}
		if i.JWKSURL != "" {
			v.fault(element(list, n), "is HMAC, which does not go with jwks_url", "key sets are public, and an HMAC secret must not be")
		}
	}
	keyPath := child(key, "key")
	switch value := i.Key.Bytes(); {
	case i.HMAC() && slices.ContainsFunc(i.Algorithms, func(alg string) bool { return !strings.HasPrefix(alg, "HS") }):
		v.fault(list, "mixes HMAC with public-key algorithms", "give each an issuer of its own")
	case i.HMAC() && i.JWKSURL == "" && value == nil:
		v.fault(keyPath, "is required by HMAC algorithms", referenceHint)
	case value == nil:
	case i.HMAC() && bytes.Contains(value, []byte("-----BEGIN ")):
		v.fault(keyPath, "is PEM, but the algorithms are HMAC", "list the key's own algorithms, e.g. [RS256]")
	case i.HMAC() && len(value) < least:
		v.fault(keyPath, fmt.Sprintf("the secret has fewer than %d bytes", least), "it must be as long as the algorithm's hash")
	case !i.HMAC():
		v.publicKey(keyPath, value, i.Algorithms)
	}
}

func (v *validator) publicKey(key string, value []byte, algorithms []string) {
	public, err := parsePublicKey(value)
	if err != nil {
		v.fault(key, err.Error(), "write one with: openssl pkey -pubout")
		return
	}
	for _, alg := range algorithms {
		if !fits(public, alg) {
			v.fault(key, fmt.Sprintf("is no key for %s, or a weak one", alg), "RSA needs 2048 to 8192 bits, ES256 the curve P-256, EdDSA Ed25519")
			return
		}
	}
}

func (v *validator) limits(key string, l *Limits) {
	if l == nil {
		return
	}
	if len(l.Tilesets) > tile.MaxPatterns {
		v.fault(child(key, "tilesets"), fmt.Sprintf("names more than %d", tile.MaxPatterns), "use globs")
	}
	for n, e := range l.Tilesets {
		if !tile.ValidPattern(e) {
			v.fault(element(child(key, "tilesets"), n), "is neither an id nor a glob over ids", "write basemap, acme-*, * or file:report; * is the only wildcard")
		}
	}
	if b := l.BBox; b != nil {
		if v.degrees(child(key, "bbox"), *b) && b.Validate() != nil {
			v.fault(child(key, "bbox"), "has no area", "write [west, south, east, north]; west > east crosses the antimeridian")
		}
	}
}

// degrees holds a box to the range of longitudes and latitudes.
func (v *validator) degrees(key string, b tile.Box) bool {
	degrees := b.Degrees()
	for i, limit := range [4]float64{180, 90, 180, 90} {
		if math.Abs(degrees[i]) > limit {
			v.fault(element(key, i), fmt.Sprintf("is not within -%g to %g degrees", limit, limit), "write [west, south, east, north]")
			return false
		}
	}
	return true
}

func (v *validator) claims() {
	c := &v.Auth.Claims
	names := map[string]string{}
	for _, claim := range []struct{ key, name string }{
		{"auth.claims.tilesets", c.Tilesets}, {"auth.claims.zoom", c.Zoom}, {"auth.claims.bbox", c.BBox},
	} {
		switch first := names[claim.name]; {
		case claim.name == "":
			v.fault(claim.key, "is empty", "leave it out for its default")
		case slices.Contains([]string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope"}, claim.name):
			v.fault(claim.key, "is a claim with a meaning of its own", "")
		case first != "":
			v.fault(claim.key, "is "+first+"'s already", "each needs a claim of its own")
		default:
			names[claim.name] = claim.key
		}
	}
	if c.ScopePrefix == "" || strings.ContainsAny(c.ScopePrefix, " \t\n") {
		v.fault("auth.claims.scope_prefix", "must be text without spaces", "an empty one would take every scope for a tileset")
	}
}
