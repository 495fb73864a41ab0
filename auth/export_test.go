package auth

import (
	"hash/maphash"
	"slices"
)

// AllAlgorithms are the ones that a key set can serve.
var AllAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// VerifyWithKeySet runs the verification core alone, without claims, as an issuer with this
// published key set would.
func VerifyWithKeySet(document []byte, algorithms []string, token string) ([]byte, error) {
	set, err := parseKeySet(document, algorithms)
	if err != nil {
		return nil, err
	}
	return set.verify(algorithms, token)
}

// VerifyWithSecret does so for an issuer with a configured secret.
func VerifyWithSecret(secret []byte, algorithm, token string) ([]byte, error) {
	set, err := newFixedSet(secret, []string{algorithm})
	if err != nil {
		return nil, err
	}
	return set.verify([]string{algorithm}, token)
}

func (s *keySet) verify(algorithms []string, token string) ([]byte, error) {
	j, err := parseJWS(token)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(algorithms, j.alg) {
		return nil, unverified("the algorithm is not listed")
	}
	k, err := s.find(j)
	if err != nil {
		return nil, err
	}
	return j.payload, k.verify(j)
}

// UsableKeys lists kid and algorithms of the keys that a published set yields.
func UsableKeys(document []byte, algorithms []string) ([]string, error) {
	set, err := parseKeySet(document, algorithms)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, k := range set.keys {
		for _, alg := range k.algs {
			list = append(list, k.id+"/"+alg)
		}
	}
	return list, nil
}

// ParseCompact reads the body of a path token whose seal has been verified.
func ParseCompact(body []byte) (*Grant, error) { return parseCompact(Path, body) }

// MatchGlob is the matcher of tileset entries.
func MatchGlob(pattern, s string) bool { return matchGlob(pattern, s) }

// CoveredBy is the comparison of entries.
func CoveredBy(list []string, entry string) bool { return coveredBy(list, entry) }

// Remembered reports how many tokens are remembered, and their bytes.
func (a *Authenticator) Remembered() (tokens, bytes int) {
	for i := range a.remembered.shards {
		shard := &a.remembered.shards[i]
		shard.RLock()
		tokens += len(shard.entries)
		bytes += shard.bytes
		shard.RUnlock()
	}
	return tokens, bytes
}

// Collide makes forged hash as the remembered token does, which an attacker cannot.
func (a *Authenticator) Collide(remembered, forged string) {
	of := func(token string) (uint64, map[uint64]*entry) {
		hash := maphash.String(a.remembered.seed, token)
		shard := &a.remembered.shards[hash%rememberedShards]
		if shard.entries == nil {
			shard.entries = map[uint64]*entry{}
		}
		return hash, shard.entries
	}
	from, entries := of(remembered)
	to, others := of(forged)
	others[to] = entries[from]
}

// Ended reports how many ended sessions are told apart.
func (a *Authenticator) Ended() int {
	a.revoked.mu.RLock()
	defer a.revoked.mu.RUnlock()
	n := 0
	for _, e := range a.revoked.ended {
		n += len(e.sessions)
	}
	return n
}

// Limit makes the bounds small enough to be reached by a test.
func (a *Authenticator) Limit(remembered, rememberedBytes, revocations int) {
	a.remembered.maxTokens, a.remembered.maxBytes, a.revoked.limit = remembered, rememberedBytes, revocations
}
