package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

const loginCallback = "/login/callback"

// front is where browsers find tilegate. Its address has to be registered at the provider, and so has to be known before tilegate starts.
type front struct {
	url string
	at  atomic.Pointer[url.URL] // tilegate
}

// newFront serves http, or https where there is a certificate.
func newFront(t *testing.T, certificate *keyPair) *front {
	t.Helper()
	f := new(front)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(f.at.Load())
		r.Out.Host = r.In.Host
	}}
	if certificate != nil {
		f.url = serveTLS(t, proxy, *certificate).URL
		return f
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

// loginClient is tilegate's registration at the provider.
type loginClient struct{ id, secret string }

// loginConfig is what an operator writes. The provider's access tokens are opaque, so that the grant is that of the ID token.
func loginConfig(t *testing.T, bucket *fakeaws.Server, issuer, publicURL string, c loginClient, sessionTTL string) (file string) {
	t.Helper()
	key, _, _ := command(t, "keygen")
	secret := ""
	if c.secret != "" {
		secret = "client_secret: {env: OIDC_SECRET}, "
	}
	return writeFile(t, "tilegate.yaml", fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: "", public_url: %[1]q}
aws: {endpoint: %[2]q, sts_endpoint: %[2]q, path_style: true, role: {arn: %[3]q}}
auth:
  signing_keys: [{file: %[4]q}]
  session: {ttl: %[8]s}
  issuers:
    - issuer: %[5]q
      audience: [%[6]q]
      algorithms: [RS256]
      claims: {tilesets: /custom_claim/client}
      roles: {%[6]s: {tilesets: [colours]}}
  login: {issuer: %[5]q, client_id: %[6]q, %[7]sscopes: [openid, offline_access, custom_scope]}
tilesets:
  colours: {source: "s3://tiles/world/{z}/{x}/{y}.png", minzoom: 4, maxzoom: 4, name: Colours}
  other: {source: "s3://tiles/world/{z}/{x}/{y}.png"}
`, publicURL, bucket.URL(), testRole, writeFile(t, "tilegate.key", key), issuer, c.id, secret, sessionTTL))
}

// visitor is a browser: it has cookies, follows redirections, and fills in the provider's form.
type visitor struct {
	t      *testing.T
	client *http.Client
	base   string // of tilegate
	hold   bool   // stop before the callback
}

// serveAt starts a tilegate that answers at the front.
func serveAt(t *testing.T, f *front, env []string, config string) *program {
	t.Helper()
	server, _ := start(t, env, "serve", "-c", config)
	at, err := url.Parse(server.url)
	if err != nil {
		t.Fatal(err)
	}
	f.at.Store(at)
	return server
}

func newVisitor(t *testing.T, base string, transport http.RoundTripper) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, base: base}
	v.client = &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if v.hold && r.URL.Path == loginCallback {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return v
}

// page is an answer in the end of all redirections, or the redirection to a callback that is held back.
type page struct {
	status   int
	at       *url.URL
	location string
	body     string
}

func (v *visitor) send(method, to string, form url.Values) page {
	v.t.Helper()
	if strings.HasPrefix(to, "/") {
		to = v.base + to
	}
	r, err := http.NewRequestWithContext(v.t.Context(), method, to, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return page{answer.StatusCode, answer.Request.URL, answer.Header.Get("Location"), string(body)}
}

func (v *visitor) get(to string) page { v.t.Helper(); return v.send(http.MethodGet, to, nil) }

var (
	formAction = regexp.MustCompile(`<form method="POST" action="([^"]+)"`)
	formID     = regexp.MustCompile(`<input type="hidden" name="id" value="([^"]+)"`)
)

// fillIn sends the provider's form.
func (v *visitor) fillIn(form page, password string) page {
	v.t.Helper()
	action, id := formAction.FindStringSubmatch(form.body), formID.FindStringSubmatch(form.body)
	if form.status != http.StatusOK || action == nil || id == nil {
		v.t.Fatalf("no form at %s: %d %s", form.at, form.status, form.body)
	}
	to := form.at.ResolveReference(&url.URL{Path: action[1]})
	return v.send(http.MethodPost, to.String(), url.Values{"username": {testenv.OIDCUser}, "password": {password}, "id": {id[1]}})
}

// callback signs in up to the callback, which it returns instead of visiting it.
func (v *visitor) callback() string {
	v.t.Helper()
	v.hold = true
	defer func() { v.hold = false }()
	got := v.fillIn(v.get("/login"), testenv.OIDCPassword)
	if !strings.HasPrefix(got.location, v.base+loginCallback+"?") {
		v.t.Fatalf("the provider answers %d %q %s", got.status, got.location, got.body)
	}
	return got.location
}

// who is the subject of the session and its tilesets, "" for none.
func (v *visitor) who() string {
	v.t.Helper()
	got := v.get("/session")
	if got.status == http.StatusUnauthorized {
		return ""
	}
	var s struct {
		Subject  string
		Tilesets []string
	}
	if err := json.Unmarshal([]byte(got.body), &s); err != nil || got.status != http.StatusOK {
		v.t.Fatalf("/session: %d %s", got.status, got.body)
	}
	return fmt.Sprint(s.Subject, s.Tilesets)
}

// cookies are those that tilegate gets, without the prefix that they have with https.
func (v *visitor) cookies() map[string]string {
	v.t.Helper()
	u, err := url.Parse(v.base)
	if err != nil {
		v.t.Fatal(err)
	}
	all := map[string]string{}
	for _, c := range v.client.Jar.Cookies(u) {
		all[strings.TrimPrefix(c.Name, "__Host-")] = c.Value
	}
	return all
}

// forget deletes the session's cookie, as a browser does when the session has expired.
func (v *visitor) forget() {
	v.t.Helper()
	u, err := url.Parse(v.base)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(u) {
		if strings.TrimPrefix(c.Name, "__Host-") == "tilegate" {
			v.client.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Path: "/", MaxAge: -1, Secure: true}})
		}
	}
}

// renewWith asks an instance for a renewal with a copy of a cookie.
func renewWith(t *testing.T, instance *program, secure bool, cookie string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, instance.url+"/session", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	name := "tilegate-renewal"
	if secure {
		name = "__Host-" + name
	}
	r.Header.Set("Cookie", name+"="+cookie)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text)
}

// Signing in at a provider that others have written and certified: its form, codes, tokens, refresh tokens and sign-out.
func TestSignInAtARealProvider(t *testing.T) {
	certificate, authority := throwawayCA(t)
	overTLS, plain := newFront(t, &certificate), newFront(t, nil)
	issuer := testenv.OIDCProvider(t, overTLS.url+loginCallback, plain.url+loginCallback)
	bucket := privateBucket(t)
	fillWithColours(t, bucket)
	env := append(baseCredentials(testKey, testSecret), "OIDC_SECRET="+testenv.OIDCSecret)
	trusting := clientOf(authority).Transport
	for name, test := range map[string]struct {
		at     *front
		client loginClient
		who    string
	}{
		"a client with a secret": {overTLS, loginClient{testenv.OIDCClient, testenv.OIDCSecret}, testenv.OIDCSubject + "[colours]"},
		"a public client":        {plain, loginClient{testenv.OIDCPublicClient, ""}, testenv.OIDCSubject + "[colours]"},
	} {
		t.Run(name, func(t *testing.T) {
			config := loginConfig(t, bucket, issuer, test.at.url, test.client, "15m")
			server := serveAt(t, test.at, env, config)
			another, _ := start(t, env, "serve", "-c", config) // it learns of no sign-out
			v := newVisitor(t, test.at.url, trusting)

			form := v.fillIn(v.get("/login?return=/health"), "wrong")
			if !strings.Contains(form.body, "username or password wrong") || v.who() != "" {
				t.Fatalf("a wrong password: got %s, signed in as %q", form.body, v.who())
			}
			if got := v.fillIn(form, testenv.OIDCPassword); got.status != http.StatusOK || got.at.String() != test.at.url+"/health" {
				t.Fatalf("got %d %s at %s, want the page that was asked for", got.status, got.body, got.at)
			}
			if got := v.who(); got != test.who {
				t.Errorf("signed in as %q, want %q", got, test.who)
			}
			if got := v.get("/tiles/colours/4/8/5.png"); got.status != http.StatusOK || !strings.HasPrefix(got.body, "\x89PNG") {
				t.Errorf("a granted tile: got %d %.100q", got.status, got.body)
			}
			if got := v.get("/tiles/other/4/8/5.png"); got.status != http.StatusForbidden {
				t.Errorf("a tile of another tileset: got %d", got.status)
			}

			var renewals []string
			for range 3 {
				renewals = append(renewals, v.cookies()["tilegate-renewal"])
				v.forget()
				if v.who() != "" {
					t.Fatal("the session is still there")
				}
				if got := v.send(http.MethodPost, "/session", nil); got.status != http.StatusOK || v.who() != test.who {
					t.Fatalf("a renewal: got %d %s, signed in as %q", got.status, got.body, v.who())
				}
			}
			if status, body := renewWith(t, another, test.at == overTLS, renewals[0]); status != http.StatusUnauthorized {
				t.Errorf("a refresh token that was used: got %d %s", status, body)
			}
			if got := v.get("/tiles/colours/4/8/5.png"); got.status != http.StatusOK {
				t.Errorf("a tile after renewals: got %d", got.status)
			}

			last := v.cookies()["tilegate-renewal"]
			v.signOut(issuer)
			if len(v.cookies()) != 0 || v.who() != "" || v.get("/tiles/colours/4/8/5.png").status != http.StatusUnauthorized {
				t.Errorf("after signing out: the cookies %v, signed in as %q", v.cookies(), v.who())
			}
			if status, body := renewWith(t, another, test.at == overTLS, last); status != http.StatusUnauthorized {
				t.Errorf("a copy of the cookie, after signing out, at an instance that does not know: got %d %s", status, body)
			}
			if log := server.log() + another.log(); strings.Contains(log, `"level":"ERROR"`) {
				t.Error(log)
			}
		})
	}
}

// signOut follows /logout to the provider.
func (v *visitor) signOut(issuer string) {
	v.t.Helper()
	follow := v.client.CheckRedirect
	v.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	got := v.get("/logout")
	v.client.CheckRedirect = follow
	to, err := url.Parse(got.location)
	if err != nil || got.status != http.StatusSeeOther || !strings.HasPrefix(got.location, issuer+"end_session?") {
		v.t.Fatalf("/logout: got %d %q %s", got.status, got.location, got.body)
	}
	q := to.Query()
	if q.Get("post_logout_redirect_uri") != v.base+"/" {
		v.t.Errorf("/logout: got %s", to)
	}
	q.Del("post_logout_redirect_uri") // this provider's clients cannot register any
	to.RawQuery = q.Encode()
	if got := v.get(to.String()); got.status != http.StatusOK || got.body != "signed out successfully" {
		v.t.Errorf("the provider's answer to signing out: %d %s", got.status, got.body)
	}
}

// What an attacker has of a sign-in that is not his is refused, by tilegate or by the provider.
func TestRealProviderRefusesCodesOfOthers(t *testing.T) {
	at := newFront(t, nil)
	issuer := testenv.OIDCProvider(t, at.url+loginCallback)
	bucket := privateBucket(t)
	for name, client := range map[string]loginClient{
		"a client with a secret": {testenv.OIDCClient, testenv.OIDCSecret},
		"a public client":        {testenv.OIDCPublicClient, ""},
	} {
		t.Run(name, func(t *testing.T) {
			config := loginConfig(t, bucket, issuer, at.url, client, "15m")
			serveAt(t, at, append(baseCredentials(testKey, testSecret), "OIDC_SECRET="+client.secret), config)
			victim := newVisitor(t, at.url, nil)
			stolen := victim.callback()
			for name, attack := range map[string]struct {
				callback func(own, stolen *url.URL) string
				want     int
			}{
				"the answer of another attempt": {func(_, stolen *url.URL) string { return stolen.String() }, http.StatusBadRequest},
				"the code of another attempt": {func(own, stolen *url.URL) string {
					q := own.Query()
					q.Set("code", stolen.Query().Get("code"))
					own.RawQuery = q.Encode()
					return own.String()
				}, http.StatusForbidden},
				"a code that is none": {func(own, _ *url.URL) string {
					q := own.Query()
					q.Set("code", "none")
					own.RawQuery = q.Encode()
					return own.String()
				}, http.StatusForbidden},
			} {
				attacker := newVisitor(t, at.url, nil)
				own, err := url.Parse(attacker.callback())
				if err != nil {
					t.Fatal(err)
				}
				theirs, err := url.Parse(stolen)
				if err != nil {
					t.Fatal(err)
				}
				if got := attacker.get(attack.callback(own, theirs)); got.status != attack.want || attacker.who() != "" {
					t.Errorf("%s: got %d %s, signed in as %q; want %d", name, got.status, got.body, attacker.who(), attack.want)
				}
			}
			attempt := victim.cookies()["tilegate-login"]
			if got := victim.get(stolen); victim.who() == "" {
				t.Errorf("the victim's own sign-in: got %d %s", got.status, got.body)
			}
			again := newVisitor(t, at.url, nil)
			own, err := url.Parse(at.url)
			if err != nil {
				t.Fatal(err)
			}
			again.client.Jar.SetCookies(own, []*http.Cookie{{Name: "tilegate-login", Value: attempt, Path: "/"}})
			if got := again.get(stolen); got.status != http.StatusForbidden || again.who() != "" {
				t.Errorf("the answer once more: got %d %s, signed in as %q", got.status, got.body, again.who())
			}
		})
	}
}

// An operator whose secret is wrong finds that in the log; nobody is signed in.
func TestRealProviderRefusesAWrongSecret(t *testing.T) {
	at := newFront(t, nil)
	issuer := testenv.OIDCProvider(t, at.url+loginCallback)
	config := loginConfig(t, privateBucket(t), issuer, at.url, loginClient{testenv.OIDCClient, "set"}, "15m")
	server := serveAt(t, at, append(baseCredentials(testKey, testSecret), "OIDC_SECRET=another-secret"), config)
	v := newVisitor(t, at.url, nil)
	got := v.get(v.callback())
	if got.status != http.StatusServiceUnavailable || v.who() != "" {
		t.Errorf("got %d %s, signed in as %q", got.status, got.body, v.who())
	}
	eventually(t, "the provider's reason in the log", func() error {
		if log := server.log(); !strings.Contains(log, "invalid_client") {
			return errors.New(log)
		}
		return nil
	})
	if log := server.log(); strings.Contains(log, "another-secret") {
		t.Errorf("the secret is in the log:\n%s", log)
	}
}

// The map page's button in a fresh browser: to the provider's form on another site, and back to a map, whose session the page renews.
func TestMapPageSignsInAtARealProvider(t *testing.T) {
	chromium := testenv.Chromium(t)
	node := testenv.Node(t)
	testenv.NeedNodeModules(t, "playwright-core", "axe-core")
	needEmbeddedViewer(t)
	at := newFront(t, nil)
	issuer := testenv.OIDCProvider(t, at.url+loginCallback)
	bucket := privateBucket(t)
	fillWithColours(t, bucket)
	config := loginConfig(t, bucket, issuer, at.url, loginClient{testenv.OIDCClient, testenv.OIDCSecret}, "12s")
	serveAt(t, at, append(baseCredentials(testKey, testSecret), "OIDC_SECRET="+testenv.OIDCSecret), config)
	shots := t.TempDir()
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		shots = dir
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "page.js", "provider", filepath.Join(shots, "page-provider"))
	cmd.Dir = browserDir
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium, "PROVIDER_PAGE="+at.url+"/", "PROVIDER_USER="+testenv.OIDCUser,
		"PROVIDER_PASSWORD="+testenv.OIDCPassword, "PROVIDER_SUBJECT="+testenv.OIDCSubject)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
