package auth

import (
	"crypto/sha256"
	"slices"
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

const (
	maxRevocations = 1 << 16
	maxEnded       = 64 // of one subject's sessions that are told apart
)

// revocations is what has been revoked, in this process alone.
type revocations struct {
	limit int          // of records, of subjects in ended, and of sessions in all of them
	count atomic.Int64 // of records and of subjects in ended, read without the lock on the hot path

	mu        sync.RWMutex
	records   map[ref]record
	nextSweep time.Time // no record may be forgotten before

	ended     map[ref]*endings // by their owner
	sessions  int              // in all of ended
	nextPrune time.Time
}

type record struct {
	issuedBy int64     // subjects: tokens issued up to then are refused, Unix seconds; and those that do not say
	until    time.Time // may be forgotten from then on, if room is needed; zero: never
}

// Revoke refuses from now on every token of the subject that was issued until now, or the token of
// that id, and all that was minted from them: sessions, path tokens, remembered ones. A later token
// of the subject is accepted, unless its iat lies within the leeway after the revocation, since an
// issuer's clock may run ahead by that much, or it has no iat: a subject whose tokens carry none
// stays revoked. A subject or an id is revoked whichever issuer used it.
//
// Records are kept while there is room for 65,536, and then give way to new ones once they are older
// than MaxLifetime; where none is, or it is unlimited, ErrTooManyRevocations. What says its iat has
// expired by then. A token without iat that lives longer may not: it is accepted in its last
// MaxLifetime, and only a record that is still there refuses it.
func (a *Authenticator) Revoke(r Revocation) error {
	now := a.now()
	rec := record{issuedBy: now.Add(a.leeway).Unix()}
	if a.maxLifetime > 0 {
		rec.until = now.Add(a.maxLifetime + 2*a.leeway) // iat may lie ahead by the leeway, and exp is given it
	}
	if r.Subject != "" {
		if err := a.revoked.add(subjectRef(r.Subject), rec, now); err != nil {
			return err
		}
	}
	if r.TokenID != "" {
		return a.revoked.add(tokenRef(r.TokenID), rec, now)
	}
	return nil
}

// EndSession revokes one session and what was minted from it, not the token that it came from.
// Where more of the subject's sessions have ended than are told apart (64, fewer when very many
// subjects log out), all that the subject has at this moment end instead, so that a logout always
// holds and costs nobody else theirs. ErrWrongKind if g is no session; ErrTooManyRevocations when
// 65,536 subjects have logged out.
func (a *Authenticator) EndSession(g *Grant) error {
	if g.Kind != Session {
		return ErrWrongKind
	}
	return a.revoked.end(g, a.now(), a.sessionTTL)
}

// endings are the sessions of one owner that have ended before they expired.
type endings struct {
	sessions []ending
	mintedBy int64     // Unix seconds: all sessions up to then have ended too
	until    time.Time // by when every one of them has expired
}

type ending struct {
	id     ref
	minted int64 // Unix seconds
	until  time.Time
}

// owner is whose a session is, or what was minted from it: the subject, or the access token of one
// that names none.
func (g *Grant) owner() ref {
	if g.Subject == "" {
		return g.lineage[len(g.lineage)-1]
	}
	return g.subject
}

func (r *revocations) end(g *Grant, now time.Time, ttl time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !now.Before(r.nextPrune) { // once in a session's time: each is looked at twice before it is gone
		r.nextPrune = now.Add(ttl)
		for owner, e := range r.ended {
			if !now.Before(e.until) {
				r.sessions -= len(e.sessions)
				delete(r.ended, owner)
			}
		}
	}
	e := r.ended[g.owner()]
	if e == nil {
		if len(r.ended) >= r.limit {
			return ErrTooManyRevocations
		}
		if r.ended == nil {
			r.ended = map[ref]*endings{}
		}
		e = &endings{}
		r.ended[g.owner()] = e
	}
	r.sessions -= len(e.sessions)
	e.add(g, now)
	if len(e.sessions) > maxEnded || r.sessions+len(e.sessions) > r.limit {
		e.endAll(now, ttl)
	}
	r.sessions += len(e.sessions)
	r.count.Store(int64(len(r.records) + len(r.ended)))
	return nil
}

func (e *endings) add(g *Grant, now time.Time) {
	e.sessions = slices.DeleteFunc(e.sessions, func(s ending) bool { return !now.Before(s.until) })
	e.sessions = append(e.sessions, ending{g.lineage[0], g.mintedAt, g.Expires})
	if g.Expires.After(e.until) {
		e.until = g.Expires
	}
}

// endAll has one moment stand for each session. Another process may have minted one by a clock that
// runs ahead.
func (e *endings) endAll(now time.Time, ttl time.Duration) {
	if last := now.Add(ttl); last.After(e.until) {
		e.until = last
	}
	e.mintedBy = max(e.mintedBy, now.Unix())
	for _, s := range e.sessions {
		e.mintedBy = max(e.mintedBy, s.minted)
	}
	e.sessions = nil
}

// has reports whether g is, or comes from, one of the sessions.
func (e *endings) has(g *Grant) bool {
	if g.mintedAt <= e.mintedBy {
		return true
	}
	return slices.ContainsFunc(e.sessions, func(s ending) bool { return slices.Contains(g.lineage, s.id) })
}

func (r *revocations) add(name ref, rec record, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.records[name]; !known && len(r.records) >= r.limit {
		r.sweep(now)
		if len(r.records) >= r.limit {
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
	r.count.Store(int64(len(r.records) + len(r.ended)))
	return nil
}

// sweep forgets the records that may be. It looks at all of them, so it waits until there can be one.
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
	if g.mintedAt == 0 {
		return false // no session, and not minted from one
	}
	e := r.ended[g.owner()]
	return e != nil && e.has(g)
}
