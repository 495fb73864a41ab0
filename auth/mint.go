package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ownIssuer is the iss of the access tokens that NewAccessToken makes.
const ownIssuer = "tilegate"

const defaultPathTTL = time.Hour

// AccessRequest describes the token that NewAccessToken shall make.
type AccessRequest struct {
	Subject string
	Limits
	TTL time.Duration // whole seconds, rounded down
}

// NewAccessToken makes an access token of tilegate's own: an HS256 JWT with iss "tilegate" that
// any process with the same signing key accepts. An error says what is wrong with the request.
func (a *Authenticator) NewAccessToken(r AccessRequest) (string, *Grant, error) {
	now := a.now().Truncate(time.Second)
	ttl := r.TTL.Truncate(time.Second)
	switch {
	case r.Subject == "":
		return "", nil, errors.New("the token needs a subject")
	case ttl <= 0:
		return "", nil, errors.New("the token needs a lifetime of at least a second")
	case a.maxLifetime > 0 && ttl > a.maxLifetime:
		return "", nil, fmt.Errorf("a lifetime of %v is longer than the %v that max_lifetime allows", ttl, a.maxLifetime)
	}
	if err := r.Validate(); err != nil {
		return "", nil, err
	}
	claims := map[string]any{
		"iss": ownIssuer, "sub": r.Subject, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(ttl).Unix(),
		"tilesets": append([]string{}, r.Tilesets...),
	}
	if r.Zoom != nil {
		claims["zoom"] = fmt.Sprintf("%d-%d", r.Zoom.Min, r.Zoom.Max)
	}
	if r.BBox != nil {
		claims["bbox"] = [4]float64{r.BBox.West, r.BBox.South, r.BBox.East, r.BBox.North}
	}
	if r.Areas != nil {
		claims["area"] = areaNames(r.Areas)
	}
	header, err1 := json.Marshal(map[string]string{"alg": "HS256", "typ": "JWT", "kid": a.signing[0].kid})
	payload, err2 := json.Marshal(claims)
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err3 := jwt.SigningMethodHS256.Sign(signed, a.signing[0].access)
	if err := errors.Join(err1, err2, err3); err != nil {
		return "", nil, fmt.Errorf("make an access token: %w", err)
	}
	token := signed + "." + base64.RawURLEncoding.EncodeToString(signature)
	// A token that would be refused, for a subject that is too long for example, must not be handed out.
	g, _, _, err := a.verifyJWT(context.Background(), token, a.now())
	if err != nil {
		return "", nil, fmt.Errorf("make an access token: %w", err)
	}
	return token, g, nil
}

// PathRequest describes the token that NewPathToken shall make, within the parent's grant.
type PathRequest struct {
	// Limits: nil Tilesets are the parent's; otherwise the parent's grant must cover each. Zoom, BBox
	// and Areas are narrowed to the parent's.
	Limits
	TTL time.Duration // 0: one hour; never beyond the parent's expiry
}

// NewPathToken makes a token for the path of URLs out of the grant of an access token or a session. It is
// never wider and never lives longer than its parent.
//
// Its expiry is rounded down to TokenWindow, so that the same request within a window gets the same token
// and its URLs stay in caches. A window of more than half of the TTL is halved until it fits. Where rounding
// would leave less than half of the parent's remaining life, the parent's expiry is used, which does not
// change either.
//
// Errors: ErrWrongKind for another kind of parent; *InvalidError for a parent that ends within a second or
// is revoked; ErrNotGranted; ErrTooLarge. Any other error says what is wrong with the request.
func (a *Authenticator) NewPathToken(parent *Grant, r PathRequest) (string, *Grant, error) {
	if parent.Kind != Access && parent.Kind != Session {
		return "", nil, fmt.Errorf("%w: it is of the kind %s", ErrWrongKind, parent.Kind.describe())
	}
	if err := r.Validate(); err != nil {
		return "", nil, err
	}
	if r.TTL == 0 {
		r.TTL = defaultPathTTL
	}
	if r.TTL < time.Second {
		return "", nil, errors.New("ttl must be 1s at least")
	}
	now := a.now()
	if err := a.checkParent(parent); err != nil {
		return "", nil, err
	}
	g := &Grant{
		Kind: Path, Subject: parent.Subject, Expires: a.pathExpiry(now, r.TTL, parent.Expires),
		Tilesets: parent.Tilesets, parts: parent.parts,
		issuedAt: parent.issuedAt, mintedAt: parent.mintedAt,
	}
	if r.Tilesets != nil {
		for _, entry := range r.Tilesets {
			if !parent.covers(entry) {
				return "", nil, fmt.Errorf("%w: %s", ErrNotGranted, parent.ExplainID(entry))
			}
		}
		g.keep(r.Tilesets)
	}
	g.narrow(Limits{Zoom: r.Zoom, BBox: r.BBox, Areas: r.Areas})
	if g.empty() {
		return "", nil, fmt.Errorf("%w: nothing is left of the zooms and areas that the %s grants", ErrNotGranted, parent.Kind.describe())
	}
	token, err := a.seal(g, parent.lineage)
	return token, g, err
}

// checkParent returns why nothing can be minted from parent any more: it has expired, since what is minted
// has no leeway, or it was revoked after it was authenticated.
func (a *Authenticator) checkParent(parent *Grant) error {
	if parent.Expires.Unix() <= a.now().Unix() {
		return refused("the token has expired")
	}
	if a.revoked.has(parent) {
		return errRevoked
	}
	return nil
}

func (a *Authenticator) pathExpiry(now time.Time, ttl time.Duration, parent time.Time) time.Time {
	window := a.tokenWindow
	for window > ttl/2 {
		window /= 2
	}
	limit := parent
	if ttl < parent.Sub(now) {
		limit = now.Add(ttl)
	}
	seconds := max(int64(window/time.Second), 1)
	rounded := time.Unix(limit.Unix()/seconds*seconds, 0)
	if limit.Equal(parent) && rounded.Sub(now) < limit.Sub(now)/2 {
		return time.Unix(parent.Unix(), 0)
	}
	return rounded
}
