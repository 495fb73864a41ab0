package issuer_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"tilegate/internal/issuer"
)

// start returns an issuer that listens.
func start(t *testing.T, opt issuer.Options) (*issuer.Issuer, string) {
	t.Helper()
	iss, err := issuer.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(iss.Handler())
	t.Cleanup(server.Close)
	iss.SetURL(server.URL)
	return iss, server.URL
}

func fetch(ctx context.Context, t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// keyIDs are those of the published set, which a JWKS library of other people's reads.
func keyIDs(t *testing.T, url string) []string {
	t.Helper()
	_, body := fetch(t.Context(), t, url+"/jwks.json")
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal([]byte(body), &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.KID)
	}
	slices.Sort(ids)
	return ids
}

func TestTokenIsVerifiedByThePublishedKeys(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	iss, url := start(t, issuer.Options{Clock: func() time.Time { return now }})
	_, body := fetch(t.Context(), t, url+"/jwks.json")
	set := jwkset.NewMemoryStorage()
	var marshalled jwkset.JWKSMarshal
	if err := json.Unmarshal([]byte(body), &marshalled); err != nil {
		t.Fatal(err)
	}
	for _, raw := range marshalled.Keys {
		k, err := jwkset.NewJWKFromMarshal(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := set.KeyWrite(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			token, err := iss.Token(algorithm, map[string]any{"sub": "ada", "aud": "tiles", "iat": nil})
			if err != nil {
				t.Fatal(err)
			}
			claims := jwt.MapClaims{}
			_, err = jwt.ParseWithClaims(token, claims, func(parsed *jwt.Token) (any, error) {
				k, err := set.KeyRead(t.Context(), parsed.Header["kid"].(string))
				return k.Key(), err
			}, jwt.WithValidMethods([]string{algorithm}), jwt.WithIssuer(url), jwt.WithTimeFunc(func() time.Time { return now }))
			if err != nil {
				t.Fatal(err)
			}
			if claims["sub"] != "ada" || claims["exp"] != float64(now.Add(time.Hour).Unix()) {
				t.Errorf("got claims %v", claims)
			}
			if _, there := claims["iat"]; there {
				t.Error("a nil claim is in the token")
			}
		})
	}
	if _, err := iss.Token("HS256", nil); !errors.Is(err, issuer.ErrUnknownAlgorithm) {
		t.Errorf("got %v, want ErrUnknownAlgorithm", err)
	}
}

func TestDiscoveryNamesIssuerAndKeySet(t *testing.T) {
	_, url := start(t, issuer.Options{})
	_, body := fetch(t.Context(), t, url+"/.well-known/openid-configuration")
	var got struct {
		Issuer  string
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Issuer != url || got.JWKSURI != url+"/jwks.json" {
		t.Errorf("got %+v, want issuer %s", got, url)
	}
}

func TestRotationKeepsTheOldKeyUntilItIsRemoved(t *testing.T) {
	iss, url := start(t, issuer.Options{})
	old, err := iss.KeyID("ES256")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := iss.Rotate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	if got := keyIDs(t, url); !slices.Contains(got, old) || !slices.Contains(got, fresh) {
		t.Errorf("got keys %q, want %q and %q among them", got, old, fresh)
	}
	iss.Remove(old)
	if got := keyIDs(t, url); slices.Contains(got, old) || !slices.Contains(got, fresh) {
		t.Errorf("got keys %q, want %q but not %q among them", got, fresh, old)
	}
	if now, err := iss.KeyID("ES256"); err != nil || now != fresh {
		t.Errorf("signs with %q, %v, want %q", now, err, fresh)
	}
}

func TestFailAndHang(t *testing.T) {
	iss, url := start(t, issuer.Options{})
	iss.Fail(http.StatusServiceUnavailable)
	if response, _ := fetch(t.Context(), t, url+"/jwks.json"); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %d, want 503", response.StatusCode)
	}
	iss.Fail(0)

	gate := make(chan struct{})
	iss.Hang(gate)
	answered := make(chan int)
	go func() {
		response, _ := fetch(context.Background(), t, url+"/jwks.json")
		answered <- response.StatusCode
	}()
	gate <- struct{}{} // taken only by a request that hangs
	if got := <-answered; got != http.StatusOK {
		t.Errorf("got %d, want 200", got)
	}
	if got := iss.Requests("/jwks.json"); got != 2 {
		t.Errorf("got %d requests, want 2", got)
	}
}

func TestAccounts(t *testing.T) {
	const page = "http://127.0.0.1:8080"
	_, url := start(t, issuer.Options{Origin: page, Accounts: map[string]map[string]any{"ada": {"sub": "ada", "tilesets": []string{"basemap"}}}})
	response, body := fetch(t.Context(), t, url+"/token?account=ada")
	var got struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Expires int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(got.Token, claims); err != nil {
		t.Fatal(err)
	}
	if got.Type != "Bearer" || got.Expires != 3600 || claims["sub"] != "ada" {
		t.Errorf("got %+v with claims %v", got, claims)
	}
	if allowed := response.Header.Get("Access-Control-Allow-Origin"); allowed != page {
		t.Errorf("CORS admits %q, want %q alone", allowed, page)
	}
	if response, _ := fetch(t.Context(), t, url+"/token?account=eve"); response.StatusCode != http.StatusNotFound {
		t.Errorf("unknown account: got %d, want 404", response.StatusCode)
	}
}

func TestNewRefusesWhatIsNoURL(t *testing.T) {
	for _, opt := range []issuer.Options{{URL: "id.example.com"}, {Origin: "/page"}} {
		if _, err := issuer.New(opt); err == nil {
			t.Errorf("%+v: got no error", opt)
		}
	}
}
