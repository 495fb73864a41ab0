package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"tilegate/internal/tile"
)

// ClaimNames are the names under which tokens carry grants, or JSON pointers (RFC 6901), which begin with a
// slash: /realm_access/roles. Zero values are the defaults.
type ClaimNames struct {
	// Tilesets is "tilesets": an array of strings, or one string of entries between spaces. Where the issuer
	// has roles, it is an array of roles, text with spaces or commas between them, or an object whose members
	// are named after them.
	Tilesets    string
	ScopePrefix string // "tiles:": entries of the claims scope and scp that begin so name tilesets
	Zoom        string // "zoom": "0-14"
	BBox        string // "bbox": [west, south, east, north]
	Area        string // "area": the name of an area, or an array of several
}

// claimPaths are ClaimNames, parsed.
type claimPaths struct {
	tilesets, zoom, bbox, area claimPath
	scopePrefix                string
}

// parse reads the names. Options.Check has found them valid.
func (c ClaimNames) parse() claimPaths {
	path := func(text string) claimPath {
		p, err := parseClaimPath(text)
		if err != nil {
			panic(err)
		}
		return p
	}
	c = c.withDefaults()
	return claimPaths{tilesets: path(c.Tilesets), zoom: path(c.Zoom), bbox: path(c.BBox), area: path(c.Area), scopePrefix: c.ScopePrefix}
}

// rules are what the claims of one issuer's tokens must keep to.
type rules struct {
	audience       []string // any one of them; none: the token must not name any
	audienceClaims []claimPath
	claims         claimPaths
	areas          []Area // all that are configured
	roles          roles  // nil: the tilesets claim names tilesets itself
	ignoreUnknown  bool
	leeway         time.Duration
	maxLifetime    time.Duration // 0: unlimited
	defaults       Limits        // when the token carries none of our claims; nil Tilesets: none
	allow          Limits        // the most that it can grant; nil Tilesets: all
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
	parts, err := r.parts(claims)
	if err != nil {
		return nil, err
	}
	g := grantOf(parts)
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
		if _, isNumber := value.(json.Number); isNumber {
			return time.Time{}, refused(name + " must be a number of seconds since 1970, before the year 10000")
		}
		return time.Time{}, refused(name + " must be a number of seconds since 1970, not " + typeName(value))
	}
	return time.UnixMicro(int64(math.Floor(seconds * 1e6))), nil
}

// clientClaims are what issuers that write no aud, or a fixed one, name the client in.
var clientClaims = []string{"client_id", "azp", "cid", "appid"}

// checkAudience checks that the token is for one of the configured audiences: the first of the audience
// claims that it has must name one. If no audience is configured, a token that names any is meant for
// somebody else (RFC 7519 section 4.1.3).
func (r *rules) checkAudience(claims map[string]any) error {
	var path claimPath
	var value any
	present := false
	for _, p := range r.audienceClaims {
		var err error
		if value, present, err = p.lookup(claims); err != nil {
			return err
		}
		if present {
			path = p
			break
		}
	}
	switch {
	case !present && len(r.audience) == 0:
		return nil
	case !present:
		return refused(r.noAudience(claims))
	}
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	found := false
	for _, entry := range list {
		name, ok := entry.(string)
		switch {
		case !ok && isList:
			return refused(path.text + " must be a string or an array of strings, and holds " + typeName(entry))
		case !ok:
			return refused(path.text + " must be a string or an array of strings, not " + typeName(entry))
		}
		found = found || slices.Contains(r.audience, name)
	}
	if !found {
		return refused("the token is for another audience: " + path.text + " names none of those that are configured for this issuer")
	}
	return nil
}

// noAudience says what is missing, and what the token has instead.
func (r *rules) noAudience(claims map[string]any) string {
	var names []string
	for _, p := range r.audienceClaims {
		names = append(names, p.text)
	}
	text := "no " + strings.Join(names, ", no ")
	for _, name := range clientClaims {
		if _, has := claims[name]; has && !slices.Contains(names, name) {
			return text + ": this issuer's tokens have " + name + "; set audience_claims"
		}
	}
	return text + ": the token does not say whom it is for"
}

func nameClaim(claims map[string]any, name string) (string, error) {
	value, present := claims[name]
	if !present {
		return "", nil
	}
	s, ok := value.(string)
	if !ok {
		return "", refused(fmt.Sprintf("%s must be a string of at most %d bytes without control characters, not %s", name, maxName, typeName(value)))
	}
	if len(s) > maxName || strings.ContainsFunc(s, unicode.IsControl) {
		return "", refused(fmt.Sprintf("%s must be a string of at most %d bytes without control characters", name, maxName))
	}
	return s, nil
}

// parts reads our claims. A token with a malformed one, null included, is refused: a restriction that is
// misspelt must not vanish.
func (r *rules) parts(claims map[string]any) ([]part, error) {
	named := []string{} // by the token itself
	var granted []Limits
	tilesets, hasTilesets, err := r.claims.tilesets.lookup(claims)
	if err != nil {
		return nil, err
	}
	if hasTilesets {
		// The claim may be that of the scopes, whose entries with the prefix are read below.
		prefix := ""
		if r.claims.tilesets.within("scope") || r.claims.tilesets.within("scp") {
			prefix = r.claims.scopePrefix
		}
		if r.roles != nil {
			granted, err = r.roles.matching(r.claims.tilesets, tilesets, prefix, r.ignoreUnknown)
		} else {
			named, err = r.named(tilesets, prefix)
		}
		if err != nil {
			return nil, err
		}
	}
	scoped, err := r.scoped(claims)
	if err != nil {
		return nil, err
	}
	named = append(named, scoped...)
	if err := validEntries(named); err != nil {
		return nil, refused(err.Error())
	}
	narrower, err := r.narrower(claims)
	if err != nil {
		return nil, err
	}
	if !hasTilesets && scoped == nil && !narrower.narrow() {
		return []part{partOf(r.defaults)}, nil
	}
	parts := []part{partOf(Limits{Tilesets: named})}
	if len(named) == 0 && len(granted) > 0 {
		parts = nil
	}
	for _, l := range granted {
		parts = append(parts, partOf(l))
	}
	for i := range parts {
		parts[i].narrow(narrower)
	}
	return parts, nil
}

// named reads the tilesets claim of an issuer without roles.
func (r *rules) named(value any, scopePrefix string) ([]string, error) {
	path := r.claims.tilesets
	var entries []string
	switch v := value.(type) {
	case string:
		entries = spaceSeparated(v)
	case []any:
		var err error
		if entries, err = stringArray(path, v); err != nil {
			return nil, err
		}
	default:
		hint := ""
		if _, isObject := value.(map[string]any); isObject {
			hint = "; where it holds roles, set roles"
		}
		return nil, refused("the tilesets claim (" + path.text + ") must be an array of strings, or a string of entries between spaces, not " + typeName(value) + hint)
	}
	return slices.DeleteFunc(entries, func(entry string) bool {
		return scopePrefix != "" && strings.HasPrefix(entry, scopePrefix) || r.ignoreUnknown && !tile.ValidPattern(entry)
	}), nil
}

// scoped returns the tilesets that scopes name, nil if none does. Issuers write scopes as scope, which is
// text (RFC 8693 section 4.2), or as scp, and either as an array, too.
func (r *rules) scoped(claims map[string]any) ([]string, error) {
	var named []string
	for _, claim := range [...]string{"scope", "scp"} {
		value, present := claims[claim]
		if !present {
			continue
		}
		var entries []string
		switch v := value.(type) {
		case string:
			entries = spaceSeparated(v)
		case []any:
			var err error
			if entries, err = stringArray(claimPath{text: claim, steps: []string{claim}}, v); err != nil {
				return nil, err
			}
		default:
			return nil, refused(claim + " must be a string of entries between spaces, or an array of strings, not " + typeName(value))
		}
		for _, entry := range entries {
			if name, ours := strings.CutPrefix(entry, r.claims.scopePrefix); ours {
				named = append(named, name)
			}
		}
	}
	return named, nil
}

// narrower reads the claims that narrow whatever the token grants.
func (r *rules) narrower(claims map[string]any) (Limits, error) {
	var found Limits
	zoom, present, err := r.claims.zoom.lookup(claims)
	if err != nil {
		return found, err
	}
	if present {
		text, isText := zoom.(string)
		parsed, err := tile.ParseZoomRange(text)
		switch {
		case !isText:
			return found, refused("the zoom claim (" + r.claims.zoom.text + ") must be a range such as '0-14', within 0-30, not " + typeName(zoom))
		case err != nil:
			return found, refused("the zoom claim (" + r.claims.zoom.text + ") must be a range such as '0-14', within 0-30")
		}
		found.Zoom = &parsed
	}
	bbox, present, err := r.claims.bbox.lookup(claims)
	if err != nil {
		return found, err
	}
	if present {
		parsed, err := parseBBoxClaim(bbox)
		if _, isArray := bbox.([]any); !isArray {
			return found, refused("the bbox claim (" + r.claims.bbox.text + ") must be an array of four numbers, not " + typeName(bbox))
		} else if err != nil {
			return found, refused("the bbox claim (" + r.claims.bbox.text + ") is malformed: " + tile.ErrBox.Error())
		}
		found.BBox = &parsed
	}
	area, present, err := r.claims.area.lookup(claims)
	if err == nil && present {
		found.Areas, err = r.areasIn(area)
	}
	return found, err
}

// areasIn reads the area claim.
func (r *rules) areasIn(value any) ([]Area, error) {
	path := r.claims.area
	var names []string
	switch v := value.(type) {
	case string:
		names = []string{v}
	case []any:
		var err error
		if names, err = stringArray(path, v); err != nil {
			return nil, err
		}
	default:
		return nil, refused("the area claim (" + path.text + ") must be the name of an area or an array of names, not " + typeName(value))
	}
	areas, ok := namedAreas(r.areas, names)
	if !ok {
		return nil, refused("the area claim (" + path.text + ") names an area that is not configured")
	}
	return areas, nil
}

// stringArray returns the elements of an array that must be strings.
func stringArray(path claimPath, array []any) ([]string, error) {
	list := make([]string, len(array))
	for i, entry := range array {
		var ok bool
		if list[i], ok = entry.(string); !ok {
			return nil, refused(entryText(path, i) + " must be a string, not " + typeName(entry))
		}
	}
	return list, nil
}

func entryText(path claimPath, i int) string { return fmt.Sprintf("entry %d of %s", i+1, path.text) }

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
