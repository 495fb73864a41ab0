package auth_test

import (
	"testing"
	"time"

	"tilegate/auth"
)

// newRenewal makes the renewal of a session that begins now, in place of before, which is "" after a sign-in.
func newRenewal(t *testing.T, a *auth.Authenticator, c *clock, s signer, before string) (cookie string) {
	t.Helper()
	session, _ := newSession(t, a, authenticate(t, a, s.token(claimsAt(c, nil))))
	var renewed *auth.Renewal
	if before != "" {
		var err error
		if renewed, err = a.Renewal(request("Cookie", before)); err != nil {
			t.Fatal(err)
		}
	}
	made, err := a.NewRenewal(session, renewed, "realm:alice", "a refresh token")
	if err != nil {
		t.Fatal(err)
	}
	return made.Name + "=" + made.Value
}

func claimsAt(c *clock, changes map[string]any) map[string]any {
	now := claims(map[string]any{"iat": c.Now().Unix(), "exp": c.Now().Add(time.Hour).Unix()})
	for name, value := range changes {
		now[name] = value
	}
	return now
}

// A thief who renews a copy of the cookie has one that lives longer than the user's own. The user's sign-out ends it for as long.
func TestStolenRenewalStaysEndedAfterTheUsersOwnIsOver(t *testing.T) {
	a, c, s := standard(t)
	users := newRenewal(t, a, c, s, "")
	c.Advance(auth.RenewalLifetime - time.Hour)
	stolen := newRenewal(t, a, c, s, users)
	r, err := a.Renewal(request("Cookie", users))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.EndRenewal(r); err != nil {
		t.Fatal(err)
	}
	for range 6 { // the user's own cookie is over after the first of them
		c.Advance(24 * time.Hour)
		for _, subject := range []string{"alice", "bo"} { // what is over is dropped when somebody signs out
			_, other := newSession(t, a, authenticate(t, a, s.token(claimsAt(c, map[string]any{"sub": subject}))))
			if err := a.EndSession(other); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := a.Renewal(request("Cookie", stolen)); err == nil {
			t.Fatalf("at %s the stolen cookie is good again", c.Now())
		}
	}
}

// Who was revoked, and comes back with a renewal when all tokens of then are over, is refused also by an instance that began later.
func TestRevokedSubjectWaitsForARestart(t *testing.T) {
	c, s := newClock(), rsaSigner("")
	o := testOptions(c, s)
	o.Renewals = true
	a := newAuth(t, o)
	cookie := newRenewal(t, a, c, s, "")
	if err := a.Revoke(auth.Revocation{Subject: "alice"}); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		c.Advance(24 * time.Hour)
		later := newAuth(t, o)
		for _, record := range a.RevocationRecords() {
			if _, err := later.TakeRevocation(record); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := later.Renewal(request("Cookie", cookie)); err == nil {
			t.Fatalf("at %s the renewal of a revoked subject is good again", c.Now())
		}
	}
}
