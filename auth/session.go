package auth

import (
	"net/http"
	"time"
)

// NewSession makes the cookie's token out of an access token's grant: SessionTTL long, never
// longer than the access token itself. Sessions are independent; an old one stays good beside a
// new one until it expires. Errors: ErrWrongKind for any other kind, since a session never begets
// a session; *InvalidError for a token that has no second left; ErrTooLarge.
func (a *Authenticator) NewSession(access *Grant) (*SessionToken, error) {
	if access.Kind != Access {
		return nil, ErrWrongKind
	}
	if err := a.spent(access); err != nil {
		return nil, err
	}
	now := a.now().Truncate(time.Second)
	expires := now.Add(a.sessionTTL)
	if access.Expires.Before(expires) {
		expires = time.Unix(access.Expires.Unix(), 0)
	}
	g := &Grant{
		Kind: Session, Subject: access.Subject, Expires: expires,
		Tilesets: access.Tilesets, within: access.within,
		MinZoom: access.MinZoom, MaxZoom: access.MaxZoom, area: access.area,
		issuedAt: access.issuedAt, mintedAt: now.Unix(),
	}
	token, err := a.seal(g, access.lineage)
	if err != nil {
		return nil, err
	}
	if a.revoked.has(g) { // all of this second's sessions have ended
		return nil, errRevoked
	}
	s := g.session()
	s.Token = token
	return s, nil
}

// SessionToken is a session as its holder may know it.
type SessionToken struct {
	Token      string // the cookie's value; "" where it is not for telling
	Subject    string
	Tilesets   []string
	Expires    time.Time
	RenewAfter time.Time // when to ask for the next one: two thirds of the way
}

// Session describes the session that g comes from. ErrWrongKind if g is no session.
func (g *Grant) Session() (*SessionToken, error) {
	if g.Kind != Session {
		return nil, ErrWrongKind
	}
	return g.session(), nil
}

func (g *Grant) session() *SessionToken {
	minted := time.Unix(g.mintedAt, 0)
	return &SessionToken{
		Subject: g.Subject, Tilesets: g.Tilesets, Expires: g.Expires,
		RenewAfter: minted.Add(g.Expires.Sub(minted) / 3 * 2).Truncate(time.Second),
	}
}

// CookieName is the one cookie that is ever read. With __Host- browsers themselves see to it that
// no other host and no plain-text page has set it (RFC 6265bis section 4.1.3.2).
func (a *Authenticator) CookieName() string { return a.cookieName }

// SessionCookie is what hands s to a browser, which drops it when s expires.
func (a *Authenticator) SessionCookie(s *SessionToken) *http.Cookie {
	return a.cookie(s.Token, max(int(s.Expires.Sub(a.now())/time.Second), 1))
}

// ClearCookie makes a browser forget its session.
func (a *Authenticator) ClearCookie() *http.Cookie { return a.cookie("", -1) }

func (a *Authenticator) cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // G124: Secure is the caller's to decide, who knows whether this is plain http on loopback
		Name: a.cookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true,
		Secure: a.secureCookie, SameSite: a.sameSite, Partitioned: a.partitioned,
	}
}
