package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"tilegate/auth"
	"tilegate/configs"
	"tilegate/internal/issuer"
)

// identityRecipe is one section of docs/identity.md.
type identityRecipe struct{ name, token, config string }

func identityRecipes(t *testing.T) []identityRecipe {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "identity.md"))
	if err != nil {
		t.Fatal(err)
	}
	var recipes []identityRecipe
	section := regexp.MustCompile("(?s)^([^\n]+)\n.*?```json\n(.*?)```\n.*?```yaml\n(.*?)```")
	for _, text := range strings.Split(string(page), "\n## ")[1:] {
		if found := section.FindStringSubmatch(text); found != nil {
			recipes = append(recipes, identityRecipe{found[1], found[2], found[3]})
		} else if strings.Contains(text, "```") {
			t.Errorf("a section has snippets that no test runs:\n%.60s", text)
		}
	}
	return recipes
}

// providers is one server that has the names of all of them, and publishes the keys of one issuer everywhere.
type providers struct {
	keys   *issuer.Issuer
	client *http.Client
	caFile string // of the authority for the cluster's own host, which the client does not trust
}

func startProviders(t *testing.T) *providers {
	t.Helper()
	keys, err := issuer.New(issuer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	public, cluster := selfSignedFor(t, "auth0.com", "*.eu.auth0.com", "cognito-idp.eu-central-1.amazonaws.com", "login.microsoftonline.com", "accounts.google.com",
		"login.example.com", "acme.okta.com", "*.supabase.co", "www.googleapis.com", "*.zitadel.cloud"), selfSignedFor(t, "kubernetes.default.svc")
	p := &providers{keys: keys}
	server := httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if strings.HasPrefix(hello.ServerName, "kubernetes.") {
			return &cluster, nil
		}
		return &public, nil
	}}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(public.Leaf)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, server.Listener.Addr().String())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	p.client = &http.Client{Transport: transport}
	p.caFile = writeFile(t, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Leaf.Raw})))
	return p
}

// serve answers discovery for the issuer whose path it is under, and anything else with the keys.
func (p *providers) serve(w http.ResponseWriter, r *http.Request) {
	if path, ok := strings.CutSuffix(r.URL.Path, "/.well-known/openid-configuration"); ok {
		name := "https://" + r.Host + path
		if strings.HasSuffix(r.Host, "auth0.com") {
			name += "/" // as Auth0 does
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": name, "jwks_uri": "https://" + r.Host + "/keys"})
		return
	}
	r.URL.Path = "/jwks.json"
	p.keys.Handler().ServeHTTP(w, r)
}

func selfSignedFor(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Each provider's token becomes the grant that docs/identity.md says, by the configuration that stands there.
func TestIdentityRecipes(t *testing.T) {
	const secret = "the-project's-shared-secret-of-32-bytes-or-more"
	p := startProviders(t)
	recipes := identityRecipes(t)
	if len(recipes) != 10 {
		t.Errorf("docs/identity.md has %d recipes, want 10", len(recipes))
	}
	for _, recipe := range recipes {
		t.Run(recipe.name, func(t *testing.T) {
			if lines := strings.Count(recipe.config, "\n"); lines > 10 {
				t.Errorf("the configuration has %d lines", lines)
			}
			file := strings.ReplaceAll(recipe.config, "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", p.caFile) +
				"tilesets: {acme-roads: {source: 's3://acme/{z}/{x}/{y}.png'}, secret: {source: 's3://acme/s/{z}/{x}/{y}.png'}}\n"
			config, err := configs.Parse("tilegate.yaml", []byte(file), func(name string) (string, bool) { return secret, name == "SUPABASE_JWT_SECRET" })
			if err != nil {
				t.Fatal(err)
			}
			options := config.AuthOptions()
			options.HTTPClient = p.client
			a, err := auth.New(options)
			if err != nil {
				t.Fatal(err)
			}
			if status := a.FetchKeySets(t.Context()); len(status) != 1 || status[0].Err != nil || status[0].Keys != 1 {
				t.Fatalf("the key set: %+v", status)
			}
			var claims map[string]any
			d := json.NewDecoder(bytes.NewReader([]byte(recipe.token)))
			d.UseNumber()
			if err := d.Decode(&claims); err != nil {
				t.Fatal(err)
			}
			move(t, claims)
			tokens := map[string]string{}
			for _, algorithm := range config.Auth.Issuers[0].Algorithms {
				var token string
				if algorithm == "HS256" {
					token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(claims)).SignedString([]byte(secret))
				} else {
					token, err = p.keys.Token(algorithm, claims)
				}
				if err != nil {
					t.Fatal(err)
				}
				tokens[algorithm] = token
			}
			for algorithm, token := range tokens {
				g, err := ask(a, token)
				if err != nil {
					t.Fatalf("%s: %v", algorithm, err)
				}
				if g.Subject != claims["sub"] || !g.Admits("acme-roads", 12, 2200, 1400) || g.Admits("acme-roads", 13, 4400, 2800) || g.Admits("secret", 3, 4, 2) || g.AdmitsFile("secret") {
					t.Errorf("%s: got the grant %+v", algorithm, g)
				}
			}
			p.refuses(t, a, claims, config.Auth.Issuers[0])
		})
	}
}

// refuses checks that what the recipe relies on is needed: the audience, and the role.
func (p *providers) refuses(t *testing.T, a *auth.Authenticator, claims map[string]any, i configs.Issuer) {
	t.Helper()
	algorithm := i.Algorithms[0]
	audience := "aud"
	if len(i.AudienceClaims) > 0 {
		audience = i.AudienceClaims[0]
	}
	other := copyOf(t, claims)
	other[audience] = "another-audience"
	if token, err := p.keys.Token(algorithm, other); err != nil {
		t.Fatal(err)
	} else if _, err := ask(a, token); err == nil {
		t.Error("a token for another audience is accepted")
	}
	for name := range i.Roles {
		text, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		without := map[string]any{}
		if err := json.Unmarshal(bytes.ReplaceAll(text, []byte(`"`+name+`"`), []byte(`"some-other-role"`)), &without); err != nil {
			t.Fatal(err)
		}
		token, err := p.keys.Token(algorithm, without)
		if err != nil {
			t.Fatal(err)
		}
		if g, err := ask(a, token); err != nil || g.AdmitsTileset("acme-roads") || len(g.Tilesets) > 0 {
			t.Errorf("without the role: got %+v, %v", g, err)
		}
	}
}

// move moves the dates of claims to now.
func move(t *testing.T, claims map[string]any) {
	t.Helper()
	then, err := claims["iat"].(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"iat", "nbf", "exp", "auth_time"} {
		if number, ok := claims[name].(json.Number); ok {
			at, err := number.Int64()
			if err != nil {
				t.Fatal(err)
			}
			claims[name] = time.Now().Unix() + at - then
		}
	}
}

func copyOf(t *testing.T, claims map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	var same map[string]any
	if err := json.Unmarshal(text, &same); err != nil {
		t.Fatal(err)
	}
	return same
}

func ask(a *auth.Authenticator, token string) (*auth.Grant, error) {
	r := &http.Request{Header: http.Header{"Authorization": {"Bearer " + token}}, URL: &url.URL{Path: "/"}}
	return a.Authenticate(r, "")
}
