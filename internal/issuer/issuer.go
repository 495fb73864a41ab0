// Package issuer is a token issuer on HTTP, for the demo and the tests: it signs JWTs with keys that
// it generates, publishes the keys as a JWKS, and can rotate them, fail and hang.
package issuer

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Options of an Issuer. The zero value is ready to use.
type Options struct {
	// URL is the iss of tokens, and where discovery says that the issuer is. "": taken from the
	// Host of each request, and SetURL has to be called before Token writes an iss.
	URL   string
	Clock func() time.Time // of iat and exp; default time.Now

	// Accounts answers GET and POST /token?account=NAME with a token that carries the account's
	// claims. Nobody proves who they are: it is for demonstrations. Empty: there is no /token.
	Accounts map[string]map[string]any
	Origin   string        // the one page origin that CORS lets read /token, e.g. http://127.0.0.1:8080; "": none
	Lifetime time.Duration // of tokens that carry no exp of their own; default 1 h

	// Clients are those that may use /authorize, with their secrets. It signs in the account that SignIn named last,
	// without asking. Empty: there is no /authorize.
	Clients map[string]string
}

// Issuer signs tokens and publishes its keys. Its methods are safe for concurrent use.
type Issuer struct {
	opt Options

	mu       sync.Mutex
	url      string
	signing  map[string]*key // by algorithm: the key that signs now
	keys     []*key          // in order of generation: published until they are removed
	made     map[string]int  // keys generated, by algorithm
	status   int             // answered instead of a key set, when not 0
	gate     <-chan struct{}
	requests map[string]int
	account  string          // whom /authorize signs in
	codes    map[string]code // by the code, until it is exchanged
	refresh  map[string]code // by the refresh token
	renewAs  string

	refreshSize int
}

type key struct {
	id, algorithm string
	private       crypto.Signer
}

// ErrUnknownAlgorithm is any besides RS256, ES256 and EdDSA.
var ErrUnknownAlgorithm = errors.New("the issuer signs with RS256, ES256 and EdDSA")

var algorithms = []string{"ES256", "EdDSA", "RS256"}

// New returns an issuer. A key is generated when its algorithm is first needed: a key set asked for
// before any token holds one of each. The error tells which option is not a URL.
func New(opt Options) (*Issuer, error) {
	for name, value := range map[string]string{"URL": opt.URL, "Origin": opt.Origin} {
		if u, err := url.Parse(value); value != "" && (err != nil || u.Scheme == "" || u.Host == "") {
			return nil, fmt.Errorf("issuer: %s %q is not an absolute URL", name, value)
		}
	}
	opt.Lifetime = cmp.Or(opt.Lifetime, time.Hour)
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	return &Issuer{opt: opt, url: opt.URL, signing: map[string]*key{}, made: map[string]int{}, requests: map[string]int{}, codes: map[string]code{}, refresh: map[string]code{}}, nil
}

// SetURL is for an issuer whose address is known only once it listens.
func (i *Issuer) SetURL(address string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.url = address
}

// Token signs claims with the algorithm's current key. It adds iss, iat and exp where claims lack
// them; a claim that is nil is left out of the token.
func (i *Issuer) Token(algorithm string, claims map[string]any) (string, error) {
	k, err := i.signingKey(algorithm)
	if err != nil {
		return "", err
	}
	now := i.opt.Clock()
	i.mu.Lock()
	all := jwt.MapClaims{"iss": i.url, "iat": now.Unix(), "exp": now.Add(i.opt.Lifetime).Unix()}
	i.mu.Unlock()
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	token := jwt.NewWithClaims(jwt.GetSigningMethod(algorithm), all)
	token.Header["kid"] = k.id
	signed, err := token.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("sign token with %s: %w", algorithm, err)
	}
	return signed, nil
}

// KeyID is the kid of the algorithm's current key.
func (i *Issuer) KeyID(algorithm string) (string, error) {
	k, err := i.signingKey(algorithm)
	if err != nil {
		return "", err
	}
	return k.id, nil
}

// Keys are the published public keys by kid, one of each algorithm at least: what a party that
// trusts the issuer without asking over HTTP needs.
func (i *Issuer) Keys() (map[string]crypto.PublicKey, error) {
	published, err := i.published()
	if err != nil {
		return nil, err
	}
	keys := map[string]crypto.PublicKey{}
	for _, k := range published {
		keys[k.id] = k.private.Public()
	}
	return keys, nil
}

// Rotate makes a new key sign the algorithm's tokens, and returns its kid. The old one stays
// published until it is removed.
func (i *Issuer) Rotate(algorithm string) (kid string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	k, err := i.generate(algorithm)
	if err != nil {
		return "", err
	}
	return k.id, nil
}

// Remove takes a key out of the published set, whether or not it still signs.
func (i *Issuer) Remove(kid string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = slices.DeleteFunc(i.keys, func(k *key) bool { return k.id == kid })
}

func (i *Issuer) signingKey(algorithm string) (*key, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if k := i.signing[algorithm]; k != nil {
		return k, nil
	}
	return i.generate(algorithm)
}

// published generates what is lacking: a set that is fetched before the first token of an algorithm
// must hold its key too.
func (i *Issuer) published() ([]*key, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, algorithm := range algorithms {
		if i.signing[algorithm] == nil {
			if _, err := i.generate(algorithm); err != nil {
				return nil, err
			}
		}
	}
	return slices.Clone(i.keys), nil
}

// generate is called with the lock held.
func (i *Issuer) generate(algorithm string) (*key, error) {
	var private crypto.Signer
	var err error
	switch algorithm {
	case "RS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("%w, not with %q", ErrUnknownAlgorithm, algorithm)
	}
	if err != nil {
		return nil, fmt.Errorf("generate %s key: %w", algorithm, err)
	}
	i.made[algorithm]++
	k := &key{id: algorithm + "-" + strconv.Itoa(i.made[algorithm]), algorithm: algorithm, private: private}
	i.signing[algorithm] = k
	i.keys = append(i.keys, k)
	return k, nil
}
