package auth

import (
	"slices"
	"strings"
	"time"
)

// Revoked is a Revocation that is in force.
type Revoked struct {
	Revocation           // its subject or its token id, of which the first 256 bytes are kept
	At         time.Time // when it was made
	Until      time.Time // it is kept at least until then; zero: for good
}

// Revocations returns the latest revocations that are in force, the latest first, limit at most, and how many there are.
// Sessions that ended by a logout are not among them.
func (a *Authenticator) Revocations(limit int) (latest []Revoked, total int) {
	r := a.revoked
	r.mu.RLock()
	latest = make([]Revoked, 0, len(r.records))
	for _, rec := range r.records {
		if !rec.undone {
			latest = append(latest, Revoked{rec.name, rec.at, rec.until})
		}
	}
	r.mu.RUnlock()
	total = len(latest)
	slices.SortFunc(latest, func(x, y Revoked) int {
		if c := y.At.Compare(x.At); c != 0 {
			return c
		}
		return strings.Compare(x.Subject+x.TokenID, y.Subject+y.TokenID)
	})
	return latest[:min(len(latest), limit)], total
}

// Unrevoke undoes a revocation, which it names as Revoke did. It returns false if there is none. Tokens of the subject, or
// of that id, are accepted again as long as nothing else refuses them.
func (a *Authenticator) Unrevoke(r Revocation) bool {
	undone := false
	if r.Subject != "" {
		undone = a.revoked.remove(subjectRef(r.Subject), a.now())
	}
	if r.TokenID != "" {
		undone = a.revoked.remove(tokenRef(r.TokenID), a.now()) || undone
	}
	return undone
}

func (r *revocations) remove(name ref, now time.Time) bool {
	r.mu.Lock()
	rec, ok := r.records[name]
	if !ok || rec.undone {
		r.mu.Unlock()
		return false
	}
	if r.tell == nil {
		delete(r.records, name)
		r.count.Store(int64(len(r.records) + len(r.ended)))
		r.mu.Unlock()
		return true
	}
	rec.undone = true
	if now.After(rec.at) {
		rec.at = now
	} else {
		rec.at = rec.at.Add(1)
	}
	r.records[name] = rec
	r.mu.Unlock()
	r.tell(rec.shared(name), false)
	return true
}

// Known counts the credentials by their kind that have been used here lately, are still remembered, and are among those that
// r names. It looks at the 65,536 that are remembered at most, and at the API keys.
func (a *Authenticator) Known(r Revocation) map[Kind]int {
	subject, token := subjectRef(r.Subject), tokenRef(r.TokenID)
	named := func(g *Grant) bool {
		return r.Subject != "" && g.subject == subject || r.TokenID != "" && slices.Contains(g.lineage, token)
	}
	now := a.now().UnixNano()
	counts := map[Kind]int{}
	for i := range a.verified.shards {
		shard := &a.verified.shards[i]
		shard.RLock()
		for _, v := range shard.tokens {
			if now < v.until && named(v.grant) {
				counts[v.kind]++
			}
		}
		shard.RUnlock()
	}
	if a.apiKeys != nil {
		for _, k := range *a.apiKeys.keys.Load() {
			if !k.Disabled && named(k.grant) {
				counts[Key]++
			}
		}
	}
	return counts
}
