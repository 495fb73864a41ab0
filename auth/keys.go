package auth

import (
	"crypto"
	"errors"
	"slices"
)

// key verifies signatures of its algorithms.
type key struct {
	id     string   // kid, "" if the set gives none
	algs   []string // what it may verify: of the issuer's algorithms those that fit it
	public crypto.PublicKey
}

// keySet is the keys of one issuer. It never changes: a verified token is bound to the set that verified
// it by its address.
type keySet struct {
	keys    []key
	ignored int  // keys of the published set that are of no use here
	dropped int  // keys of use that are beyond maxKeys
	fixed   bool // one configured key: kid does not matter
}

// errUnknownKID means that the set has no key of the token's kid. A newer set may have it.
var errUnknownKID = errors.New("unknown kid")

// find returns the one key that may verify j. A token without kid needs a set in which only one fits.
func (s *keySet) find(j *jws) (*key, error) {
	var found *key
	named := false
	for i := range s.keys {
		k := &s.keys[i]
		if j.hasKID && !s.fixed {
			if k.id != j.kid {
				continue
			}
			named = true
		}
		if !slices.Contains(k.algs, j.alg) {
			continue
		}
		if found != nil {
			return nil, unverified("several keys fit the token")
		}
		found = k
	}
	switch {
	case found != nil:
		return found, nil
	case j.hasKID && !s.fixed && !named:
		return nil, errUnknownKID
	}
	return nil, unverified("no key fits the token's algorithm")
}

// verify checks the signature of j with k, which find has returned for it.
func (k *key) verify(j *jws) error {
	alg, ok := algorithmNamed(j.alg)
	if !ok || !slices.Contains(k.algs, j.alg) {
		return unverified("the key does not fit the algorithm")
	}
	if alg.method.Verify(j.signed, j.signature, k.public) != nil {
		return unverified("wrong signature")
	}
	return nil
}

// fitting returns those of the configured algorithms that public may verify.
func fitting(public crypto.PublicKey, configured []string) []string {
	var fit []string
	for _, name := range configured {
		if alg, ok := algorithmNamed(name); ok && alg.takes(public) {
			fit = append(fit, name)
		}
	}
	return fit
}

// newFixedSet returns the set of an issuer whose one key stands in the configuration. The key must fit
// each configured algorithm, as Options.Check says in detail.
func newFixedSet(public crypto.PublicKey, configured []string) (*keySet, error) {
	fit := fitting(public, configured)
	if len(fit) != len(configured) || len(fit) == 0 {
		return nil, errors.New("the key does not fit every algorithm that is listed, or is too weak")
	}
	return &keySet{keys: []key{{algs: fit, public: public}}, fixed: true}, nil
}

func (k key) equal(other key) bool {
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.id == other.id && slices.Equal(k.algs, other.algs) && public.Equal(other.public)
}

func (s *keySet) equal(other *keySet) bool {
	return other != nil && slices.EqualFunc(s.keys, other.keys, key.equal)
}
