package auth

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
	"unsafe"
)

const (
	verifiedShards   = 16
	maxVerified      = 1 << 16  // tokens
	maxVerifiedBytes = 32 << 20 // of tokens and their grants
	verifiedOverhead = 512      // bytes of a verifiedToken, its grant and its place in the map
)

// verifiedCache holds tokens that have been verified, so that the next thousand tiles of a map cost one
// lookup each. A token stays valid in it until it expires, and only as long as the key set that verified
// it is the issuer's current one. The caller checks revocation.
//
// The maps are keyed by a hash with a secret seed. A token is compared only with one of the same 64-bit
// hash, so the time of a lookup says nothing about the tokens in the cache.
type verifiedCache struct {
	seed                maphash.Seed
	maxTokens, maxBytes int
	shards              [verifiedShards]struct {
		sync.RWMutex
		tokens map[uint64]*verifiedToken
		bytes  int
	}
}

type verifiedToken struct {
	kind  Kind // as which it was verified: each way in accepts its own kind alone
	token string
	grant *Grant
	until int64 // Unix nanoseconds
	set   *keySet
	keys  *keySource // nil: our own key, which never changes
	bytes int
}

func (c *verifiedCache) get(kind Kind, token string, now time.Time) *Grant {
	hash := maphash.String(c.seed, token)
	shard := &c.shards[hash%verifiedShards]
	shard.RLock()
	v := shard.tokens[hash]
	shard.RUnlock()
	if v == nil || v.kind != kind || v.token != token || now.UnixNano() >= v.until ||
		v.keys != nil && v.keys.set.Load() != v.set {
		return nil
	}
	return v.grant
}

// put adds v. Where there is no room, it removes others in the random order of the map: only those who
// hold valid tokens can push others out.
func (c *verifiedCache) put(v verifiedToken) {
	v.token = strings.Clone(v.token)                             // which would keep the whole header or URL in memory
	v.bytes = verifiedOverhead + 2*len(v.token) + v.grant.size() // twice: the strings of the grant are parts of the payload
	hash := maphash.String(c.seed, v.token)
	shard := &c.shards[hash%verifiedShards]
	shard.Lock()
	defer shard.Unlock()
	if shard.tokens == nil {
		shard.tokens = map[uint64]*verifiedToken{}
	}
	if old := shard.tokens[hash]; old != nil {
		shard.bytes -= old.bytes
	}
	shard.tokens[hash] = &v
	shard.bytes += v.bytes
	for victim, old := range shard.tokens {
		if len(shard.tokens) <= c.maxTokens/verifiedShards && shard.bytes <= c.maxBytes/verifiedShards {
			break
		}
		if victim != hash {
			delete(shard.tokens, victim)
			shard.bytes -= old.bytes
		}
	}
}

// size estimates the bytes that g holds beyond its own struct.
func (g *Grant) size() int {
	n := len(g.Subject) + len(g.ID) + len(g.lineage)*len(ref{}) + listSize(g.Tilesets)
	for i := range g.parts {
		p := &g.parts[i]
		n += int(unsafe.Sizeof(*p)) + p.place.size()
		for _, list := range append([][]string{p.tilesets}, p.alsoWithin...) {
			n += listSize(list)
		}
	}
	return n
}

func listSize(list []string) int {
	n := 0
	for _, entry := range list {
		n += 16 + len(entry)
	}
	return n
}
