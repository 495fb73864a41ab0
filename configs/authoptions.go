package configs

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"tilegate/auth"
)

// AuthOptions returns the section auth as package auth takes it. The caller adds what is no
// configuration, such as the Logger.
func (c *Config) AuthOptions() auth.Options {
	a := &c.Auth
	o := auth.Options{
		Claims:         a.Claims.options(),
		Leeway:         a.Leeway,
		MaxLifetime:    a.MaxLifetime,
		SessionTTL:     given(a.Session.TTL),
		TokenWindow:    given(a.TokenWindow),
		SameSite:       a.Session.Mode(),
		Partitioned:    a.Session.Partitioned,
		CookieSuffix:   a.Session.CookieSuffix,
		SecureCookie:   c.SecureCookie(),
		QueryParameter: a.QueryParameter,

		InsecureJWKSHosts: a.InsecureJWKSHosts,
		APIKeys:           a.APIKeys.File,
	}
	for _, key := range a.SigningKeys {
		o.SigningKeys = append(o.SigningKeys, key.Bytes())
	}
	for _, i := range a.Issuers {
		issuer := auth.Issuer{
			Issuer: i.Issuer, Audience: i.Audience, AudienceClaims: i.AudienceClaims, Algorithms: i.Algorithms,
			JWKSURL: i.JWKSURL, JWKSRefresh: given(i.JWKSRefresh), CAPEM: i.CAFile.Bytes(),
			TokenHeader: i.TokenHeader, MaxToken: max(int(i.MaxToken), 1),
			IgnoreUnknown: len(i.Roles) > 0,
			Allow:         i.Allow.options(), Default: i.Grant.options(),
		}
		if i.Claims != a.Claims {
			names := i.Claims.options()
			issuer.Claims = &names
		}
		if i.IgnoreUnknown != nil {
			issuer.IgnoreUnknown = *i.IgnoreUnknown
		}
		for name, limits := range i.Roles {
			if issuer.Roles == nil {
				issuer.Roles = map[string]auth.Limits{}
			}
			issuer.Roles[name] = limits.options()
		}
		if i.HMAC() {
			issuer.Secret = i.Key.Bytes()
		} else {
			issuer.PublicKeyPEM = i.Key.Bytes()
		}
		o.Issuers = append(o.Issuers, issuer)
	}
	return o
}

// given returns d so that zero does not stand for a default: the defaults are filled in already, and
// package auth is to refuse a zero that the file sets.
func given(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func (c Claims) options() auth.ClaimNames {
	return auth.ClaimNames{Tilesets: c.Tilesets, ScopePrefix: c.ScopePrefix, Zoom: c.Zoom, BBox: c.BBox}
}

// HMAC reports whether Key is a shared secret instead of public keys.
func (i Issuer) HMAC() bool {
	return slices.ContainsFunc(i.Algorithms, func(alg string) bool { return strings.HasPrefix(alg, "HS") })
}

func (l *Limits) options() auth.Limits {
	if l == nil {
		return auth.Limits{}
	}
	return auth.Limits{Tilesets: l.Tilesets, Zoom: l.Zoom, BBox: l.BBox}
}

// Mode returns SameSite for a cookie.
func (s Session) Mode() http.SameSite {
	switch s.SameSite {
	case "strict":
		return http.SameSiteStrictMode
	case "none":
		return http.SameSiteNoneMode
	}
	return http.SameSiteLaxMode
}
