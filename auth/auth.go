// Package auth says who sends a request and what they may see: it finds the credential, verifies
// it against the issuers' key sets or tilegate's own signing keys, and turns it into a Grant. It
// mints sessions and path tokens out of grants, and revokes them.
//
// It knows tilesets by their ids alone, and HTTP by the request's headers alone.
package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options configures an Authenticator. Zero values are the stated defaults.
type Options struct {
	Issuers []Issuer
	Claims  ClaimNames

	Leeway      time.Duration // for clocks that differ: 0 to 5 minutes, default none
	MaxLifetime time.Duration // of an access token, from its iat to its exp; 0: unlimited

	// SigningKeys are at least 32 random bytes each: the first signs, all verify. None: one is made
	// for this process alone, and the log warns that nothing minted survives a restart.
	SigningKeys [][]byte
	SessionTTL  time.Duration // default 15 minutes
	TokenWindow time.Duration // to which path tokens' expiry is rounded down; default 15 minutes

	SameSite     http.SameSite // of the cookie; default Lax. None needs SecureCookie
	Partitioned  bool          // needs SameSite None
	SecureCookie bool          // true: __Host-tilegate; false, for plain http on loopback: tilegate without Secure

	QueryParameter string // that may carry an access token; "": none may

	Clock      func() time.Time // default time.Now
	Logger     *slog.Logger     // default: none
	HTTPClient *http.Client     // to fetch key sets with; redirects are refused and cookies not kept whatever it says
	// OnKeySetRefresh is told of each refresh; issuer is one of Issuers.
	OnKeySetRefresh func(issuer string, ok bool)
}

// Issuer is one whose tokens are accepted. At most one of JWKSURL, PublicKeyPEM and Secret is
// set; without any, the key set is found by OIDC discovery.
type Issuer struct {
	Issuer     string   // the exact iss of its tokens
	Audience   []string // one of which aud must name; none: a token with any aud is refused
	Algorithms []string // HS, RS, PS, ES with 256, 384, 512, or EdDSA; never taken from the token

	JWKSURL      string        // https, or http on loopback
	JWKSRefresh  time.Duration // from 1 s up; default 10 minutes
	PublicKeyPEM []byte        // PKIX, PKCS #1 or a certificate
	Secret       []byte        // for HS algorithms alone, at least as long as their hash (RFC 7518 section 3.2)

	// Allow is the most that a token can grant: nil Tilesets mean all. Required, with Tilesets,
	// where there are two issuers or more.
	Allow Limits
	// Default is what a token gets that carries none of our claims: nil Tilesets mean nothing.
	Default Limits
}

// Authenticator verifies and mints credentials. It is safe for concurrent use.
type Authenticator struct {
	issuers map[string]*issuer
	sources []*keySource // those that are fetched
	signing []signingKeys

	leeway, maxLifetime     time.Duration
	sessionTTL, tokenWindow time.Duration
	cookieName              string
	sameSite                http.SameSite
	secureCookie            bool
	partitioned             bool
	queryParameter          string
	now                     func() time.Time

	remembered remembered
	revoked    revocations
}

type issuer struct {
	keys  *keySource
	rules rules
}

// New checks o and reports every fault that it finds. It does no I/O: Run fetches the key sets.
func New(o Options) (*Authenticator, error) {
	a := &Authenticator{
		issuers: map[string]*issuer{},
		leeway:  o.Leeway, maxLifetime: o.MaxLifetime,
		sessionTTL: cmp.Or(o.SessionTTL, 15*time.Minute), tokenWindow: cmp.Or(o.TokenWindow, 15*time.Minute),
		cookieName: "tilegate", sameSite: cmp.Or(o.SameSite, http.SameSiteLaxMode),
		secureCookie: o.SecureCookie, partitioned: o.Partitioned,
		queryParameter: o.QueryParameter, now: o.Clock,
		remembered: remembered{seed: maphash.MakeSeed(), maxTokens: maxRemembered, maxBytes: maxRememberedBytes},
		revoked:    revocations{limit: maxRevocations},
	}
	if o.SecureCookie {
		a.cookieName = "__Host-tilegate"
	}
	if a.now == nil {
		a.now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Claims = ClaimNames{
		Tilesets: cmp.Or(o.Claims.Tilesets, "tilesets"), ScopePrefix: cmp.Or(o.Claims.ScopePrefix, "tiles:"),
		Zoom: cmp.Or(o.Claims.Zoom, "zoom"), BBox: cmp.Or(o.Claims.BBox, "bbox"),
	}
	errs := []error{o.check()}
	for i, configured := range o.Issuers {
		is, err := newIssuer(configured, &o, a.now)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("issuer %d: %w", i+1, err))
		case a.issuers[configured.Issuer] != nil:
			errs = append(errs, fmt.Errorf("issuer %d: this iss is configured twice", i+1))
		default:
			a.issuers[configured.Issuer] = is
			if is.keys.client != nil {
				a.sources = append(a.sources, is.keys)
			}
		}
	}
	errs = append(errs, a.addOwnIssuer(&o))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a, nil
}

func (o *Options) check() error {
	var errs []error
	fault := func(wrong bool, text string) {
		if wrong {
			errs = append(errs, errors.New(text))
		}
	}
	fault(o.Leeway < 0 || o.Leeway > 5*time.Minute, "leeway must be 0 to 5m")
	fault(o.MaxLifetime < 0, "max_lifetime must not be negative; 0 means unlimited")
	fault(o.SessionTTL < 0 || o.SessionTTL > 0 && o.SessionTTL < 3*time.Second, "session.ttl must be 3s at least")
	fault(o.TokenWindow < 0 || o.TokenWindow > 0 && o.TokenWindow < time.Second, "token_window must be 1s at least")
	fault(o.SameSite == http.SameSiteNoneMode && !o.SecureCookie, "session.same_site none needs https: browsers drop such a cookie without Secure")
	fault(o.Partitioned && o.SameSite != http.SameSiteNoneMode, "session.partitioned needs same_site none")
	names := []string{o.Claims.Tilesets, o.Claims.Zoom, o.Claims.BBox, "scope", "iss", "sub", "aud", "exp", "nbf", "iat", "jti"}
	slices.Sort(names)
	fault(len(slices.Compact(names)) != 11, "auth.claims must be names of their own, none of them a registered claim")
	return errors.Join(errs...)
}

func newIssuer(c Issuer, o *Options, now func() time.Time) (*issuer, error) {
	is := &issuer{
		keys: &keySource{
			issuer: c.Issuer, algorithms: c.Algorithms, jwksURL: c.JWKSURL, refresh: cmp.Or(c.JWKSRefresh, defaultRefresh),
			now: now, logger: o.Logger, observe: o.OnKeySetRefresh,
			wake: make(chan struct{}, 1), first: make(chan struct{}),
		},
		rules: rules{
			audience: c.Audience, claims: o.Claims, leeway: o.Leeway, maxLifetime: o.MaxLifetime,
			defaults: c.Default, allow: c.Allow,
		},
	}
	var errs []error
	fault := func(wrong bool, text string) {
		if wrong {
			errs = append(errs, errors.New(text))
		}
	}
	fault(c.Issuer == "", "issuer is missing: the exact iss of its tokens")
	fault(c.Issuer == ownIssuer, `issuer: "tilegate" is our own`)
	fault(len(c.Algorithms) == 0, "algorithms are missing, e.g. [RS256, ES256]")
	hmacs := 0
	for _, name := range c.Algorithms {
		alg, ok := algorithms(name)
		fault(!ok, fmt.Sprintf("algorithms: %q is not one of HS, RS, PS, ES with 256, 384, 512, or EdDSA", name))
		if alg.family == hmacFamily {
			hmacs++
		}
	}
	fault(len(c.Secret) > 0 && hmacs < len(c.Algorithms), "a secret serves HS algorithms alone")
	fault(len(c.Secret) == 0 && hmacs > 0, "an HS algorithm needs a secret, and never goes with a public key or a key set")
	fault(len(o.Issuers) > 1 && c.Allow.Tilesets == nil, "allow.tilesets is required with two issuers or more")
	if err := c.Allow.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("allow: %w", err))
	}
	if err := c.Default.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("grant: %w", err))
	}
	switch sources := btoi(c.JWKSURL != "") + btoi(len(c.PublicKeyPEM) > 0) + btoi(len(c.Secret) > 0); {
	case sources > 1:
		fault(true, "only one of jwks_url, a public key and a secret can be set")
	case len(errs) > 0: // the key cannot be judged by algorithms that are wrong
	case len(c.Secret) > 0:
		errs = append(errs, is.keys.fix(slices.Clone(c.Secret)))
	case len(c.PublicKeyPEM) > 0:
		public, err := parsePEM(c.PublicKeyPEM)
		if err != nil {
			errs = append(errs, fmt.Errorf("public key: %w", err))
		} else {
			errs = append(errs, is.keys.fix(public))
		}
	default:
		if err := checkURL(cmp.Or(c.JWKSURL, c.Issuer)); err != nil {
			errs = append(errs, fmt.Errorf("jwks_url, or the issuer where there is none: %w", err))
		}
		fault(c.JWKSRefresh < 0 || c.JWKSRefresh > 0 && c.JWKSRefresh < minRefresh, "jwks_refresh must be 1s at least")
		is.keys.client = fetchClient(o.HTTPClient)
	}
	return is, errors.Join(errs...)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// fetchClient follows no redirect: the operator configures where keys come from, nobody else.
func fetchClient(from *http.Client) *http.Client {
	client := http.Client{}
	if from != nil {
		client = *from
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	client.Timeout = fetchTimeout
	return &client
}

// addOwnIssuer derives our keys and makes the issuer of NewAccessToken's tokens, held to the same
// rules, under fixed claim names: renaming claims in the configuration must not widen old tokens.
func (a *Authenticator) addOwnIssuer(o *Options) error {
	secrets := o.SigningKeys
	if len(secrets) == 0 {
		o.Logger.Warn("no signing key is configured: sessions and path tokens end with this process and are of no use to another")
		secret := make([]byte, 32)
		rand.Read(secret)
		secrets = [][]byte{secret}
	}
	if len(secrets) > 8 {
		return errors.New("signing_keys: at most 8")
	}
	set := &keySet{}
	for i, secret := range secrets {
		derived, err := deriveKeys(secret)
		if err != nil {
			return fmt.Errorf("signing_keys: key %d: %w", i+1, err)
		}
		a.signing = append(a.signing, derived)
		set.keys = append(set.keys, key{id: derived.kid, algs: []string{"HS256"}, public: derived.access})
	}
	is := &issuer{
		keys: &keySource{issuer: ownIssuer, algorithms: []string{"HS256"}, now: a.now},
		rules: rules{
			claims: ClaimNames{Tilesets: "tilesets", ScopePrefix: "tiles:", Zoom: "zoom", BBox: "bbox"},
			leeway: o.Leeway, maxLifetime: o.MaxLifetime,
		},
	}
	is.keys.set.Store(set)
	a.issuers[ownIssuer] = is
	return nil
}

// fix gives the source the one key that the configuration holds.
func (s *keySource) fix(public any) error {
	set, err := newFixedSet(public, s.algorithms)
	if err == nil {
		s.set.Store(set)
	}
	return err
}

// Run keeps the key sets fresh until ctx ends, which is no error.
func (a *Authenticator) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, source := range a.sources {
		wg.Go(func() { source.run(ctx) })
	}
	<-ctx.Done()
	wg.Wait()
	return nil
}

// Ready is nil once every key set has been there; then for good, since the last set keeps serving.
func (a *Authenticator) Ready() error {
	for _, source := range a.sources {
		if source.set.Load() == nil {
			return ErrKeysUnavailable
		}
	}
	return nil
}

// Degraded says in a line for each issuer whose key set could not be refreshed what is wrong with it.
func (a *Authenticator) Degraded() []string {
	var lines []string
	for _, source := range a.sources {
		if line := source.degraded(); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
