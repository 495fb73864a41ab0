package auth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/auth"
)

func TestAudienceClaims(t *testing.T) {
	for _, tt := range []struct {
		name   string
		claims []string // configured
		token  map[string]any
		want   string // in the description; "": accepted
	}{
		{"client_id instead of aud (Cognito)", []string{"aud", "client_id"}, map[string]any{"aud": nil, "client_id": "tiles"}, ""},
		{"azp instead of a fixed aud (Keycloak)", []string{"azp"}, map[string]any{"aud": "account", "azp": "tiles"}, ""},
		{"by a pointer", []string{"/ext/for"}, map[string]any{"aud": nil, "ext": map[string]any{"for": []string{"x", "tiles"}}}, ""},
		{"aud is there: client_id does not count", []string{"aud", "client_id"}, map[string]any{"aud": "other", "client_id": "tiles"}, "another audience: aud names none"},
		{"aud is empty: client_id does not count", []string{"aud", "client_id"}, map[string]any{"aud": []string{}, "client_id": "tiles"}, "another audience: aud names none"},
		{"aud is null: client_id does not count", []string{"aud", "client_id"}, map[string]any{"aud": null, "client_id": "tiles"}, "aud must be a string or an array of strings, not null"},
		{"client_id of another client", []string{"aud", "client_id"}, map[string]any{"aud": nil, "client_id": "other"}, "another audience: client_id names none"},
		{"aud does not count where it is not listed", []string{"client_id"}, map[string]any{"aud": "tiles"}, "no client_id"},
		{"neither", []string{"aud", "client_id"}, map[string]any{"aud": nil}, "no aud, no client_id: the token does not say"},
		{"the token tells what to configure", nil, map[string]any{"aud": nil, "client_id": "tiles"}, "no aud: this issuer's tokens have client_id; set audience_claims"},
		{"the same for azp", nil, map[string]any{"aud": nil, "azp": "tiles"}, "no aud: this issuer's tokens have azp; set audience_claims"},
		{"an object", nil, map[string]any{"aud": map[string]any{"tiles": true}}, "aud must be a string or an array of strings, not an object"},
		{"a number in an array", nil, map[string]any{"aud": []any{"tiles", 1}}, "aud must be a string or an array of strings, and holds a number"},
		{"a pointer through a string", []string{"/ext/for"}, map[string]any{"ext": "tiles"}, "ext must be an object, not a string"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, s := withIssuer(t, func(i *auth.Issuer) { i.AudienceClaims = tt.claims })
			_, err := a.Authenticate(bearer(s.token(claims(tt.token))), "")
			if tt.want != "" {
				wantInvalid(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTokenHeader(t *testing.T) {
	c, s := newClock(), rsaSigner("")
	o := testOptions(c, s)
	o.Issuers[0].TokenHeader = "cf-access-jwt-assertion"
	o.Issuers[0].Allow = auth.Limits{Tilesets: []string{"*"}}
	o.Issuers = append(o.Issuers, o.Issuers[0])
	o.Issuers[1].Issuer, o.Issuers[1].TokenHeader = "https://iap.example/", "X-Goog-Iap-Jwt-Assertion"
	o.QueryParameter = "access_token"
	a := newAuth(t, o)
	token := s.token(claims(nil))
	session, _ := newSession(t, a, authenticate(t, a, token))
	const cf, iap = "Cf-Access-Jwt-Assertion", "X-Goog-Iap-Jwt-Assertion"
	cookie := "__Host-tilegate=" + session.Token
	for _, tt := range []struct {
		name    string
		headers []string
		path    string
		want    error // errInvalid: an InvalidError
	}{
		{"the token", []string{cf, token}, "", nil},
		{"before path and cookie", []string{cf, token, "Cookie", "__Host-tilegate=x"}, "x", nil},
		{"a bad one beside a good cookie", []string{cf, "x", "Cookie", cookie}, "", errInvalid},
		{"an empty one beside a good cookie", []string{cf, "", "Cookie", cookie}, "", errInvalid},
		{"with a scheme", []string{cf, "Bearer " + token}, "", errInvalid},
		{"a session", []string{cf, session.Token}, "", errInvalid},
		{"two tokens: beside Authorization", []string{cf, token, "Authorization", "Bearer " + token}, "", auth.ErrTwoCredentials},
		{"two tokens: a bad one beside Authorization", []string{cf, "x", "Authorization", "Bearer " + token}, "", auth.ErrTwoCredentials},
		{"two tokens: an empty one beside Authorization", []string{cf, "", "Authorization", "Bearer " + token}, "", auth.ErrTwoCredentials},
		{"two tokens: beside an empty Authorization", []string{cf, token, "Authorization", ""}, "", auth.ErrTwoCredentials},
		{"two tokens: the header twice", []string{cf, token, cf, token}, "", auth.ErrTwoCredentials},
		{"two tokens: the headers of two issuers", []string{cf, token, iap, token}, "", auth.ErrTwoCredentials},
		{"another header", []string{"X-Jwt-Assertion", token}, "", auth.ErrNoCredential},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request(tt.headers...)
			_, err := a.Authenticate(r, tt.path)
			var invalid *auth.InvalidError
			switch {
			case errors.Is(tt.want, errInvalid) && !errors.As(err, &invalid), !errors.Is(tt.want, errInvalid) && !errors.Is(err, tt.want):
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if got, want := a.HasHeaderCredential(r.Header), tt.headers[0] != "X-Jwt-Assertion"; got != want {
				t.Errorf("HasHeaderCredential: got %t", got)
			}
		})
	}
	standard, _, _ := standard(t)
	if _, err := standard.Authenticate(request(cf, token), ""); !errors.Is(err, auth.ErrNoCredential) {
		t.Errorf("a header that is not configured: got %v", err)
	}
}

var errInvalid = errors.New("an InvalidError")

func TestMaxToken(t *testing.T) {
	c, s := newClock(), rsaSigner("")
	o := testOptions(c, s)
	o.Issuers[0].Allow = auth.Limits{Tilesets: []string{"*"}}
	o.Issuers = append(o.Issuers, o.Issuers[0])
	o.Issuers[1].Issuer, o.Issuers[1].MaxToken = "https://large.example/", 32<<10
	a := newAuth(t, o)
	long := func(iss string, n int) string {
		return s.token(claims(map[string]any{"iss": iss, "x": strings.Repeat("x", n)}))
	}
	authenticate(t, a, long("https://large.example/", 23<<10))
	if _, err := a.Authenticate(request("Authorization", basic("", long("https://large.example/", 23<<10))), ""); err != nil {
		t.Error(err)
	}
	_, err := a.Authenticate(bearer(long("https://large.example/", 24<<10)), "")
	wantInvalid(t, err, "longer than 32 KiB")
	_, err = a.Authenticate(bearer(long("https://id.example.com/", 8<<10)), "") // each issuer has its own
	wantInvalid(t, err, "longer than 8 KiB")
}

// Each names a key, or where to fetch one, by which the token would verify. None is asked, or believed.
func TestKeyInTheHeaderIsNeverAskedOrTrusted(t *testing.T) {
	asked := make(chan string, 64)
	hostile := signer{kid: "k", alg: "RS256", private: rsaTwo()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		fmt.Fprint(w, asJSON(map[string]any{"keys": []any{hostile.jwk()}}))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			asked <- "a connection"
		}
	}
	defer server.Close()
	c, s := newClock(), rsaSigner("k")
	o := testOptions(c, s)
	o.HTTPClient = server.Client()
	a := newAuth(t, o)
	for name, value := range map[string]any{
		"x5u": server.URL + "/x5u", "jku": server.URL + "/jku", "jwk": hostile.jwk(), "x5c": []string{base64.StdEncoding.EncodeToString([]byte(server.URL))},
	} {
		t.Run(name, func(t *testing.T) {
			header := asJSON(map[string]any{"alg": "RS256", "kid": "k", name: value})
			_, err := a.Authenticate(bearer(hostile.sign(header, asJSON(claims(nil)))), "")
			wantInvalid(t, err, unverifiable)
			if _, err := a.Authenticate(bearer(s.sign(header, asJSON(claims(nil)))), ""); err != nil {
				t.Errorf("by the configured key: %v", err)
			}
			for _, malformed := range []string{"null", "7", `""`, "[]", "{}", `"//"`} {
				header := fmt.Sprintf(`{"alg":"RS256",%q:%s}`, name, malformed)
				if _, err := a.Authenticate(bearer(s.sign(header, asJSON(claims(nil)))), ""); err != nil {
					t.Errorf("%s: %v", malformed, err)
				}
			}
		})
	}
	if len(asked) > 0 {
		t.Errorf("asked: %s", <-asked)
	}
}

func TestEd25519AndEdDSAAreOne(t *testing.T) {
	s := edSigner("k")
	renamed := s.jwk()
	renamed["alg"] = "Ed25519"
	for _, configured := range []string{"EdDSA", "Ed25519"} {
		for _, key := range []map[string]any{s.jwk(), renamed} {
			for _, named := range []string{"EdDSA", "Ed25519"} {
				k := &keyServer{}
				k.serve(jwksURL, set(key))
				withKeyServer(t, k, func(o *auth.Options) { o.Issuers[0].Algorithms = []string{configured} }, func(t *testing.T, a *auth.Authenticator) {
					header := fmt.Sprintf(`{"alg":%q,"kid":"k"}`, named)
					if _, err := a.Authenticate(bearer(s.sign(header, asJSON(current()))), ""); err != nil {
						t.Errorf("%s configured, %v in the key, %s in the token: %v", configured, key["alg"], named, err)
					}
				})
			}
		}
	}
}

// While an issuer moves from a secret to a key set, neither verifies what the other one signs.
func TestSecretBesideAKeySetNeverMix(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	key, rsa := ecSigner("k"), rsaSigner("r")
	k := &keyServer{}
	oct := map[string]any{"kty": "oct", "kid": "o", "alg": "HS256", "k": base64.RawURLEncoding.EncodeToString(secret)}
	k.serve(jwksURL, set(key.jwk(), rsa.jwk(), oct))
	withKeyServer(t, k, func(o *auth.Options) {
		o.Issuers[0].Algorithms, o.Issuers[0].Secret = []string{"HS256", "ES256", "RS256"}, secret
	}, func(t *testing.T, a *auth.Authenticator) {
		for name, token := range map[string]string{
			"the secret":             secretSigner(secret).token(current()),
			"the secret, with kid":   secretSigner(secret).sign(`{"alg":"HS256","kid":"anything"}`, asJSON(current())),
			"the key set":            key.token(current()),
			"another key of it":      rsa.token(current()),
			"a kid of the key set's": secretSigner(secret).sign(`{"alg":"HS256","kid":"k"}`, asJSON(current())),
		} {
			if _, err := a.Authenticate(bearer(token), ""); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		keyed := func(material []byte, header string) string {
			signed := raw(header, asJSON(current()))
			mac := hmac.New(sha256.New, material)
			mac.Write([]byte(signed))
			return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
		}
		jwk := asJSON(rsa.jwk())
		modulus, _ := base64.RawURLEncoding.DecodeString(rsa.jwk()["n"].(string))
		for name, token := range map[string]string{
			"HMAC by the public key's PEM":               keyed(rsa.pem(), `{"alg":"HS256","kid":"r"}`),
			"HMAC by the public key's JWK":               keyed([]byte(jwk), `{"alg":"HS256","kid":"r"}`),
			"HMAC by the public key's modulus":           keyed(modulus, `{"alg":"HS256","kid":"r"}`),
			"HMAC by nothing":                            keyed(nil, `{"alg":"HS256","kid":"r"}`),
			"HMAC that says ES256":                       keyed(secret, `{"alg":"ES256","kid":"k"}`),
			"HMAC that says RS256":                       keyed(secret, `{"alg":"RS256","kid":"r"}`),
			"HMAC that says RS256, by the key set's oct": keyed(secret, `{"alg":"RS256","kid":"o"}`),
			"HS512, which is not listed":                 signer{alg: "HS512", private: secret}.token(current()),
			"a signature that says HS256":                raw(`{"alg":"HS256","kid":"k"}`, asJSON(current())) + "." + base64.RawURLEncoding.EncodeToString(key.signature(raw(`{"alg":"HS256","kid":"k"}`, asJSON(current())))),
		} {
			var invalid *auth.InvalidError
			if _, err := a.Authenticate(bearer(token), ""); !errors.As(err, &invalid) || !strings.Contains(invalid.Description, unverifiable) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})
}

// The secret of an issuer whose key set never arrives is no way around it.
func TestSecretWorksWhileTheKeySetIsMissing(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	key := ecSigner("k")
	withKeyServer(t, &keyServer{}, func(o *auth.Options) {
		o.Issuers[0].Algorithms, o.Issuers[0].Secret = []string{"HS256", "ES256"}, secret
	}, func(t *testing.T, a *auth.Authenticator) {
		if _, err := a.Authenticate(bearer(secretSigner(secret).token(current())), ""); err != nil {
			t.Error(err)
		}
		if _, err := a.Authenticate(bearer(key.token(current())), ""); !errors.Is(err, auth.ErrKeysUnavailable) {
			t.Errorf("got %v", err)
		}
		if a.NotReady() == nil {
			t.Error("ready without the key set")
		}
	})
}

// A token of an issuer that is not configured is told nothing, and causes no fetch, unless one of ours signed it.
func TestUnknownIssuerIsToldOnlyToWhoHoldsTheKey(t *testing.T) {
	s, other := ecSigner("k"), ecSigner("k")
	k := &keyServer{}
	k.publish(s)
	withKeyServer(t, k, nil, func(t *testing.T, a *auth.Authenticator) {
		wrong := current()
		wrong["iss"] = "https://id.example.com"
		_, err := a.Authenticate(bearer(s.token(wrong)), "")
		wantInvalid(t, err, "iss is 'https://id.example.com', but its key is that of the issuer 'https://id.example.com/'")
		unknown := other
		unknown.kid = "unknown"
		for _, forged := range []signer{other, unknown} {
			_, err := a.Authenticate(bearer(forged.token(wrong)), "")
			wantInvalid(t, err, unverifiable)
			if strings.Contains(err.Error(), "example.com") {
				t.Errorf("got %v", err)
			}
		}
		if k.count() != 1 {
			t.Errorf("%d fetches", k.count())
		}
	})
}

func TestInsecureHostsAreThoseThatAreListed(t *testing.T) {
	options := func(jwks string) auth.Options {
		o := testOptions(newClock(), rsaSigner(""))
		o.Issuers[0].PublicKeyPEM, o.Issuers[0].JWKSURL = nil, jwks
		o.InsecureJWKSHosts = []string{"keycloak.auth.svc"}
		return o
	}
	for jwks, ok := range map[string]bool{
		"http://keycloak.auth.svc/jwks": true, "http://keycloak.auth.svc:8080/jwks": true, "https://elsewhere.example/jwks": true,
		"http://keycloak.auth.svc.evil.example/jwks": false, "http://x.keycloak.auth.svc/jwks": false, "http://evil.example/keycloak.auth.svc": false,
		"http://keycloak.auth.svc@evil.example/": false, "http://evil.example/jwks": false, "ftp://keycloak.auth.svc/jwks": false,
	} {
		if _, err := auth.New(options(jwks)); (err == nil) != ok {
			t.Errorf("%s: got %v", jwks, err)
		}
	}
}

// A discovery document that came over https, or from another machine, leads to no plain http address of ours.
func TestDiscoveryNeverLeadsToLoopback(t *testing.T) {
	s := ecSigner("k")
	for _, tt := range []struct {
		issuer, found string
		ok            bool
	}{
		{"http://keycloak.auth.svc", "http://keycloak.auth.svc/certs", true},
		{"http://keycloak.auth.svc", "https://keys.example/certs", true},
		{"http://keycloak.auth.svc", "http://127.0.0.1:9000/certs", false},
		{"http://keycloak.auth.svc", "http://localhost/certs", false},
		{"http://keycloak.auth.svc", "http://other.svc/certs", false},
		{"https://id.example.com", "http://keycloak.auth.svc/certs", false},
		{"http://127.0.0.1:1", "http://127.0.0.1:2/certs", true},
	} {
		k := &keyServer{}
		k.serve(tt.issuer+"/.well-known/openid-configuration", asJSON(map[string]any{"issuer": tt.issuer, "jwks_uri": tt.found}))
		k.serve(tt.found, set(s.jwk()))
		withKeyServer(t, k, func(o *auth.Options) {
			o.Issuers[0].Issuer, o.Issuers[0].JWKSURL = tt.issuer, ""
			o.InsecureJWKSHosts = []string{"keycloak.auth.svc"}
		}, func(t *testing.T, a *auth.Authenticator) {
			if ready := a.NotReady() == nil; ready != tt.ok {
				t.Errorf("%s leads to %s: ready %t, %q", tt.issuer, tt.found, ready, a.Degraded())
			}
			pass(time.Millisecond)
			synctest.Wait()
		})
	}
}

func TestKeysThatAreNotUsedAreTold(t *testing.T) {
	s := ecSigner("good")
	with := func(kid string, changes map[string]any) map[string]any {
		key := ecSigner(kid).jwk()
		for name, value := range changes {
			key[name] = value
		}
		return key
	}
	keys := []map[string]any{
		s.jwk(), with("enc", map[string]any{"use": "enc"}), with("alg", map[string]any{"alg": "ES384"}),
		with("curve", map[string]any{"crv": "secp256k1"}), with("private", map[string]any{"d": "AAAA"}), rsaSigner("rsa").jwk(), with("a\"\n", map[string]any{"kty": "AKP"}),
	}
	delete(keys[5], "alg")
	for _, tt := range []struct {
		name string
		keys []map[string]any
		ok   bool
	}{{"beside one that is", keys, true}, {"none is", keys[1:], false}} {
		k := &keyServer{}
		k.serve(jwksURL, set(tt.keys...))
		a := newAuth(t, auth.Options{
			Issuers:    []auth.Issuer{{Issuer: "https://id.example.com/", Audience: []string{"tiles"}, Algorithms: []string{"ES256"}, JWKSURL: jwksURL}},
			HTTPClient: &http.Client{Transport: k},
		})
		status := a.FetchKeySets(t.Context())[0]
		if (status.Err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, status.Err)
		}
		var got []string
		for _, key := range status.Ignored {
			got = append(got, key.ID+": "+key.Reason)
		}
		want := []string{
			"enc: it is not for signatures (use)", "alg: its alg is none of the issuer's algorithms in the configuration",
			"curve: its curve is not P-256, P-384 or P-521", "private: it is a secret or private key: everybody who can read the set could sign",
			"rsa: it fits none of the issuer's algorithms in the configuration, or is weak", "a??: its kty is not RSA, EC or OKP",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
