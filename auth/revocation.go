package auth

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
)

// ref stands for a subject or a token's id wherever revocation compares them: 96 bits of a hash,
// so that a record and a minted token stay small whatever the names. Two names of one ref could
// only ever be revoked together.
type ref [12]byte

func subjectRef(subject string) ref { return newRef("subject", subject) }
func tokenRef(id string) ref        { return newRef("token", id) }

func newRef(what, name string) ref {
	sum := sha256.Sum256([]byte(what + "\x00" + name))
	return ref(sum[:12])
}

// bind gives g the refs by which it can be revoked: its own id and those of its parents.
func (g *Grant) bind(parents []ref) {
	g.subject = subjectRef(g.Subject)
	g.lineage = append([]ref{tokenRef(g.ID)}, parents...)
}

// Revocation names what is revoked: all that a subject holds, or one token. Both may be given.
type Revocation struct {
	Subject string // the sub, whichever issuer said it
	TokenID string // a Grant's ID: the jti, or the derived one that the logs show
}

const maxRevocations = 1 << 16

// revocations is what has been revoked and not lapsed yet, in this process alone.
type revocations struct {
	limit int
	count atomic.Int64 // len(records), read without the lock on the hot path

	mu        sync.RWMutex
	records   map[ref]record
	nextSweep time.Time // no record lapses before
}

type record struct {
	issuedBy int64     // subjects: tokens issued up to then are refused, Unix seconds; and those that do not say
	until    time.Time // zero: for as long as the process lives
}

// Revoke refuses from now on, until no token can be left that it concerns, every token of the
// subject that was issued until now, or the token of that id, and all that was minted from them:
// sessions, path tokens, remembered ones. A later token of the subject is accepted, unless its
// iat lies within the leeway after the revocation, since an issuer's clock may run ahead by that
// much, or it has no iat. A subject or an id is revoked whichever issuer used it. Records are kept for MaxLifetime, or for as
// long as the process lives where that is unlimited; when 65,536 are in force,
// ErrTooManyRevocations, and nothing is forgotten.
func (a *Authenticator) Revoke(r Revocation) error {
	now := a.now()
	rec := record{issuedBy: now.Add(a.leeway).Unix()}
	if a.maxLifetime > 0 {
		rec.until = now.Add(a.maxLifetime + 2*a.leeway) // iat may lie ahead by the leeway, and exp is given it
	}
	if r.Subject != "" {
		if err := a.revoked.add(subjectRef(r.Subject), rec, now, a.revoked.limit); err != nil {
			return err
		}
	}
	if r.TokenID != "" {
		return a.revoked.add(tokenRef(r.TokenID), rec, now, a.revoked.limit)
	}
	return nil
}

// EndSession revokes one session and what was minted from it, not the token that it came from.
// Where too many sessions have been ended to remember each, all that the subject holds so far is
// revoked instead, so that a logout always holds. ErrWrongKind if g is no session.
func (a *Authenticator) EndSession(g *Grant) error {
	if g.Kind != Session {
		return ErrWrongKind
	}
	now := a.now()
	rec := record{until: g.Expires}    // nothing minted from it lives longer
	logouts := a.revoked.limit / 4 * 3 // the rest is the operator's, and for those who came too late
	err := a.revoked.add(tokenRef(g.ID), rec, now, logouts)
	if err != nil && g.Subject != "" {
		return a.Revoke(Revocation{Subject: g.Subject})
	}
	return err
}

func (r *revocations) add(name ref, rec record, now time.Time, limit int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.records[name]; !known && len(r.records) >= limit {
		r.sweep(now)
		if len(r.records) >= limit {
			return ErrTooManyRevocations
		}
	}
	if r.records == nil {
		r.records = map[ref]record{}
	}
	r.records[name] = rec
	if r.nextSweep.IsZero() || !rec.until.IsZero() && rec.until.Before(r.nextSweep) {
		r.nextSweep = rec.until
	}
	r.count.Store(int64(len(r.records)))
	return nil
}

// sweep forgets lapsed records. It looks at all of them, so it waits until one can have lapsed.
func (r *revocations) sweep(now time.Time) {
	if r.nextSweep.IsZero() || now.Before(r.nextSweep) {
		return
	}
	r.nextSweep = time.Time{}
	for name, rec := range r.records {
		switch {
		case rec.until.IsZero():
		case !now.Before(rec.until):
			delete(r.records, name)
		case r.nextSweep.IsZero() || rec.until.Before(r.nextSweep):
			r.nextSweep = rec.until
		}
	}
}

// has reports whether g is revoked: by its subject, its id, or an id that it was minted from.
func (r *revocations) has(g *Grant) bool {
	if r.count.Load() == 0 {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if rec, ok := r.records[g.subject]; ok && g.Subject != "" && g.issuedAt <= rec.issuedBy {
		return true
	}
	for _, id := range g.lineage {
		if _, ok := r.records[id]; ok {
			return true
		}
	}
	return false
}
