package auth_test

import (
	"testing"
	"time"

	"tilegate/auth"
)

// instances are two Authenticators with the same keys and clock. What one tells is kept until deliver.
type instances struct {
	a, b      *auth.Authenticator
	clock     *clock
	signer    signer
	toA, toB  [][]byte
	delivered [][]byte
}

func newInstances(t *testing.T) *instances {
	t.Helper()
	i := &instances{clock: newClock(), signer: rsaSigner("")}
	o := testOptions(i.clock, i.signer)
	o.OnRevocation = func(record []byte, _ bool) { i.toB = append(i.toB, record) }
	i.a = newAuth(t, o)
	o.OnRevocation = func(record []byte, _ bool) { i.toA = append(i.toA, record) }
	i.b = newAuth(t, o)
	return i
}

func (i *instances) deliver(t *testing.T) {
	t.Helper()
	for _, record := range i.toA {
		take(t, i.a, record, true)
	}
	for _, record := range i.toB {
		take(t, i.b, record, true)
	}
	i.delivered = append(append(i.delivered, i.toA...), i.toB...)
	i.toA, i.toB = nil, nil
}

func take(t *testing.T, a *auth.Authenticator, record []byte, want bool) {
	t.Helper()
	if needed, err := a.TakeRevocation(record); err != nil || needed != want {
		t.Errorf("%s: got needed %v, %v; want %v", record, needed, err, want)
	}
}

func TestRevocationsReachAnotherInstance(t *testing.T) {
	for _, tt := range []struct {
		name   string
		revoke func(f *family) error
		want   []string
	}{
		{"by subject", func(f *family) error { return f.a.Revoke(auth.Revocation{Subject: "alice"}) }, []string{"access", "session", "path of access", "path of session"}},
		{"by token id", func(f *family) error { return f.a.Revoke(auth.Revocation{TokenID: "token-1"}) }, []string{"access", "session", "path of access", "path of session"}},
		{"by logout", func(f *family) error { return f.a.EndSession(f.s) }, []string{"session", "path of session"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newInstances(t)
			atA := newFamily(t, i.a, i.signer, nil)
			if err := tt.revoke(atA); err != nil {
				t.Fatal(err)
			}
			i.deliver(t)
			atA.check(t, "at the one that revoked", tt.want...)
			atA.at(i.b).check(t, "at another", tt.want...)
			c := newAuth(t, testOptions(i.clock, i.signer))
			for _, record := range append(i.b.RevocationRecords(), i.b.LogoutRecords()...) {
				take(t, c, record, true) // as b writes them again
			}
			atA.at(c).check(t, "at a third, which learnt it from the second", tt.want...)
		})
	}
}

func TestUndoneRevocationsReachAnotherInstance(t *testing.T) {
	i := newInstances(t)
	f := newFamily(t, i.b, i.signer, nil)
	alice := auth.Revocation{Subject: "alice"}
	if err := i.a.Revoke(alice); err != nil {
		t.Fatal(err)
	}
	i.deliver(t)
	f.check(t, "revoked elsewhere", f.names...)
	if latest, total := i.b.Revocations(10); total != 1 || latest[0].Subject != "alice" {
		t.Errorf("got %v, want alice in the list", latest)
	}
	if !i.b.Unrevoke(alice) {
		t.Error("the other instance cannot undo it")
	}
	i.deliver(t)
	f.check(t, "undone")
	if _, total := i.a.Revocations(10); total != 0 || i.a.Unrevoke(alice) {
		t.Error("it is still in force where it was made")
	}
	// The first record comes again, from an instance that did not hear of the second.
	take(t, i.b, i.delivered[0], false)
	f.check(t, "after the old record came again")
	// In the same moment, which the clock does not tell apart.
	if err := i.a.Revoke(alice); err != nil {
		t.Fatal(err)
	}
	i.deliver(t)
	f.check(t, "revoked again", f.names...)
}

// An instance whose clock lags undoes what another has revoked: the later act holds, not the later clock.
func TestUndoingHoldsAgainstAClockAhead(t *testing.T) {
	i := newInstances(t)
	f := newFamily(t, i.b, i.signer, nil)
	alice := auth.Revocation{Subject: "alice"}
	i.clock.Advance(time.Minute)
	if err := i.a.Revoke(alice); err != nil {
		t.Fatal(err)
	}
	i.clock.Advance(-time.Minute)
	i.deliver(t)
	i.b.Unrevoke(alice)
	i.deliver(t)
	take(t, i.b, i.delivered[0], false)
	f.check(t, "undone")
}

func TestRecordsExpireWithWhatTheyRevoke(t *testing.T) {
	i := newInstances(t)
	f := newFamily(t, i.a, i.signer, nil)
	if err := i.a.Revoke(auth.Revocation{Subject: "alice"}); err != nil {
		t.Fatal(err)
	}
	if err := i.a.EndSession(f.s); err != nil {
		t.Fatal(err)
	}
	i.clock.Advance(48 * time.Hour)
	if n := len(i.a.RevocationRecords()) + len(i.a.LogoutRecords()); n != 0 {
		t.Errorf("%d records are still written", n)
	}
	for _, record := range i.toB {
		take(t, i.b, record, false)
	}
	if n := len(i.b.RevocationRecords()) + len(i.b.LogoutRecords()); n != 0 {
		t.Errorf("%d records were taken in", n)
	}
}

// More logouts than are kept one by one: all sessions of that moment end, elsewhere as well.
func TestManyLogoutsReachAnotherInstance(t *testing.T) {
	i := newInstances(t)
	access := authenticate(t, i.a, i.signer.token(claims(nil)))
	var tokens []string
	for range 70 {
		s, g := newSession(t, i.a, access)
		tokens = append(tokens, s.Token)
		if err := i.a.EndSession(g); err != nil {
			t.Fatal(err)
		}
		i.clock.Advance(time.Second)
	}
	for _, record := range i.a.LogoutRecords() {
		take(t, i.b, record, true)
	}
	for n, token := range tokens {
		if _, err := cookieOf(i.b, token); err == nil {
			t.Errorf("session %d is accepted after its logout", n)
		}
	}
}

func TestUnreadableRecords(t *testing.T) {
	a, _, _ := standard(t)
	for _, text := range []string{"", "{", "[]", `"x"`, `{}`, `{"name":[1,2]}`, `{"name":"x","at":1}`, `{"at":1e99}`} {
		if needed, err := a.TakeRevocation([]byte(text)); err == nil || !needed {
			t.Errorf("%q: got needed %v, %v; want an error, and that it is kept", text, needed, err)
		}
	}
}
