package auth

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"hash/maphash"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Authenticator verifies and mints credentials. It is safe for concurrent use.
type Authenticator struct {
	issuers map[string]*issuer
	named   []*issuer    // those of Options.Issuers, in their order
	sources []*keySource // those that are fetched, in the order of Options.Issuers
	signing []signingKeys
	// madeSecret is the signing key that was made because none is configured.
	madeSecret []byte

	leeway, maxLifetime     time.Duration
	renewalLifetime         time.Duration // 0: sessions are not renewed
	sessionTTL, tokenWindow time.Duration
	cookieName              string
	sameSite                http.SameSite
	secureCookie            bool
	partitioned             bool
	queryParameter          string
	tokenHeaders            []string // in canonical form: those that may carry an access token beside Authorization
	maxToken                int      // bytes: the most that any issuer's token may have
	areas                   []Area   // that grants may name
	apiKeys                 *keyFile // nil: there are none
	clientAddress           func(*http.Request) netip.Addr
	now                     func() time.Time

	verified verifiedCache
	revoked  *revocations // shared with the Authenticators before and after
}

type issuer struct {
	name   string
	keys   *keySource // nil: it signs with HMAC alone
	secret *keySource // HMAC; nil: it has none
	rules  rules

	maxToken int // bytes
}

// source returns where the keys of an algorithm are, nil if the issuer does not use it. A key set is never
// asked for an HMAC algorithm, nor the secret for any other.
func (i *issuer) source(alg string) *keySource {
	for _, s := range [...]*keySource{i.keys, i.secret} {
		if s != nil && slices.Contains(s.algorithms, alg) {
			return s
		}
	}
	return nil
}

// New makes an Authenticator. Its error joins an *OptionError for each fault in o. It reads the file of the
// API keys, and does no other I/O: Run fetches the key sets.
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
		areas: o.Areas, queryParameter: o.QueryParameter, maxToken: defaultMaxToken, clientAddress: o.ClientAddress, now: o.Clock,
		verified: verifiedCache{seed: maphash.MakeSeed(), maxTokens: maxVerified, maxBytes: maxVerifiedBytes},
		revoked:  &revocations{limit: maxRevocations, tell: o.OnRevocation},
	}
	if o.Before != nil {
		a.revoked = o.Before.revoked
	}
	if o.Renewals {
		a.renewalLifetime = RenewalLifetime
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
		a.named = append(a.named, is)
		if is.keys != nil && is.keys.client != nil {
			is.keys.takeOver(o.Before)
			a.sources = append(a.sources, is.keys)
		}
		a.maxToken = max(a.maxToken, is.maxToken)
		if h := http.CanonicalHeaderKey(configured.TokenHeader); h != "" && !slices.Contains(a.tokenHeaders, h) {
			a.tokenHeaders = append(a.tokenHeaders, h)
		}
	}
	a.addOwnIssuer(&o)
	if o.APIKeys != "" {
		a.apiKeys = &keyFile{path: o.APIKeys, areas: o.Areas, logger: o.Logger, now: o.Clock}
		if err := a.apiKeys.load(); err != nil {
			return nil, join([]*OptionError{{Key: "auth.api_keys.file", Problem: err.Error()}})
		}
	}
	return a, nil
}

func newIssuer(c Issuer, o *Options) (*issuer, error) {
	var hmacs, others []string
	for _, name := range canonicalAlgorithms(c.Algorithms) {
		if alg, _ := algorithmNamed(name); alg.family == hmacFamily {
			hmacs = append(hmacs, name)
		} else {
			others = append(others, name)
		}
	}
	source := func(algorithms []string) *keySource {
		return &keySource{
			issuer: c.Issuer, algorithms: algorithms, jwksURL: c.JWKSURL, insecureHosts: o.InsecureJWKSHosts,
			refresh: cmp.Or(c.JWKSRefresh, defaultRefresh), now: o.Clock, logger: o.Logger, observe: o.OnKeySetRefresh,
			wake: make(chan struct{}, 1), first: make(chan struct{}),
		}
	}
	names := o.Claims
	if c.Claims != nil {
		names = *c.Claims
	}
	is := &issuer{name: c.Issuer, maxToken: cmp.Or(c.MaxToken, defaultMaxToken), rules: rules{
		audience: c.Audience, audienceClaims: audienceClaims(c.AudienceClaims), claims: names.parse(),
		leeway: o.Leeway, maxLifetime: o.MaxLifetime,
		areas: o.Areas, roles: c.Roles, ignoreUnknown: c.IgnoreUnknown, defaults: c.Default, allow: c.Allow,
	}}
	var errs [2]error
	if hmacs != nil {
		is.secret = source(hmacs)
		errs[0] = is.secret.fix(slices.Clone(c.Secret))
	}
	if others != nil {
		is.keys = source(others)
		if len(c.PublicKeyPEM) > 0 {
			var keys []crypto.PublicKey
			if keys, errs[1] = parsePublicKeys(c.PublicKeyPEM); errs[1] == nil {
				errs[1] = is.keys.fix(keys...)
			}
		} else {
			var roots *x509.CertPool
			if len(c.CAPEM) > 0 {
				roots = x509.NewCertPool()
				roots.AppendCertsFromPEM(c.CAPEM)
			}
			is.keys.client, errs[1] = fetchClient(o.HTTPClient, roots)
		}
	}
	return is, errors.Join(errs[:]...)
}

func audienceClaims(names []string) []claimPath {
	if len(names) == 0 {
		names = []string{"aud"}
	}
	paths := make([]claimPath, len(names))
	for i, name := range names {
		paths[i], _ = parseClaimPath(name) // Options.Check has found it valid
	}
	return paths
}

// addOwnIssuer derives our keys and makes the issuer of NewAccessToken's tokens. It has the same rules
// as the others and fixed claim names: renaming claims in the configuration must not widen old tokens.
func (a *Authenticator) addOwnIssuer(o *Options) {
	secrets := o.SigningKeys
	if len(secrets) == 0 {
		o.Logger.Warn("no signing key is configured: sessions and path tokens end with this process and are of no use to another")
		if o.Before != nil && o.Before.madeSecret != nil {
			a.madeSecret = o.Before.madeSecret
		} else {
			a.madeSecret = make([]byte, minSigningKey)
			rand.Read(a.madeSecret)
		}
		secrets = [][]byte{a.madeSecret}
	}
	set := &keySet{}
	for _, secret := range secrets {
		derived := deriveKeys(secret)
		a.signing = append(a.signing, derived)
		set.keys = append(set.keys, key{id: derived.kid, algs: []string{"HS256"}, public: derived.access})
	}
	is := &issuer{
		name: ownIssuer, maxToken: defaultMaxToken,
		secret: &keySource{issuer: ownIssuer, algorithms: []string{"HS256"}, now: a.now},
		rules:  rules{audienceClaims: audienceClaims(nil), claims: ClaimNames{}.parse(), areas: o.Areas, leeway: o.Leeway, maxLifetime: o.MaxLifetime},
	}
	is.secret.set.Store(set)
	a.issuers[ownIssuer] = is
}

// Run keeps the key sets and the API keys fresh until ctx ends, which is no error.
func (a *Authenticator) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	if a.apiKeys != nil {
		wg.Go(func() { a.apiKeys.run(ctx) })
	}
	for _, source := range a.sources {
		wg.Go(func() { source.run(ctx) })
	}
	<-ctx.Done()
	wg.Wait()
	return nil
}
