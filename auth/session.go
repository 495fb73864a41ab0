package auth

import (
	"fmt"
	"net/http"
	"time"
)

// NewSession makes the cookie's token out of an access token's grant. It lives for SessionTTL, and never
// longer than the access token. Sessions are independent: an old one stays valid beside a new one until it
// expires. Errors: ErrWrongKind for any other kind, since no session is made from a session; *InvalidError
// for a token that ends within a second or is revoked; ErrTooLarge.
func (a *Authenticator) NewSession(access *Grant) (*SessionToken, error) {
	if access.Kind != Access {
		return nil, fmt.Errorf("%w: it is of the kind %s", ErrWrongKind, access.Kind.describe())
	}
	if err := a.checkParent(access); err != nil {
		return nil, err
	}
	now := a.now().Truncate(time.Second)
	expires := now.Add(a.sessionTTL)
	if access.Expires.Before(expires) {
		expires = time.Unix(access.Expires.Unix(), 0)
	}
	g := &Grant{
		Kind: Session, Subject: access.Subject, Expires: expires,
		Tilesets: access.Tilesets, parts: access.parts,
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

// SessionToken describes a session to its holder.
type SessionToken struct {
	Token      string // the cookie's value; "" except from NewSession
	Subject    string
	Tilesets   []string
	Expires    time.Time
	RenewAfter time.Time // when to ask for the next one: after two thirds of its life
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

// CookieName returns the name of the only cookie that is read. Browsers let no other host and no page
// without TLS set a cookie whose name begins with __Host- (RFC 6265bis section 4.1.3.2).
func (a *Authenticator) CookieName() string { return a.cookieName }

// SessionCookie returns the cookie that gives s to a browser. It expires with s.
func (a *Authenticator) SessionCookie(s *SessionToken) *http.Cookie {
	return a.cookie(s.Token, max(int(s.Expires.Sub(a.now())/time.Second), 1))
}

// ClearCookie returns the cookie that makes a browser forget its session.
func (a *Authenticator) ClearCookie() *http.Cookie { return a.cookie("", -1) }

func (a *Authenticator) cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // G124: Secure is the caller's to decide, who knows whether this is plain http on loopback
		Name: a.cookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true,
		Secure: a.secureCookie, SameSite: a.sameSite, Partitioned: a.partitioned,
	}
}
