package proxy_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/issuer"
	"tilegate/proxy"
)

const renewalCookie = "__Host-tilegate-renewal"

// withRenewal is withLogin at a provider that gives refresh tokens; ada has signed in.
func withRenewal(t *testing.T) (*world, *issuer.Issuer, *browser) {
	t.Helper()
	w, provider := withLogin(t, func(s *setup) { s.proxy.Login.Scopes = []string{"openid", "offline_access"} })
	b := newBrowser(w)
	if got := b.get(b.begin("/login")); got.status != http.StatusSeeOther || b.cookies[renewalCookie] == "" {
		t.Fatalf("got %d %s and the cookies %v, want one for renewals", got.status, got.body, b.cookies)
	}
	return w, provider, b
}

// renew asks for a renewal by cookie.
func (b *browser) renew(header ...string) reply {
	b.w.t.Helper()
	return b.send(http.MethodPost, "/session", header...)
}

func exchanges(p *issuer.Issuer) int { return p.Requests("/exchange") }

func TestRenewal(t *testing.T) {
	w, provider, b := withRenewal(t)
	for range 3 {
		w.clock.Advance(10 * time.Minute) // two thirds of the life of the session before
		before := b.cookies[renewalCookie]
		got := b.renew()
		if got.status != http.StatusOK || b.cookies[renewalCookie] == before || got.header.Get("Clear-Site-Data") != "" {
			t.Fatalf("got %d %s", got.status, got.body)
		}
		var s struct {
			Subject   string
			ExpiresAt time.Time `json:"expires_at"`
		}
		if err := json.Unmarshal([]byte(got.body), &s); err != nil || s.Subject != "ada" || !s.ExpiresAt.After(w.clock.Now().Add(10*time.Minute)) {
			t.Errorf("got %s", got.body)
		}
	}
	w.clock.Advance(24 * time.Hour) // the session is over, and its renewal is not
	if b.who() != "" {
		t.Fatal("the session lives for ever")
	}
	if got := b.renew(); got.status != http.StatusOK || b.who() != "ada" {
		t.Errorf("after the session's end: got %d %s", got.status, got.body)
	}
	if got := exchanges(provider); got != 5 {
		t.Errorf("the token endpoint was asked %d times, want for the sign-in and four renewals", got)
	}
	w.clock.Advance(auth.RenewalLifetime + time.Second)
	if got := b.renew(); got.status != 401 || b.cookies[renewalCookie] != "" {
		t.Errorf("a week unused: got %d and the cookies %v", got.status, b.cookies)
	}
}

// Two tabs, or a thousand: a refresh token that is used twice is taken for a stolen one.
func TestRenewalIsOneExchangeForAll(t *testing.T) {
	w, provider, b := withRenewal(t)
	before := exchanges(provider)
	gate := make(chan struct{})
	provider.Hang(gate)
	cookie := "Cookie"
	value := renewalCookie + "=" + b.cookies[renewalCookie]
	var all sync.WaitGroup
	replies := make([]reply, 20)
	for n := range replies {
		all.Go(func() { replies[n] = w.do(http.MethodPost, "/session", "", cookie, value) })
	}
	for tick := time.NewTicker(time.Millisecond); exchanges(provider) == before; {
		<-tick.C
	}
	close(gate)
	all.Wait()
	replies = append(replies, w.do(http.MethodPost, "/session", "", cookie, value)) // a late one
	for _, got := range replies {
		if got.status != http.StatusOK || len(got.header.Values("Set-Cookie")) != 2 {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
	if got := exchanges(provider) - before; got != 1 {
		t.Errorf("%d exchanges, want one", got)
	}
}

// Two tabs renew around a reload: one asks the proxy from before, the other the one from after. What the provider gave is checked by each
// with its own configuration.
func TestRenewalAroundAReload(t *testing.T) {
	now := time.Now
	provider, change := loginAt(t, func() time.Time { return now() })
	renewals := new(proxy.Renewals)
	share := func(s *setup) {
		s.proxy.Login.Scopes, s.proxy.Renewals = []string{"openid", "offline_access"}, renewals
	}
	before, after := start(t, change, share), start(t, change, share)
	stricter := start(t, change, share, func(s *setup) {
		for i := range s.auth.Issuers {
			s.auth.Issuers[i].Audience = []string{"something-else"}
		}
	})
	now = before.clock.Now
	b := newBrowser(before)
	if got := b.get(b.begin("/login")); got.status != http.StatusSeeOther || b.cookies[renewalCookie] == "" {
		t.Fatalf("got %d %s and the cookies %v, want one for renewals", got.status, got.body, b.cookies)
	}
	value, asked := renewalCookie+"="+b.cookies[renewalCookie], exchanges(provider)
	for name, w := range map[string]*world{"before": before, "after": after} {
		if got := w.do(http.MethodPost, "/session", "", "Cookie", value); got.status != http.StatusOK {
			t.Errorf("%s the reload: got %d %s", name, got.status, got.body)
		}
	}
	if got := stricter.do(http.MethodPost, "/session", "", "Cookie", value); got.status != 401 {
		t.Errorf("a configuration that refuses the provider's tokens: got %d %s", got.status, got.body)
	}
	if got := exchanges(provider) - asked; got != 1 {
		t.Errorf("%d exchanges, want one", got)
	}
}

// The refresh token has been used when the key set that verifies the new tokens cannot be read. They are good once it can.
func TestRenewalIsNotLostWhileKeysAreMissing(t *testing.T) {
	now := time.Now
	provider, change := loginAt(t, func() time.Time { return now() })
	renewals := new(proxy.Renewals)
	share := func(s *setup) {
		s.proxy.Login.Scopes, s.proxy.Renewals = []string{"openid", "offline_access"}, renewals
	}
	w := start(t, change, share)
	withoutKeys := start(t, change, share, func(s *setup) {
		s.auth.Issuers[0].PublicKeyPEM, s.auth.Issuers[0].JWKSURL = nil, "http://127.0.0.1:1/jwks.json"
	})
	now = w.clock.Now
	b := newBrowser(w)
	if got := b.get(b.begin("/login")); got.status != http.StatusSeeOther {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	value, asked := renewalCookie+"="+b.cookies[renewalCookie], exchanges(provider)
	got := withoutKeys.do(http.MethodPost, "/session", "", "Cookie", value)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Set-Cookie") != "" {
		t.Errorf("without keys: got %d %s and the cookie %q", got.status, got.body, got.header.Get("Set-Cookie"))
	}
	if got := w.do(http.MethodPost, "/session", "", "Cookie", value); got.status != http.StatusOK {
		t.Errorf("with keys: got %d %s", got.status, got.body)
	}
	if got := exchanges(provider) - asked; got != 1 {
		t.Errorf("%d exchanges, want one", got)
	}
}

// What a provider gives is remembered for a while, so that it must not be of any size.
func TestRenewalWithHugeTokens(t *testing.T) {
	_, provider, b := withRenewal(t)
	provider.RefreshTokens(100 << 10)
	if got := b.renew(); got.status != http.StatusServiceUnavailable {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// A copy of the cookie is of no use to a thief once the user has signed out, whichever renewal it was taken before.
func TestRenewalOfAStolenCookieAfterSigningOut(t *testing.T) {
	w, provider, b := withRenewal(t)
	stolen := []string{b.cookies[renewalCookie]}
	w.clock.Advance(time.Minute)
	if got := b.renew(); got.status != http.StatusOK {
		t.Fatal(got.status, got.body)
	}
	stolen = append(stolen, b.cookies[renewalCookie])
	if got := b.send(http.MethodDelete, "/session"); got.status != http.StatusNoContent || len(b.cookies) != 0 {
		t.Fatalf("got %d, and the cookies %v are left", got.status, b.cookies)
	}
	before := exchanges(provider)
	for _, value := range stolen {
		thief := newBrowser(w)
		thief.cookies[renewalCookie] = value
		if got := thief.renew(); got.status != 401 || thief.who() != "" {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
	if exchanges(provider) != before {
		t.Error("the provider was asked")
	}
}

// Whom the operator revokes is not let in again by a refresh token.
func TestRenewalOfARevokedSubject(t *testing.T) {
	for name, revoke := range map[string]func(b *browser) auth.Revocation{
		"the subject": func(*browser) auth.Revocation { return auth.Revocation{Subject: "ada"} },
		"the session": func(b *browser) auth.Revocation {
			got := b.get("/tiles/basemap.json")
			line := b.w.access.waitForLine(`"path":"/tiles/basemap.json"`)
			if got.status != http.StatusOK {
				b.w.t.Fatal(got.status)
			}
			var l struct {
				Token string `json:"token_id"`
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil || l.Token == "" {
				b.w.t.Fatalf("no id in %s", line)
			}
			return auth.Revocation{TokenID: l.Token}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, provider, b := withRenewal(t)
			if err := w.auth.Revoke(revoke(b)); err != nil {
				t.Fatal(err)
			}
			before := exchanges(provider)
			if got := b.renew(); got.status != 401 || b.who() != "" || exchanges(provider) != before {
				t.Errorf("got %d %s, %d exchanges", got.status, got.body, exchanges(provider)-before)
			}
		})
	}
}

// A provider that mixes up its users must not make one of them another here.
func TestRenewalAsAnotherSubject(t *testing.T) {
	_, provider, b := withRenewal(t)
	provider.RenewAs("bo")
	if got := b.renew(); got.status != 401 || b.cookies[renewalCookie] != "" || b.who() != "ada" {
		t.Errorf("got %d %s, signed in as %q with the cookies %v", got.status, got.body, b.who(), b.cookies)
	}
}

// The page of another site must not make a browser renew, nor may a cookie do that is not ours or not for that.
func TestRenewalForgeries(t *testing.T) {
	w, provider, b := withRenewal(t)
	before := exchanges(provider)
	if got := b.renew("Origin", "https://evil.example"); got.status != 403 {
		t.Errorf("another site: got %d", got.status)
	}
	good, session := b.cookies[renewalCookie], b.cookies["__Host-tilegate"]
	flipped := []byte(good)
	flipped[len(flipped)/2] ^= 1
	for name, value := range map[string]string{
		"a byte changed": string(flipped), "cut short": good[:len(good)-4], "a session": session, "too long": strings.Repeat("A", 5000), "not base64": "*", "nothing": "",
	} {
		forger := newBrowser(w)
		forger.cookies[renewalCookie] = value
		if got := forger.renew(); got.status != 401 || forger.who() != "" {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
		}
	}
	if got := w.get("/session", "Cookie", "__Host-tilegate="+good); got.status != 401 {
		t.Errorf("a renewal as a session: got %d", got.status)
	}
	if got := w.do(http.MethodPost, "/session", "", "Cookie", renewalCookie+"="+good+"; "+renewalCookie+"="+good); got.status != 401 && got.status != 400 {
		t.Errorf("two: got %d", got.status)
	}
	if exchanges(provider) != before {
		t.Error("the provider was asked")
	}
	if strings.Contains(w.logged.String()+w.access.String(), good[:40]) {
		t.Error("a log has the cookie")
	}
}

// The session goes on while the provider is down, and is renewed when it is back. What the provider refuses is not tried again.
func TestRenewalWhileTheProviderFails(t *testing.T) {
	w, provider, b := withRenewal(t)
	provider.Fail(500)
	if got := b.renew(); got.status != 503 || got.header.Get("Retry-After") == "" || b.who() != "ada" || b.cookies[renewalCookie] == "" {
		t.Errorf("down: got %d %v, signed in as %q", got.status, got.header, b.who())
	}
	provider.Fail(0)
	if got := b.renew(); got.status != http.StatusOK {
		t.Errorf("back: got %d %s", got.status, got.body)
	}
	provider.Fail(400)
	held, before := b.cookies[renewalCookie], exchanges(provider)
	for range 3 {
		b.cookies[renewalCookie] = held
		if got := b.renew(); got.status != 401 || b.cookies[renewalCookie] != "" || b.who() != "ada" {
			t.Errorf("refused: got %d %s, signed in as %q", got.status, got.body, b.who())
		}
	}
	if got := exchanges(provider) - before; got != 1 {
		t.Errorf("the provider was asked %d times for what it refuses", got)
	}
	if logged := w.logged.String() + w.access.String(); strings.Contains(logged, "refresh_token=") {
		t.Error("a log has a refresh token")
	}
}

// Who signs in with a token as somebody else is not turned back into the one before.
func TestRenewalEndsWithAnotherSignIn(t *testing.T) {
	w, _, b := withRenewal(t)
	if got := b.send(http.MethodPost, "/session", append(w.bearer(), "X-Other", "")...); got.status != http.StatusOK || b.cookies[renewalCookie] != "" {
		t.Errorf("got %d %s and the cookies %v", got.status, got.body, b.cookies)
	}
}

// A provider whose refresh tokens are too large for a cookie is told of once, and sessions end as they would without.
func TestRenewalThatDoesNotFit(t *testing.T) {
	w, provider := withLogin(t, func(s *setup) { s.proxy.Login.Scopes = []string{"openid", "offline_access"} })
	provider.RefreshTokens(5000)
	for range 2 {
		b := newBrowser(w)
		if got := b.get(b.begin("/login")); got.status != http.StatusSeeOther || b.who() != "ada" || b.cookies[renewalCookie] != "" {
			t.Errorf("got %d and the cookies %v", got.status, b.cookies)
		}
	}
	if n := strings.Count(w.logged.String(), "do not fit into a cookie"); n != 1 {
		t.Errorf("told %d times:\n%s", n, w.logged)
	}
}

// Who signs out, or is revoked, while the provider is asked is not signed in by its answer.
func TestRenewalRacesItsEnd(t *testing.T) {
	for name, end := range map[string]func(b *browser){
		"signed out": func(b *browser) {
			if got := b.send(http.MethodDelete, "/session"); got.status != http.StatusNoContent {
				b.w.t.Errorf("got %d %s", got.status, got.body)
			}
		},
		"revoked": func(b *browser) {
			if err := b.w.auth.Revoke(auth.Revocation{Subject: "ada"}); err != nil {
				b.w.t.Error(err)
			}
			b.w.clock.Advance(2 * time.Second) // the token that the provider issues then is younger than the revocation
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, provider, b := withRenewal(t)
			before := exchanges(provider)
			gate := make(chan struct{})
			provider.Hang(gate)
			value := renewalCookie + "=" + b.cookies[renewalCookie]
			answer := make(chan reply, 1)
			go func() { answer <- w.do(http.MethodPost, "/session", "", "Cookie", value) }()
			for tick := time.NewTicker(time.Millisecond); exchanges(provider) == before; {
				<-tick.C
			}
			end(b)
			close(gate)
			got := <-answer
			if set := strings.Join(got.header.Values("Set-Cookie"), "\n"); got.status != 401 || strings.Contains(set, "__Host-tilegate=") {
				t.Errorf("got %d %s and the cookies %s", got.status, got.body, set)
			}
		})
	}
}

// After auth.login.issuer has changed, the new provider must not get the old one's refresh tokens.
func TestRenewalAtAnotherProvider(t *testing.T) {
	_, _, b := withRenewal(t)
	other, provider := withLogin(t)
	moved := newBrowser(other)
	moved.cookies[renewalCookie] = b.cookies[renewalCookie]
	if got := moved.renew(); got.status != 401 || moved.cookies[renewalCookie] != "" {
		t.Errorf("got %d %s and the cookies %v", got.status, got.body, moved.cookies)
	}
	if exchanges(provider) != 0 {
		t.Error("the other provider got the refresh token")
	}
}

// A provider that has too many requests, or does not know us for a while, does not end the sessions of everybody.
func TestRenewalOutlivesAProvidersTroubles(t *testing.T) {
	for _, status := range []int{302, 401, 404, 408, 429} {
		_, provider, b := withRenewal(t)
		provider.Fail(status)
		if got := b.renew(); got.status != 503 || b.cookies[renewalCookie] == "" || b.who() != "ada" {
			t.Errorf("%d: got %d %s, signed in as %q", status, got.status, got.body, b.who())
		}
		provider.Fail(0)
		if got := b.renew(); got.status != http.StatusOK {
			t.Errorf("after %d: got %d %s", status, got.status, got.body)
		}
	}
}

// Another instance may not know that the user has signed out, and a copy of the cookie would be renewed there without end.
func TestSigningOutRevokesTheRefreshToken(t *testing.T) {
	for name, signOut := range map[string]func(b *browser) reply{
		"here":                func(b *browser) reply { return b.send(http.MethodDelete, "/session") },
		"and at the provider": func(b *browser) reply { return b.get("/logout") },
	} {
		t.Run(name, func(t *testing.T) {
			w, provider, b := withRenewal(t)
			if got := b.renew(); got.status != http.StatusOK || provider.Renewable() != 1 {
				t.Fatalf("got %d, %d refresh tokens", got.status, provider.Renewable())
			}
			if got := signOut(b); got.status >= 400 || len(b.cookies) != 0 {
				t.Errorf("got %d %s and the cookies %v", got.status, got.body, b.cookies)
			}
			if got := provider.Renewable(); got != 0 {
				t.Errorf("%d refresh tokens are good after signing out", got)
			}
			if logged := w.logged.String(); strings.Contains(logged, "could not be revoked") {
				t.Error(logged)
			}
		})
	}
}

// A provider that fails keeps nobody signed in, and its error does not carry the token into the log.
func TestSigningOutWhileTheProviderFails(t *testing.T) {
	for _, status := range []int{302, 400, 401, 503} {
		w, provider, b := withRenewal(t)
		provider.Fail(status)
		if got := b.send(http.MethodDelete, "/session"); got.status != http.StatusNoContent || len(b.cookies) != 0 {
			t.Errorf("%d: got %d %s and the cookies %v", status, got.status, got.body, b.cookies)
		}
		if logged := w.logged.String(); strings.Count(logged, "could not be revoked") != 1 || strings.Contains(logged, "token=") {
			t.Errorf("%d: logged %s", status, logged)
		}
	}
}

// After auth.login.issuer has changed, signing out must not tell the new provider the old one's refresh token either.
func TestSigningOutTellsNoOtherProvider(t *testing.T) {
	_, _, b := withRenewal(t)
	other, provider := withLogin(t)
	moved := newBrowser(other)
	moved.cookies[renewalCookie] = b.cookies[renewalCookie]
	if got := moved.send(http.MethodDelete, "/session"); got.status != http.StatusNoContent || moved.cookies[renewalCookie] != "" {
		t.Errorf("got %d %s and the cookies %v", got.status, got.body, moved.cookies)
	}
	if got := provider.Requests("/revoke"); got != 0 {
		t.Errorf("the other provider was asked %d times", got)
	}
}

// A provider that does not answer holds up signing out for a few seconds.
func TestSigningOutWhileTheProviderHangs(t *testing.T) {
	_, provider, b := withRenewal(t)
	gate := make(chan struct{})
	defer close(gate)
	provider.Hang(gate)
	if got := b.send(http.MethodDelete, "/session"); got.status != http.StatusNoContent || len(b.cookies) != 0 {
		t.Errorf("got %d %s and the cookies %v", got.status, got.body, b.cookies)
	}
}
