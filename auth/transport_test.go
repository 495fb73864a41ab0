package auth_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"tilegate/auth"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// transports is an Authenticator that takes every transport, with one good token of each kind,
// whose subjects tell which one was believed.
func transports(t *testing.T) (a *auth.Authenticator, access, session, path string) {
	t.Helper()
	c, s := newClock(), rsaSigner("")
	o := testOptions(c, s)
	o.QueryParameter = "access_token"
	a = newAuth(t, o)
	of := func(subject string) *auth.Grant {
		return authenticate(t, a, s.token(claims(map[string]any{"sub": subject, "jti": subject})))
	}
	access = s.token(claims(map[string]any{"sub": "access"}))
	made, err := a.NewSession(of("session"))
	if err != nil {
		t.Fatal(err)
	}
	path, _, err = a.NewPathToken(of("path"), auth.PathRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return a, access, made.Token, path
}

func TestFirstCredentialFoundDecides(t *testing.T) {
	a, access, session, path := transports(t)
	cookie := "__Host-tilegate=" + session
	for _, tt := range []struct {
		name    string
		headers []string
		path    string
		query   string
		subject string // "" with want: refused
		want    error  // nil and no subject: an InvalidError
	}{
		{name: "none", want: auth.ErrNoCredential},
		{name: "bearer", headers: []string{"Authorization", "Bearer " + access}, subject: "access"},
		{name: "bearer in another case", headers: []string{"Authorization", "bEARER " + access}, subject: "access"},
		{name: "bearer after several spaces", headers: []string{"Authorization", "Bearer   " + access}, subject: "access"},
		{name: "basic, any name", headers: []string{"Authorization", basic("qgis", access)}, subject: "access"},
		{name: "basic, no name", headers: []string{"Authorization", strings.Replace(basic("", access), "Basic", "BASIC", 1)}, subject: "access"},
		{name: "path", path: path, subject: "path"},
		{name: "query", query: "access_token=" + access, subject: "access"},
		{name: "query, percent-encoded", query: "v=1&access%5Ftoken=" + access, subject: "access"},
		{name: "cookie", headers: []string{"Cookie", "a=b; " + cookie + "; c=d"}, subject: "session"},
		{name: "cookie on a second line", headers: []string{"Cookie", "a=b", "Cookie", cookie}, subject: "session"},

		{name: "bearer before all", headers: []string{"Authorization", "Bearer " + access, "Cookie", cookie}, path: path, query: "access_token=x", subject: "access"},
		{name: "path before query and cookie", headers: []string{"Cookie", cookie}, path: path, query: "access_token=" + access, subject: "path"},
		{name: "query before cookie", headers: []string{"Cookie", cookie}, query: "access_token=" + access, subject: "access"},

		{name: "bad bearer beside a good path, query and cookie", headers: []string{"Authorization", "Bearer x", "Cookie", cookie}, path: path, query: "access_token=" + access},
		{name: "bad path beside a good query and cookie", headers: []string{"Cookie", cookie}, path: "x", query: "access_token=" + access},
		{name: "bad query beside a good cookie", headers: []string{"Cookie", cookie}, query: "access_token=x"},
		{name: "empty query beside a good cookie", headers: []string{"Cookie", cookie}, query: "access_token="},
		{name: "bad cookie", headers: []string{"Cookie", "__Host-tilegate=x"}},
		{name: "empty cookie", headers: []string{"Cookie", "__Host-tilegate="}},
		{name: "empty authorization", headers: []string{"Authorization", ""}, path: path},
		{name: "bearer without a token", headers: []string{"Authorization", "Bearer"}, path: path},
		{name: "another scheme", headers: []string{"Authorization", "Negotiate " + access, "Cookie", cookie}},
		{name: "AWS4 scheme", headers: []string{"Authorization", "AWS4-HMAC-SHA256 Credential=x"}, path: path},
		{name: "the token without a scheme", headers: []string{"Authorization", access}, path: path},
		{name: "two tokens in one header", headers: []string{"Authorization", "Bearer " + access + ", Bearer " + access}},
		{name: "two tokens after one scheme", headers: []string{"Authorization", "Bearer " + access + " " + access}},
		{name: "basic with the token as its name", headers: []string{"Authorization", basic(access, "")}},
		{name: "basic without a colon", headers: []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(access))}},
		{name: "basic not base64", headers: []string{"Authorization", "Basic !"}},
		{name: "basic too long", headers: []string{"Authorization", basic("x", strings.Repeat("a", 16<<10))}},

		{name: "two authorizations", headers: []string{"Authorization", "Bearer " + access, "Authorization", "Bearer " + access}, want: auth.ErrTwoCredentials},
		{name: "two authorizations, one empty", headers: []string{"Authorization", "", "Authorization", "Bearer " + access}, want: auth.ErrTwoCredentials},
		{name: "two cookies, tossed from another port", headers: []string{"Cookie", cookie + "; " + cookie}, want: auth.ErrTwoCredentials},
		{name: "two cookies on two lines", headers: []string{"Cookie", cookie, "Cookie", "__Host-tilegate=x"}, want: auth.ErrTwoCredentials},
		{name: "query parameter twice", query: "access_token=" + access + "&access_token=" + access, want: auth.ErrMalformed},
		{name: "query parameter twice, one percent-encoded", query: "access_token=" + access + "&access%5ftoken=x", want: auth.ErrMalformed},
		{name: "query that cannot be read", query: "a;access_token=" + access, want: auth.ErrMalformed},
		{name: "query in another case", query: "Access_Token=" + access, want: auth.ErrNoCredential},

		{name: "cookie of the plain name", headers: []string{"Cookie", "tilegate=" + session}, want: auth.ErrNoCredential},
		{name: "cookie in another case", headers: []string{"Cookie", "__host-tilegate=" + session}, want: auth.ErrNoCredential},
		{name: "cookie inside another's value", headers: []string{"Cookie", "a=__Host-tilegate=" + session}, want: auth.ErrNoCredential},

		{name: "session as bearer", headers: []string{"Authorization", "Bearer " + session}},
		{name: "session in the path", path: session},
		{name: "session in the query", query: "access_token=" + session},
		{name: "path token as bearer", headers: []string{"Authorization", "Bearer " + path}},
		{name: "path token as cookie", headers: []string{"Cookie", "__Host-tilegate=" + path}},
		{name: "path token in the query", query: "access_token=" + path},
		{name: "access token in the path", path: access},
		{name: "access token as cookie", headers: []string{"Cookie", "__Host-tilegate=" + access}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request(tt.headers...)
			r.URL.RawQuery = tt.query
			g, err := a.Authenticate(r, tt.path)
			switch {
			case tt.subject != "":
				if err != nil {
					t.Fatal(err)
				}
				if g.Subject != tt.subject {
					t.Errorf("got the grant of %q, want %q", g.Subject, tt.subject)
				}
			case tt.want != nil:
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
			default:
				wantInvalid(t, err, "")
			}
		})
	}
}

func TestQueryTokenIsRefusedUnlessConfigured(t *testing.T) {
	a, _, s := standard(t)
	r := request()
	r.URL.RawQuery = "access_token=" + s.token(claims(nil)) + "&token=x&=y"
	if _, err := a.Authenticate(r, ""); !errors.Is(err, auth.ErrNoCredential) {
		t.Errorf("got %v, want ErrNoCredential", err)
	}
}

func TestSessionCookie(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*auth.Options)
		want string // but for the value
	}{
		{"secure", func(*auth.Options) {}, "__Host-tilegate=V; Path=/; Max-Age=899; HttpOnly; Secure; SameSite=Lax"},
		{"strict", func(o *auth.Options) { o.SameSite = http.SameSiteStrictMode }, "__Host-tilegate=V; Path=/; Max-Age=899; HttpOnly; Secure; SameSite=Strict"},
		{"partitioned", func(o *auth.Options) { o.SameSite, o.Partitioned = http.SameSiteNoneMode, true }, "__Host-tilegate=V; Path=/; Max-Age=899; HttpOnly; Secure; SameSite=None; Partitioned"},
		{"loopback", func(o *auth.Options) { o.SecureCookie = false }, "tilegate=V; Path=/; Max-Age=899; HttpOnly; SameSite=Lax"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := newClock(), rsaSigner("")
			o := testOptions(c, s)
			tt.set(&o)
			a := newAuth(t, o)
			session, err := a.NewSession(authenticate(t, a, s.token(claims(nil))))
			if err != nil {
				t.Fatal(err)
			}
			cookie := a.SessionCookie(session)
			if got := strings.Replace(cookie.String(), session.Token, "V", 1); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if cookie.Name != a.CookieName() {
				t.Errorf("got name %q, want %q", cookie.Name, a.CookieName())
			}
			g, err := a.AuthenticateSession(request("Cookie", cookie.Name+"="+cookie.Value))
			if err != nil || g.Kind != auth.Session {
				t.Errorf("got %v, %v", g, err)
			}
			cleared := a.ClearCookie().String()
			if !strings.Contains(cleared, "Max-Age=0") || !strings.HasPrefix(cleared, cookie.Name+"=;") {
				t.Errorf("got %q", cleared)
			}
		})
	}
}

func TestAuthenticateSessionSeesTheCookieAlone(t *testing.T) {
	a, access, session, _ := transports(t)
	g, err := a.AuthenticateSession(request("Authorization", "Bearer "+access, "Cookie", "__Host-tilegate="+session))
	if err != nil || g.Subject != "session" {
		t.Errorf("got %+v, %v", g, err)
	}
	if _, err := a.AuthenticateSession(bearer(access)); !errors.Is(err, auth.ErrNoCredential) {
		t.Errorf("got %v, want ErrNoCredential", err)
	}
	if _, err := a.AuthenticateSession(request("Cookie", "__Host-tilegate=a; __Host-tilegate=b")); !errors.Is(err, auth.ErrTwoCredentials) {
		t.Errorf("got %v, want ErrTwoCredentials", err)
	}
}
