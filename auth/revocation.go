package auth

import (
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ref stands for a subject or a token's id where revocation compares them. It is 96 bits of a hash, so that
// records and minted tokens stay small however long the names are. Two names with the same ref could only
// be revoked together.
type ref [12]byte

func subjectRef(subject string) ref { return newRef("subject", subject) }
func tokenRef(id string) ref        { return newRef("token", id) }

func newRef(what, name string) ref {
	sum := sha256.Sum256([]byte(what + "\x00" + name))
	return ref(sum[:12])
}

// bind sets the refs by which g can be revoked: its subject, its own id and those of its parents.
func (g *Grant) bind(parents []ref) {
	g.subject = subjectRef(g.Subject)
	g.lineage = append([]ref{tokenRef(g.ID)}, parents...)
}

// Revocation names what is revoked: all tokens of a subject, or one token, or both.
type Revocation struct {
	Subject string // the sub, of whichever issuer
	TokenID string // a Grant's ID: the jti, or the derived id that the logs show
}

const (
	maxRevocations = 1 << 16
	maxEnded       = 64 // ended sessions of one subject that are kept one by one
)

// revocations holds what has been revoked.
type revocations struct {
	tell func(record []byte, logout bool) // Options.OnRevocation, nil if nobody wants to know; called without mu

	limit int          // of records, of owners in ended, and of sessions in all of them
	count atomic.Int64 // of records and of owners in ended; the hot path reads it without the lock

	mu        sync.RWMutex
	records   map[ref]record
	nextSweep time.Time // before it, no record may be dropped

	ahead atomic.Int64 // by how many seconds the iat of a verified token has been ahead of the clock here, at most

	ended     map[ref]*endedSessions // by their owner
	sessions  int                    // in all of ended
	nextPrune time.Time
}

type record struct {
	name     Revocation // what is revoked, cut to maxRevokedName, for the list
	at       time.Time
	issuedBy int64     // subjects: refuses tokens issued up to then, in Unix seconds, and tokens without iat
	until    time.Time // from then on it may be dropped if room is needed; zero: never
	undone   bool      // it refuses nothing, and stays so that an older record of another instance does not hold again
}

// Revoke refuses from now on every token of the subject that has been issued, or the token with that id, and
// all that was minted from them: sessions and path tokens, verified before or not. A subject or an id is
// revoked whichever issuer used it.
//
// Later tokens of the subject are accepted from the next second on: iat counts in seconds. Where an issuer's clock has been
// seen to run ahead of the one here, tokens with an iat within that much after the revocation are refused as well, since
// they may have been issued before. Tokens without iat are refused: a subject whose tokens have none stays revoked.
//
// There is room for 65,536 records. When it is full, records older than MaxLifetime (or RenewalLifetime, if that is longer and
// Options.Renewals is set) are dropped; if there
// are none, or MaxLifetime is unlimited, Revoke returns ErrTooManyRevocations. A revoked token with an iat
// has expired by the time its record may be dropped. One without iat may live longer: in its last
// MaxLifetime it is accepted, and then only a record that has not been dropped refuses it.
func (a *Authenticator) Revoke(r Revocation) error {
	now := a.now()
	rec := record{at: now, issuedBy: now.Unix() + a.revoked.ahead.Load()}
	if a.maxLifetime > 0 {
		rec.until = now.Add(max(a.maxLifetime, a.renewalLifetime) + 2*a.leeway) // iat may lie ahead by the leeway, and exp is given it
	}
	if r.Subject != "" {
		rec.name = Revocation{Subject: cutName(r.Subject)}
		if err := a.revoked.add(subjectRef(r.Subject), rec, now); err != nil {
			return err
		}
	}
	if r.TokenID != "" {
		rec.name = Revocation{TokenID: cutName(r.TokenID)}
		return a.revoked.add(tokenRef(r.TokenID), rec, now)
	}
	return nil
}

// maxRevokedName bounds the names that are kept for the list, in bytes.
const maxRevokedName = 256

func cutName(name string) string {
	return strings.ToValidUTF8(strings.Clone(name[:min(len(name), maxRevokedName)]), "")
}

// saw notes when a token says that it was issued, to learn by how much an issuer's clock runs ahead.
func (r *revocations) saw(issuedAt int64, now time.Time) {
	lead := issuedAt - now.Unix()
	for {
		known := r.ahead.Load()
		if lead <= known || r.ahead.CompareAndSwap(known, lead) {
			return
		}
	}
}

// EndSession revokes one session and what was minted from it, but not the token that it came from. Up to 64
// ended sessions of a subject are kept one by one, fewer when very many subjects log out. Beyond that, all
// sessions that the subject has at this moment end, so that a logout always holds and never affects another
// subject. Errors: ErrWrongKind if g is no session; ErrTooManyRevocations when 65,536 subjects have logged
// out.
func (a *Authenticator) EndSession(g *Grant) error {
	if g.Kind != Session {
		return ErrWrongKind
	}
	return a.revoked.end(g, a.now(), a.sessionTTL)
}

// endedSessions are the sessions of one owner that have ended before they expired.
type endedSessions struct {
	sessions []endedSession
	mintedBy int64     // all sessions minted up to then have ended too; Unix seconds
	until    time.Time // by then all of them have expired
}

type endedSession struct {
	id     ref
	minted int64 // Unix seconds
	until  time.Time
}

// owner returns whose session g is, or was minted from: the subject, or the access token if that names no
// subject.
func (g *Grant) owner() ref {
	if g.Subject == "" {
		return g.lineage[len(g.lineage)-1]
	}
	return g.subject
}

func (r *revocations) end(g *Grant, now time.Time, ttl time.Duration) error {
	s := endedSession{g.lineage[0], g.mintedAt, g.Expires}
	if err := r.endSession(g.owner(), s, now, ttl); err != nil {
		return err
	}
	if r.tell != nil {
		r.tell(s.shared(g.owner()), true)
	}
	return nil
}

// endSession ends one session of an owner.
func (r *revocations) endSession(owner ref, s endedSession, now time.Time, ttl time.Duration) error {
	return r.endWith(owner, now, ttl, func(e *endedSessions) { e.add(s, now) })
}

// endUpTo ends all sessions of an owner that were minted up to a time, in Unix seconds.
func (r *revocations) endUpTo(owner ref, minted int64, until, now time.Time, ttl time.Duration) error {
	return r.endWith(owner, now, ttl, func(e *endedSessions) {
		e.mintedBy = max(e.mintedBy, minted)
		if until.After(e.until) {
			e.until = until
		}
		e.sessions = slices.DeleteFunc(e.sessions, func(s endedSession) bool { return s.minted <= e.mintedBy })
	})
}

func (r *revocations) endWith(owner ref, now time.Time, ttl time.Duration, change func(*endedSessions)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !now.Before(r.nextPrune) { // once per lifetime of a session, so that each is looked at twice at most
		r.nextPrune = now.Add(ttl)
		for owner, e := range r.ended {
			if !now.Before(e.until) {
				r.sessions -= len(e.sessions)
				delete(r.ended, owner)
			}
		}
	}
	e := r.ended[owner]
	if e == nil {
		if len(r.ended) >= r.limit {
			return ErrTooManyRevocations
		}
		if r.ended == nil {
			r.ended = map[ref]*endedSessions{}
		}
		e = &endedSessions{}
		r.ended[owner] = e
	}
	r.sessions -= len(e.sessions)
	change(e)
	if len(e.sessions) > maxEnded || r.sessions+len(e.sessions) > r.limit {
		e.endAll(now, ttl)
	}
	r.sessions += len(e.sessions)
	r.count.Store(int64(len(r.records) + len(r.ended)))
	return nil
}

func (e *endedSessions) add(s endedSession, now time.Time) {
	e.sessions = slices.DeleteFunc(e.sessions, func(other endedSession) bool { return !now.Before(other.until) || other.id == s.id })
	if s.minted > e.mintedBy {
		e.sessions = append(e.sessions, s)
	}
	if s.until.After(e.until) {
		e.until = s.until
	}
}

// endAll replaces the single sessions by one time up to which all have ended. That may lie ahead, since
// another process may have minted a session by a clock that runs ahead.
func (e *endedSessions) endAll(now time.Time, ttl time.Duration) {
	if last := now.Add(ttl); last.After(e.until) {
		e.until = last
	}
	e.mintedBy = max(e.mintedBy, now.Unix())
	for _, s := range e.sessions {
		e.mintedBy = max(e.mintedBy, s.minted)
	}
	e.sessions = nil
}

// has reports whether g is one of the sessions, or was minted from one.
func (e *endedSessions) has(g *Grant) bool {
	if g.mintedAt <= e.mintedBy {
		return true
	}
	return slices.ContainsFunc(e.sessions, func(s endedSession) bool { return slices.Contains(g.lineage, s.id) })
}

// add adds a revocation that is made here.
func (r *revocations) add(name ref, rec record, now time.Time) error {
	r.mu.Lock()
	known, ok := r.records[name]
	if ok && !rec.at.After(known.at) {
		rec.at = known.at.Add(1) // the clock of another instance may run ahead; the latest record holds
	}
	if ok && !known.undone {
		rec.issuedBy = max(rec.issuedBy, known.issuedBy)
	}
	err := r.put(name, rec, now)
	r.mu.Unlock()
	if err == nil && r.tell != nil {
		r.tell(rec.shared(name), false)
	}
	return err
}

// put sets the record of a name; mu is held.
func (r *revocations) put(name ref, rec record, now time.Time) error {
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

// sweep drops the records that may be dropped. It looks at all of them, and so does nothing before the time
// of the first.
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
	if rec, ok := r.records[g.subject]; ok && !rec.undone && g.Subject != "" && g.issuedAt <= rec.issuedBy {
		return true
	}
	for _, id := range g.lineage {
		if rec, ok := r.records[id]; ok && !rec.undone {
			return true
		}
	}
	if g.mintedAt == 0 {
		return false // no session, and not minted from one
	}
	e := r.ended[g.owner()]
	return e != nil && e.has(g)
}
