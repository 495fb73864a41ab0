package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"tilegate/internal/tile"
)

// ClaimNames are the names under which tokens carry grants. Zero values are the defaults.
type ClaimNames struct {
	Tilesets    string // "tilesets": an array of strings, or one string of entries between spaces
	ScopePrefix string // "tiles:": entries of the scope claim that begin so name tilesets
	Zoom        string // "zoom": "0-14"
	BBox        string // "bbox": [west, south, east, north]
}

// rules are what the claims of one issuer's tokens must keep to.
type rules struct {
	audience    []string // any one of them; none: the token must not name any
	claims      ClaimNames
	leeway      time.Duration
	maxLifetime time.Duration // 0: unlimited
	defaults    Limits        // when the token carries none of our claims; nil Tilesets: none
	allow       Limits        // the most that it can grant; nil Tilesets: all
}

const maxName = 255 // bytes of sub and jti (OpenID Connect Core section 2)

// grant turns the claims of a token into a grant. The signature has been verified, so the client may be
// told what is wrong with them.
func (r *rules) grant(j *jws, claims map[string]any, now time.Time) (*Grant, error) {
	expires, issued, err := r.dates(claims, now)
	if err != nil {
		return nil, err
	}
	if err := r.checkAudience(claims); err != nil {
		return nil, err
	}
	subject, err := nameClaim(claims, "sub")
	if err != nil {
		return nil, err
	}
	id, err := nameClaim(claims, "jti")
	if err != nil {
		return nil, err
	}
	if id == "" {
		id = derivedID(j.signed)
	}
	limits, err := r.limits(claims)
	if err != nil {
		return nil, err
	}
	g := grantOf(limits)
	g.narrow(r.allow)
	g.Kind, g.Subject, g.ID, g.Expires = Access, subject, id, expires
	if !issued.IsZero() {
		g.issuedAt = max(issued.Unix(), 1)
	}
	g.bind(nil)
	return g, nil
}

// derivedID returns an id for a token that has none, derived from its signed text. The signature is left
// out, since ECDSA allows another one over the same text.
func derivedID(signed string) string {
	sum := sha256.Sum256([]byte(signed))
	return "~" + base64.RawURLEncoding.EncodeToString(sum[:12])
}

// dates checks exp, nbf and iat (RFC 7519 section 4.1.4 to 4.1.6). issued is zero without iat.
func (r *rules) dates(claims map[string]any, now time.Time) (expires, issued time.Time, err error) {
	expires, err = dateClaim(claims, "exp")
	if err != nil {
		return
	}
	notBefore, err := dateClaim(claims, "nbf")
	if err != nil {
		return
	}
	issued, err = dateClaim(claims, "iat")
	if err != nil {
		return
	}
	start := issued
	if start.IsZero() {
		start = now
	}
	switch {
	case expires.IsZero():
		err = refused("the token has no exp")
	case !now.Before(expires.Add(r.leeway)):
		err = refused("the token expired " + now.Sub(expires).Truncate(time.Second).String() + " ago")
	case notBefore.After(now.Add(r.leeway)):
		err = refused("the token is not valid before " + notBefore.Sub(now).Truncate(time.Second).String() + " from now (nbf)")
	case issued.After(now.Add(r.leeway)):
		err = refused("the token was issued in the future (iat): compare the clocks")
	case r.maxLifetime > 0 && expires.Sub(start) > r.maxLifetime:
		err = refused("the token lives longer than the " + r.maxLifetime.String() + " that are allowed")
	}
	return expires, issued, err
}

// lastDate is the end of the year 9999, the last that RFC 3339 can write.
const lastDate = 253402300799

// dateClaim reads a NumericDate (RFC 7519 section 2), fractions included. It is zero if the claim is absent.
func dateClaim(claims map[string]any, name string) (time.Time, error) {
	value, ok := claims[name]
	if !ok {
		return time.Time{}, nil
	}
	number, _ := value.(json.Number)
	seconds, err := number.Float64()
	if err != nil || seconds < 0 || seconds > lastDate {
		return time.Time{}, refused(name + " must be a number of seconds since 1970")
	}
	return time.UnixMicro(int64(math.Floor(seconds * 1e6))), nil
}

// checkAudience checks that aud names one of the configured audiences. If none is configured, a token that
// names any is meant for somebody else (RFC 7519 section 4.1.3).
func (r *rules) checkAudience(claims map[string]any) error {
	value, present := claims["aud"]
	if !present && len(r.audience) == 0 {
		return nil
	}
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	found := false
	for _, entry := range list {
		name, ok := entry.(string)
		if !ok {
			return refused("aud must be a string or an array of strings")
		}
		for _, wanted := range r.audience {
			found = found || name == wanted
		}
	}
	if !found {
		return refused("the token is for another audience (aud)")
	}
	return nil
}

func nameClaim(claims map[string]any, name string) (string, error) {
	value, present := claims[name]
	if !present {
		return "", nil
	}
	s, ok := value.(string)
	if !ok || len(s) > maxName || strings.ContainsFunc(s, unicode.IsControl) {
		return "", refused(fmt.Sprintf("%s must be a string of at most %d bytes without control characters", name, maxName))
	}
	return s, nil
}

// limits reads our claims. A token with a malformed one, null included, is refused: a restriction that is
// misspelt must not vanish.
func (r *rules) limits(claims map[string]any) (Limits, error) {
	limits := Limits{Tilesets: []string{}}
	tilesets, hasTilesets := claims[r.claims.Tilesets]
	if hasTilesets {
		entries, err := stringList(tilesets)
		if err != nil {
			return Limits{}, refused("the tilesets claim must be an array of strings, or a string of entries between spaces")
		}
		limits.Tilesets = entries
	}
	hasScope := false
	if scope, ok := claims["scope"]; ok {
		text, ok := scope.(string)
		if !ok {
			return Limits{}, refused("scope must be a string of entries between spaces")
		}
		for _, entry := range spaceSeparated(text) {
			if name, ours := strings.CutPrefix(entry, r.claims.ScopePrefix); ours {
				hasScope = true
				limits.Tilesets = append(limits.Tilesets, name)
			}
		}
	}
	if err := validEntries(limits.Tilesets); err != nil {
		return Limits{}, refused(err.Error())
	}
	zoom, hasZoom := claims[r.claims.Zoom]
	if hasZoom {
		text, _ := zoom.(string)
		parsed, err := tile.ParseZoomRange(text)
		if err != nil {
			return Limits{}, refused(`the zoom claim must be a range such as '0-14', within 0-30`)
		}
		limits.Zoom = &parsed
	}
	bbox, hasBBox := claims[r.claims.BBox]
	if hasBBox {
		parsed, err := parseBBoxClaim(bbox)
		if err != nil {
			return Limits{}, refused("the bbox claim is malformed: " + tile.ErrBox.Error())
		}
		limits.BBox = &parsed
	}
	if !hasTilesets && !hasScope && !hasZoom && !hasBBox {
		return r.defaults, nil
	}
	return limits, nil
}

func stringList(value any) ([]string, error) {
	if text, ok := value.(string); ok {
		return spaceSeparated(text), nil
	}
	array, ok := value.([]any)
	if !ok {
		return nil, errJSON
	}
	list := make([]string, len(array))
	for i, entry := range array {
		if list[i], ok = entry.(string); !ok {
			return nil, errJSON
		}
	}
	return list, nil
}

// spaceSeparated splits at spaces and at no other white space (RFC 6749 section 3.3).
func spaceSeparated(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' })
}

func parseBBoxClaim(value any) (tile.Box, error) {
	array, _ := value.([]any)
	degrees := make([]float64, 0, 4)
	for _, entry := range array {
		number, ok := entry.(json.Number)
		if !ok {
			return tile.Box{}, tile.ErrBox
		}
		f, err := number.Float64()
		if err != nil {
			return tile.Box{}, tile.ErrBox
		}
		degrees = append(degrees, f)
	}
	return tile.ParseBox(degrees)
}
