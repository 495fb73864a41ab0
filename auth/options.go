package auth

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// Options configures an Authenticator. Zero values are the stated defaults.
type Options struct {
	Issuers []Issuer
	Claims  ClaimNames // of issuers that have none of their own

	Areas []Area // all that grants may name

	// InsecureJWKSHosts are hosts that may be asked for key sets over plain http, beside those on loopback.
	InsecureJWKSHosts []string

	// APIKeys is the file of the API keys (see ParseAPIKeys), "" for none. New reads it, and Run reads it
	// again when it changes. A file that does not exist holds no keys.
	APIKeys string
	// ClientAddress returns the address that a request comes from, for API keys that are limited to some. By
	// default it is that of the connection.
	ClientAddress func(*http.Request) netip.Addr

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
	Renewals     bool          // sessions are renewed (NewRenewal): revocations are kept for RenewalLifetime at least
	CookieSuffix string        // appended to the name with a hyphen, so that instances on one host keep theirs apart; "": none

	QueryParameter string // the query parameter that may carry an access token; "": none may

	Clock      func() time.Time // default time.Now
	Logger     *slog.Logger     // default: none
	HTTPClient *http.Client     // fetches key sets; it never follows redirects or keeps cookies, whatever it is set to
	// OnKeySetRefresh is called after each refresh; issuer is one of Issuers.
	OnKeySetRefresh func(issuer string, ok bool)
	// OnRevocation is called after each revocation that is made or undone here, and after each logout, with a record of it for
	// TakeRevocation of other instances. It must not block. Default: nobody is told.
	OnRevocation func(record []byte, logout bool)
	// Before is the Authenticator that this one is going to replace in the same process, as a changed configuration does. The two
	// share their revocations from then on, of which Before's OnRevocation is told; key sets that come from the same place
	// are known at once; and so is the signing key that Before has made, if none is configured. Default: there was none.
	Before *Authenticator
}

// Issuer is one whose tokens are accepted. At most one of JWKSURL and PublicKeyPEM is set. Without either the
// key set is found by OIDC discovery, unless all algorithms are HMAC.
type Issuer struct {
	Issuer   string   // the exact iss of its tokens; a URL must be https, or http on loopback or one of InsecureJWKSHosts
	Audience []string // one of which aud must name; none: a token with any aud is refused
	// AudienceClaims are the claims that may name the audience, or JSON pointers to them. The first one that the
	// token has is compared. Default aud.
	AudienceClaims []string
	Algorithms     []string // HS, RS, PS, ES with 256, 384, 512, or EdDSA, also called Ed25519; never taken from the token

	JWKSURL      string        // https, or http on loopback or one of InsecureJWKSHosts
	JWKSRefresh  time.Duration // at least 1 s; default 10 minutes
	CAPEM        []byte        // the authorities of its https, in PEM; none: those of the system
	PublicKeyPEM []byte        // one key or several: PKIX, PKCS #1 or certificates
	// Secret is for the HS algorithms alone, at least as long as their hash (RFC 7518 section 3.2). The issuer may
	// have a key set besides, while it moves from the one to the other: it is never used for HS, and the secret
	// for nothing else.
	Secret []byte

	// TokenHeader is a header that may carry a token, as Authorization may, with nothing but the token as
	// its value; "": none. Any issuer's token may stand in it.
	TokenHeader string
	MaxToken    int // bytes of a token: 8 to 32 KiB, default 8 KiB

	Claims *ClaimNames // nil: Options.Claims
	// Roles are what the roles, groups, permissions or scopes in the tilesets claim grant, by their names. Nil:
	// the claim names tilesets itself.
	Roles map[string]Limits
	// IgnoreUnknown skips entries of the tilesets claim that are none of Roles, or without Roles no tilesets.
	// False refuses the token.
	IgnoreUnknown bool

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
	if o.ClientAddress == nil {
		o.ClientAddress = peerAddress
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (c ClaimNames) withDefaults() ClaimNames {
	return ClaimNames{
		Tilesets: cmp.Or(c.Tilesets, "tilesets"), ScopePrefix: cmp.Or(c.ScopePrefix, "tiles:"),
		Zoom: cmp.Or(c.Zoom, "zoom"), BBox: cmp.Or(c.BBox, "bbox"), Area: cmp.Or(c.Area, "area"),
	}
}
