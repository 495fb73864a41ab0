package auth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
)

const unverifiable = "cannot be verified"

type attack struct {
	name string
	make func(s signer) string
	want string // in the description
}

// forged tokens are refused before anything of what they claim is believed or told.
var forged = []attack{
	{"empty", func(signer) string { return "" }, "malformed"},
	{"alg none without signature", func(signer) string {
		return raw(`{"alg":"none"}`, asJSON(claims(nil))) + "."
	}, "malformed"},
	{"alg none with a signature", func(s signer) string { return s.sign(`{"alg":"none"}`, asJSON(claims(nil))) }, unverifiable},
	{"alg None", func(s signer) string { return s.sign(`{"alg":"None"}`, asJSON(claims(nil))) }, unverifiable},
	{"alg in another case", func(s signer) string { return s.sign(`{"alg":"rs256"}`, asJSON(claims(nil))) }, unverifiable},
	{"alg missing", func(s signer) string { return s.sign(`{}`, asJSON(claims(nil))) }, "alg"},
	{"alg null", func(s signer) string { return s.sign(`{"alg":null}`, asJSON(claims(nil))) }, "alg"},
	{"alg as a case variant of the name", func(s signer) string { return s.sign(`{"Alg":"RS256"}`, asJSON(claims(nil))) }, "alg"},
	{"HMAC keyed with the public key", func(s signer) string {
		signed := raw(`{"alg":"HS256"}`, asJSON(claims(nil)))
		mac := hmac.New(sha256.New, s.pem())
		mac.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}, unverifiable},
	{"an algorithm that is not listed", func(s signer) string {
		s.alg = "RS512"
		return s.token(claims(nil))
	}, unverifiable},
	{"PS256 with an RS256 key", func(s signer) string {
		s.alg = "PS256"
		return s.token(claims(nil))
	}, unverifiable},
	{"another's key", func(s signer) string {
		s.private = rsaTwo()
		return s.token(claims(nil))
	}, unverifiable},
	{"payload changed", func(s signer) string {
		parts := strings.Split(s.token(claims(nil)), ".")
		parts[1] = base64.RawURLEncoding.EncodeToString([]byte(asJSON(claims(map[string]any{"sub": "root"}))))
		return strings.Join(parts, ".")
	}, unverifiable},
	{"header changed", func(s signer) string {
		parts := strings.Split(s.token(claims(nil)), ".")
		parts[0] = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`))
		return strings.Join(parts, ".")
	}, unverifiable},
	{"signature cut off", func(s signer) string { return raw(s.header(), asJSON(claims(nil))) + "." }, "not signed"},
	{"signature empty but expired claims told", func(s signer) string {
		return raw(s.header(), asJSON(claims(map[string]any{"exp": 1}))) + ".AAAA"
	}, unverifiable},
	{"crit", func(s signer) string {
		return s.sign(`{"alg":"RS256","crit":["exp"],"exp":1}`, asJSON(claims(nil)))
	}, "crit"},
	{"crit that is empty", func(s signer) string { return s.sign(`{"alg":"RS256","crit":[]}`, asJSON(claims(nil))) }, "crit"},
	{"b64 false", func(s signer) string { return s.sign(`{"alg":"RS256","b64":false}`, asJSON(claims(nil))) }, "b64"},
	{"b64 true", func(s signer) string { return s.sign(`{"alg":"RS256","b64":true}`, asJSON(claims(nil))) }, "b64"},
	{"own key in jwk, signed with it", func(s signer) string {
		own := s
		own.private = rsaTwo()
		return own.sign(`{"alg":"RS256","jwk":`+asJSON(own.jwk())+`}`, asJSON(claims(nil)))
	}, unverifiable},
	{"kid not a string", func(s signer) string { return s.sign(`{"alg":"RS256","kid":7}`, asJSON(claims(nil))) }, "kid"},
	{"kid null", func(s signer) string { return s.sign(`{"alg":"RS256","kid":null}`, asJSON(claims(nil))) }, "kid"},
	{"kid empty", func(s signer) string { return s.sign(`{"alg":"RS256","kid":""}`, asJSON(claims(nil))) }, "kid"},
	{"typ of another kind of token", func(s signer) string { return s.sign(`{"alg":"RS256","typ":"dpop+jwt"}`, asJSON(claims(nil))) }, "typ"},
	{"typ of a logout token", func(s signer) string { return s.sign(`{"alg":"RS256","typ":"logout+jwt"}`, asJSON(claims(nil))) }, "typ"},
	{"typ null", func(s signer) string { return s.sign(`{"alg":"RS256","typ":null}`, asJSON(claims(nil))) }, "typ"},
	{"header member twice", func(s signer) string { return s.sign(`{"alg":"RS256","alg":"RS256"}`, asJSON(claims(nil))) }, "header"},
	{"header member twice, one escaped", func(s signer) string { return s.sign(`{"alg":"none","\u0061lg":"RS256"}`, asJSON(claims(nil))) }, "header"},
	{"claim twice", func(s signer) string {
		return s.sign(s.header(), strings.Replace(asJSON(claims(nil)), `{`, `{"tilesets":["*"],`, 1))
	}, "payload"},
	{"claim twice deep inside", func(s signer) string {
		return s.sign(s.header(), strings.Replace(asJSON(claims(nil)), `{`, `{"x":[{"y":{"a":1,"a":2}}],`, 1))
	}, "payload"},
	{"claims that differ by a lone surrogate", func(s signer) string {
		return s.sign(s.header(), strings.Replace(asJSON(claims(nil)), `{`, `{"\ud800":1,`, 1))
	}, "payload"},
	{"data after the payload", func(s signer) string { return s.sign(s.header(), asJSON(claims(nil))+`{}`) }, "payload"},
	{"data after the header", func(s signer) string { return s.sign(s.header()+`x`, asJSON(claims(nil))) }, "header"},
	{"payload an array", func(s signer) string { return s.sign(s.header(), `[`+asJSON(claims(nil))+`]`) }, "payload"},
	{"payload empty", func(s signer) string { return s.sign(s.header(), ``) }, "payload"},
	{"payload null", func(s signer) string { return s.sign(s.header(), `null`) }, "payload"},
	{"payload not UTF-8", func(s signer) string {
		return s.sign(s.header(), strings.Replace(asJSON(claims(nil)), "alice", "ali\xff", 1))
	}, "payload"},
	{"payload with a byte order mark", func(s signer) string { return s.sign(s.header(), "\ufeff"+asJSON(claims(nil))) }, "payload"},
	{"payload nested without end", func(s signer) string {
		return s.sign(s.header(), strings.Replace(asJSON(claims(nil)), `{`, `{"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,`, 1))
	}, "payload"},
	{"payload of thousands of values", func(s signer) string { return s.token(claims(map[string]any{"x": make([]int, 2000)})) }, "payload"},
	{"header an array", func(s signer) string { return s.sign(`["RS256"]`, asJSON(claims(nil))) }, "header"},
	{"padding", func(s signer) string { return s.token(claims(nil)) + "=" }, "base64url"},
	{"stray bits", func(s signer) string {
		token := s.token(claims(nil)) // 256 bytes: the last character carries four bits that count
		last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", token[len(token)-1])
		return token[:len(token)-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last|1])
	}, "base64url"},
	{"standard alphabet", func(s signer) string {
		parts := strings.Split(s.sign(s.header(), asJSON(claims(map[string]any{"x": "???>>>~~~"}))), ".")
		std, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			panic(err)
		}
		return parts[0] + "." + base64.RawStdEncoding.EncodeToString(std) + "+/." + parts[2]
	}, "base64url"},
	{"line break inside", func(s signer) string { return strings.Replace(s.token(claims(nil)), ".", "\n.", 1) }, "base64url"},
	{"space inside", func(s signer) string { return strings.Replace(s.token(claims(nil)), ".", " .", 1) }, "base64url"},
	{"nothing", func(signer) string { return "" }, "it is empty"},
	{"two segments", func(s signer) string { return raw(s.header(), asJSON(claims(nil))) }, "three segments"},
	{"four segments", func(s signer) string { return s.token(claims(nil)) + ".AAAA" }, "three segments"},
	{"five segments, a JWE", func(s signer) string { return s.token(claims(nil)) + ".AAAA.AAAA" }, "three segments"},
	{"JSON serialization", func(s signer) string {
		parts := strings.Split(s.token(claims(nil)), ".")
		return `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`
	}, "three segments"},
	{"over 8 KiB", func(s signer) string { return s.token(claims(map[string]any{"x": strings.Repeat("x", 8<<10)})) }, "8 KiB"},
	{"our own issuer's name with an issuer's key", func(s signer) string { return s.token(claims(map[string]any{"iss": "tilegate"})) }, unverifiable},
}

// dishonest tokens are signed by the issuer's key, and still refused; now the reason can be told.
var dishonest = []attack{
	{"another issuer", withClaims(map[string]any{"iss": "https://id.example.com"}), "iss is 'https://id.example.com', but its key is that of the issuer 'https://id.example.com/'"},
	{"issuer with quotes and a line break", withClaims(map[string]any{"iss": "a\"\r\nb\\é"}), "iss is 'a???b??'"},
	{"issuer missing", withClaims(map[string]any{"iss": nil}), "no iss"},
	{"issuer an array", withClaims(map[string]any{"iss": []string{"https://id.example.com/"}}), "iss must be a string, not an array"},
	{"issuer as a case variant of the name", withClaims(map[string]any{"iss": nil, "ISS": "https://id.example.com/"}), "no iss"},
	{"exp missing", withClaims(map[string]any{"exp": nil}), "no exp"},
	{"exp a string", withClaims(map[string]any{"exp": "1795000000"}), "exp must be a number"},
	{"exp null", withClaims(map[string]any{"exp": null}), "exp must be a number"},
	{"exp beyond all numbers", withClaims(map[string]any{"exp": jsonNumber("1e999")}), "exp must be a number"},
	{"exp beyond all years", withClaims(map[string]any{"exp": jsonNumber("1e18")}), "exp must be a number"},
	{"exp negative", withClaims(map[string]any{"exp": -1}), "exp must be a number"},
	{"exp as a case variant of the name", withClaims(map[string]any{"exp": nil, "Exp": start.Add(time.Hour).Unix()}), "no exp"},
	{"expired", withClaims(map[string]any{"exp": start.Add(-42 * time.Second).Unix()}), "expired 42s ago"},
	{"expired at the end of the leeway", withClaims(map[string]any{"exp": jsonNumber("1795348954.5")}), "expired 30s ago"},
	{"nbf in the future", withClaims(map[string]any{"nbf": start.Add(time.Minute).Unix()}), "not valid before"},
	{"nbf a string", withClaims(map[string]any{"nbf": "0"}), "nbf must be a number"},
	{"iat in the future", withClaims(map[string]any{"iat": start.Add(time.Minute).Unix()}), "issued in the future"},
	{"iat a string", withClaims(map[string]any{"iat": "0"}), "iat must be a number"},
	{"lifetime over the maximum", withClaims(map[string]any{"exp": start.Add(24*time.Hour + time.Second).Unix()}), "longer than the 24h0m0s"},
	{"lifetime over the maximum, from an old iat", withClaims(map[string]any{"iat": start.Add(-23*time.Hour - 30*time.Minute).Unix()}), "longer than the 24h0m0s"},
	{"lifetime over the maximum, iat left out", withClaims(map[string]any{"iat": nil, "exp": start.Add(25 * time.Hour).Unix()}), "longer than the 24h0m0s"},
	{"aud missing", withClaims(map[string]any{"aud": nil}), "aud"},
	{"aud another's", withClaims(map[string]any{"aud": "tile"}), "another audience"},
	{"aud in another case", withClaims(map[string]any{"aud": "Tiles"}), "another audience"},
	{"aud empty", withClaims(map[string]any{"aud": []string{}}), "another audience"},
	{"aud with a number in it", withClaims(map[string]any{"aud": []any{"tiles", 1}}), "aud must be"},
	{"aud null", withClaims(map[string]any{"aud": null}), "aud must be"},
	{"aud an object", withClaims(map[string]any{"aud": map[string]any{"tiles": true}}), "aud must be"},
	{"sub a number", withClaims(map[string]any{"sub": 7}), "sub must be"},
	{"sub with a line break, for the log", withClaims(map[string]any{"sub": "a\nlevel=INFO"}), "sub must be"},
	{"sub too long", withClaims(map[string]any{"sub": strings.Repeat("x", 256)}), "sub must be"},
	{"jti null", withClaims(map[string]any{"jti": null}), "jti must be"},
	{"tilesets null", withClaims(map[string]any{"tilesets": null}), "tilesets claim"},
	{"tilesets an object", withClaims(map[string]any{"tilesets": map[string]any{}}), "tilesets claim"},
	{"tilesets with a null", withClaims(map[string]any{"tilesets": []any{"a", null}}), "entry 2 of tilesets must be a string, not null"},
	{"tilesets with a path", withClaims(map[string]any{"tilesets": []string{"../roads"}}), "entry 1 is not"},
	{"tilesets in upper case", withClaims(map[string]any{"tilesets": "roads Basemap"}), "entry 2 is not"},
	{"tilesets between tabs", withClaims(map[string]any{"tilesets": "roads\tbasemap"}), "entry 1 is not"},
	{"tilesets with a question mark glob", withClaims(map[string]any{"tilesets": []string{"road?"}}), "entry 1 is not"},
	{"tilesets without end", withClaims(map[string]any{"tilesets": strings.Repeat("a ", 257)}), "at most 256"},
	{"scope null", withClaims(map[string]any{"scope": null}), "scope must be"},
	{"scope a number", withClaims(map[string]any{"scope": 7}), "scope must be a string of entries between spaces, or an array of strings, not a number"},
	{"scope with a number in it", withClaims(map[string]any{"scope": []any{"tiles:roads", 7}}), "entry 2 of scope must be a string"},
	{"scope an array with nothing after the prefix", withClaims(map[string]any{"scope": []string{"tiles:"}}), "entry 2 is not"},
	{"scp null", withClaims(map[string]any{"scp": null}), "scp must be"},
	{"scp an object", withClaims(map[string]any{"scp": map[string]any{"tiles:roads": true}}), "scp must be"},
	{"scope with nothing after the prefix", withClaims(map[string]any{"scope": "tiles:"}), "entry 2 is not"},
	{"zoom null", withClaims(map[string]any{"zoom": null}), "zoom claim"},
	{"zoom a number", withClaims(map[string]any{"zoom": 7}), "zoom claim"},
	{"zoom a single one", withClaims(map[string]any{"zoom": "7"}), "zoom claim"},
	{"zoom reversed", withClaims(map[string]any{"zoom": "7-3"}), "zoom claim"},
	{"zoom with zeros", withClaims(map[string]any{"zoom": "00-7"}), "zoom claim"},
	{"zoom with a sign", withClaims(map[string]any{"zoom": "+0-7"}), "zoom claim"},
	{"zoom with spaces", withClaims(map[string]any{"zoom": "0 - 7"}), "zoom claim"},
	{"zoom too deep", withClaims(map[string]any{"zoom": "0-31"}), "zoom claim"},
	{"bbox null", withClaims(map[string]any{"bbox": null}), "bbox claim"},
	{"bbox a string", withClaims(map[string]any{"bbox": "0,0,1,1"}), "bbox claim"},
	{"bbox of three", withClaims(map[string]any{"bbox": []any{0, 0, 1}}), "bbox claim"},
	{"bbox of six", withClaims(map[string]any{"bbox": []any{0, 0, 0, 1, 1, 1}}), "bbox claim"},
	{"bbox with a string", withClaims(map[string]any{"bbox": []any{0, 0, 1, "1"}}), "bbox claim"},
	{"bbox out of range", withClaims(map[string]any{"bbox": []any{-181, 0, 1, 1}}), "bbox claim"},
	{"bbox upside down", withClaims(map[string]any{"bbox": []any{0, 1, 1, 0}}), "bbox claim"},
	{"bbox without width", withClaims(map[string]any{"bbox": []any{1, 0, 1, 1}}), "bbox claim"},
	{"bbox without height", withClaims(map[string]any{"bbox": []any{0, 1, 1, 1}}), "bbox claim"},
	{"bbox between the two names of one meridian", withClaims(map[string]any{"bbox": []any{180, 0, -180, 1}}), "bbox claim"},
	{"bbox with a number beyond all numbers", withClaims(map[string]any{"bbox": []any{0, 0, 1, jsonNumber("1e999")}}), "bbox claim"},
}

func raw(header, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(payload))
}

func withClaims(changes map[string]any) func(signer) string {
	return func(s signer) string { return s.token(claims(changes)) }
}

type jsonNumber string

func (n jsonNumber) MarshalJSON() ([]byte, error) { return []byte(n), nil }

func TestForgedTokenIsRefused(t *testing.T) {
	a, _, s := standard(t)
	for _, attack := range forged {
		t.Run(attack.name, func(t *testing.T) {
			_, err := a.Authenticate(bearer(attack.make(s)), "")
			wantInvalid(t, err, attack.want)
			for _, claimed := range []string{"expired", "alice", "root", "audience"} {
				if strings.Contains(err.Error(), claimed) {
					t.Errorf("error %q tells what an unverified token says", err)
				}
			}
		})
	}
	if tokens, _ := a.Verified(); tokens != 0 {
		t.Errorf("%d refused tokens are in the cache", tokens)
	}
}

func TestDishonestTokenIsRefused(t *testing.T) {
	a, _, s := standard(t)
	for _, attack := range dishonest {
		t.Run(attack.name, func(t *testing.T) {
			token := attack.make(s)
			_, err := a.Authenticate(bearer(token), "")
			wantInvalid(t, err, attack.want)

			// The same without a good signature is told nothing about itself.
			dot := strings.LastIndexByte(token, '.') + 1
			other := "A"
			if token[dot] == 'A' {
				other = "B"
			}
			_, err = a.Authenticate(bearer(token[:dot]+other+token[dot+1:]), "")
			wantInvalid(t, err, unverifiable)
		})
	}
	if tokens, _ := a.Verified(); tokens != 0 {
		t.Errorf("%d refused tokens are in the cache", tokens)
	}
}

func TestHonestTokenIsAccepted(t *testing.T) {
	a, _, s := standard(t)
	for _, tt := range []struct {
		name  string
		token string
	}{
		{"plain", s.token(claims(nil))},
		{"without typ", s.sign(`{"alg":"RS256"}`, asJSON(claims(nil)))},
		{"typ in lower case", s.sign(`{"alg":"RS256","typ":"jwt"}`, asJSON(claims(nil)))},
		{"typ of RFC 9068", s.sign(`{"alg":"RS256","typ":"at+jwt"}`, asJSON(claims(nil)))},
		{"typ of RFC 9068 in full", s.sign(`{"alg":"RS256","typ":"application/at+JWT"}`, asJSON(claims(nil)))},
		{"any kid, since there is one key", s.sign(`{"alg":"RS256","kid":"whatever"}`, asJSON(claims(nil)))},
		{"typ of RFC 7519 in full", s.sign(`{"alg":"RS256","typ":"application/JWT"}`, asJSON(claims(nil)))},
		{"a certificate in x5c", s.sign(`{"alg":"RS256","x5c":["AAAA"]}`, asJSON(claims(nil)))},
		{"scope an array", s.token(claims(map[string]any{"scope": []string{"openid", "tiles:roads"}}))},
		{"unknown header member", s.sign(`{"alg":"RS256","x5t":"AAAA"}`, asJSON(claims(nil)))},
		{"expired within the leeway", s.token(claims(map[string]any{"exp": start.Add(-29 * time.Second).Unix()}))},
		{"nbf within the leeway", s.token(claims(map[string]any{"nbf": start.Add(29 * time.Second).Unix()}))},
		{"iat within the leeway", s.token(claims(map[string]any{"iat": start.Add(29 * time.Second).Unix()}))},
		{"without iat, sub and jti", s.token(claims(map[string]any{"iat": nil, "sub": nil, "jti": nil}))},
		{"exp with a fraction", s.token(claims(map[string]any{"exp": float64(start.Unix()) + 60.25}))},
		{"exp with an exponent", s.token(claims(map[string]any{"exp": jsonNumber("1.7953521e9")}))},
		{"second audience of a list", s.token(claims(map[string]any{"aud": []string{"other", "maps"}}))},
		{"a case variant beside the claim", s.token(claims(map[string]any{"Exp": 1, "Aud": "other"}))},
		{"a surrogate pair", s.sign(s.header(), strings.Replace(asJSON(claims(nil)), `{`, `{"name":"\ud83d\uDDFA \\ud800",`, 1))},
		{"just under 8 KiB", s.token(claims(map[string]any{"x": strings.Repeat("x", 5500)}))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := a.Authenticate(bearer(tt.token), ""); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestIssuersNeverShareKeysOrGrants(t *testing.T) {
	c := newClock()
	one, two, secret := ecSigner("k"), ecSigner("k"), []byte("0123456789abcdef0123456789abcdef")
	issuer := func(name string, s signer) auth.Issuer {
		i := auth.Issuer{Issuer: name, Audience: []string{"tiles"}, Algorithms: []string{s.alg}, Allow: auth.Limits{Tilesets: []string{name + "-*"}}}
		if s.alg == "HS256" {
			i.Secret = secret
		} else {
			i.PublicKeyPEM = s.pem()
		}
		return i
	}
	a := newAuth(t, auth.Options{
		Issuers: []auth.Issuer{issuer("one", one), issuer("two", two), issuer("three", secretSigner(secret))},
		Clock:   c.Now, SigningKeys: [][]byte{secret},
	})
	everything := func(iss string) map[string]any {
		return claims(map[string]any{"iss": iss, "tilesets": []string{"*", "file:*"}})
	}
	g := authenticate(t, a, one.token(everything("one")))
	if !g.AdmitsTileset("one-roads") || g.AdmitsTileset("two-roads") || g.AdmitsTileset("one") || g.AdmitsFile("one-roads") {
		t.Error("issuer one grants something else than its allow")
	}
	authenticate(t, a, secretSigner(secret).token(everything("three")))
	for name, token := range map[string]string{
		"two's name, one's key":                      one.token(everything("two")),
		"one's name, the secret":                     secretSigner(secret).token(everything("one")),
		"three's name, one's key":                    one.token(everything("three")),
		"our own name, the signing key not derived":  secretSigner(secret).token(everything("tilegate")),
		"one's name, ES256 key said to be for HS256": signer{alg: "HS256", private: one.pem()}.token(everything("one")),
	} {
		_, err := a.Authenticate(bearer(token), "")
		var invalid *auth.InvalidError
		if !errors.As(err, &invalid) || !strings.Contains(invalid.Description, unverifiable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
