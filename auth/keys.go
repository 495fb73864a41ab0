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
	ignored []IgnoredKey // of the published set: those that are of no use here
	dropped int          // keys of use that are beyond maxKeys
	fixed   bool         // keys of the configuration: kid does not matter
}

// errUnknownKID means that the set has no key of the token's kid. A newer set may have it.
var errUnknownKID = errors.New("unknown kid")

// find returns the key that may verify j. A token without kid needs a published set in which only one fits.
// Of several configured keys, which have no kid, any may fit.
func (s *keySet) find(j *jws) ([]*key, error) {
	var found []*key
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
		if len(found) > 0 && !s.fixed {
			return nil, unverified("several keys fit the token")
		}
		found = append(found, k)
	}
	switch {
	case found != nil:
		return found, nil
	case j.hasKID && !s.fixed && !named:
		return nil, errUnknownKID
	}
	return nil, unverified("no key fits the token's algorithm")
}

// verifyWith checks the signature of j with the keys that find has returned for it.
func verifyWith(keys []*key, j *jws) error {
	var err error
	for _, k := range keys {
		if err = k.verify(j); err == nil {
			return nil
		}
	}
	return err
}

// verify checks the signature of j with k.
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

// newFixedSet returns the set of an issuer whose keys stand in the configuration. Each must fit one of the
// configured algorithms at least, and each algorithm one of the keys, as Options.Check says in detail.
func newFixedSet(configured []string, keys ...crypto.PublicKey) (*keySet, error) {
	set := &keySet{fixed: true}
	unfit := slices.Clone(configured)
	for _, public := range keys {
		fit := fitting(public, configured)
		if len(fit) == 0 {
			return nil, errUnfit
		}
		unfit = slices.DeleteFunc(unfit, func(name string) bool { return slices.Contains(fit, name) })
		set.keys = append(set.keys, key{algs: fit, public: public})
	}
	if len(unfit) > 0 {
		return nil, errUnfit
	}
	return set, nil
}

var errUnfit = errors.New("the key does not fit every algorithm that is listed, or is too weak")

func (k key) equal(other key) bool {
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.id == other.id && slices.Equal(k.algs, other.algs) && public.Equal(other.public)
}

func (s *keySet) equal(other *keySet) bool {
	return other != nil && slices.EqualFunc(s.keys, other.keys, key.equal)
}
