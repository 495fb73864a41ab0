package auth_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"tilegate/auth"
)

// family is an access token and all that was minted from it, each remembered.
type family struct {
	a     *auth.Authenticator
	names []string
	try   map[string]func() error
	tryAt func(*auth.Authenticator) map[string]func() error
	s     *auth.Grant // the session
}

func newFamily(t *testing.T, a *auth.Authenticator, s signer, changes map[string]any) *family {
	t.Helper()
	token := s.token(claims(changes))
	access := authenticate(t, a, token)
	session, g := newSession(t, a, access)
	ofAccess, _ := newPath(t, a, access, auth.PathRequest{})
	ofSession, _ := newPath(t, a, g, auth.PathRequest{})
	f := &family{s: g, names: []string{"access", "session", "path of access", "path of session"}}
	f.tryAt = func(a *auth.Authenticator) map[string]func() error {
		return map[string]func() error{
			"access":          func() error { _, err := a.Authenticate(bearer(token), ""); return err },
			"session":         func() error { _, err := cookieOf(a, session.Token); return err },
			"path of access":  func() error { _, err := pathOf(a, ofAccess); return err },
			"path of session": func() error { _, err := pathOf(a, ofSession); return err },
		}
	}
	return f.at(a)
}

// at is the family as another instance sees it.
func (f *family) at(a *auth.Authenticator) *family {
	other := *f
	other.a, other.try = a, f.tryAt(a)
	return &other
}

func (f *family) check(t *testing.T, when string, revoked ...string) {
	t.Helper()
	for _, name := range f.names {
		want := false
		for _, r := range revoked {
			want = want || r == name
		}
		err := f.try[name]()
		if (err != nil) != want {
			t.Errorf("%s: %s: got %v, want revoked: %v", when, name, err, want)
		}
		if err != nil {
			wantInvalid(t, err, "revoked")
		}
	}
}

func TestRevocationReachesAllThatWasMinted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		revoke func(f *family) error
		want   []string
	}{
		{"by subject", func(f *family) error { return f.a.Revoke(auth.Revocation{Subject: "alice"}) }, []string{"access", "session", "path of access", "path of session"}},
		{"by token id", func(f *family) error { return f.a.Revoke(auth.Revocation{TokenID: "token-1"}) }, []string{"access", "session", "path of access", "path of session"}},
		{"by both", func(f *family) error { return f.a.Revoke(auth.Revocation{Subject: "alice", TokenID: "token-1"}) }, []string{"access", "session", "path of access", "path of session"}},
		{"by the session's id", func(f *family) error { return f.a.Revoke(auth.Revocation{TokenID: f.s.ID}) }, []string{"session", "path of session"}},
		{"by logout", func(f *family) error { return f.a.EndSession(f.s) }, []string{"session", "path of session"}},
		{"another subject", func(f *family) error { return f.a.Revoke(auth.Revocation{Subject: "Alice"}) }, nil},
		{"another id", func(f *family) error { return f.a.Revoke(auth.Revocation{TokenID: "alice"}) }, nil},
		{"nothing", func(f *family) error { return f.a.Revoke(auth.Revocation{}) }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, _, s := standard(t)
			f := newFamily(t, a, s, nil)
			f.check(t, "before")
			bob := newFamily(t, a, s, map[string]any{"sub": "bob", "jti": "token-2"})
			if err := tt.revoke(f); err != nil {
				t.Fatal(err)
			}
			f.check(t, "after", tt.want...)
			bob.check(t, "bob")
		})
	}
}

func TestMintingFromARevokedGrantIsRefused(t *testing.T) {
	a, _, s := standard(t)
	access := authenticate(t, a, s.token(claims(nil)))
	_, session := newSession(t, a, access)
	if err := a.Revoke(auth.Revocation{Subject: "alice"}); err != nil {
		t.Fatal(err)
	}
	_, err := a.NewSession(access) // as a request does that was authenticated a moment before
	wantInvalid(t, err, "revoked")
	for _, parent := range []*auth.Grant{access, session} {
		_, _, err = a.NewPathToken(parent, auth.PathRequest{})
		wantInvalid(t, err, "revoked")
	}
}

func TestSubjectMayComeBackWithANewToken(t *testing.T) {
	a, c, s := standard(t)
	if err := a.Revoke(auth.Revocation{Subject: "alice"}); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Minute)
	at := func(d time.Duration) any { return start.Add(d).Unix() }
	for _, tt := range []struct {
		name string
		iat  any
		want bool
	}{
		{"issued before", at(-time.Hour), false},
		{"issued within the same second", at(0), false},
		{"issued a second after", at(time.Second), true},
		{"without iat, so perhaps before", nil, false},
		{"issued a minute after", at(time.Minute), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := a.Authenticate(bearer(s.token(claims(map[string]any{"iat": tt.iat}))), "")
			if tt.want != (err == nil) {
				t.Errorf("got %v, want accepted: %v", err, tt.want)
			}
		})
	}
	// What is minted from the new token is as good as it is.
	newFamily(t, a, s, map[string]any{"iat": at(time.Minute), "jti": "token-2"}).check(t, "new")
}

// A token that was issued before the revocation, by a clock that runs ahead, is not taken for a later one.
func TestRevocationAllowsForAnIssuersClock(t *testing.T) {
	a, c, s := standard(t)
	at := func(d time.Duration) map[string]any { return claims(map[string]any{"iat": start.Add(d).Unix()}) }
	authenticate(t, a, s.token(at(20*time.Second))) // this clock is 20 s ahead
	hoarded := s.token(at(19 * time.Second))
	if err := a.Revoke(auth.Revocation{Subject: "alice"}); err != nil {
		t.Fatal(err)
	}
	_, err := a.Authenticate(bearer(hoarded), "")
	wantInvalid(t, err, "revoked")
	c.Advance(time.Second)
	authenticate(t, a, s.token(at(21*time.Second))) // issued a second after the revocation
}

func TestRevocationsAreListedAndUndone(t *testing.T) {
	a, c, s := standard(t)
	f := newFamily(t, a, s, nil)
	for _, r := range []auth.Revocation{{Subject: "alice"}, {TokenID: "token-1"}, {Subject: strings.Repeat("é", 400)}} {
		if err := a.Revoke(r); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Second)
	}
	latest, total := a.Revocations(2)
	if total != 3 || len(latest) != 2 || latest[1].TokenID != "token-1" || !latest[1].At.Equal(start.Add(time.Second)) || latest[1].Until.IsZero() {
		t.Errorf("got %d: %+v", total, latest)
	}
	if name := latest[0].Subject; len(name) != 256 || !utf8.ValidString(name) {
		t.Errorf("a long name is kept as %d bytes", len(name))
	}
	if a.Unrevoke(auth.Revocation{TokenID: "alice"}) || a.Unrevoke(auth.Revocation{Subject: "bob"}) {
		t.Error("undone what was not revoked")
	}
	if !a.Unrevoke(auth.Revocation{Subject: "alice"}) {
		t.Error("alice is not known")
	}
	f.check(t, "the token is still revoked", f.names...)
	if !a.Unrevoke(auth.Revocation{TokenID: "token-1"}) || a.Unrevoke(auth.Revocation{TokenID: "token-1"}) {
		t.Error("the token is not undone, or twice")
	}
	f.check(t, "after")
}

func TestKnownCountsWhatARevocationNames(t *testing.T) {
	a, c, s := standard(t)
	f := newFamily(t, a, s, nil)
	newFamily(t, a, s, map[string]any{"sub": "bob", "jti": "token-2"})
	for _, name := range f.names {
		if err := f.try[name](); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		r    auth.Revocation
		want map[auth.Kind]int
	}{
		{"subject", auth.Revocation{Subject: "alice"}, map[auth.Kind]int{auth.Access: 1, auth.Session: 1, auth.Path: 2}},
		{"token", auth.Revocation{TokenID: "token-1"}, map[auth.Kind]int{auth.Access: 1, auth.Session: 1, auth.Path: 2}},
		{"session", auth.Revocation{TokenID: f.s.ID}, map[auth.Kind]int{auth.Session: 1, auth.Path: 1}},
		{"nobody", auth.Revocation{Subject: "carol"}, map[auth.Kind]int{}},
		{"nothing", auth.Revocation{}, map[auth.Kind]int{}},
	} {
		if got := a.Known(tt.r); !maps.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	c.Advance(25 * time.Hour)
	if got := a.Known(auth.Revocation{Subject: "alice"}); len(got) != 0 {
		t.Errorf("expired tokens are counted: %v", got)
	}
}

func TestTokenWithoutIDCanBeRevokedByTheLoggedOne(t *testing.T) {
	a, _, s := standard(t)
	f := newFamily(t, a, s, map[string]any{"jti": nil, "sub": nil})
	g := authenticate(t, a, s.token(claims(map[string]any{"jti": nil, "sub": nil})))
	if err := a.Revoke(auth.Revocation{TokenID: g.ID}); err != nil {
		t.Fatal(err)
	}
	f.check(t, "after", f.names...)
}

func TestRevocationOutlivesEveryTokenItConcerns(t *testing.T) {
	a, c, s := standard(t)
	token := s.token(claims(map[string]any{"iat": start.Add(29 * time.Second).Unix(), "exp": start.Add(24*time.Hour + 29*time.Second).Unix()}))
	authenticate(t, a, token)
	if err := a.Revoke(auth.Revocation{TokenID: "token-1"}); err != nil {
		t.Fatal(err)
	}
	c.Advance(24*time.Hour + 58*time.Second) // the last second at which the leeway would let it in
	fill(t, a, 10)
	_, err := a.Authenticate(bearer(token), "")
	wantInvalid(t, err, "revoked")
}

// A token without iat may be refused for its long life today, and be accepted in the last day of it.
func TestRevocationWaitsForATokenWithoutIat(t *testing.T) {
	a, c, s := standard(t)
	token := s.token(claims(map[string]any{"iat": nil, "exp": start.Add(72 * time.Hour).Unix()}))
	if err := a.Revoke(auth.Revocation{Subject: "alice"}); err != nil {
		t.Fatal(err)
	}
	c.Advance(71 * time.Hour)
	fill(t, a, 10)
	_, err := a.Authenticate(bearer(token), "")
	wantInvalid(t, err, "revoked")
}

func fill(t *testing.T, a *auth.Authenticator, n int) {
	t.Helper()
	for i := range n {
		if err := a.Revoke(auth.Revocation{TokenID: fmt.Sprint("fill-", i)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRevocationsAreBoundedAndForgetNothing(t *testing.T) {
	a, c, s := standard(t)
	a.Limit(1000, 1<<20, 100)
	f := newFamily(t, a, s, nil)
	if err := a.Revoke(auth.Revocation{TokenID: "token-1"}); err != nil {
		t.Fatal(err)
	}
	fill(t, a, 99)
	if err := a.Revoke(auth.Revocation{TokenID: "one more"}); !errors.Is(err, auth.ErrTooManyRevocations) {
		t.Errorf("got %v, want ErrTooManyRevocations", err)
	}
	if err := a.Revoke(auth.Revocation{TokenID: "token-1"}); err != nil {
		t.Errorf("again what is revoked already: %v", err)
	}
	f.check(t, "full", f.names...)
	c.Advance(24*time.Hour + time.Minute) // all lapse, as what they concern has
	if err := a.Revoke(auth.Revocation{TokenID: "one more"}); err != nil {
		t.Errorf("after all have lapsed: %v", err)
	}
}

func TestUnlimitedLifetimeIsRevokedForGood(t *testing.T) {
	c, s := newClock(), rsaSigner("")
	o := testOptions(c, s)
	o.MaxLifetime = 0
	a := newAuth(t, o)
	token := s.token(claims(map[string]any{"exp": start.AddDate(50, 0, 0).Unix()}))
	authenticate(t, a, token)
	if err := a.Revoke(auth.Revocation{TokenID: "token-1"}); err != nil {
		t.Fatal(err)
	}
	c.Advance(20 * 365 * 24 * time.Hour)
	_, err := a.Authenticate(bearer(token), "")
	wantInvalid(t, err, "revoked")
}

// Somebody signs in and out in a loop, to fill the table: their own sessions end, all the others'
// logouts end one session and no more.
func TestLogoutFloodHurtsItsAuthorAlone(t *testing.T) {
	a, c, s := standard(t)
	a.Limit(1000, 1<<20, 100)
	mallory := authenticate(t, a, s.token(claims(map[string]any{"sub": "mallory", "jti": "m"})))
	alice := newFamily(t, a, s, nil)
	bob := newFamily(t, a, s, map[string]any{"sub": "bob", "jti": "token-2"})
	_, idle := newSession(t, a, mallory)
	idlePath, _ := newPath(t, a, idle, auth.PathRequest{})
	logins := 0
	for range 1000 {
		session, err := a.NewSession(mallory)
		if err != nil { // not twice in the second in which all that were there have ended
			wantInvalid(t, err, "revoked")
			c.Advance(time.Second)
			continue
		}
		logins++
		g, err := cookieOf(a, session.Token)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.EndSession(g); err != nil {
			t.Fatal(err)
		}
		if _, err := cookieOf(a, session.Token); err == nil {
			t.Fatal("a session outlives its logout")
		}
	}
	if logins < 900 {
		t.Errorf("mallory signed in %d times: the token itself was revoked", logins)
	}
	if got := a.Ended(); got > 65 {
		t.Errorf("%d ended sessions of one subject are told apart", got)
	}
	_, _, err := a.NewPathToken(idle, auth.PathRequest{})
	wantInvalid(t, err, "revoked")
	_, err = pathOf(a, idlePath)
	wantInvalid(t, err, "revoked")
	alice.check(t, "alice")
	if err := a.EndSession(alice.s); err != nil {
		t.Fatal(err)
	}
	alice.check(t, "alice, logged out after the flood", "session", "path of session")
	bob.check(t, "bob")
	if err := a.Revoke(auth.Revocation{Subject: "bob"}); err != nil {
		t.Errorf("no room for the operator: %v", err)
	}
	bob.check(t, "bob, revoked", bob.names...)
}

// What has been minted since is as good as before, and what was minted from it.
func TestSubjectSignsInAgainAfterItsOwnFlood(t *testing.T) {
	a, c, s := standard(t)
	flood(t, a, authenticate(t, a, s.token(claims(nil))), 65)
	c.Advance(time.Second)
	newFamily(t, a, s, nil).check(t, "a second later")
}

// A session that ended with the others does not come back when they would have expired.
func TestSessionEndedByAFloodStaysEnded(t *testing.T) {
	a, c, s := standard(t)
	bob := newFamily(t, a, s, map[string]any{"sub": "bob", "jti": "token-2"})
	if err := a.EndSession(bob.s); err != nil { // from now on records are looked through every 15 minutes
		t.Fatal(err)
	}
	c.Advance(13 * time.Minute)
	long, _ := newSession(t, a, authenticate(t, a, s.token(claims(nil))))
	flood(t, a, authenticate(t, a, s.token(claims(map[string]any{"exp": start.Add(14 * time.Minute).Unix(), "jti": "short"}))), 65)
	c.Advance(3 * time.Minute)
	_, again := newSession(t, a, authenticate(t, a, s.token(claims(map[string]any{"sub": "carol", "jti": "token-3"}))))
	if err := a.EndSession(again); err != nil {
		t.Fatal(err)
	}
	_, err := cookieOf(a, long.Token)
	wantInvalid(t, err, "revoked")
}

// Tokens without sub have no subject in common: who logs out often must not end the others' sessions.
func TestLogoutFloodOfATokenWithoutSubject(t *testing.T) {
	a, _, s := standard(t)
	alice := newFamily(t, a, s, map[string]any{"sub": nil, "jti": "a"})
	flood(t, a, authenticate(t, a, s.token(claims(map[string]any{"sub": nil, "jti": "m"}))), 65)
	alice.check(t, "alice")
	if err := a.EndSession(alice.s); err != nil {
		t.Fatal(err)
	}
	alice.check(t, "alice, logged out", "session", "path of session")
}

// A flood by many subjects makes a logout end more sessions of the one who logs out, never of others.
func TestLogoutFloodByManySubjects(t *testing.T) {
	a, c, s := standard(t)
	a.Limit(1000, 1<<20, 100)
	alice := newFamily(t, a, s, nil)
	bob := newFamily(t, a, s, map[string]any{"sub": "bob", "jti": "token-2"})
	for i := range 4 {
		flood(t, a, authenticate(t, a, s.token(claims(map[string]any{"sub": fmt.Sprint("mallory-", i), "jti": fmt.Sprint("m-", i)}))), 60)
	}
	if got := a.Ended(); got > 100 {
		t.Errorf("%d ended sessions are told apart, want at most 100", got)
	}
	if err := a.EndSession(alice.s); err != nil {
		t.Fatal(err)
	}
	alice.check(t, "alice, logged out while the table is full", "session", "path of session")
	bob.check(t, "bob")
	c.Advance(16 * time.Minute) // all have lapsed
	later := newFamily(t, a, s, nil)
	if err := a.EndSession(later.s); err != nil {
		t.Fatal(err)
	}
	later.check(t, "later", "session", "path of session")
	if got := a.Ended(); got != 1 {
		t.Errorf("%d ended sessions are remembered, want one", got)
	}
}

// flood signs in and out n times within a second.
func flood(t *testing.T, a *auth.Authenticator, access *auth.Grant, n int) {
	t.Helper()
	for range n {
		session, err := a.NewSession(access)
		if err != nil {
			wantInvalid(t, err, "revoked")
			continue
		}
		g, err := cookieOf(a, session.Token)
		if err == nil {
			err = a.EndSession(g)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRevocationIsSafeForConcurrentUse(t *testing.T) {
	a, _, s := standard(t)
	f := newFamily(t, a, s, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				if err := a.Revoke(auth.Revocation{TokenID: fmt.Sprint(i, "/", j)}); err != nil {
					t.Error(err)
				}
				if err := f.try["session"](); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
