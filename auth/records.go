package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// sharedRecord is one fact about revocation as instances tell it to each other: that a subject or token is revoked, that
// this was undone, or that sessions have ended. Of several about one name the latest holds.
type sharedRecord struct {
	Name ref   `json:"name"`
	At   int64 `json:"at,omitempty"` // when it was made, in Unix nanoseconds; 0: sessions have ended

	Subject  string `json:"subject,omitempty"`
	TokenID  string `json:"token_id,omitempty"`
	IssuedBy int64  `json:"issued_by,omitempty"` // Unix seconds
	Undone   bool   `json:"undone,omitempty"`
	Until    int64  `json:"until,omitempty"` // Unix nanoseconds; 0: for good

	// Of an owner's sessions that have ended: Session alone, or all that were minted up to Minted.
	Session *ref  `json:"session,omitempty"`
	Minted  int64 `json:"minted,omitempty"` // Unix seconds
}

func (s *sharedRecord) encode() []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings, numbers and arrays always marshal
	}
	return text
}

func (rec *record) shared(name ref) []byte {
	return (&sharedRecord{
		Name: name, At: rec.at.UnixNano(), Subject: rec.name.Subject, TokenID: rec.name.TokenID,
		IssuedBy: rec.issuedBy, Undone: rec.undone, Until: nanoseconds(rec.until),
	}).encode()
}

func (s *endedSession) shared(owner ref) []byte {
	return (&sharedRecord{Name: owner, Session: &s.id, Minted: s.minted, Until: nanoseconds(s.until)}).encode()
}

func (e *endedSessions) sharedAll(owner ref) []byte {
	return (&sharedRecord{Name: owner, Minted: e.mintedBy, Until: nanoseconds(e.until)}).encode()
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// RevocationRecords returns a record of each revocation that is known here, and of each that was undone, for
// TakeRevocation of other instances. A record names a subject or a token's id: it must not be stored in clear.
func (a *Authenticator) RevocationRecords() [][]byte {
	r := a.revoked
	now := a.now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([][]byte, 0, len(r.records))
	for name, rec := range r.records {
		if rec.until.IsZero() || now.Before(rec.until) {
			all = append(all, rec.shared(name))
		}
	}
	return all
}

// LogoutRecords is RevocationRecords of the sessions that ended by a logout.
func (a *Authenticator) LogoutRecords() [][]byte {
	r := a.revoked
	now := a.now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all [][]byte
	for owner, e := range r.ended {
		if e.mintedBy > 0 && now.Before(e.until) {
			all = append(all, e.sharedAll(owner))
		}
		for _, s := range e.sessions {
			if now.Before(s.until) {
				all = append(all, s.shared(owner))
			}
		}
	}
	return all
}

// TakeRevocation takes in a record of another instance. It reports whether the record is still needed: not once all that it
// refuses has expired, or when a later one is known about the same name. Errors: one that says why the record cannot
// be read; ErrTooManyRevocations.
func (a *Authenticator) TakeRevocation(text []byte) (needed bool, err error) {
	var s sharedRecord
	if err := json.Unmarshal(text, &s); err != nil {
		return true, fmt.Errorf("a record of revocation cannot be read: %w", err)
	}
	now := a.now()
	if s.Until != 0 && now.UnixNano() >= s.Until {
		return false, nil
	}
	switch {
	case s.At != 0:
		rec := record{
			name: Revocation{Subject: cutName(s.Subject), TokenID: cutName(s.TokenID)},
			at:   time.Unix(0, s.At), issuedBy: s.IssuedBy, undone: s.Undone,
		}
		if s.Until != 0 {
			rec.until = time.Unix(0, s.Until)
		}
		return a.revoked.take(s.Name, rec, now)
	case s.Until == 0:
		return true, errors.New("a record of revocation cannot be read: it has neither a time nor an end")
	case s.Session != nil:
		return true, a.revoked.endSession(s.Name, endedSession{*s.Session, s.Minted, time.Unix(0, s.Until)}, now, a.sessionTTL)
	}
	return true, a.revoked.endUpTo(s.Name, s.Minted, time.Unix(0, s.Until), now, a.sessionTTL)
}

// take adds a record of another instance unless a later one is known.
func (r *revocations) take(name ref, rec record, now time.Time) (needed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.records[name]
	switch {
	case ok && known.at.After(rec.at):
		return false, nil
	case ok && known.at.Equal(rec.at):
		return true, nil
	case ok && !known.undone && !rec.undone:
		// Each of them refuses tokens; none of those may be let in again.
		rec.issuedBy = max(rec.issuedBy, known.issuedBy)
	}
	return true, r.put(name, rec, now)
}
