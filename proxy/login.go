package proxy

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"tilegate/auth"
)

// Login is an OpenID provider at which browsers sign in: authorization code with PKCE. What it issues is checked like any
// token, so that it has to be one of the authenticator's issuers.
type Login struct {
	Issuer       string
	ClientID     string
	ClientSecret string           // "": a public client
	Scopes       []string         // openid among them
	After        string           // where a sign-in without ?return= ends: a path of ours
	Clock        func() time.Time // nil: time.Now
}

// The routes of signing in and out.
const (
	loginPath    = "/login"
	callbackPath = "/login/callback"
	logoutPath   = "/logout"
)

const (
	loginLifetime = 10 * time.Minute // from /login to the callback
	loginTimeout  = 10 * time.Second // for the provider's answers to one request of ours
	maxProvider   = 1 << 20          // bytes of one answer
	loginPause    = 5 * time.Second  // after discovery failed
	maxReturn     = 2048             // bytes of ?return=
)

// login is Login with what discovery said of the provider.
type login struct {
	Login
	client *http.Client

	asking   chan struct{} // has a value while what follows is read or written
	provider *provider     // nil until discovery succeeded once
	failed   time.Time     // when it failed last

	realm    string    // begins the identities in renewals: of which provider and client they are
	tooLarge sync.Once // refresh tokens that do not fit
}

type provider struct {
	*oidc.Provider
	EndSession string `json:"end_session_endpoint"`
	NamesSelf  bool   `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	// AuthMethods are the ways in which it takes our secret; none: client_secret_basic (OpenID Connect Discovery 1.0 section 3).
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	// Revocation takes refresh tokens back (RFC 7009), with RevocationAuthMethods likewise (RFC 8414 section 2). "": there is none.
	Revocation            string   `json:"revocation_endpoint"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
}

func newLogin(l Login) *login {
	if l.Clock == nil {
		l.Clock = time.Now
	}
	realm := sha256.Sum256([]byte(l.Issuer + "\x00" + l.ClientID))
	return &login{Login: l, realm: base64.RawURLEncoding.EncodeToString(realm[:12]) + ":", asking: make(chan struct{}, 1), client: &http.Client{
		Timeout:       loginTimeout,
		Transport:     boundedTransport{http.DefaultTransport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// boundedTransport ends an answer that is longer than any of a provider's.
type boundedTransport struct{ http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, maxProvider), answer.Body}
	}
	return answer, err //nolint:wrapcheck // http.Client wraps it
}

// errNoProvider is an identity provider that does not answer, or not as it should.
var errNoProvider = errors.New("the identity provider gave no usable answer")

// discover asks the provider for its endpoints, one request at a time, until it has answered once. Callers wait
// for the request under way, and may leave. If it fails, all of them get the error, and there is no new request for loginPause.
func (l *login) discover(ctx context.Context) (*provider, error) {
	select {
	case l.asking <- struct{}{}:
		defer func() { <-l.asking }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l.provider != nil {
		return l.provider, nil
	}
	if l.Clock().Before(l.failed.Add(loginPause)) {
		return nil, errNoProvider
	}
	p, err := l.ask(context.WithoutCancel(ctx))
	if err != nil {
		l.failed = l.Clock()
		return nil, fmt.Errorf("%w: %w", errNoProvider, err)
	}
	l.provider = p
	return p, nil
}

// ask reads the provider's discovery document. The provider keeps the client of the context for its key set.
func (l *login) ask(ctx context.Context) (*provider, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, l.client), l.Issuer)
	if err != nil {
		return nil, err //nolint:wrapcheck // discover does
	}
	p := &provider{Provider: found}
	if err := found.Claims(p); err != nil {
		return nil, err //nolint:wrapcheck // discover does
	}
	for _, endpoint := range []string{found.Endpoint().AuthURL, found.Endpoint().TokenURL, cmp.Or(p.EndSession, l.Issuer), cmp.Or(p.Revocation, l.Issuer)} {
		if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "https" && !strings.HasPrefix(l.Issuer, "http://") {
			return nil, fmt.Errorf("its endpoint %q is not an https URL", endpoint)
		}
	}
	return p, nil
}

// attempt is what the browser holds between /login and the callback, in a cookie that other hosts cannot set.
type attempt struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Return   string `json:"r"`
	Begun    int64  `json:"t"` // Unix seconds
}

// attemptCookie is the attempt's cookie, named after the session's. Lax: the provider sends the browser back from its own site.
func (p *Proxy) attemptCookie(value string, maxAge int) *http.Cookie {
	session := p.opt.Auth.ClearCookie()
	return &http.Cookie{ //nolint:gosec // G124: Secure where the session's cookie is
		Name: session.Name + "-login", Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: session.Secure, SameSite: http.SameSiteLaxMode,
	}
}

func (p *Proxy) loginConfig(found *provider, base string) *oauth2.Config {
	l, endpoint := p.login, found.Endpoint()
	// The library would otherwise try one way after the other, and so use a code or a refresh token twice.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if l.secretInForm(found.AuthMethods) {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{ClientID: l.ClientID, ClientSecret: l.ClientSecret, Endpoint: endpoint, RedirectURL: base + callbackPath, Scopes: l.Scopes}
}

// secretInForm reports whether an endpoint with these methods takes our client's id, and its secret if there is one, in the form instead of
// in a header.
func (l *login) secretInForm(methods []string) bool {
	return l.ClientSecret == "" || len(methods) > 0 && !slices.Contains(methods, "client_secret_basic")
}

// beginLogin sends the browser to the identity provider.
func (p *Proxy) beginLogin(x *exchange, r *http.Request) error {
	base, err := p.base(r)
	if err != nil {
		return err
	}
	back, err := p.returnTo(r, base)
	if err != nil {
		return err
	}
	found, err := p.login.discover(r.Context())
	if err != nil {
		return err
	}
	a := attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Return: back, Begun: p.login.Clock().Unix()}
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("write the login's cookie: %w", err)
	}
	http.SetCookie(x, p.attemptCookie(base64.RawURLEncoding.EncodeToString(text), int(loginLifetime/time.Second)))
	return seeOther(x, p.loginConfig(found, base).AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)))
}

// returnTo is where ?return= wants the browser in the end: a path of ours, or a page of our own or a listed origin.
func (p *Proxy) returnTo(r *http.Request, base string) (string, error) {
	values := r.URL.Query()["return"]
	if len(values) == 0 {
		return base + p.login.After, nil
	}
	if len(values) > 1 || len(values[0]) > maxReturn {
		return "", errReturn
	}
	return p.returnURL(r, values[0])
}

var errReturn = refuse(http.StatusBadRequest, "return is a path such as /map, or a page of this origin or of one in server.cors.origins.")

// returnURL makes a URL of where the browser wants to go, if it may go there.
func (p *Proxy) returnURL(r *http.Request, to string) (string, error) {
	if strings.ContainsFunc(to, func(c rune) bool { return c <= ' ' || c == '\\' || c == 0x7f }) {
		return "", errReturn
	}
	u, err := url.Parse(to)
	if err != nil || u.User != nil || u.Opaque != "" {
		return "", errReturn
	}
	if u.Scheme == "" && u.Host == "" && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") {
		return p.origin(r) + to, nil
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", errReturn // an app may be allowed to read; a link here must not open it
	}
	if origin := originOf(u); u.Host == "" || origin != p.origin(r) && !p.cors.allows(origin) {
		return "", errReturn
	}
	return to, nil
}

// endLogin takes the code that the provider sent the browser back with, exchanges it, and begins a session.
func (p *Proxy) endLogin(x *exchange, r *http.Request) error {
	base, err := p.base(r)
	if err != nil {
		return err
	}
	a, err := p.attempt(r)
	http.SetCookie(x, p.attemptCookie("", -1)) // good once
	if err != nil {
		return err
	}
	q := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.State)) != 1 {
		return errOtherAttempt
	}
	back, err := p.returnURL(r, a.Return) // the cookie could have been planted, where cookies have no __Host-
	if err != nil {
		return err
	}
	found, err := p.login.discover(r.Context())
	if err != nil {
		return err
	}
	if name, named := q["iss"]; named && (len(name) != 1 || name[0] != p.login.Issuer) || !named && found.NamesSelf {
		return refuse(http.StatusBadRequest, "This answer is not of the identity provider that was asked.")
	}
	if q.Has("error") || q.Get("code") == "" {
		return refuse(http.StatusForbidden, "The identity provider did not sign you in. Begin again at /login.")
	}
	ctx := oidc.ClientContext(r.Context(), p.login.client)
	tokens, err := p.loginConfig(found, base).Exchange(ctx, q.Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return exchangeError(err, refusalOf(err, errCodeRefused))
	}
	grant, identity, err := p.loggedIn(ctx, found, tokens, a.Nonce)
	if err != nil {
		return err
	}
	session, err := p.opt.Auth.NewSession(grant)
	if err != nil {
		return err
	}
	cookies := []*http.Cookie{p.opt.Auth.SessionCookie(session)}
	if tokens.RefreshToken != "" || p.opt.Auth.HasRenewal(r) {
		cookies = append(cookies, p.renewalCookie(session, nil, p.login.realm+identity, tokens.RefreshToken))
	}
	if p.isAnother(x, r, grant) {
		cookies = append(cookies, p.expiredCookies(nil)...)
	}
	setCookies(x, cookies)
	return seeOther(x, back)
}

var errCodeRefused = refuse(http.StatusForbidden, "The identity provider did not accept its code. Begin again at /login.")

// exchangeError is why the provider gave no tokens. Its own words may repeat the code, a token or our secret, so that only the code of
// its error is passed on, to the log.
func exchangeError(err, refusal error) error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return fmt.Errorf("%w: %w", errNoProvider, err)
	}
	reason := fmt.Errorf("its token endpoint answers %d %.64q", answer.Response.StatusCode, answer.ErrorCode)
	if answer.Response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%w: %w", errNoProvider, reason)
	}
	return fmt.Errorf("%w: %w", refusal, reason)
}

var errOtherAttempt = refuse(http.StatusBadRequest, "This sign-in did not begin in this browser, or more than ten minutes ago. Begin again at /login.")

// attempt reads the cookie of the login that is under way. Two of them: one is not ours.
func (p *Proxy) attempt(r *http.Request) (a attempt, err error) {
	cookies := r.CookiesNamed(p.attemptCookie("", -1).Name)
	if len(cookies) != 1 {
		return a, errOtherAttempt
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(cookies[0].Value)
	if err != nil || json.Unmarshal(text, &a) != nil || a.State == "" || a.Nonce == "" || a.Verifier == "" {
		return a, errOtherAttempt
	}
	if age := p.login.Clock().Sub(time.Unix(a.Begun, 0)); age < -time.Minute || age > loginLifetime { // instances' clocks differ
		return a, errOtherAttempt
	}
	return a, nil
}

// loggedIn is what the provider's tokens grant, and the subject of its ID token, which says that they are for us and of this attempt.
// The grant is the access token's, if it is one that we accept, else the ID token's.
func (p *Proxy) loggedIn(ctx context.Context, found *provider, tokens *oauth2.Token, nonce string) (grant *auth.Grant, identity string, err error) {
	raw, _ := tokens.Extra("id_token").(string)
	id, err := found.Verifier(&oidc.Config{ClientID: p.login.ClientID, Now: p.login.Clock}).Verify(ctx, raw)
	if err != nil || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 {
		return nil, "", fmt.Errorf("%w: %w", refuse(http.StatusForbidden, "The identity provider's ID token is not for this sign-in. Begin again at /login."), cmp.Or(err, errOtherAttempt))
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
			return nil, "", fmt.Errorf("%w: %w", refuse(http.StatusForbidden, "The identity provider's tokens do not belong together."), err)
		}
	}
	grant, err = p.opt.Auth.AuthenticateToken(ctx, tokens.AccessToken)
	if _, invalid := errors.AsType[*auth.InvalidError](err); invalid {
		grant, err = p.opt.Auth.AuthenticateToken(ctx, raw)
	}
	return grant, id.Subject, err
}

// logout ends the session here, and at the provider where it has an endpoint for that. A page of another site cannot
// send its visitors here.
func (p *Proxy) logout(x *exchange, r *http.Request) error {
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 && (len(site) > 1 || site[0] != "same-origin" && site[0] != "none") {
		return refuse(http.StatusForbidden, "Pages of other origins may not do that; DELETE /session is for those that server.cors.origins lists.")
	}
	base, err := p.base(r)
	if err != nil {
		return err
	}
	if err := p.endSession(x, r); err != nil {
		return err
	}
	to := base + p.login.After
	if found, err := p.login.discover(r.Context()); err == nil && found.EndSession != "" {
		u, err := url.Parse(found.EndSession)
		if err != nil {
			return fmt.Errorf("%w: %w", errNoProvider, err)
		}
		query := u.Query()
		query.Set("client_id", p.login.ClientID)
		query.Set("post_logout_redirect_uri", to)
		u.RawQuery = query.Encode()
		to = u.String()
	}
	return seeOther(x, to)
}

func seeOther(x *exchange, to string) error {
	x.Set("Location", []string{to})
	x.Set("Referrer-Policy", []string{"no-referrer"})
	x.WriteHeader(http.StatusSeeOther)
	return nil
}
