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
	set, err := newFixedSet([]string{algorithm}, secret)
	if err != nil {
		return nil, err
	}
	return set.verify([]string{algorithm}, token)
}

func (s *keySet) verify(algorithms []string, token string) ([]byte, error) {
	j, err := parseJWS(token, defaultMaxToken)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(algorithms, j.alg) {
		return nil, unverified("the algorithm is not listed")
	}
	keys, err := s.find(j)
	if err != nil {
		return nil, err
	}
	return j.payload, verifyWith(keys, j)
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
func ParseCompact(body []byte) (*Grant, error) { return parseCompact(Path, body, nil) }

// MatchGlob is the matcher of tileset entries.
func MatchGlob(pattern, s string) bool { return matchGlob(pattern, s) }

// CoveredBy is the comparison of entries.
func CoveredBy(list []string, entry string) bool { return coveredBy(list, entry) }

// Verified returns how many tokens the cache of verified tokens holds, and their bytes.
func (a *Authenticator) Verified() (tokens, bytes int) {
	for i := range a.verified.shards {
		shard := &a.verified.shards[i]
		shard.RLock()
		tokens += len(shard.tokens)
		bytes += shard.bytes
		shard.RUnlock()
	}
	return tokens, bytes
}

// Collide gives forged the hash of the verified token, which an attacker cannot do.
func (a *Authenticator) Collide(verified, forged string) {
	of := func(token string) (uint64, map[uint64]*verifiedToken) {
		hash := maphash.String(a.verified.seed, token)
		shard := &a.verified.shards[hash%verifiedShards]
		if shard.tokens == nil {
			shard.tokens = map[uint64]*verifiedToken{}
		}
		return hash, shard.tokens
	}
	from, tokens := of(verified)
	to, others := of(forged)
	others[to] = tokens[from]
}

// Ended reports how many ended sessions are kept one by one.
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
func (a *Authenticator) Limit(verified, verifiedBytes, revocations int) {
	a.verified.maxTokens, a.verified.maxBytes, a.revoked.limit = verified, verifiedBytes, revocations
}
