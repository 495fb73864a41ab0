package auth

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tilegate/internal/tile"
)

// OptionError is one thing that is wrong with Options. No text in it holds a secret.
type OptionError struct {
	Key     string   // the option by its name in a configuration file: auth.session.ttl, auth.issuers[1].algorithms[0]
	With    []string // the other options that the fault depends on
	Problem string   // e.g. "must be at least 3s"
	Hint    string   // what to do, or ""
	Known   []string // the values that the option takes, where they can be listed
}

func (e *OptionError) Error() string {
	text := e.Key + ": " + e.Problem
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	if len(e.Known) > 0 {
		text += "; known: " + strings.Join(e.Known, ", ")
	}
	return text
}

// Check returns every fault in o. It does no I/O.
func (o *Options) Check() []*OptionError {
	c := checker{insecureHosts: o.InsecureJWKSHosts}
	names := map[string]int{}
	for i := range o.Issuers {
		key := fmt.Sprintf("auth.issuers[%d]", i)
		issuer := &o.Issuers[i]
		c.issuer(key, issuer)
		if first, twice := names[issuer.Issuer]; twice && issuer.Issuer != "" {
			c.add(key+".issuer", fmt.Sprintf("is auth.issuers[%d]'s already", first), "keep one entry for an issuer")
		} else {
			names[issuer.Issuer] = i
		}
		if len(o.Issuers) > 1 && issuer.Allow.Tilesets == nil {
			c.add(key+".allow.tilesets", "is required with two issuers or more", `say what each may grant: {tilesets: ["acme-*"]}`)
		}
	}
	withoutOwn := slices.DeleteFunc(slices.Clone(o.Issuers), func(i Issuer) bool { return i.Claims != nil })
	withoutRoles := slices.ContainsFunc(withoutOwn, func(i Issuer) bool { return len(i.Roles) == 0 })
	c.claims("auth.claims", o.Claims.withDefaults(), len(withoutOwn) > 0 && !withoutRoles)
	for i, host := range o.InsecureJWKSHosts {
		if u, err := url.Parse("http://" + host); err != nil || host == "" || u.Host != host || u.Port() != "" || strings.Contains(host, "*") {
			c.add(fmt.Sprintf("auth.insecure_jwks_hosts[%d]", i), "is not the name of a host", "write keycloak.auth.svc.cluster.local, without scheme or port")
		}
	}
	if o.Leeway < 0 {
		c.add("auth.leeway", "must not be negative", "")
	}
	if o.Leeway > maxLeeway {
		c.add("auth.leeway", fmt.Sprintf("must be at most %s", maxLeeway), "")
	}
	if o.MaxLifetime != 0 && o.MaxLifetime < time.Second {
		c.add("auth.max_lifetime", "must be at least 1s", "0 is unlimited")
	}
	if len(o.SigningKeys) > maxSigningKeys {
		c.add("auth.signing_keys", fmt.Sprintf("are more than %d", maxSigningKeys), "drop those whose tokens have expired")
	}
	for i, k := range o.SigningKeys {
		if len(k) < minSigningKey {
			c.add(fmt.Sprintf("auth.signing_keys[%d]", i), fmt.Sprintf("has fewer than %d bytes", minSigningKey), "make one with tilegate keygen")
		}
	}
	c.atLeast("auth.session.ttl", o.SessionTTL, 3*time.Second)
	c.atLeast("auth.token_window", o.TokenWindow, time.Second)
	if o.Partitioned && o.SameSite != http.SameSiteNoneMode {
		c.add("auth.session.partitioned", "goes with same_site: none only", "leave it out, or set same_site: none")
		c.last().With = []string{"auth.session.same_site"}
	}
	if !cookieSuffix.MatchString(o.CookieSuffix) {
		c.add("auth.session.cookie_suffix", "is not a part of a cookie's name", "use up to 32 letters, digits, - and _, such as maps")
	}
	if o.SameSite == http.SameSiteNoneMode && !o.SecureCookie {
		c.add("auth.session.same_site", "needs a secure cookie, which browsers take over https only", "set server.tls or an https server.public_url")
	}
	return c.faults
}

var cookieSuffix = regexp.MustCompile(`^[A-Za-z0-9_-]{0,32}$`)

const (
	maxLeeway      = 5 * time.Minute
	maxSigningKeys = 8
	minSigningKey  = 32 // bytes: as many as the hash of HMAC-SHA256 and HKDF has
)

// checker gathers faults.
type checker struct {
	faults        []*OptionError
	insecureHosts []string
}

func (c *checker) add(key, problem, hint string) {
	c.faults = append(c.faults, &OptionError{Key: key, Problem: problem, Hint: hint})
}

// last is the fault that was added last, for those that say more.
func (c *checker) last() *OptionError { return c.faults[len(c.faults)-1] }

// atLeast checks an option whose zero value stands for a default.
func (c *checker) atLeast(key string, d, least time.Duration) {
	if d != 0 && d < least {
		c.add(key, fmt.Sprintf("must be at least %s", least), "")
	}
}

// reservedClaims have a meaning of their own. The scopes may be roles.
var reservedClaims = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope"}

// claims checks the names of claims at key. hasRoles says that the tilesets claim holds roles.
func (c *checker) claims(key string, names ClaimNames, hasRoles bool) {
	var seen []claimPath
	var keys []string
	for _, claim := range []struct{ key, name string }{
		{key + ".tilesets", names.Tilesets}, {key + ".zoom", names.Zoom}, {key + ".bbox", names.BBox}, {key + ".area", names.Area},
	} {
		path, err := parseClaimPath(claim.name)
		if err != nil {
			c.add(claim.key, err.Error(), "write /realm_access/roles")
			continue
		}
		first := slices.IndexFunc(seen, path.equal)
		switch {
		case hasRoles && claim.key == key+".tilesets" && len(path.steps) == 1 && path.within("scope"):
		case slices.ContainsFunc(reservedClaims, path.within):
			c.add(claim.key, "is a claim with a meaning of its own", "")
			continue
		case first >= 0:
			c.add(claim.key, "is "+keys[first]+"'s already", "each needs a claim of its own")
			c.last().With = []string{keys[first]}
			continue
		}
		seen, keys = append(seen, path), append(keys, claim.key)
	}
}

func (c *checker) issuer(key string, i *Issuer) {
	isURL := strings.Contains(i.Issuer, "://")
	discovers := i.JWKSURL == "" && len(i.PublicKeyPEM) == 0 && (len(i.Secret) == 0 || i.hmacs() < len(i.Algorithms))
	switch {
	case i.Issuer == "":
		c.add(key+".issuer", "is required", "write what its tokens have in iss")
	case i.Issuer == ownIssuer:
		c.add(key+".issuer", "is the name in tilegate's own tokens", "they need no issuer: set auth.signing_keys")
	case isURL:
		_ = c.url(key+".issuer", i.Issuer, false) // the fault needs no more
	case discovers:
		c.url(key+".issuer", i.Issuer, false).With = []string{key + ".jwks_url", key + ".key"}
	}
	c.algorithms(key, i)
	c.key(key, i)
	if i.JWKSURL != "" {
		_ = c.url(key+".jwks_url", i.JWKSURL, true) // the fault needs no more
	}
	c.authorities(key+".ca_file", i)
	c.atLeast(key+".jwks_refresh", i.JWKSRefresh, minRefresh)
	if i.MaxToken != 0 && (i.MaxToken < defaultMaxToken || i.MaxToken > greatestMaxToken) {
		c.add(key+".max_token", "must be 8KiB to 32KiB", "")
	}
	c.tokenHeader(key+".token_header", i.TokenHeader)
	c.audienceClaims(key+".audience_claims", i.AudienceClaims)
	if i.Claims != nil {
		c.claims(key+".claims", i.Claims.withDefaults(), len(i.Roles) > 0)
	}
	c.roles(key+".roles", i.Roles)
	c.limits(key+".allow", i.Allow)
	c.limits(key+".grant", i.Default)
}

// authorities checks the certificates that keys come under.
func (c *checker) authorities(key string, i *Issuer) {
	switch {
	case len(i.CAPEM) == 0:
	case len(i.PublicKeyPEM) > 0 || i.hmacs() > 0 && i.hmacs() == len(i.Algorithms):
		c.add(key, "is for key sets, and this issuer has none", "leave it out")
		c.last().With = []string{strings.TrimSuffix(key, "ca_file") + "key"}
	case !x509.NewCertPool().AppendCertsFromPEM(i.CAPEM):
		c.add(key, "holds no certificate in PEM", "")
	}
}

// takenHeaders are headers that must not carry a token, since they mean something else.
var takenHeaders = []string{
	"Authorization", apiKeyHeader, "Cookie", "Host", "Origin", "Referer", "Range", "Accept", "Connection", "Content-Type",
	"Content-Length", "Transfer-Encoding", "X-Origin-Verify", "X-Request-Id",
}

func (c *checker) tokenHeader(key, name string) {
	if name == "" {
		return
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case strings.Trim(name, letters) != "" || len(name) > 64:
		c.add(key, "is not the name of a header", "write Cf-Access-Jwt-Assertion")
	case slices.Contains(takenHeaders, canonical) || strings.HasPrefix(canonical, "If-") || strings.HasPrefix(canonical, "X-Forwarded-") && canonical != "X-Forwarded-Access-Token" || strings.HasPrefix(canonical, "X-Original-"):
		c.add(key, "is a header with a meaning of its own", "Authorization is always read; leave token_header out")
	}
}

func (c *checker) audienceClaims(key string, names []string) {
	var seen []claimPath
	for i, name := range names {
		element := fmt.Sprintf("%s[%d]", key, i)
		path, err := parseClaimPath(name)
		switch {
		case name == "":
			c.add(element, "is empty", "write aud, client_id or azp")
		case err != nil:
			c.add(element, err.Error(), "")
		case slices.ContainsFunc(seen, path.equal):
			c.add(element, "is listed twice", "")
		}
		seen = append(seen, path)
	}
}

const maxRoleName = 128 // bytes

func (c *checker) roles(key string, roles map[string]Limits) {
	if len(roles) > tile.MaxPatterns {
		c.add(key, fmt.Sprintf("are more than %d", tile.MaxPatterns), "")
	}
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		limits, role := roles[name], memberKey(key, name)
		switch {
		case strings.Contains(name, "*"):
			c.add(role, "is not the name of a role: * stands for nothing here", "list each role; grant is what a token without any of the claims gets")
		case name == "" || len(name) > maxRoleName || strings.ContainsFunc(name, unicode.IsControl):
			c.add(role, fmt.Sprintf("is not the name of a role: it is empty, longer than %d bytes, or has control characters", maxRoleName), "")
		case len(limits.Tilesets) == 0:
			c.add(role+".tilesets", "is required", `say what the role grants: {tilesets: ["acme-*"]}`)
		}
		c.limits(role, limits)
	}
}

var bareName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// memberKey is the key of a member whose name is free, as the configuration's faults write it.
func memberKey(key, name string) string {
	if !bareName.MatchString(name) {
		if r := []rune(name); len(r) > 80 {
			name = string(r[:80]) + "…"
		}
		name = strconv.Quote(name)
	}
	return key + "." + name
}

// hmacs counts the issuer's HMAC algorithms.
func (i *Issuer) hmacs() int {
	n := 0
	for _, name := range i.Algorithms {
		if alg, ok := algorithmNamed(name); ok && alg.family == hmacFamily {
			n++
		}
	}
	return n
}

func (c *checker) algorithms(key string, i *Issuer) {
	key += ".algorithms"
	if len(i.Algorithms) == 0 {
		c.add(key, "is required", "list what the issuer signs with, e.g. [RS256]: a token must not choose")
	}
	for n, name := range i.Algorithms {
		element := fmt.Sprintf("%s[%d]", key, n)
		alg, ok := algorithmNamed(name)
		switch {
		case !ok:
			c.add(element, "is not a signature algorithm", "")
			c.last().Known = algorithmNames()
		case alg.family == hmacFamily && i.JWKSURL != "" && len(i.Secret) == 0:
			c.add(element, "is HMAC, which does not go with jwks_url", "key sets are public, and an HMAC secret must not be")
		}
	}
	if i.mixes() && (len(i.Secret) == 0 || len(i.PublicKeyPEM) > 0 || isPEM(i.Secret)) {
		c.add(key, "mixes HMAC with public-key algorithms", "that takes a secret in key, beside a key set")
	}
}

// mixes reports whether the issuer has HMAC algorithms and others.
func (i *Issuer) mixes() bool {
	hmacs := i.hmacs()
	return hmacs > 0 && hmacs < len(i.Algorithms)
}

func isPEM(data []byte) bool { return bytes.Contains(data, []byte("-----BEGIN ")) }

// key checks the issuer's configured key. A public key that is taken for an HMAC secret would let
// anybody sign, so the kind of key and the algorithms must agree.
func (c *checker) key(key string, i *Issuer) {
	hasKey := len(i.PublicKeyPEM) > 0 || len(i.Secret) > 0
	key += ".key"
	if i.JWKSURL != "" && hasKey && !i.mixes() {
		c.add(key, "does not go with jwks_url", "keep one of them")
	}
	switch hmacs := i.hmacs(); {
	case i.mixes() && (len(i.Secret) == 0 || len(i.PublicKeyPEM) > 0 || isPEM(i.Secret)): // the algorithms are at fault
	case len(i.PublicKeyPEM) > 0 && len(i.Secret) > 0:
		c.add(key, "is both a public key and a secret", "keep one of them")
	case hmacs > 0 && !hasKey && i.JWKSURL == "":
		c.add(key, "is required by HMAC algorithms", "write {env: NAME} or {file: PATH}")
	case hmacs > 0 && (len(i.PublicKeyPEM) > 0 || isPEM(i.Secret)):
		c.add(key, "is PEM, but the algorithms are HMAC", "list the key's own algorithms, e.g. [RS256]")
	case hmacs > 0 && hasKey:
		c.secret(key, i)
	case len(i.Secret) > 0:
		c.add(key, "is a secret, but no algorithm is HMAC", "list what the issuer signs with, e.g. [HS256]")
	case len(i.PublicKeyPEM) > 0:
		c.publicKey(key, i)
	}
}

func (c *checker) secret(key string, i *Issuer) {
	least := 0
	for _, name := range i.Algorithms {
		if alg, _ := algorithmNamed(name); alg.family == hmacFamily {
			least = max(least, alg.keySize)
		}
	}
	if len(i.Secret) < least {
		c.add(key, fmt.Sprintf("the secret has fewer than %d bytes", least), "it must be as long as the algorithm's hash")
	}
}

func (c *checker) publicKey(key string, i *Issuer) {
	keys, err := parsePublicKeys(i.PublicKeyPEM)
	if err != nil {
		c.add(key, err.Error(), "write one with: openssl pkey -pubout")
		return
	}
	const strong = "RSA needs 2048 to 8192 bits and an odd exponent from 3 up, ES256 the curve P-256, EdDSA Ed25519"
	for n, public := range keys {
		if len(keys) > 1 && len(fitting(public, canonicalAlgorithms(i.Algorithms))) == 0 {
			c.add(key, fmt.Sprintf("its key %d fits none of the algorithms, or is weak", n+1), strong)
			return
		}
	}
	for _, name := range i.Algorithms {
		alg, ok := algorithmNamed(name)
		if ok && !slices.ContainsFunc(keys, alg.takes) {
			c.add(key, fmt.Sprintf("is no key for %s, or a weak one", name), strong)
			return
		}
	}
}

func (c *checker) limits(key string, l Limits) {
	if len(l.Tilesets) > tile.MaxPatterns {
		c.add(key+".tilesets", fmt.Sprintf("names more than %d", tile.MaxPatterns), "use globs")
	}
	for n, entry := range l.Tilesets {
		if !tile.ValidPattern(entry) {
			c.add(fmt.Sprintf("%s.tilesets[%d]", key, n), "is neither an id nor a glob over ids", "write basemap, acme-*, *, file:report or bundle:style; * is the only wildcard")
		}
	}
	if l.Zoom != nil && !l.Zoom.Valid() {
		c.add(key+".zoom", fmt.Sprintf("is not a range of zooms within 0 to %d", tile.MaxZoom), `write "0-14"`)
	}
	if l.BBox == nil {
		return
	}
	if index, problem := l.BBox.OutOfRange(); problem != "" {
		c.add(fmt.Sprintf("%s.bbox[%d]", key, index), problem, "write [west, south, east, north]")
	} else if l.BBox.Validate() != nil {
		c.add(key+".bbox", "has no area", "write [west, south, east, north]; west > east crosses the antimeridian")
	}
}

// url checks an address that keys come from, or the name of an issuer. The result is never nil.
func (c *checker) url(key, raw string, query bool) *OptionError {
	problem, hint := urlProblem(raw, query, c.insecureHosts)
	if problem == "" {
		return &OptionError{}
	}
	c.add(key, problem, hint)
	return c.last()
}

// urlProblem returns why keys must not be fetched from a URL, "" if they may be: it is absolute,
// https, or http on loopback or one of the insecure hosts, and holds neither a password nor a fragment.
func urlProblem(raw string, query bool, insecureHosts []string) (problem, hint string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return "is not an absolute http or https URL", "write https://host/path"
	case u.User != nil:
		return "holds a user or password", "leave it out"
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return "has a fragment", "leave out # and what follows"
	case !query && (u.RawQuery != "" || u.ForceQuery):
		return "has a query", "leave out ? and what follows"
	case u.Scheme != "https" && !isLoopback(u.Hostname()) && !slices.Contains(insecureHosts, u.Hostname()):
		return "is neither https nor on loopback", "anybody on the way could answer in its place; insecure_jwks_hosts lists hosts that are reached through your own network alone"
	}
	return "", ""
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// join makes one error of faults.
func join(faults []*OptionError) error {
	errs := make([]error, len(faults))
	for i, fault := range faults {
		errs[i] = fault
	}
	return errors.Join(errs...)
}
