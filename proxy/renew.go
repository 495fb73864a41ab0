package proxy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"tilegate/auth"
)

const (
	maxRenewals    = 4096 // at once, and of those that are remembered
	maxOwnRenewals = 32   // of them, of one user
	// maxRenewed bounds the tokens of one renewal, which are remembered: an access token and an ID token of 32 KiB, the most that
	// max_token allows, and a refresh token. Bytes.
	maxRenewed = 96 << 10
	// renewalKept is how long the result of a renewal is given to those who come with the same cookie. A provider takes a second use
	// of a refresh token for a theft, and ends it: two tabs of one browser must not do that.
	renewalKept = 30 * time.Second
	// revokeTimeout is how long signing out waits for the provider.
	revokeTimeout = 3 * time.Second
)

// Renewals exchanges refresh tokens at the identity provider, each once for all who come with it. The zero value is ready for use.
// Proxies that follow each other when the configuration is reloaded share one: else two tabs of a browser could use a refresh token
// twice, one before and one after the reload.
type Renewals struct {
	mu    sync.Mutex
	calls map[[sha256.Size]byte]*renewalCall
}

type renewalCall struct {
	owner  string        // the identity that it renews
	done   chan struct{} // closed once what follows is there
	ended  time.Time
	tokens renewedTokens
	err    error
}

// renewedTokens are what a provider gave for a refresh token.
type renewedTokens struct {
	access  string // not yet verified, see grantOf
	id      string // "": none came
	refresh string // the refresh token from now on
}

type exchangeFunc func(ctx context.Context) (renewedTokens, error)

var (
	errRenewalsFull = refuse(http.StatusServiceUnavailable, "Too many sessions are being renewed. Try again.")
	errRenewalEnded = refuse(http.StatusUnauthorized, "The identity provider no longer renews this session. Sign in at /login.")
)

// do returns the result of exchange for a refresh token. It belongs to nobody: ctx ends the wait of this request alone.
func (s *Renewals) do(ctx context.Context, owner, token string, now func() time.Time, exchange exchangeFunc) (tokens renewedTokens, err error) {
	key := sha256.Sum256([]byte(owner + "\x00" + token))
	s.mu.Lock()
	c := s.calls[key]
	if c == nil {
		if !s.room(owner, now()) {
			s.mu.Unlock()
			return tokens, errRenewalsFull
		}
		c = &renewalCall{owner: owner, done: make(chan struct{})}
		if s.calls == nil {
			s.calls = map[[sha256.Size]byte]*renewalCall{}
		}
		s.calls[key] = c
		go s.run(context.WithoutCancel(ctx), key, c, now, exchange)
	} else if !c.ended.IsZero() && now().Sub(c.ended) >= renewalKept {
		delete(s.calls, key)
		s.mu.Unlock()
		return s.do(ctx, owner, token, now, exchange)
	}
	s.mu.Unlock()
	select {
	case <-c.done:
		return c.tokens, c.err
	case <-ctx.Done():
		return tokens, context.Cause(ctx)
	}
}

func (s *Renewals) run(ctx context.Context, key [sha256.Size]byte, c *renewalCall, now func() time.Time, exchange exchangeFunc) {
	err := errPanic // what remains if exchange panics
	defer func() {
		_ = recover() // it is told as an error
		s.mu.Lock()
		c.err, c.ended = err, now()
		if err != nil && !errors.Is(err, errRenewalEnded) {
			delete(s.calls, key) // the next one tries again
		}
		s.mu.Unlock()
		close(c.done)
	}()
	c.tokens, err = exchange(ctx)
}

// room forgets results that nobody needs any more, and reports whether there is room for one more renewal of owner. Whoever renews again
// and again takes the room of his own results, not that of others. s is locked.
func (s *Renewals) room(owner string, now time.Time) bool {
	own := 0
	var oldest [sha256.Size]byte // of owner's results
	for key, c := range s.calls {
		ended := !c.ended.IsZero()
		if ended && now.Sub(c.ended) >= renewalKept {
			delete(s.calls, key)
			continue
		}
		if c.owner != owner {
			continue
		}
		own++
		if before := s.calls[oldest]; ended && (before == nil || c.ended.Before(before.ended)) {
			oldest = key
		}
	}
	if own >= maxOwnRenewals {
		if s.calls[oldest] == nil {
			return false // all are under way
		}
		delete(s.calls, oldest)
	}
	return len(s.calls) < maxRenewals
}

// renew exchanges the refresh token in the request's cookie. It returns the grant of the new tokens, and a function that makes the
// cookie of the next renewal for the session that begin creates from that grant.
func (p *Proxy) renew(x *exchange, r *http.Request) (grant *auth.Grant, cookieFor func(*auth.SessionToken) *http.Cookie, err error) {
	if p.login == nil {
		return nil, nil, auth.ErrNoCredential
	}
	renewal, err := p.opt.Auth.Renewal(r)
	if _, invalid := errors.AsType[*auth.InvalidError](err); invalid {
		p.clearRenewal(x)
	}
	if err != nil {
		return nil, nil, err
	}
	if !strings.HasPrefix(renewal.Identity, p.login.realm) { // another provider must not get this one's refresh token
		p.clearRenewal(x)
		return nil, nil, errRenewalEnded
	}
	base, err := p.base(r)
	if err != nil {
		return nil, nil, err
	}
	tokens, err := p.opt.Renewals.do(r.Context(), renewal.Identity, renewal.RefreshToken, p.login.Clock, func(ctx context.Context) (renewedTokens, error) {
		return p.exchangeRefresh(ctx, base, renewal)
	})
	if err == nil {
		grant, err = p.grantOf(r.Context(), tokens, renewal)
	}
	if errors.Is(err, errRenewalEnded) {
		p.clearRenewal(x)
	}
	if err != nil {
		return nil, nil, err
	}
	// While the provider was asked, somebody may have signed out, or the operator have revoked. The new token is younger than that.
	if _, err := p.opt.Auth.Renewal(r); err != nil {
		p.clearRenewal(x)
		return nil, nil, err
	}
	return grant, func(s *auth.SessionToken) *http.Cookie {
		return p.renewalCookie(s, renewal, renewal.Identity, tokens.refresh)
	}, nil
}

// exchangeRefresh exchanges the refresh token of a renewal. An ID token that comes with the new tokens must be of the same subject
// (OpenID Connect Core 1.0 section 12.2).
func (p *Proxy) exchangeRefresh(ctx context.Context, base string, renewal *auth.Renewal) (renewedTokens, error) {
	found, err := p.login.discover(ctx)
	if err != nil {
		return renewedTokens{}, err
	}
	ctx = oidc.ClientContext(ctx, p.login.client)
	tokens, err := p.loginConfig(found, base).TokenSource(ctx, &oauth2.Token{RefreshToken: renewal.RefreshToken}).Token()
	if err != nil {
		return renewedTokens{}, exchangeError(err, refusalOf(err, errRenewalEnded))
	}
	raw, _ := tokens.Extra("id_token").(string)
	if n := len(tokens.AccessToken) + len(raw) + len(tokens.RefreshToken); n > maxRenewed {
		return renewedTokens{}, fmt.Errorf("%w: its tokens have %d bytes, and may have %d", errNoProvider, n, maxRenewed)
	}
	if raw != "" {
		id, err := found.Verifier(&oidc.Config{ClientID: p.login.ClientID, Now: p.login.Clock}).Verify(ctx, raw)
		if err != nil || p.login.realm+id.Subject != renewal.Identity {
			return renewedTokens{}, fmt.Errorf("%w: %w", errRenewalEnded, cmp.Or(err, errOtherSubject))
		}
	}
	return renewedTokens{access: tokens.AccessToken, id: raw, refresh: cmp.Or(tokens.RefreshToken, renewal.RefreshToken)}, nil
}

// grantOf checks renewed tokens like any others: the access token, or the ID token where the access token is none of ours. They must be of
// the renewal's subject.
func (p *Proxy) grantOf(ctx context.Context, tokens renewedTokens, renewal *auth.Renewal) (*auth.Grant, error) {
	grant, err := p.opt.Auth.AuthenticateToken(ctx, tokens.access)
	if _, invalid := errors.AsType[*auth.InvalidError](err); invalid && tokens.id != "" {
		grant, err = p.opt.Auth.AuthenticateToken(ctx, tokens.id)
	}
	if _, invalid := errors.AsType[*auth.InvalidError](err); invalid {
		return nil, fmt.Errorf("%w: %w", errRenewalEnded, err)
	}
	if err != nil {
		return nil, err
	}
	if grant.Subject != renewal.Subject {
		return nil, fmt.Errorf("%w: %w", errRenewalEnded, errOtherSubject)
	}
	return grant, nil
}

// revokeAtProvider revokes the refresh token of a renewal that the user has ended: other instances may not know that. The provider gets
// a few seconds. If it fails, the user is signed out all the same.
func (p *Proxy) revokeAtProvider(ctx context.Context, renewal *auth.Renewal) {
	if p.login == nil || !strings.HasPrefix(renewal.Identity, p.login.realm) { // another provider must not get this one's refresh token
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if err := p.login.revoke(ctx, renewal.RefreshToken); err != nil {
		p.opt.Logger.Warn("a refresh token could not be revoked at the identity provider when its user signed out", "error", err)
	}
}

// revoke takes a refresh token back at the provider (RFC 7009 section 2.1), if that is possible.
func (l *login) revoke(ctx context.Context, refreshToken string) error {
	found, err := l.discover(ctx)
	if err != nil || found.Revocation == "" {
		return err
	}
	form := url.Values{"token": {refreshToken}, "token_type_hint": {"refresh_token"}}
	inForm := l.secretInForm(found.RevocationAuthMethods)
	if inForm {
		form.Set("client_id", l.ClientID)
		if l.ClientSecret != "" {
			form.Set("client_secret", l.ClientSecret)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, found.Revocation, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoProvider, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !inForm {
		r.SetBasicAuth(url.QueryEscape(l.ClientID), url.QueryEscape(l.ClientSecret)) // RFC 6749 section 2.3.1
	}
	answer, err := l.client.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoProvider, err)
	}
	_ = answer.Body.Close() // it may repeat the token, and says nothing that we need
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: its revocation endpoint answers %d", errNoProvider, answer.StatusCode)
	}
	return nil
}

// refusalOf is what an error of the token endpoint means: refused, if the provider refused the code or the refresh token (RFC 6749 section
// 5.2). A wrong secret of ours, or too many requests, is nothing that the user can mend, and must not end all sessions that are
// renewed meanwhile.
func refusalOf(err, refused error) error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok || answer.ErrorCode == "invalid_client" || answer.Response.StatusCode != http.StatusBadRequest && answer.Response.StatusCode != http.StatusForbidden {
		return errNoProvider
	}
	return refused
}

var errOtherSubject = errors.New("the identity provider's new tokens are of another subject")

// renewalCookie is the cookie that renews a session, or the one that clears it where the provider gave no refresh token, or one that does
// not fit into a cookie.
func (p *Proxy) renewalCookie(s *auth.SessionToken, before *auth.Renewal, identity, refreshToken string) *http.Cookie {
	if refreshToken == "" {
		return p.opt.Auth.ClearRenewal()
	}
	c, err := p.opt.Auth.NewRenewal(s, before, identity, refreshToken)
	if err == nil {
		return c
	}
	p.login.tooLarge.Do(func() {
		p.opt.Logger.Warn("sessions are not renewed: the identity provider's refresh tokens do not fit into a cookie; leave out offline_access of auth.login.scopes",
			"bytes", len(refreshToken), "error", err)
	})
	return p.opt.Auth.ClearRenewal()
}

// clearRenewal makes the browser forget a renewal that is of no use any more.
func (p *Proxy) clearRenewal(x *exchange) {
	c := p.opt.Auth.ClearRenewal()
	http.SetCookie(x, c)
}
