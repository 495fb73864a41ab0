package auth_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
)

func cookieOf(a *auth.Authenticator, token string) (*auth.Grant, error) {
	return a.AuthenticateSession(request("Cookie", a.CookieName()+"="+token))
}

func pathOf(a *auth.Authenticator, token string) (*auth.Grant, error) {
	return a.Authenticate(request(), token)
}

func newSession(t *testing.T, a *auth.Authenticator, access *auth.Grant) (*auth.SessionToken, *auth.Grant) {
	t.Helper()
	s, err := a.NewSession(access)
	if err != nil {
		t.Fatal(err)
	}
	g, err := cookieOf(a, s.Token)
	if err != nil {
		t.Fatal(err)
	}
	return s, g
}

func newPath(t *testing.T, a *auth.Authenticator, parent *auth.Grant, r auth.PathRequest) (string, *auth.Grant) {
	t.Helper()
	token, made, err := a.NewPathToken(parent, r)
	if err != nil {
		t.Fatal(err)
	}
	g, err := pathOf(a, token)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", *made) != fmt.Sprintf("%+v", *g) {
		t.Fatalf("the token says\n%+v, want\n%+v", *g, *made)
	}
	return token, g
}

func TestSessionCarriesTheGrant(t *testing.T) {
	c, s := newClock(), rsaSigner("")
	o := testOptions(c, s)
	o.Issuers[0].Allow = auth.Limits{Tilesets: []string{"acme-*", "file:*"}, BBox: &tile.Box{West: 170, South: -10, East: -100, North: 60}}
	a := newAuth(t, o)
	access := authenticate(t, a, s.token(claims(map[string]any{
		"tilesets": "*-roads acme-x file:report", "zoom": "2-9", "bbox": []any{-175.5, -90, 175, 45.25},
	})))
	session, g := newSession(t, a, access)
	now := c.Now().Truncate(time.Second)
	if session.Subject != "alice" || g.Subject != "alice" || g.Kind != auth.Session || g.ID == access.ID || g.ID == "" {
		t.Errorf("got %+v", g)
	}
	if !session.Expires.Equal(now.Add(15*time.Minute)) || !session.RenewAfter.Equal(now.Add(10*time.Minute)) || !g.Expires.Equal(session.Expires) {
		t.Errorf("got expiry %v, renewal %v", session.Expires, session.RenewAfter)
	}
	told, err := g.Session()
	if err != nil {
		t.Fatal(err)
	}
	if told.Token != "" || !told.RenewAfter.Equal(session.RenewAfter) || told.Subject != "alice" || fmt.Sprint(told.Tilesets) != fmt.Sprint(session.Tilesets) {
		t.Errorf("got %+v, want %+v without the token", told, session)
	}
	for _, id := range []string{"acme-roads", "acme-x", "acme-y", "x-roads", "report", "basemap"} {
		if g.AdmitsTileset(id) != access.AdmitsTileset(id) || g.AdmitsFile(id) != access.AdmitsFile(id) {
			t.Errorf("%q: the session says otherwise than the token", id)
		}
	}
	admitted := 0
	for z := uint8(0); z < 11; z++ {
		n := uint32(1) << z
		for x := uint32(0); x < n; x += 1 + n/40 {
			for y := uint32(0); y < n; y += 1 + n/40 {
				want := access.Admits("acme-x", z, x, y)
				if g.Admits("acme-x", z, x, y) != want {
					t.Fatalf("%d/%d/%d: the session says otherwise than the token", z, x, y)
				}
				if want {
					admitted++
				}
			}
		}
	}
	if admitted == 0 {
		t.Error("no tile is admitted at all")
	}
	if fmt.Sprint(*g.BBox()) != "{-175.5 -10 175 45.25}" {
		t.Errorf("got bbox %v", *g.BBox())
	}
}

func TestSessionNeverOutlivesTheTokenItCameFrom(t *testing.T) {
	a, c, s := standard(t)
	access := authenticate(t, a, s.token(claims(map[string]any{"exp": float64(start.Unix()) + 90.75})))
	session, _ := newSession(t, a, access)
	if want := time.Unix(start.Unix()+90, 0); !session.Expires.Equal(want) {
		t.Errorf("got expiry %v, want %v", session.Expires, want)
	}
	if max := a.SessionCookie(session).MaxAge; max != 89 {
		t.Errorf("got Max-Age %d, want 89", max)
	}
	c.Advance(90 * time.Second) // the bearer is accepted still, by the leeway; a session has none
	_, err := cookieOf(a, session.Token)
	wantInvalid(t, err, "expired 0s ago")
	g := authenticate(t, a, s.token(claims(map[string]any{"exp": start.Unix() + 90})))
	_, err = a.NewSession(g)
	wantInvalid(t, err, "expired")
	_, _, err = a.NewPathToken(g, auth.PathRequest{})
	wantInvalid(t, err, "expired")
}

func TestRenewedSessionsOverlap(t *testing.T) {
	a, c, s := standard(t)
	access := authenticate(t, a, s.token(claims(nil)))
	first, _ := newSession(t, a, access)
	c.Advance(10 * time.Minute)
	second, _ := newSession(t, a, access)
	if _, err := cookieOf(a, first.Token); err != nil {
		t.Errorf("the old session ended with the new one: %v", err)
	}
	if first.Token == second.Token {
		t.Error("two sessions are one")
	}
	c.Advance(5 * time.Minute)
	_, err := cookieOf(a, first.Token)
	wantInvalid(t, err, "expired")
	if _, err := cookieOf(a, second.Token); err != nil {
		t.Error(err)
	}
}

func TestNothingIsMintedFromWhatMayNotAsk(t *testing.T) {
	a, _, s := standard(t)
	access := authenticate(t, a, s.token(claims(nil)))
	_, session := newSession(t, a, access)
	_, path := newPath(t, a, session, auth.PathRequest{})
	free, err := auth.NewGrant(auth.Limits{Tilesets: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, parent := range map[string]*auth.Grant{"session": session, "path token": path, "no token": free} {
		if _, err := a.NewSession(parent); !errors.Is(err, auth.ErrWrongKind) {
			t.Errorf("session from %s: got %v, want ErrWrongKind", name, err)
		}
	}
	for name, parent := range map[string]*auth.Grant{"path token": path, "no token": free} {
		if _, _, err := a.NewPathToken(parent, auth.PathRequest{}); !errors.Is(err, auth.ErrWrongKind) {
			t.Errorf("path token from %s: got %v, want ErrWrongKind", name, err)
		}
	}
	for name, g := range map[string]*auth.Grant{"access token": access, "path token": path} {
		if err := a.EndSession(g); !errors.Is(err, auth.ErrWrongKind) {
			t.Errorf("EndSession of %s: got %v, want ErrWrongKind", name, err)
		}
		if _, err := g.Session(); !errors.Is(err, auth.ErrWrongKind) {
			t.Errorf("Session of %s: got %v, want ErrWrongKind", name, err)
		}
	}
}

func TestPathTokenIsNeverWiderThanItsParent(t *testing.T) {
	a, _, s := standard(t)
	parent := authenticate(t, a, s.token(claims(map[string]any{
		"tilesets": "basemap acme-* file:report", "zoom": "2-9", "bbox": []any{0, 0, 20, 20},
	})))
	limits := func(entries ...string) auth.PathRequest {
		return auth.PathRequest{Limits: auth.Limits{Tilesets: entries}}
	}
	for _, tt := range []struct {
		name    string
		request auth.PathRequest
		want    error
	}{
		{"all that the parent has", auth.PathRequest{}, nil},
		{"one tileset", limits("basemap"), nil},
		{"one under a glob", limits("acme-roads"), nil},
		{"a glob under a glob", limits("acme-*-roads"), nil},
		{"a file", limits("file:report"), nil},
		{"another tileset", limits("roads"), auth.ErrNotGranted},
		{"one of two", limits("basemap", "roads"), auth.ErrNotGranted},
		{"a wider glob", limits("*"), auth.ErrNotGranted},
		{"an overlapping glob", limits("*-roads"), auth.ErrNotGranted},
		{"another file", limits("file:*"), auth.ErrNotGranted},
		{"an empty list", auth.PathRequest{Limits: auth.Limits{Tilesets: []string{}}}, auth.ErrNotGranted},
		{"other zooms", auth.PathRequest{Limits: auth.Limits{Zoom: &tile.ZoomRange{Min: 10, Max: 12}}}, auth.ErrNotGranted},
		{"a box elsewhere", auth.PathRequest{Limits: auth.Limits{BBox: &tile.Box{West: 30, South: 30, East: 40, North: 40}}}, auth.ErrNotGranted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, g, err := a.NewPathToken(parent, tt.request)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && (g.AdmitsTileset("roads") || g.AdmitsFile("other") || g.Expires.After(parent.Expires) || g.Kind != auth.Path || g.Subject != "alice") {
				t.Errorf("got %+v", g)
			}
		})
	}
	_, g := newPath(t, a, parent, auth.PathRequest{Limits: auth.Limits{
		Zoom: &tile.ZoomRange{Min: 0, Max: 30}, BBox: &tile.Box{West: 10, South: -80, East: -10, North: 80},
	}})
	if g.Zoom() != (tile.ZoomRange{Min: 2, Max: 9}) || fmt.Sprint(*g.BBox()) != "{10 0 20 20}" {
		t.Errorf("got zoom %v, bbox %v", g.Zoom(), *g.BBox())
	}
	for _, bad := range []auth.PathRequest{
		limits("Basemap"), {TTL: -1}, {TTL: time.Millisecond}, {Limits: auth.Limits{BBox: &tile.Box{}}},
	} {
		if _, _, err := a.NewPathToken(parent, bad); err == nil || errors.Is(err, auth.ErrNotGranted) {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
}

func TestPathTokenExpiry(t *testing.T) {
	window := func(n time.Duration) time.Time {
		return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(n * 15 * time.Minute)
	}
	for _, tt := range []struct {
		name   string
		ttl    time.Duration
		parent time.Duration // what is left of it
		want   time.Time
	}{
		{"rounded down", time.Hour, 10 * time.Hour, window(4)},
		{"an hour by default", 0, 10 * time.Hour, window(4)},
		{"the parent's, rounded down", 10 * time.Hour, 150 * time.Minute, window(10)},
		{"the parent's as it is, where rounding leaves too little", 10 * time.Hour, 26 * time.Minute, start.Add(26 * time.Minute).Truncate(time.Second)},
		{"the parent's as it is, within the window", 10 * time.Hour, 5 * time.Minute, start.Add(5 * time.Minute).Truncate(time.Second)},
		{"a ttl of one window", 15 * time.Minute, 10 * time.Hour, time.Date(2026, 11, 22, 12, 15, 0, 0, time.UTC)},
		{"a ttl of a second", time.Second, 10 * time.Hour, time.Date(2026, 11, 22, 12, 3, 5, 0, time.UTC)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, _, s := standard(t)
			parent := authenticate(t, a, s.token(claims(map[string]any{"exp": float64(start.Add(tt.parent).UnixMilli()) / 1000})))
			_, g := newPath(t, a, parent, auth.PathRequest{TTL: tt.ttl})
			if !g.Expires.Equal(tt.want) {
				t.Errorf("got %v, want %v", g.Expires.UTC(), tt.want)
			}
		})
	}
}

func TestPathTokenLivesHalfOfWhatWasAskedForAtLeast(t *testing.T) {
	c, s := newClock(), ecSigner("")
	a := newAuth(t, testOptions(c, s))
	for i := range 200 {
		c.Advance(77777 * time.Millisecond)
		now := c.Now()
		ttl := time.Duration(1+i*i) * time.Second
		parent := authenticate(t, a, s.token(claims(map[string]any{"iat": nil, "exp": now.Add(10 * time.Hour).Unix()})))
		_, g, err := a.NewPathToken(parent, auth.PathRequest{TTL: max(ttl, time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		// A token's times are whole seconds.
		if life := g.Expires.Sub(now); life <= 0 || life > max(ttl, time.Second) || life < ttl/2-time.Second && life < 9*time.Hour {
			t.Errorf("asked for %v, got %v", ttl, life)
		}
	}
}

func TestAskingAlikeWithinAWindowGivesTheSamePathToken(t *testing.T) {
	a, c, s := standard(t)
	access := authenticate(t, a, s.token(claims(map[string]any{"exp": start.Add(20 * time.Hour).Unix(), "tilesets": "basemap roads x"})))
	ask := func(parent *auth.Grant, tilesets ...string) string {
		token, _ := newPath(t, a, parent, auth.PathRequest{Limits: auth.Limits{Tilesets: tilesets}, TTL: time.Hour})
		return token
	}
	first := ask(access, "basemap", "roads")
	c.Advance(11 * time.Minute) // still before 12:15
	if got := ask(access, "roads", "basemap", "roads"); got != first {
		t.Errorf("got %q, then %q", first, got)
	}
	other := newAuth(t, testOptions(c, s)) // another instance
	if got := ask(authenticate(t, other, s.token(claims(map[string]any{"exp": start.Add(20 * time.Hour).Unix(), "tilesets": "basemap roads x"}))), "basemap", "roads"); got != first {
		t.Errorf("got %q from another instance, want %q", got, first)
	}
	if ask(access, "basemap") == first {
		t.Error("another question has the same answer")
	}
	_, session := newSession(t, a, access)
	if once := ask(session); ask(session) != once {
		t.Error("a session that asks alike gets another token")
	}
	c.Advance(time.Minute)
	if ask(access, "basemap", "roads") == first {
		t.Error("the next window has the same token")
	}
	if len(first) > 140 {
		t.Errorf("the token has %d characters", len(first))
	}
}

func TestPathTokenSurvivesEveryByteButNoChange(t *testing.T) {
	a, c, s := standard(t)
	access := authenticate(t, a, s.token(claims(map[string]any{"tilesets": "a b-* file:c", "bbox": []any{1, 2, 3, 4}})))
	path, _ := newPath(t, a, access, auth.PathRequest{})
	session, _ := newSession(t, a, access)
	for name, tt := range map[string]struct {
		token string
		open  func(*auth.Authenticator, string) (*auth.Grant, error)
	}{"path": {path, pathOf}, "session": {session.Token, cookieOf}} {
		sealed, err := base64.RawURLEncoding.DecodeString(tt.token)
		if err != nil {
			t.Fatal(err)
		}
		for i := range sealed {
			for _, flip := range []byte{0x01, 0x80, 0xff} {
				changed := append([]byte{}, sealed...)
				changed[i] ^= flip
				_, err := tt.open(a, base64.RawURLEncoding.EncodeToString(changed))
				wantInvalid(t, err, unverifiable)
			}
			_, err := tt.open(a, base64.RawURLEncoding.EncodeToString(sealed[:max(i, 1)]))
			wantInvalid(t, err, "")
		}
		for _, forged := range []string{tt.token + "A", tt.token + "=", tt.token + "\n", " " + tt.token, tt.token + "." + tt.token, strings.Repeat("A", 5000)} {
			_, err := tt.open(a, forged)
			wantInvalid(t, err, "")
		}
		// Another process with another key, or with none configured.
		o := testOptions(c, s)
		o.SigningKeys = nil
		_, err = tt.open(newAuth(t, o), tt.token)
		wantInvalid(t, err, unverifiable)
		// The key may be rotated: the first signs, all verify.
		o.SigningKeys = [][]byte{[]byte(strings.Repeat("new key!", 4)), []byte("0123456789abcdef0123456789abcdef")}
		rotated := newAuth(t, o)
		if _, err := tt.open(rotated, tt.token); err != nil {
			t.Errorf("%s: after rotation: %v", name, err)
		}
		c2 := newClock()
		c2.Advance(48 * time.Hour)
		o.Clock = c2.Now
		_, err = tt.open(newAuth(t, o), tt.token)
		wantInvalid(t, err, "expired")
	}
}

func TestGrantTooLargeForACookieIsRefused(t *testing.T) {
	a, _, s := standard(t)
	var tilesets []string
	for i := range 200 {
		tilesets = append(tilesets, fmt.Sprintf("customer-%06d", i))
	}
	access := authenticate(t, a, s.token(claims(map[string]any{"tilesets": tilesets})))
	if _, err := a.NewSession(access); !errors.Is(err, auth.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	if _, _, err := a.NewPathToken(access, auth.PathRequest{}); !errors.Is(err, auth.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	access = authenticate(t, a, s.token(claims(map[string]any{"tilesets": tilesets[:100], "sub": strings.Repeat("s", 255), "bbox": []any{1, 2, 3, 4}})))
	session, _ := newSession(t, a, access)
	if n := len(a.SessionCookie(session).String()); n > 3300 {
		t.Errorf("the cookie has %d bytes", n)
	}
}

func TestOwnAccessToken(t *testing.T) {
	a, c, s := standard(t)
	request := auth.AccessRequest{Subject: "ops", TTL: time.Hour, Limits: auth.Limits{
		Tilesets: []string{"roads", "file:report"}, Zoom: &tile.ZoomRange{Min: 1, Max: 9}, BBox: &tile.Box{West: 170, South: -10, East: -170, North: 10},
	}}
	token, made, err := a.NewAccessToken(request)
	if err != nil {
		t.Fatal(err)
	}
	// Another process, with other claim names, accepts it and reads the same.
	o := testOptions(c, s)
	o.Claims = auth.ClaimNames{Tilesets: "t", Zoom: "z", BBox: "b", ScopePrefix: "p"}
	g := authenticate(t, newAuth(t, o), token)
	if fmt.Sprintf("%+v", *g) != fmt.Sprintf("%+v", *made) {
		t.Errorf("got %+v, want %+v", *g, *made)
	}
	if g.Subject != "ops" || g.Kind != auth.Access || g.ID == "" || !g.AdmitsTileset("roads") || !g.AdmitsFile("report") || g.AdmitsTileset("basemap") ||
		g.Zoom() != (tile.ZoomRange{Min: 1, Max: 9}) || !g.Admits("roads", 5, 0, 15) || g.Admits("roads", 5, 15, 15) {
		t.Errorf("got %+v", g)
	}
	if _, err := a.NewSession(g); err != nil {
		t.Errorf("a session of it: %v", err)
	}
	o.SigningKeys = [][]byte{make([]byte, 32)}
	_, err = newAuth(t, o).Authenticate(bearer(token), "")
	wantInvalid(t, err, unverifiable)
	c.Advance(time.Hour + 31*time.Second)
	_, err = a.Authenticate(bearer(token), "")
	wantInvalid(t, err, "expired")

	for name, bad := range map[string]func(*auth.AccessRequest){
		"no subject":           func(r *auth.AccessRequest) { r.Subject = "" },
		"subject with control": func(r *auth.AccessRequest) { r.Subject = "a\nb" },
		"no ttl":               func(r *auth.AccessRequest) { r.TTL = 0 },
		"ttl over the maximum": func(r *auth.AccessRequest) { r.TTL = 25 * time.Hour },
		"entry":                func(r *auth.AccessRequest) { r.Tilesets = []string{"a/b"} },
		"too long":             func(r *auth.AccessRequest) { r.Tilesets = make([]string, 300) },
	} {
		r := request
		bad(&r)
		if token, _, err := a.NewAccessToken(r); err == nil {
			t.Errorf("%s: got %q", name, token)
		}
	}
}

// The three keys are as different as three signing keys.
func TestOwnTokensAreBoundToTheirPurpose(t *testing.T) {
	a, _, s := standard(t)
	own, access, err := a.NewAccessToken(auth.AccessRequest{Subject: "ops", TTL: time.Hour, Limits: auth.Limits{Tilesets: []string{"*"}}})
	if err != nil {
		t.Fatal(err)
	}
	session, _ := newSession(t, a, access)
	path, _ := newPath(t, a, access, auth.PathRequest{})
	ways := map[string]func(string) error{
		"bearer": func(token string) error { _, err := a.Authenticate(bearer(token), ""); return err },
		"cookie": func(token string) error { _, err := cookieOf(a, token); return err },
		"path":   func(token string) error { _, err := pathOf(a, token); return err },
	}
	tokens := map[string]string{"bearer": own, "cookie": session.Token, "path": path}
	for range 2 { // the second time around, each is remembered
		for kind, token := range tokens {
			for way, try := range maps.All(ways) {
				if err := try(token); (err == nil) != (way == kind) {
					t.Errorf("token for %s by %s: got %v", kind, way, err)
				}
			}
		}
	}
	// The kind is inside too: a sealed text of one kind with the other's first byte is no token of it.
	sealed, err := base64.RawURLEncoding.DecodeString(session.Token)
	if err != nil {
		t.Fatal(err)
	}
	sealed[0] = 0x13
	_, err = pathOf(a, base64.RawURLEncoding.EncodeToString(sealed))
	wantInvalid(t, err, unverifiable)
	// HS256 by an issuer's RSA key's name never reaches our keys: own tokens need our kid and iss.
	_, err = a.Authenticate(bearer(signer{alg: "HS256", private: []byte("0123456789abcdef0123456789abcdef")}.token(claims(map[string]any{"iss": "tilegate"}))), "")
	wantInvalid(t, err, unverifiable)
	_ = s
}
