package auth_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"tilegate/auth"
	"tilegate/internal/tile"
)

// FuzzToken: no token that the key did not sign is accepted, nothing panics, and every refusal is
// an InvalidError that fits into a header.
func FuzzToken(f *testing.F) {
	a, _, s := standard(f)
	for _, attack := range append(forged, dishonest...) {
		f.Add(attack.make(s))
	}
	sound := s.token(claims(nil))
	f.Add(sound)
	known := map[string]bool{sound: true}
	f.Fuzz(func(t *testing.T, token string) {
		g, err := a.Authenticate(bearer(token), "")
		if err == nil && !known[token] {
			t.Fatalf("%q is accepted as %+v", token, g)
		}
		if err != nil {
			wantInvalid(t, err, "")
		}
	})
}

// FuzzClaims signs whatever the fuzzer finds: a grant never panics and never exceeds the issuer's
// allow.
func FuzzClaims(f *testing.F) {
	c, s := newClock(), secretSigner([]byte("0123456789abcdef0123456789abcdef"))
	o := testOptions(c, rsaSigner(""))
	o.Issuers[0].PublicKeyPEM, o.Issuers[0].Secret, o.Issuers[0].Algorithms = nil, s.private.([]byte), []string{"HS256"}
	o.Issuers[0].Allow = auth.Limits{
		Tilesets: []string{"acme-*", "file:acme-*"}, Zoom: &tile.ZoomRange{Min: 2, Max: 10}, BBox: &tile.Box{West: 170, South: -10, East: -170, North: 60},
	}
	a := newAuth(f, o)
	for _, attack := range dishonest {
		parts := strings.Split(attack.make(s), ".")
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(payload))
	}
	f.Add(asJSON(claims(map[string]any{"tilesets": "* file:*", "zoom": "0-30", "bbox": []any{-180, -90, 180, 90}})))
	f.Fuzz(func(t *testing.T, payload string) {
		g, err := a.Authenticate(bearer(s.sign(`{"alg":"HS256"}`, payload)), "")
		if err != nil {
			wantInvalid(t, err, "")
			return
		}
		for _, id := range []string{"", "x", "acme", "file:acme-x", "roads", "a", "*", "acme"} {
			if g.AdmitsTileset(id) || g.AdmitsFile(id) {
				t.Fatalf("%q grants %q", payload, id)
			}
		}
		if g.Admits("acme-x", 1, 0, 0) || g.Admits("acme-x", 11, 0, 700) || g.Admits("acme-x", 5, 10, 14) || !g.Expires.After(start.Add(-31e9)) {
			t.Fatalf("%q grants %+v", payload, g)
		}
		session, err := a.NewSession(g)
		if err != nil {
			return // expired within the leeway, or too large
		}
		minted, err := cookieOf(a, session.Token)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"acme-x", "acme-roads"} {
			if minted.AdmitsTileset(id) != g.AdmitsTileset(id) || minted.AdmitsFile(id) != g.AdmitsFile(id) || minted.Admits(id, 5, 0, 14) != g.Admits(id, 5, 0, 14) {
				t.Fatalf("%q: the session grants otherwise than the token", payload)
			}
		}
	})
}

// FuzzCompact: what was not sealed is not opened, by no way in.
func FuzzCompact(f *testing.F) {
	a, c, s := standard(f)
	o := testOptions(c, s)
	o.SigningKeys = nil // random, so that no seed of another process is good here
	stranger := newAuth(f, o)
	access := authenticate(f, a, s.token(claims(map[string]any{"bbox": []any{1, 2, 3, 4}})))
	session, err := a.NewSession(access)
	if err != nil {
		f.Fatal(err)
	}
	path, _, err := a.NewPathToken(access, auth.PathRequest{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(session.Token)
	f.Add(path)
	f.Add("")
	f.Add(path[:20])
	f.Add(path + path)
	f.Fuzz(func(t *testing.T, token string) {
		if g, err := pathOf(a, token); err == nil && token != path {
			t.Fatalf("%q is accepted as %+v", token, g)
		}
		g, err := cookieOf(stranger, token)
		if err == nil {
			t.Fatalf("%q is accepted as %+v", token, g)
		}
		var invalid *auth.InvalidError
		if !errors.As(err, &invalid) && !errors.Is(err, auth.ErrTwoCredentials) {
			t.Fatalf("got %v", err)
		}
	})
}

// FuzzSealedBody: a body of another version, though sealed with our key, never panics.
func FuzzSealedBody(f *testing.F) {
	a, _, s := standard(f)
	access := authenticate(f, a, s.token(claims(map[string]any{"bbox": []any{1, 2, 3, 4}})))
	path, _, err := a.NewPathToken(access, auth.PathRequest{})
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := base64.RawURLEncoding.DecodeString(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed[:len(sealed)-16])
	f.Add([]byte{})
	f.Add([]byte{0x13, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		g, err := auth.ParseCompact(body)
		if err != nil {
			wantInvalid(t, err, "")
			return
		}
		g.Admits("basemap", 3, 1, 1)
		g.AdmitsFile("report")
	})
}

// FuzzKeySet: whatever is published, nothing panics, and no key comes out that the issuer's
// algorithms cannot use.
func FuzzKeySet(f *testing.F) {
	for _, s := range []signer{rsaSigner("r"), ecSigner("e"), edSigner("o")} {
		f.Add([]byte(set(s.jwk())))
	}
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := auth.UsableKeys(document, []string{"ES256"})
		if err == nil && len(keys) == 0 {
			t.Fatal("an empty set is accepted")
		}
		for _, k := range keys {
			if !strings.HasSuffix(k, "/ES256") {
				t.Fatalf("got %q", k)
			}
		}
	})
}
