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
		Claims:         auth.ClaimNames{Tilesets: a.Claims.Tilesets, ScopePrefix: a.Claims.ScopePrefix, Zoom: a.Claims.Zoom, BBox: a.Claims.BBox},
		Leeway:         a.Leeway,
		MaxLifetime:    a.MaxLifetime,
		SessionTTL:     given(a.Session.TTL),
		TokenWindow:    given(a.TokenWindow),
		SameSite:       a.Session.Mode(),
		Partitioned:    a.Session.Partitioned,
		CookieSuffix:   a.Session.CookieSuffix,
		SecureCookie:   c.SecureCookie(),
		QueryParameter: a.QueryParameter,
	}
	for _, key := range a.SigningKeys {
		o.SigningKeys = append(o.SigningKeys, key.Bytes())
	}
	for _, i := range a.Issuers {
		issuer := auth.Issuer{
			Issuer: i.Issuer, Audience: i.Audience, Algorithms: i.Algorithms,
			JWKSURL: i.JWKSURL, JWKSRefresh: given(i.JWKSRefresh),
			Allow: i.Allow.options(), Default: i.Grant.options(),
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

// HMAC reports whether Key is a shared secret instead of a public key.
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
