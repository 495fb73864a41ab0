package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"hash/maphash"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Authenticator verifies and mints credentials. It is safe for concurrent use.
type Authenticator struct {
	issuers map[string]*issuer
	sources []*keySource // those that are fetched, in the order of Options.Issuers
	signing []signingKeys

	leeway, maxLifetime     time.Duration
	sessionTTL, tokenWindow time.Duration
	cookieName              string
	sameSite                http.SameSite
	secureCookie            bool
	partitioned             bool
	queryParameter          string
	now                     func() time.Time

	verified verifiedCache
	revoked  revocations
}

type issuer struct {
	keys  *keySource
	rules rules
}

// New makes an Authenticator. Its error joins an *OptionError for each fault in o. It does no I/O: Run
// fetches the key sets.
func New(o Options) (*Authenticator, error) {
	if faults := o.Check(); len(faults) > 0 {
		return nil, join(faults)
	}
	o = o.withDefaults()
	a := &Authenticator{
		issuers: map[string]*issuer{},
		leeway:  o.Leeway, maxLifetime: o.MaxLifetime,
		sessionTTL: o.SessionTTL, tokenWindow: o.TokenWindow,
		cookieName: "tilegate", sameSite: o.SameSite, secureCookie: o.SecureCookie, partitioned: o.Partitioned,
		queryParameter: o.QueryParameter, now: o.Clock,
		verified: verifiedCache{seed: maphash.MakeSeed(), maxTokens: maxVerified, maxBytes: maxVerifiedBytes},
		revoked:  revocations{limit: maxRevocations},
	}
	if o.SecureCookie {
		a.cookieName = "__Host-tilegate"
	}
	if o.CookieSuffix != "" {
		a.cookieName += "-" + o.CookieSuffix
	}
	for _, configured := range o.Issuers {
		is, err := newIssuer(configured, &o)
		if err != nil {
			return nil, err
		}
		a.issuers[configured.Issuer] = is
		if is.keys.client != nil {
			a.sources = append(a.sources, is.keys)
		}
	}
	a.addOwnIssuer(&o)
	return a, nil
}

func newIssuer(c Issuer, o *Options) (*issuer, error) {
	keys := &keySource{
		issuer: c.Issuer, algorithms: c.Algorithms, jwksURL: c.JWKSURL, refresh: cmp.Or(c.JWKSRefresh, defaultRefresh),
		now: o.Clock, logger: o.Logger, observe: o.OnKeySetRefresh,
		wake: make(chan struct{}, 1), first: make(chan struct{}),
	}
	var err error
	switch {
	case len(c.Secret) > 0:
		err = keys.fix(slices.Clone(c.Secret))
	case len(c.PublicKeyPEM) > 0:
		var public any
		if public, err = parsePublicKey(c.PublicKeyPEM); err == nil {
			err = keys.fix(public)
		}
	default:
		keys.client = fetchClient(o.HTTPClient)
	}
	return &issuer{keys: keys, rules: rules{
		audience: c.Audience, claims: o.Claims, leeway: o.Leeway, maxLifetime: o.MaxLifetime,
		defaults: c.Default, allow: c.Allow,
	}}, err
}

// addOwnIssuer derives our keys and makes the issuer of NewAccessToken's tokens. It has the same rules
// as the others and fixed claim names: renaming claims in the configuration must not widen old tokens.
func (a *Authenticator) addOwnIssuer(o *Options) {
	secrets := o.SigningKeys
	if len(secrets) == 0 {
		o.Logger.Warn("no signing key is configured: sessions and path tokens end with this process and are of no use to another")
		secret := make([]byte, minSigningKey)
		rand.Read(secret)
		secrets = [][]byte{secret}
	}
	set := &keySet{}
	for _, secret := range secrets {
		derived := deriveKeys(secret)
		a.signing = append(a.signing, derived)
		set.keys = append(set.keys, key{id: derived.kid, algs: []string{"HS256"}, public: derived.access})
	}
	is := &issuer{
		keys:  &keySource{issuer: ownIssuer, algorithms: []string{"HS256"}, now: a.now},
		rules: rules{claims: ClaimNames{}.withDefaults(), leeway: o.Leeway, maxLifetime: o.MaxLifetime},
	}
	is.keys.set.Store(set)
	a.issuers[ownIssuer] = is
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
