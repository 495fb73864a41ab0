package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"
)

// RenewalLifetime is how long a browser that was not used may take to renew its session.
const RenewalLifetime = 7 * 24 * time.Hour

// maxRenewal bounds the value of a renewal's cookie, in characters. Browsers keep 4,096 of a cookie, its name and attributes
// included.
const maxRenewal = 3800

// Renewal renews a session without its user, by the refresh token that an identity provider gave for it. The browser keeps it in a
// cookie of its own, encrypted. It is revoked by whatever revokes the session, or the token that the session came from.
type Renewal struct {
	Subject      string // of the session
	Identity     string // the subject of the provider's ID token, which may be another
	RefreshToken string

	grant *Grant // as of a session, for revocation; its own id stays the same from one renewal to the next
}

// renewalBody is what is encrypted.
type renewalBody struct {
	Subject  string `json:"s"`
	Identity string `json:"i"`
	Refresh  string `json:"r"`
	Lineage  []ref  `json:"l"`
	IssuedAt int64  `json:"a"`
	MintedAt int64  `json:"m"`
	Expires  int64  `json:"e"`
}

// NewRenewal returns the cookie that renews s, in place of before, which is nil after a sign-in. ErrTooLarge if the refresh token does
// not fit into a cookie.
func (a *Authenticator) NewRenewal(s *SessionToken, before *Renewal, identity, refreshToken string) (*http.Cookie, error) {
	now := a.now()
	g, err := a.open(Session, s.Token, now)
	if err != nil {
		return nil, err
	}
	own := newRef("renewal", s.Token)
	if before != nil {
		own = before.grant.lineage[0]
	}
	body, err := json.Marshal(renewalBody{
		Subject: s.Subject, Identity: identity, Refresh: refreshToken, Lineage: append([]ref{own}, g.lineage...),
		IssuedAt: g.issuedAt, MintedAt: g.mintedAt, Expires: now.Add(RenewalLifetime).Unix(),
	})
	if err != nil {
		return nil, ErrTooLarge // strings and numbers always marshal
	}
	value := base64.RawURLEncoding.EncodeToString(a.signing[0].renewal.Seal(nil, nil, body, []byte(a.renewalName()))) //nolint:gosec // it makes a random nonce itself
	if len(value) > maxRenewal {
		return nil, ErrTooLarge
	}
	return a.renewalCookie(value, int(RenewalLifetime/time.Second)), nil
}

// Renewal returns the renewal that a request has in its cookie. ErrNoCredential if there is none, ErrTwoCredentials if there are
// two, *InvalidError if it is over, revoked or not ours.
func (a *Authenticator) Renewal(r *http.Request) (*Renewal, error) {
	value, found, err := cookieValue(r.Header["Cookie"], a.renewalName())
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNoCredential
	}
	if len(value) > maxRenewal {
		return nil, malformed("too long")
	}
	sealed, err := decodeBase64(value)
	if err != nil {
		return nil, malformed("not one of ours")
	}
	for _, k := range a.signing {
		if text, err := k.renewal.Open(nil, nil, sealed, []byte(a.renewalName())); err == nil {
			return a.parseRenewal(text)
		}
	}
	return nil, unverified("not sealed by one of our keys for the renewal of a session")
}

func (a *Authenticator) parseRenewal(text []byte) (*Renewal, error) {
	var b renewalBody
	if json.Unmarshal(text, &b) != nil || b.Refresh == "" || len(b.Lineage) < 2 || b.MintedAt == 0 {
		return nil, malformed("not one of ours")
	}
	g := &Grant{Kind: Session, Subject: b.Subject, Expires: time.Unix(b.Expires, 0), issuedAt: b.IssuedAt, mintedAt: b.MintedAt, lineage: b.Lineage, subject: subjectRef(b.Subject)}
	if !a.now().Before(g.Expires) {
		return nil, refused("the session was not renewed in time")
	}
	if a.revoked.has(g) {
		return nil, errRevoked
	}
	return &Renewal{Subject: b.Subject, Identity: b.Identity, RefreshToken: b.Refresh, grant: g}, nil
}

// EndRenewal revokes r, and all copies of it, whether they were made before its last renewal or were renewed since.
func (a *Authenticator) EndRenewal(r *Renewal) error {
	all := *r.grant
	all.Expires = a.now().Add(RenewalLifetime + 2*a.leeway) // a copy may have been renewed just now, by an instance whose clock is ahead
	return a.EndSession(&all)
}

// ClearRenewal returns the cookie that makes a browser forget its renewal.
func (a *Authenticator) ClearRenewal() *http.Cookie { return a.renewalCookie("", -1) }

// HasRenewal reports whether a request has the cookie of a renewal, good or not.
func (a *Authenticator) HasRenewal(r *http.Request) bool {
	_, found, err := cookieValue(r.Header["Cookie"], a.renewalName())
	return found || err != nil
}

func (a *Authenticator) renewalName() string { return a.cookieName + "-renewal" }

func (a *Authenticator) renewalCookie(value string, maxAge int) *http.Cookie {
	c := a.cookie(value, maxAge) //nolint:gosec // G124: as there
	c.Name = a.renewalName()
	return c
}

// renewalCipher makes the cipher of renewals. Nonces are random: a key is good for 2^32 of them (NIST SP 800-38D section 8.3).
func renewalCipher(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // it takes 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // it takes AES
	}
	return aead
}
