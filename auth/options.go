package auth

import (
	"cmp"
	"log/slog"
	"net/http"
	"time"
)

// Options configures an Authenticator. Zero values are the stated defaults.
type Options struct {
	Issuers []Issuer
	Claims  ClaimNames

	Leeway      time.Duration // for clocks that differ: 0 to 5 minutes, default none
	MaxLifetime time.Duration // of an access token, from its iat to its exp; at least 1 s, 0: unlimited

	// SigningKeys are at most 8 keys of at least 32 random bytes each. The first one signs, all of them
	// verify. Without any, New makes one for this process and logs a warning: nothing that it signs
	// survives a restart.
	SigningKeys [][]byte
	SessionTTL  time.Duration // at least 3 s; default 15 minutes
	TokenWindow time.Duration // the expiry of path tokens is rounded down to it; at least 1 s, default 15 minutes

	SameSite     http.SameSite // of the cookie; default Lax. None needs SecureCookie
	Partitioned  bool          // needs SameSite None
	SecureCookie bool          // true: __Host-tilegate; false, for plain http on loopback: tilegate without Secure
	CookieSuffix string        // appended to the name with a hyphen, so that instances on one host keep theirs apart; "": none

	QueryParameter string // the query parameter that may carry an access token; "": none may

	Clock      func() time.Time // default time.Now
	Logger     *slog.Logger     // default: none
	HTTPClient *http.Client     // fetches key sets; it never follows redirects or keeps cookies, whatever it is set to
	// OnKeySetRefresh is called after each refresh; issuer is one of Issuers.
	OnKeySetRefresh func(issuer string, ok bool)
}

// Issuer is one whose tokens are accepted. At most one of JWKSURL, PublicKeyPEM and Secret is
// set; without any, the key set is found by OIDC discovery.
type Issuer struct {
	Issuer     string   // the exact iss of its tokens; a URL must be https, or http on loopback
	Audience   []string // one of which aud must name; none: a token with any aud is refused
	Algorithms []string // HS, RS, PS, ES with 256, 384, 512, or EdDSA; never taken from the token

	JWKSURL      string        // https, or http on loopback
	JWKSRefresh  time.Duration // at least 1 s; default 10 minutes
	PublicKeyPEM []byte        // PKIX, PKCS #1 or a certificate
	Secret       []byte        // for HS algorithms alone, at least as long as their hash (RFC 7518 section 3.2)

	// Allow is the most that a token can grant: nil Tilesets mean all. Required, with Tilesets,
	// where there are two issuers or more.
	Allow Limits
	// Default is what a token gets that carries none of our claims: nil Tilesets mean nothing.
	Default Limits
}

// withDefaults returns o with its defaults filled in.
func (o Options) withDefaults() Options {
	o.Claims = o.Claims.withDefaults()
	o.SessionTTL = cmp.Or(o.SessionTTL, 15*time.Minute)
	o.TokenWindow = cmp.Or(o.TokenWindow, 15*time.Minute)
	o.SameSite = cmp.Or(o.SameSite, http.SameSiteLaxMode)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (c ClaimNames) withDefaults() ClaimNames {
	return ClaimNames{
		Tilesets: cmp.Or(c.Tilesets, "tilesets"), ScopePrefix: cmp.Or(c.ScopePrefix, "tiles:"),
		Zoom: cmp.Or(c.Zoom, "zoom"), BBox: cmp.Or(c.BBox, "bbox"),
	}
}
