package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"tilegate/auth"
)

// sessionAnswer is the body of the answers of /session.
type sessionAnswer struct {
	Subject    string     `json:"subject"`
	Tilesets   []string   `json:"tilesets"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`  // absent where an API key does not expire
	RenewAfter *time.Time `json:"renew_after,omitempty"` // absent where the credential is no session
}

// CookieSigner makes the cookies by which CloudFront admits a viewer to tilesets.
type CookieSigner interface {
	// Cookies returns those that open base+"/tiles/{id}/" for each id until expires.
	Cookies(base string, ids []string, expires time.Time) ([]*http.Cookie, error)
	// Expired returns those that delete the cookies of each id.
	Expired(ids []string) []*http.Cookie
}

// clearCache makes the browser forget what it has cached for the user before (W3C Clear Site Data).
var clearCache = []string{`"cache"`}

// signIn turns the access token in a header into a session cookie, so that image elements,
// which cannot send headers, can be authorized by URLs that never change. Without one, it renews the session of a browser that signed
// in at /login.
func (p *Proxy) signIn(x *exchange, r *http.Request) error {
	if err := p.fromOwnPages(r); err != nil {
		return err
	}
	var grant *auth.Grant
	var err error
	renewalFor := func(*auth.SessionToken) *http.Cookie { return p.opt.Auth.ClearRenewal() } // it may be of another user
	byCookie := !p.opt.Auth.HasHeaderCredential(r.Header)                                    // a token in a link must not sign in whoever follows it
	if byCookie {
		grant, renewalFor, err = p.renew(x, r)
	} else {
		grant, err = p.caller(x, r, "")
	}
	if err != nil {
		return err
	}
	session, err := p.opt.Auth.NewSession(grant)
	if err != nil {
		return err
	}
	cookies := []*http.Cookie{p.opt.Auth.SessionCookie(session)}
	var ids []string // of the tilesets that CloudFront opens
	cdn := r.URL.Query().Get("cdn")
	switch cdn {
	case "":
	case "cloudfront":
		var signed []*http.Cookie
		if ids, signed, err = p.signedCookies(grant, session.Expires); err != nil {
			return err
		}
		cookies = append(cookies, signed...)
	default:
		return refuse(http.StatusBadRequest, "The only value that cdn may have is cloudfront.")
	}
	if byCookie || p.opt.Auth.HasRenewal(r) {
		cookies = append(cookies, renewalFor(session))
	}
	if p.isAnother(x, r, grant) || cdn != "" {
		cookies = append(cookies, p.expiredCookies(ids)...)
	}
	setCookies(x, cookies)
	return writeSession(x, r, session)
}

// isAnother reports whether the session before is not of the grant's subject, and then makes the browser forget what it
// holds. A cookie that does not verify may be of another user, whose tiles the browser still holds.
func (p *Proxy) isAnother(x *exchange, r *http.Request, grant *auth.Grant) bool {
	before, err := p.opt.Auth.AuthenticateSession(r)
	if renewal, renewalErr := p.opt.Auth.Renewal(r); err != nil && renewalErr == nil && renewal.Subject == grant.Subject {
		return false // the session has expired, and this was its renewal
	}
	another := err != nil && !errors.Is(err, auth.ErrNoCredential) || err == nil && before.Subject != grant.Subject
	if another {
		x.Set("Clear-Site-Data", clearCache)
	}
	return another
}

// signedCookies makes three cookies for each tileset that the grant names. CloudFront knows neither zooms
// nor boxes, so a grant that is limited by them gets none.
func (p *Proxy) signedCookies(grant *auth.Grant, expires time.Time) (ids []string, cookies []*http.Cookie, err error) {
	if p.opt.CloudFront == nil {
		return nil, nil, refuse(http.StatusNotFound, "This server signs no cookies for CloudFront.")
	}
	if !grant.WholeTilesets() {
		return nil, nil, refuse(http.StatusForbidden, "CloudFront cannot enforce a zoom range, a bounding box or an area, and your grant has one.")
	}
	for _, ts := range p.catalogue {
		if p.edge.tilesets[ts.ID] && grant.AdmitsTileset(ts.ID) {
			ids = append(ids, ts.ID)
		}
	}
	if cookies, err = p.opt.CloudFront.Cookies(p.opt.PublicURL, ids, expires); err != nil {
		return nil, nil, fmt.Errorf("sign CloudFront cookies: %w", err)
	}
	return ids, cookies, nil
}

// expiredCookies deletes CloudFront's cookies for all tilesets but those kept: they may be those of another
// user, or of a wider grant.
func (p *Proxy) expiredCookies(kept []string) []*http.Cookie {
	if p.opt.CloudFront == nil {
		return nil
	}
	var ids []string
	for _, ts := range p.catalogue {
		if p.edge.tilesets[ts.ID] && !slices.Contains(kept, ts.ID) {
			ids = append(ids, ts.ID)
		}
	}
	return p.opt.CloudFront.Expired(ids)
}

// setCookies sets the session's cookie, which is the first, and others that belong to it. They are
// partitioned when it is.
func setCookies(x *exchange, cookies []*http.Cookie) {
	for _, c := range cookies {
		c.Partitioned = cookies[0].Partitioned
		http.SetCookie(x, c)
	}
}

// whoAmI answers with what the credential in a header grants, or with the session of the cookie.
func (p *Proxy) whoAmI(x *exchange, r *http.Request) error {
	if p.opt.Auth.HasHeaderCredential(r.Header) {
		grant, err := p.caller(x, r, "")
		if err != nil {
			return err
		}
		answer := sessionAnswer{Subject: grant.Subject, Tilesets: append([]string{}, grant.Tilesets...)}
		if !grant.Expires.IsZero() {
			expires := seconds(grant.Expires)
			answer.ExpiresAt = &expires
		}
		return writeJSON(x, r, http.StatusOK, answer)
	}
	grant, err := p.sessionCaller(x, r)
	if errors.Is(err, auth.ErrNoCredential) {
		return fmt.Errorf("%w: %w", refuse(http.StatusUnauthorized, p.withoutCookie(r)), err)
	}
	if err != nil {
		return err
	}
	session, err := grant.Session()
	if err != nil {
		return err
	}
	return writeSession(x, r, session)
}

// withoutCookie tells a page whose browser sent no session cookie why that may be, and what to do.
func (p *Proxy) withoutCookie(r *http.Request) string {
	cookie := p.opt.Auth.ClearCookie()
	site := r.Header["Sec-Fetch-Site"]
	switch {
	case len(site) != 1 || site[0] != "cross-site":
		return "There is no session cookie. POST /session with an access token sets one; the browser may block cookies for this site."
	case cookie.SameSite != http.SameSiteNoneMode:
		return "This page is on another site than tilegate, and the cookie is for its own site only: set auth.session: {same_site: none, partitioned: true}."
	case !cookie.Partitioned:
		return "This page is on another site than tilegate, and the browser blocks third-party cookies: set auth.session.partitioned: true."
	default:
		return "This page is on another site than tilegate, and the browser blocks even partitioned cookies: use a path token from POST /tokens."
	}
}

func writeSession(x *exchange, r *http.Request, s *auth.SessionToken) error {
	expires, renew := seconds(s.Expires), seconds(s.RenewAfter)
	return writeJSON(x, r, http.StatusOK, sessionAnswer{s.Subject, append([]string{}, s.Tilesets...), &expires, &renew})
}

// signOut revokes the session of the cookie, if there is one, and deletes the cookie.
func (p *Proxy) signOut(x *exchange, r *http.Request) error {
	if err := p.fromOwnPages(r); err != nil {
		return err
	}
	if err := p.endSession(x, r); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// endSession does all of signOut but the answer.
func (p *Proxy) endSession(x *exchange, r *http.Request) error {
	// Before the session ends, with which its renewal is revoked and then no longer says which it is.
	renewal, err := p.opt.Auth.Renewal(r)
	renewed := err == nil
	if renewed {
		if err := p.opt.Auth.EndRenewal(renewal); err != nil {
			return err
		}
	}
	switch grant, err := p.sessionCaller(x, r); {
	case errors.Is(err, auth.ErrTwoCredentials):
		return err // which of them to end is not clear
	case err == nil:
		if err := p.opt.Auth.EndSession(grant); err != nil {
			return err
		}
	}
	if renewed {
		p.revokeAtProvider(r.Context(), renewal)
	}
	cleared := append([]*http.Cookie{p.opt.Auth.ClearCookie()}, p.expiredCookies(nil)...)
	if p.opt.Auth.HasRenewal(r) {
		cleared = append(cleared, p.opt.Auth.ClearRenewal())
	}
	setCookies(x, cleared)
	x.Set("Clear-Site-Data", clearCache)
	return nil
}

// fromOwnPages refuses requests from pages of other origins. A request may come without Origin (curl, an
// app), from our own origin, or from one that CORS lists; never from "null".
func (p *Proxy) fromOwnPages(r *http.Request) error {
	given := r.Header["Origin"]
	if len(given) == 0 {
		return nil
	}
	if len(given) == 1 && given[0] != "" && given[0] != "null" && (given[0] == p.origin(r) || p.cors.allows(given[0])) {
		return nil
	}
	return refuse(http.StatusForbidden, "Pages of this origin may not do that; server.cors.origins lists those that may.")
}
