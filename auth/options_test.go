package auth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
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
		{"leeway", func(o *auth.Options) { o.Leeway = time.Hour }, []string{"auth.leeway: must be at most 5m0s"}},
		{"negative lifetime", func(o *auth.Options) { o.MaxLifetime = -1 }, []string{"auth.max_lifetime: must be at least 1s"}},
		{"session of a second", func(o *auth.Options) { o.SessionTTL = time.Second }, []string{"auth.session.ttl: must be at least 3s"}},
		{"window", func(o *auth.Options) { o.TokenWindow = time.Millisecond }, []string{"auth.token_window: must be at least 1s"}},
		{"same site none without https", func(o *auth.Options) { o.SameSite, o.SecureCookie = http.SameSiteNoneMode, false }, []string{"auth.session.same_site: needs a secure cookie"}},
		{"partitioned lax", func(o *auth.Options) { o.Partitioned = true }, []string{"auth.session.partitioned: goes with same_site: none only"}},
		{"claims that are others'", func(o *auth.Options) { o.Claims.Tilesets = "aud" }, []string{"auth.claims.tilesets: is a claim with a meaning of its own"}},
		{"claims that are one", func(o *auth.Options) { o.Claims.Zoom, o.Claims.BBox = "x", "x" }, []string{"auth.claims.bbox: is auth.claims.zoom's already"}},
		{"short signing key", func(o *auth.Options) { o.SigningKeys = append(o.SigningKeys, secret[:31]) }, []string{"auth.signing_keys[1]: has fewer than 32 bytes"}},
		{"nine signing keys", func(o *auth.Options) { o.SigningKeys = slices.Repeat([][]byte{secret}, 9) }, []string{"auth.signing_keys: are more than 8"}},
		{"no issuer", func(o *auth.Options) { o.Issuers[0].Issuer = "" }, []string{"auth.issuers[0].issuer: is required"}},
		{"our own issuer", func(o *auth.Options) { o.Issuers[0].Issuer = "tilegate" }, []string{"auth.issuers[0].issuer: is the name in tilegate's own tokens"}},
		{"no algorithms", func(o *auth.Options) { o.Issuers[0].Algorithms = nil }, []string{"auth.issuers[0].algorithms: is required"}},
		{"none", func(o *auth.Options) { o.Issuers[0].Algorithms = []string{"RS256", "none"} }, []string{"auth.issuers[0].algorithms[1]: is not a signature algorithm"}},
		{"algorithm in another case", func(o *auth.Options) { o.Issuers[0].Algorithms = []string{"rs256"} }, []string{"auth.issuers[0].algorithms[0]: is not a signature algorithm"}},
		{"HS beside a public key", func(o *auth.Options) { o.Issuers[0].Algorithms = []string{"RS256", "HS256"} }, []string{"auth.issuers[0].algorithms: mixes HMAC with public-key algorithms"}},
		{"HS beside a key set", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSURL, o.Issuers[0].Algorithms = nil, "https://id.example.com/jwks.json", []string{"HS256"}
		}, []string{"auth.issuers[0].algorithms[0]: is HMAC, which does not go with jwks_url"}},
		{"RS beside a secret", func(o *auth.Options) { o.Issuers[0].PublicKeyPEM, o.Issuers[0].Secret = nil, secret }, []string{"auth.issuers[0].key: is a secret, but no algorithm is HMAC"}},
		{"secret too short for HS384", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].Secret, o.Issuers[0].Algorithms = nil, secret, []string{"HS256", "HS384"}
		}, []string{"auth.issuers[0].key: the secret has fewer than 48 bytes"}},
		{"two sources of keys", func(o *auth.Options) { o.Issuers[0].JWKSURL = "https://id.example.com/jwks.json" }, []string{"auth.issuers[0].key: does not go with jwks_url"}},
		{"key set over plain http", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSURL = nil, "http://id.example.com/jwks.json"
		}, []string{"auth.issuers[0].jwks_url: is neither https nor on loopback"}},
		{"key set with a password", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSURL = nil, "https://a:b@id.example.com/jwks.json"
		}, []string{"auth.issuers[0].jwks_url: holds a user or password"}},
		{"key set by a name that begins like loopback", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSURL = nil, "http://127.0.0.1.example.com/jwks.json"
		}, []string{"auth.issuers[0].jwks_url: is neither https nor on loopback"}},
		{"discovery of an issuer that is no URL", func(o *auth.Options) { o.Issuers[0].PublicKeyPEM, o.Issuers[0].Issuer = nil, "acme" }, []string{"auth.issuers[0].issuer: is not an absolute http or https URL"}},
		{"refresh too often", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSRefresh = nil, time.Millisecond
		}, []string{"auth.issuers[0].jwks_refresh: must be at least 1s"}},
		{"malformed allow and grant", func(o *auth.Options) {
			o.Issuers[0].Allow = auth.Limits{Tilesets: []string{"A"}}
			o.Issuers[0].Default = auth.Limits{Zoom: &tile.ZoomRange{Min: 9, Max: 1}}
		}, []string{"auth.issuers[0].allow.tilesets[0]: is neither an id nor a glob", "auth.issuers[0].grant.zoom: is not a range of zooms"}},
		{"two issuers without allow", func(o *auth.Options) {
			o.Issuers = append(o.Issuers, o.Issuers[0])
			o.Issuers[1].Issuer, o.Issuers[1].Allow = "https://other.example/", auth.Limits{Tilesets: []string{}}
		}, []string{"auth.issuers[0].allow.tilesets: is required with two issuers or more"}},
		{"one issuer twice", func(o *auth.Options) {
			o.Issuers[0].Allow = auth.Limits{Tilesets: []string{"*"}}
			o.Issuers = append(o.Issuers, o.Issuers[0])
		}, []string{"auth.issuers[1].issuer: is auth.issuers[0]'s already"}},
		{"issuer over plain http with a key of its own", func(o *auth.Options) { o.Issuers[0].Issuer = "http://id.example.com" }, []string{"auth.issuers[0].issuer: is neither https nor on loopback"}},
		{"public key beside HS", func(o *auth.Options) { o.Issuers[0].Algorithms = []string{"HS256"} }, []string{"auth.issuers[0].key: is PEM, but the algorithms are HMAC"}},
		{"public key for a secret", func(o *auth.Options) {
			o.Issuers[0].PublicKeyPEM, o.Issuers[0].Secret, o.Issuers[0].Algorithms = nil, o.Issuers[0].PublicKeyPEM, []string{"HS256"}
		}, []string{"auth.issuers[0].key: is PEM, but the algorithms are HMAC"}},
		{"public key and secret", func(o *auth.Options) { o.Issuers[0].Secret = secret }, []string{"auth.issuers[0].key: is both a public key and a secret"}},
		{"box off the globe", func(o *auth.Options) {
			o.Issuers[0].Allow = auth.Limits{BBox: &tile.Box{West: -190, South: 1, East: 2, North: 3}}
		}, []string{"auth.issuers[0].allow.bbox[0]: is not within -180 to 180 degrees"}},
		{"box without area", func(o *auth.Options) {
			o.Issuers[0].Default = auth.Limits{BBox: &tile.Box{West: 1, South: 1, East: 2, North: 1}}
		}, []string{"auth.issuers[0].grant.bbox: has no area"}},
		{"several at once", func(o *auth.Options) {
			o.Leeway, o.Partitioned, o.Issuers[0].Issuer, o.Issuers[0].Algorithms = -1, true, "", nil
			o.SigningKeys = [][]byte{nil}
		}, []string{
			"auth.issuers[0].issuer: is required", "auth.issuers[0].algorithms: is required", "auth.leeway: must not be negative",
			"auth.signing_keys[0]: has fewer than 32 bytes", "auth.session.partitioned: goes with",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(newClock(), rsaSigner(""))
			tt.change(&o)
			a, err := auth.New(o)
			if err == nil || a != nil {
				t.Fatalf("got %v, %v", a, err)
			}
			joined, _ := err.(interface{ Unwrap() []error })
			if joined == nil || len(joined.Unwrap()) != len(tt.want) {
				t.Fatalf("got %q, want %d faults", err, len(tt.want))
			}
			for i, fault := range joined.Unwrap() {
				var e *auth.OptionError
				if !errors.As(fault, &e) || !strings.HasPrefix(e.Key+": "+e.Problem, tt.want[i]) || !strings.HasPrefix(e.Error(), tt.want[i]) {
					t.Errorf("got %q, want it to begin with %q", fault, tt.want[i])
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
	if a.CookieName() != "tilegate" || a.NotReady() != nil || a.Degraded() != nil {
		t.Errorf("got %q, %q, %q", a.CookieName(), a.NotReady(), a.Degraded())
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

// Two instances on one host keep their sessions apart by the cookie's name, which keeps its protection.
func TestCookieSuffix(t *testing.T) {
	for _, test := range []struct {
		suffix string
		secure bool
		want   string
	}{
		{"", true, "__Host-tilegate"}, {"maps", true, "__Host-tilegate-maps"}, {"maps", false, "tilegate-maps"},
	} {
		a, err := auth.New(auth.Options{CookieSuffix: test.suffix, SecureCookie: test.secure})
		if err != nil {
			t.Fatal(err)
		}
		cookie := a.ClearCookie()
		if a.CookieName() != test.want || cookie.Name != test.want || cookie.Path != "/" || cookie.Domain != "" || cookie.Secure != test.secure {
			t.Errorf("%q: got %v, want %s", test.suffix, cookie, test.want)
		}
		for _, other := range []string{"__Host-tilegate", "tilegate", "__Host-tilegate-map", "__Host-tilegate-maps2"} {
			if _, err := a.AuthenticateSession(request("Cookie", other+"=x")); (err == auth.ErrNoCredential) != (other != test.want) { //nolint:errorlint // the very value
				t.Errorf("%q: a cookie named %s: got %v", test.suffix, other, err)
			}
		}
	}
	for _, suffix := range []string{"a b", "a;b", "a=b", "\u00e4", strings.Repeat("a", 33), "a\r\nb"} {
		if _, err := auth.New(auth.Options{CookieSuffix: suffix}); err == nil {
			t.Errorf("%q is taken", suffix)
		}
	}
}
