package configs

import (
	"maps"
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
		Renewals:       a.Login.Issuer != "",

		Areas:             a.Areas.options(),
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
			Allow:         i.Allow.options(a.Areas), Default: i.Grant.options(a.Areas),
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
			issuer.Roles[name] = limits.options(a.Areas)
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
	return auth.ClaimNames{Tilesets: c.Tilesets, ScopePrefix: c.ScopePrefix, Zoom: c.Zoom, BBox: c.BBox, Area: c.Area}
}

// HMAC reports whether Key is a shared secret instead of public keys.
func (i Issuer) HMAC() bool {
	return slices.ContainsFunc(i.Algorithms, func(alg string) bool { return strings.HasPrefix(alg, "HS") })
}

// options returns the areas in the order of their names.
func (a Areas) options() []auth.Area {
	var areas []auth.Area
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if shape := a[name].File.Area; shape != nil {
			areas = append(areas, auth.Area{Name: name, Shape: shape})
		}
	}
	return areas
}

func (l *Limits) options(areas Areas) auth.Limits {
	if l == nil {
		return auth.Limits{}
	}
	limits := auth.Limits{Tilesets: l.Tilesets, Zoom: l.Zoom, BBox: l.BBox}
	if l.Area != nil {
		limits.Areas = []auth.Area{} // an area that is not there admits nothing; the validator reports it
	}
	for _, name := range l.Area {
		if shape := areas[name].File.Area; shape != nil {
			limits.Areas = append(limits.Areas, auth.Area{Name: name, Shape: shape})
		}
	}
	return limits
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
