package auth

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
)

const (
	rememberedShards   = 16
	maxRemembered      = 1 << 16  // tokens
	maxRememberedBytes = 32 << 20 // of tokens and their grants
	entryOverhead      = 512      // bytes of an entry, its grant and its place in the map
)

// remembered holds the outcome of verifications, so that a map's next thousand tiles cost a
// lookup each. Only verified tokens get in; an entry is good until the token expires, and as long
// as the key set that verified it is the issuer's current one. Revocation is the caller's to check.
//
// The maps are keyed by a hash of secret seed: a full token is compared only with one of the same
// 64-bit hash, so the time of a lookup says nothing about remembered tokens.
type remembered struct {
	seed                maphash.Seed
	maxTokens, maxBytes int
	shards              [rememberedShards]struct {
		sync.RWMutex
		entries map[uint64]*entry
		bytes   int
	}
}

type entry struct {
	kind  Kind // what it was verified as: each way in takes only its own purpose
	token string
	grant *Grant
	until int64 // Unix nanoseconds
	set   *keySet
	keys  *keySource // nil: our own key, which never changes
	bytes int
}

func (r *remembered) get(kind Kind, token string, now time.Time) *Grant {
	hash := maphash.String(r.seed, token)
	shard := &r.shards[hash%rememberedShards]
	shard.RLock()
	e := shard.entries[hash]
	shard.RUnlock()
	if e == nil || e.kind != kind || e.token != token || now.UnixNano() >= e.until ||
		e.keys != nil && e.keys.set.Load() != e.set {
		return nil
	}
	return e.grant
}

// put remembers e, in the place of any that are in the way: which ones go is chance (the map's
// order), since only who holds a valid token can push others out.
func (r *remembered) put(e entry) {
	e.token = strings.Clone(e.token)                          // not the header or the URL that it is part of
	e.bytes = entryOverhead + 2*len(e.token) + e.grant.size() // twice: strings of the grant are parts of the payload
	hash := maphash.String(r.seed, e.token)
	shard := &r.shards[hash%rememberedShards]
	shard.Lock()
	defer shard.Unlock()
	if shard.entries == nil {
		shard.entries = map[uint64]*entry{}
	}
	if old := shard.entries[hash]; old != nil {
		shard.bytes -= old.bytes
	}
	shard.entries[hash] = &e
	shard.bytes += e.bytes
	for victim, old := range shard.entries {
		if len(shard.entries) <= r.maxTokens/rememberedShards && shard.bytes <= r.maxBytes/rememberedShards {
			break
		}
		if victim != hash {
			delete(shard.entries, victim)
			shard.bytes -= old.bytes
		}
	}
}

// size estimates the bytes that g holds beyond its own struct.
func (g *Grant) size() int {
	n := len(g.Subject) + len(g.ID) + g.area.Size() + len(g.lineage)*len(ref{})
	for _, list := range append([][]string{g.Tilesets}, g.within...) {
		for _, entry := range list {
			n += 16 + len(entry)
		}
	}
	return n
}
