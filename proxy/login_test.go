package proxy_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/issuer"
	"tilegate/proxy"
)

// loginAt gives a world an identity provider at which ada and bo may sign in; ada is there. now is the world's clock.
func loginAt(t *testing.T, now func() time.Time) (provider *issuer.Issuer, change func(*setup)) {
	t.Helper()
	provider, err := issuer.New(issuer.Options{
		Clock:   now,
		Clients: map[string]string{"tilegate": "secret", "other": "other"},
		Accounts: map[string]map[string]any{
			"ada": {"sub": "ada", "aud": "tiles", "tilesets": []string{"basemap"}},
			"bo":  {"sub": "bo", "aud": "tiles", "tilesets": []string{"roads"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(provider.Handler())
	t.Cleanup(s.Close)
	provider.SetURL(s.URL)
	provider.SignIn("ada")
	kid, err := provider.KeyID("RS256")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := provider.Keys()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(keys[kid])
	if err != nil {
		t.Fatal(err)
	}
	return provider, func(c *setup) {
		c.proxy.PublicURL = "https://tiles.example.com"
		c.proxy.CORS.Origins = []string{"https://app.example.com"}
		c.proxy.Login = &proxy.Login{Issuer: s.URL, ClientID: "tilegate", ClientSecret: "secret", Scopes: []string{"openid"}, After: "/", Clock: now}
		c.auth.Issuers = []auth.Issuer{{
			Issuer: s.URL, Audience: []string{"tiles"}, Algorithms: []string{"RS256"}, PublicKeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		}}
	}
}

func withLogin(t *testing.T, more ...func(*setup)) (w *world, provider *issuer.Issuer) {
	t.Helper()
	now := time.Now
	provider, change := loginAt(t, func() time.Time { return now() })
	w = start(t, append([]func(*setup){change}, more...)...)
	now = w.clock.Now
	return w, provider
}

// browser follows a sign-in as a browser does, one step at a time.
type browser struct {
	w       *world
	cookies map[string]string
}

func (b *browser) get(path string, header ...string) reply {
	b.w.t.Helper()
	return b.send(http.MethodGet, path, header...)
}

func (b *browser) send(method, path string, header ...string) reply {
	b.w.t.Helper()
	var all []string
	for name, value := range b.cookies {
		all = append(all, name+"="+value)
	}
	if all != nil {
		header = append(header, "Cookie", strings.Join(all, "; "))
	}
	got := b.w.do(method, path, "", header...)
	for _, line := range got.header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			b.w.t.Fatal(err)
		}
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
			continue
		}
		if !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") {
			b.w.t.Errorf("got the cookie %s", line)
		}
		b.cookies[c.Name] = c.Value
	}
	return got
}

// begin asks for a sign-in, and returns the path of the callback to which the provider sends the browser back.
func (b *browser) begin(path string) (callback string) {
	b.w.t.Helper()
	got := b.get(path)
	if got.status != http.StatusSeeOther {
		b.w.t.Fatalf("%s: got %d %s", path, got.status, got.body)
	}
	return callbackOf(b.w.t, got.header.Get("Location"))
}

// callbackOf asks the provider, which agrees, and returns where it sends the browser.
func callbackOf(t testing.TB, authorize string) string {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Get(authorize)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	to, ok := strings.CutPrefix(answer.Header.Get("Location"), "https://tiles.example.com")
	if !ok {
		t.Fatalf("the provider answers %s %s", answer.Status, answer.Header.Get("Location"))
	}
	return to
}

func newBrowser(w *world) *browser { return &browser{w: w, cookies: map[string]string{}} }

// who is the subject of the session, "" for none.
func (b *browser) who() string {
	b.w.t.Helper()
	got := b.get("/session")
	if got.status != 200 {
		return ""
	}
	var s struct{ Subject string }
	if err := json.Unmarshal([]byte(got.body), &s); err != nil {
		b.w.t.Fatal(err)
	}
	return s.Subject
}

func TestLogin(t *testing.T) {
	w, _ := withLogin(t)
	b := newBrowser(w)
	callback := b.begin("/login?return=" + url.QueryEscape("/map?x=1#map=2/3/4"))
	if b.cookies["__Host-tilegate-login"] == "" {
		t.Fatal("no cookie of the attempt")
	}
	got := b.get(callback)
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "https://tiles.example.com/map?x=1#map=2/3/4" {
		t.Fatalf("got %d %v %s", got.status, got.header, got.body)
	}
	if b.who() != "ada" || len(b.cookies) != 1 {
		t.Errorf("got %q with the cookies %v, want ada's session and nothing else", b.who(), b.cookies)
	}
	if got := b.get("/tiles/basemap.json"); got.status != 200 {
		t.Errorf("a granted tileset: got %d", got.status)
	}
	if got := b.get("/tiles/roads.json"); got.status != 403 {
		t.Errorf("another tileset: got %d", got.status)
	}
	for _, secret := range []string{callback[strings.Index(callback, "code=")+5:][:20], "secret"} {
		if strings.Contains(w.logged.String()+w.access.String(), secret) {
			t.Errorf("a log has %q", secret)
		}
	}
	got = b.get("/logout")
	if got.status != http.StatusSeeOther || !strings.Contains(got.header.Get("Location"), "/end-session?client_id=tilegate&post_logout_redirect_uri=https%3A%2F%2Ftiles.example.com%2F") {
		t.Errorf("got %d %q, want the provider's end-session endpoint", got.status, got.header.Get("Location"))
	}
	if b.who() != "" {
		t.Error("the session goes on after logging out")
	}
}

func TestLoginWithoutLoginIsNotThere(t *testing.T) {
	w := start(t)
	for _, path := range []string{"/login", "/login/callback", "/logout"} {
		if got := w.get(path); got.status != 404 {
			t.Errorf("%s: got %d", path, got.status)
		}
	}
}

// An attacker who swaps the answer of one attempt for that of another.
func TestLoginStateMixUp(t *testing.T) {
	w, _ := withLogin(t)
	victim, attacker := newBrowser(w), newBrowser(w)
	mine := victim.begin("/login")
	stolen := attacker.begin("/login")
	for name, callback := range map[string]string{
		"another attempt's": stolen,
		"no state":          strings.Replace(mine, "state=", "x=", 1),
		"another provider":  replaceQuery(mine, "iss", "https://evil.example"),
		"no provider":       replaceQuery(mine, "iss", ""),
	} {
		b := newBrowser(w)
		b.cookies["__Host-tilegate-login"] = victim.cookies["__Host-tilegate-login"]
		if got := b.get(callback); got.status != 400 || b.cookies["__Host-tilegate"] != "" {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
		}
	}
}

func replaceQuery(path, name, value string) string {
	p, query, _ := strings.Cut(path, "?")
	q, _ := url.ParseQuery(query)
	q.Del(name)
	if value != "" {
		q.Set(name, value)
	}
	return p + "?" + q.Encode()
}

// A page that sends its visitor to the callback with the attacker's code would sign the visitor in as the attacker.
func TestLoginCSRF(t *testing.T) {
	w, provider := withLogin(t)
	attacker := newBrowser(w)
	provider.SignIn("bo")
	callback := attacker.begin("/login")
	visitor := newBrowser(w)
	if got := visitor.get(callback); got.status != 400 || visitor.who() != "" {
		t.Errorf("got %d, signed in as %q", got.status, visitor.who())
	}
}

// A code that was obtained in another attempt is of no use in this one: its challenge has another verifier.
func TestLoginCodeInjection(t *testing.T) {
	w, _ := withLogin(t)
	victim, attacker := newBrowser(w), newBrowser(w)
	stolen, err := url.Parse(victim.begin("/login"))
	if err != nil {
		t.Fatal(err)
	}
	callback := replaceQuery(attacker.begin("/login"), "code", stolen.Query().Get("code"))
	if got := attacker.get(callback); got.status != 403 || attacker.who() != "" {
		t.Errorf("got %d %s, signed in as %q", got.status, got.body, attacker.who())
	}
}

// An ID token of another attempt has another nonce.
func TestLoginNonceReplay(t *testing.T) {
	w, _ := withLogin(t)
	b := newBrowser(w)
	callback := b.begin("/login")
	b.plant("n", "ANOTHERNONCE")
	if got := b.get(callback); got.status != 403 || b.who() != "" {
		t.Errorf("got %d %s, signed in as %q", got.status, got.body, b.who())
	}
}

// The answer is good once, also for whoever finds it in a history.
func TestLoginAnswerReplay(t *testing.T) {
	w, _ := withLogin(t)
	b := newBrowser(w)
	callback := b.begin("/login")
	held := b.cookies["__Host-tilegate-login"]
	if got := b.get(callback); got.status != http.StatusSeeOther {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	again := newBrowser(w)
	if got := again.get(callback); got.status != 400 {
		t.Errorf("without the cookie: got %d", got.status)
	}
	again.cookies["__Host-tilegate-login"] = held
	if got := again.get(callback); got.status != 403 || again.who() != "" {
		t.Errorf("with the cookie: got %d, signed in as %q", got.status, again.who())
	}
}

func TestLoginOpenRedirect(t *testing.T) {
	w, _ := withLogin(t)
	for _, to := range []string{
		"https://evil.example/", "//evil.example/", `/\evil.example/`, `\\evil.example`, "https:evil.example", "javascript:alert(1)", "/\t/evil.example",
		"https://tiles.example.com.evil.example/", "https://tiles.example.com@evil.example/", "http://tiles.example.com/", "https://app.example.com:444/",
		"evil.example", "", "https:///evil.example", "/ok\r\nX: y", "/" + strings.Repeat("a", 2048),
	} {
		if got := w.get("/login?return=" + url.QueryEscape(to)); got.status != 400 || got.header.Get("Location") != "" {
			t.Errorf("%.60q: got %d %q", to, got.status, got.header.Get("Location"))
		}
	}
	if got := w.get("/login?return=/a&return=/b"); got.status != 400 {
		t.Errorf("two: got %d", got.status)
	}
	for to, want := range map[string]string{
		"/":                           "https://tiles.example.com/",
		"https://tiles.example.com/x": "https://tiles.example.com/x",
		"https://app.example.com/map": "https://app.example.com/map",
	} {
		b := newBrowser(w)
		if got := b.get(b.begin("/login?return=" + url.QueryEscape(to))); got.header.Get("Location") != want {
			t.Errorf("%q: got %d %q, want %q", to, got.status, got.header.Get("Location"), want)
		}
	}
}

// A listed origin of an app may read tiles. A link to /login must not open the app.
func TestLoginOpenRedirectToAnAppsScheme(t *testing.T) {
	w, _ := withLogin(t, func(s *setup) { s.proxy.CORS.Origins = []string{"https://app.example.com", "capacitor://localhost"} })
	if got := w.get("/login?return=" + url.QueryEscape("capacitor://localhost/pay")); got.status != 400 || got.header.Get("Location") != "" {
		t.Errorf("got %d %q", got.status, got.header.Get("Location"))
	}
}

// plant changes a member of the cookie of an attempt, as one can who sets cookies from a neighbouring host without TLS.
func (b *browser) plant(member string, value any) {
	b.w.t.Helper()
	var attempt map[string]any
	text, err := base64.RawURLEncoding.DecodeString(b.cookies["__Host-tilegate-login"])
	if err == nil {
		err = json.Unmarshal(text, &attempt)
	}
	if err != nil || attempt[member] == nil {
		b.w.t.Fatal(err, attempt)
	}
	attempt[member] = value
	if text, err = json.Marshal(attempt); err != nil {
		b.w.t.Fatal(err)
	}
	b.cookies["__Host-tilegate-login"] = base64.RawURLEncoding.EncodeToString(text)
}

// Whoever can set the cookie must not choose where the browser ends.
func TestLoginOpenRedirectByAPlantedCookie(t *testing.T) {
	w, _ := withLogin(t)
	b := newBrowser(w)
	callback := b.begin("/login")
	b.plant("r", "https://evil.example/")
	if got := b.get(callback); got.status != 400 || got.header.Get("Location") != "" || b.who() != "" {
		t.Errorf("got %d %q, signed in as %q", got.status, got.header.Get("Location"), b.who())
	}
}

// The cookie says itself when it is over: not every client deletes it in time.
func TestLoginAttemptExpires(t *testing.T) {
	w, _ := withLogin(t)
	for name, age := range map[string]time.Duration{"over": loginLifetime + time.Second, "ahead": -2 * time.Minute} {
		b := newBrowser(w)
		callback := b.begin("/login")
		b.plant("t", w.clock.Now().Add(-age).Unix())
		if got := b.get(callback); got.status != 400 || b.who() != "" {
			t.Errorf("%s: got %d, signed in as %q", name, got.status, b.who())
		}
	}
}

const loginLifetime = 10 * time.Minute

// A provider's error may repeat what it was asked: the code, and our secret.
func TestLoginErrorsLeakNothing(t *testing.T) {
	for _, status := range []int{400, 500} {
		w, provider := withLogin(t)
		b := newBrowser(w)
		callback := b.begin("/login")
		code := callback[strings.Index(callback, "code=")+5:][:20]
		provider.Fail(status)
		got := b.get(callback)
		if got.status < 400 || b.who() != "" {
			t.Fatalf("got %d", got.status)
		}
		logged := w.logged.String() + w.access.String()
		if strings.Contains(logged, code) || strings.Contains(got.body, code) || strings.Contains(logged, "client_secret") {
			t.Errorf("%d: the code is in\n%s\n%s", status, logged, got.body)
		}
	}
}

// Who leaves while the provider does not answer is not kept waiting behind others.
func TestLoginWaitsUnderItsOwnContext(t *testing.T) {
	w, provider := withLogin(t)
	gate := make(chan struct{})
	provider.Hang(gate)
	first := make(chan reply)
	go func() { first <- w.get("/login") }()
	for tick := time.NewTicker(time.Millisecond); provider.Requests("/.well-known/openid-configuration") == 0; {
		<-tick.C
	}
	second := w.dial()
	if _, err := second.Write([]byte("GET /login HTTP/1.1\r\nHost: tiles.example.com\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = second.Close()
	w.access.waitForLine(`"status":499`)
	close(gate)
	if got := <-first; got.status != http.StatusSeeOther {
		t.Errorf("the first: got %d", got.status)
	}
}

// A token of the provider's for another audience is no more accepted after a sign-in than elsewhere.
func TestLoginTokenForAnotherAudience(t *testing.T) {
	w, _ := withLogin(t, func(s *setup) { s.auth.Issuers[0].Audience = []string{"elsewhere"} })
	b := newBrowser(w)
	if got := b.get(b.begin("/login")); got.status != 401 || b.who() != "" {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// Another site's page could send its visitors to /logout.
func TestLogoutCSRF(t *testing.T) {
	w, _ := withLogin(t)
	b := newBrowser(w)
	b.get(b.begin("/login"))
	for _, site := range []string{"cross-site", "same-site", "x"} {
		if got := b.get("/logout", "Sec-Fetch-Site", site); got.status != 403 || b.who() != "ada" {
			t.Errorf("%s: got %d, signed in as %q", site, got.status, b.who())
		}
	}
	if got := b.get("/logout", "Sec-Fetch-Site", "same-origin"); got.status != http.StatusSeeOther || b.who() != "" {
		t.Errorf("got %d, signed in as %q", got.status, b.who())
	}
}

// A provider that fails is told as such, and tried again by the next.
func TestLoginWithoutAProvider(t *testing.T) {
	w, provider := withLogin(t)
	provider.Fail(500)
	if got := w.get("/login"); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %v", got.status, got.header)
	}
	provider.Fail(0)
	before := provider.Requests("/.well-known/openid-configuration")
	if got := w.get("/login"); got.status != 503 || provider.Requests("/.well-known/openid-configuration") != before {
		t.Errorf("right after a failure: got %d, and the provider was asked", got.status)
	}
	w.clock.Advance(6 * time.Second)
	b := newBrowser(w)
	callback := b.begin("/login")
	provider.Fail(500)
	if got := b.get(callback); got.status != 503 || b.who() != "" {
		t.Errorf("the exchange: got %d %s", got.status, got.body)
	}
	provider.Fail(0)
	provider.SignIn("")
	if got := b.get(b.begin("/login")); got.status != 403 {
		t.Errorf("who is refused there: got %d", got.status)
	}
}

// A provider that does not know us, or has too many requests, is no fault of the user's: the operator is told, and the user may try again.
func TestLoginWhileTheProviderRefusesUs(t *testing.T) {
	for _, status := range []int{302, 401, 404, 408, 429} {
		w, provider := withLogin(t)
		b := newBrowser(w)
		callback := b.begin("/login")
		provider.Fail(status)
		if got := b.get(callback); got.status != 503 || got.header.Get("Retry-After") == "" || b.who() != "" {
			t.Errorf("%d: got %d %s", status, got.status, got.body)
		}
	}
}

// Who signs in as somebody else is shown nothing of the one before.
func TestLoginAsAnotherClearsTheCache(t *testing.T) {
	w, provider := withLogin(t)
	b := newBrowser(w)
	if got := b.get(b.begin("/login")); got.header.Get("Clear-Site-Data") != "" {
		t.Error("the first sign-in clears the cache")
	}
	provider.SignIn("bo")
	if got := b.get(b.begin("/login")); got.header.Get("Clear-Site-Data") != `"cache"` || b.who() != "bo" {
		t.Errorf("got %v, signed in as %q", got.header, b.who())
	}
}
