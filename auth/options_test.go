package auth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
)

func TestNewReportsEveryFault(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	for _, tt := range []struct {
		name   string
		change func(*auth.Options)
		want   []string
	}{
		{"leeway", func(o *auth.Options) { o.Leeway = time.Hour }, []string{"leeway must be 0 to 5m"}},
		{"negative lifetime", func(o *auth.Options) { o.MaxLifetime = -1 }, []string{"max_lifetime"}},
		{"session of a second", func(o *auth.Options) { o.SessionTTL = time.Second }, []string{"session.ttl"}},
		{"window", func(o *auth.Options) { o.TokenWindow = time.Millisecond }, []string{"token_window"}},
		{"same site none without https", func(o *auth.Options) { o.SameSite, o.SecureCookie = http.SameSiteNoneMode, false }, []string{"same_site none needs https"}},
		{"partitioned lax", func(o *auth.Options) { o.Partitioned = true }, []string{"partitioned needs same_site none"}},
		{"claims that are others'", func(o *auth.Options) { o.Claims.Tilesets = "aud" }, []string{"auth.claims"}},
		{"claims that are one", func(o *auth.Options) { o.Claims.Zoom, o.Claims.BBox = "x", "x" }, []string{"auth.claims"}},
		{"short signing key", func(o *auth.Options) { o.SigningKeys = append(o.SigningKeys, secret[:31]) }, []string{"signing_keys: key 2: a signing key needs at least 32 random bytes"}},
		{"nine signing keys", func(o *auth.Options) { o.SigningKeys = make([][]byte, 9) }, []string{"at most 8"}},
		{"no issuer", func(o *auth.Options) { o.Issuers[0].Issuer = "" }, []string{"issuer 1: issuer is missing"}},
		{"our own issuer", func(o *auth.Options) { o.Issuers[0].Issuer = "tilegate" }, []string{"is our own"}},
		{"no algorithms", func(o *auth.Options) { o.Issuers[0].Algorithms = nil }, []string{"algorithms are missing"}},
		{"none", func(o *auth.Options) { o.Issuers[0].Algorithms = []string{"RS256", "none"} }, []string{`"none" is not one of`}},
		{"algorithm in another case", func(o *auth.Options) { o.Issuers[0].Algorithms = []string{"rs256"} }, []string{`"rs256" is not one of`}},
		{"HS beside a public key", func(o *auth.Options) { o.Issuers[0].Algorithms = []string{"RS256", "HS256"} }, []string{"never goes with"}},
		{"HS beside a key set", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSURL, o.Issuers[0].Algorithms = nil, "https://id.example.com/jwks.json", []string{"HS256"}
		}, []string{"never goes with"}},
		{"RS beside a secret", func(o *auth.Options) { o.Issuers[0].PublicKeyPEM, o.Issuers[0].Secret = nil, secret }, []string{"HS algorithms alone"}},
		{"secret too short for HS384", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].Secret, o.Issuers[0].Algorithms = nil, secret, []string{"HS256", "HS384"}
		}, []string{"too weak"}},
		{"two sources of keys", func(o *auth.Options) { o.Issuers[0].JWKSURL = "https://id.example.com/jwks.json" }, []string{"only one of"}},
		{"key set over plain http", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSURL = nil, "http://id.example.com/jwks.json"
		}, []string{"must be https"}},
		{"key set with a password", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSURL = nil, "https://a:b@id.example.com/jwks.json"
		}, []string{"not an absolute URL"}},
		{"key set by a name that begins like loopback", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSURL = nil, "http://127.0.0.1.example.com/jwks.json"
		}, []string{"must be https"}},
		{"discovery of an issuer that is no URL", func(o *auth.Options) { o.Issuers[0].PublicKeyPEM, o.Issuers[0].Issuer = nil, "acme" }, []string{"not an absolute URL"}},
		{"refresh too often", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSRefresh = nil, time.Millisecond
		}, []string{"jwks_refresh"}},
		{"malformed allow and grant", func(o *auth.Options) {
			o.Issuers[0].Allow = auth.Limits{Tilesets: []string{"A"}}
			o.Issuers[0].Default = auth.Limits{Zoom: &tile.ZoomRange{Min: 9, Max: 1}}
		}, []string{"allow: tilesets: entry 1", "grant: zoom"}},
		{"two issuers without allow", func(o *auth.Options) {
			o.Issuers = append(o.Issuers, o.Issuers[0])
			o.Issuers[1].Issuer, o.Issuers[1].Allow = "https://other.example/", auth.Limits{Tilesets: []string{}}
		}, []string{"issuer 1: allow.tilesets is required"}},
		{"one issuer twice", func(o *auth.Options) {
			o.Issuers[0].Allow = auth.Limits{Tilesets: []string{"*"}}
			o.Issuers = append(o.Issuers, o.Issuers[0])
		}, []string{"issuer 2: this iss is configured twice"}},
		{"several at once", func(o *auth.Options) {
			o.Leeway, o.Partitioned, o.Issuers[0].Issuer, o.Issuers[0].Algorithms = -1, true, "", nil
			o.SigningKeys = [][]byte{nil}
		}, []string{"leeway", "partitioned", "issuer is missing", "algorithms are missing", "signing_keys: key 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(newClock(), rsaSigner(""))
			tt.change(&o)
			a, err := auth.New(o)
			if err == nil || a != nil {
				t.Fatalf("got %v, %v", a, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to contain %q", err, want)
				}
			}
			if strings.Contains(err.Error(), string(secret[:31])) {
				t.Error("the error tells the secret")
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	var log bytes.Buffer
	a := newAuth(t, auth.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "no signing key") {
		t.Errorf("got log %q, want a warning about the signing key", log.String())
	}
	if a.CookieName() != "tilegate" || a.Ready() != nil || a.Degraded() != nil {
		t.Errorf("got %q, %v, %q", a.CookieName(), a.Ready(), a.Degraded())
	}
	token, g, err := a.NewAccessToken(auth.AccessRequest{Subject: "s", TTL: 1000 * time.Hour, Limits: auth.Limits{Tilesets: []string{"*"}}})
	if err != nil {
		t.Fatal(err)
	}
	authenticate(t, a, token)
	session, _ := newSession(t, a, g)
	if life := time.Until(session.Expires); life > 15*time.Minute || life < 14*time.Minute {
		t.Errorf("a session lives %v", life)
	}
	if _, err := newAuth(t, auth.Options{}).Authenticate(bearer(token), ""); err == nil {
		t.Error("two processes made the same random key")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestTokenForAnyoneNeedsAnAudienceThatIsConfigured(t *testing.T) {
	c, s := newClock(), rsaSigner("")
	o := testOptions(c, s)
	o.Issuers[0].Audience = nil
	a := newAuth(t, o)
	authenticate(t, a, s.token(claims(map[string]any{"aud": nil})))
	_, err := a.Authenticate(bearer(s.token(claims(nil))), "")
	wantInvalid(t, err, "another audience")
}

func TestEveryAlgorithmThatCanBeConfigured(t *testing.T) {
	for _, alg := range auth.AllAlgorithms {
		s := signer{alg: alg, private: rsaKey()}
		switch alg {
		case "ES256":
			s = ecSigner("")
		case "ES384":
			s.private = generateEC(384)
		case "ES512":
			s.private = generateEC(521)
		case "EdDSA":
			s = edSigner("")
		}
		a := newAuth(t, testOptions(newClock(), s))
		authenticate(t, a, s.token(claims(nil)))
	}
	for alg, size := range map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} {
		s := signer{alg: alg, private: bytes.Repeat([]byte{7}, size)}
		o := testOptions(newClock(), rsaSigner(""))
		o.Issuers[0].PublicKeyPEM, o.Issuers[0].Secret, o.Issuers[0].Algorithms = nil, s.private.([]byte), []string{alg}
		authenticate(t, newAuth(t, o), s.token(claims(nil)))
	}
}

// No error of this package, whatever its way to a log, tells a credential.
func TestErrorsTellNoCredential(t *testing.T) {
	a, access, session, path := transports(t)
	for _, credential := range []string{access, session, path} {
		for _, r := range []*http.Request{
			bearer(credential + "A"), request("Authorization", "Token "+credential), request("Authorization", basic("user", credential+"A")),
			request("Cookie", "__Host-tilegate="+credential+"A"), request("Cookie", "__Host-tilegate=a; __Host-tilegate="+credential),
		} {
			_, err := a.Authenticate(r, "")
			if err == nil {
				t.Fatal("accepted")
			}
			var invalid *auth.InvalidError
			text := err.Error()
			if errors.As(err, &invalid) {
				text += invalid.Description + invalid.Reason
			}
			for i := 0; i+8 <= len(credential); i += 8 {
				if strings.Contains(text, credential[i:i+8]) {
					t.Errorf("error %q holds a part of the credential", text)
				}
			}
		}
	}
}
