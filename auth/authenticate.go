package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Authenticate finds the request's credential and returns what it grants. It looks in this order: the
// headers that carry tokens (Authorization: Bearer, or Basic with the token or an API key as the password,
// and the issuers' own), X-API-Key, the path, the query parameter, the cookie. The first credential that it
// finds decides: an invalid one is never skipped for the next. inPath is the token or API key in the path,
// "" if the route has none.
// Errors: ErrNoCredential, *InvalidError, ErrTwoCredentials, ErrMalformed, ErrKeysUnavailable,
// ErrWrongOrigin, ErrWrongAddress.
func (a *Authenticator) Authenticate(r *http.Request, inPath string) (*Grant, error) {
	kind, credential, err := a.find(r, inPath)
	if err != nil {
		return nil, err
	}
	if kind == Key {
		return a.authenticateKey(r, credential)
	}
	return a.verify(r.Context(), kind, credential)
}

// HasHeaderCredential reports whether one of the headers that carry access tokens or API keys is there. It is
// for routes that must not take a credential from a URL.
func (a *Authenticator) HasHeaderCredential(h http.Header) bool {
	return h["Authorization"] != nil || a.apiKeys != nil && h[apiKeyHeader] != nil ||
		slices.ContainsFunc(a.tokenHeaders, func(name string) bool { return h[name] != nil })
}

// AuthenticateToken verifies an access token that did not come in a request of its holder's. Its errors are *InvalidError
// and ErrKeysUnavailable.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string) (*Grant, error) {
	return a.verify(ctx, Access, token)
}

// AuthenticateSession reads the session cookie and nothing else, for the routes that are about the
// session. Its errors are those of Authenticate.
func (a *Authenticator) AuthenticateSession(r *http.Request) (*Grant, error) {
	token, found, err := cookieValue(r.Header["Cookie"], a.cookieName)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNoCredential
	}
	return a.verify(r.Context(), Session, token)
}

// find returns the credential that decides, and the kind of credential that may stand where it was found.
func (a *Authenticator) find(r *http.Request, inPath string) (Kind, string, error) {
	if kind, credential, err := a.findHeader(r.Header); err != nil || kind != 0 {
		return kind, credential, err
	}
	if inPath != "" {
		return a.orKey(Path, inPath), inPath, nil
	}
	if a.queryParameter != "" && r.URL.RawQuery != "" {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return 0, "", ErrMalformed
		}
		switch values := query[a.queryParameter]; {
		case len(values) > 1:
			return 0, "", ErrMalformed
		case len(values) == 1:
			return a.orKey(Access, values[0]), values[0], nil
		}
	}
	token, found, err := cookieValue(r.Header["Cookie"], a.cookieName)
	if err == nil && !found {
		err = ErrNoCredential
	}
	return Session, token, err
}

// QueryCredential returns the credential in the query parameter if it is the one that decides for r, else "".
func (a *Authenticator) QueryCredential(r *http.Request, inPath string) string {
	if a.queryParameter == "" || inPath != "" {
		return ""
	}
	if kind, _, err := a.findHeader(r.Header); err != nil || kind != 0 {
		return ""
	}
	return r.URL.Query().Get(a.queryParameter)
}

// findHeader looks in the headers but the cookie. Two tokens in headers are refused, whichever headers those
// are: which one is meant is not clear. The kind is 0 if there is none.
func (a *Authenticator) findHeader(h http.Header) (Kind, string, error) {
	lines := h["Authorization"]
	if len(a.tokenHeaders) > 0 {
		var tokens []string
		for _, name := range a.tokenHeaders {
			tokens = append(tokens, h[name]...)
		}
		switch {
		case len(tokens) > 1, len(tokens) == 1 && lines != nil:
			return 0, "", ErrTwoCredentials
		case len(tokens) == 1:
			return Access, tokens[0], nil
		}
	}
	switch {
	case len(lines) > 1:
		return 0, "", ErrTwoCredentials
	case len(lines) == 1:
		return a.authorization(lines[0])
	case a.apiKeys == nil:
		return 0, "", nil
	}
	switch keys := h[apiKeyHeader]; {
	case len(keys) > 1:
		return 0, "", ErrTwoCredentials
	case len(keys) == 1:
		return Key, keys[0], nil
	}
	return 0, "", nil
}

// orKey returns Key for what is an API key by its form, else kind.
func (a *Authenticator) orKey(kind Kind, credential string) Kind {
	if a.apiKeys != nil && strings.HasPrefix(credential, keyPrefix) {
		return Key
	}
	return kind
}

// authorization returns the credential in the header's value (RFC 6750 section 2.1, RFC 7617).
func (a *Authenticator) authorization(value string) (Kind, string, error) {
	scheme, credentials, _ := strings.Cut(value, " ")
	credentials = strings.TrimLeft(credentials, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		if a.orKey(Access, credentials) == Key {
			return 0, "", refused("an API key is not a bearer token: send it as X-API-Key, or as the password of Basic")
		}
		return Access, credentials, nil
	case strings.EqualFold(scheme, "Basic"):
		if len(credentials) > 2*a.maxToken {
			return 0, "", tooLong(a.maxToken)
		}
		pair, err := base64.StdEncoding.Strict().DecodeString(credentials)
		_, password, found := strings.Cut(string(pair), ":")
		if err != nil || !found {
			return 0, "", malformed("Basic credentials are not base64 of a name, a colon and the token")
		}
		return a.orKey(Access, password), password, nil
	}
	return 0, "", refused("Authorization has a scheme other than Bearer: send the token as a bearer token")
}

// cookieValue finds our cookie without parsing the others. Two cookies of its name are refused. With
// __Host- no browser sends two; without it, a page on another port of this host could add one of its own
// (RFC 6265bis section 8.6), and the server could not tell them apart.
func cookieValue(lines []string, wanted string) (value string, found bool, err error) {
	for _, line := range lines {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, v, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if name != wanted {
				continue
			}
			if found {
				return "", false, ErrTwoCredentials
			}
			value, found = v, true
		}
	}
	return value, found, nil
}

var errRevoked = &InvalidError{Description: "the token has been revoked"}

// verify returns what a token of this kind grants, from the cache if it was verified before.
func (a *Authenticator) verify(ctx context.Context, kind Kind, token string) (*Grant, error) {
	now := a.now()
	g := a.verified.get(kind, token, now)
	if g == nil {
		v := verifiedToken{kind: kind, token: token}
		var err error
		var until time.Time
		if kind == Access {
			if v.grant, v.keys, v.set, err = a.verifyJWT(ctx, token, now); err != nil {
				return nil, err
			}
			until = v.grant.Expires.Add(a.leeway)
		} else {
			if v.grant, err = a.open(kind, token, now); err != nil {
				return nil, err
			}
			until = v.grant.Expires
		}
		if day := now.Add(24 * time.Hour); until.After(day) {
			until = day
		}
		v.until = until.UnixNano()
		a.verified.put(v)
		g = v.grant
	}
	if a.revoked.has(g) {
		return nil, errRevoked
	}
	return g, nil
}

// verifyJWT verifies an issuer's token, or one of our own access tokens. Checks that need no key come
// first. The claims are checked, and the client told about them, only after the signature.
func (a *Authenticator) verifyJWT(ctx context.Context, token string, now time.Time) (*Grant, *keySource, *keySet, error) {
	fail := func(err error) (*Grant, *keySource, *keySet, error) { return nil, nil, nil, err }
	j, err := parseJWS(token, a.maxToken)
	if err != nil {
		return fail(err)
	}
	claims, err := parseObject(j.payload, maxTokenValues)
	if err != nil {
		return fail(malformed("its payload is not one strict JSON object"))
	}
	name, _ := claims["iss"].(string)
	issuer, ok := a.issuers[name]
	if !ok {
		return fail(a.unknownIssuer(j, claims))
	}
	if len(token) > issuer.maxToken {
		return fail(tooLong(issuer.maxToken))
	}
	source := issuer.source(j.alg)
	if source == nil {
		return fail(unverified("the algorithm is not one of the issuer's"))
	}
	set := source.set.Load()
	if set == nil {
		set = source.awaitFirst(ctx)
	}
	if set == nil {
		return fail(ErrKeysUnavailable)
	}
	keys, err := set.find(j)
	if errors.Is(err, errUnknownKID) && source.awaitFetch(ctx) {
		set = source.set.Load()
		keys, err = set.find(j)
	}
	switch {
	case errors.Is(err, errUnknownKID):
		return fail(unverified("no key of this kid"))
	case err != nil:
		return fail(err)
	}
	if err := verifyWith(keys, j); err != nil {
		return fail(err)
	}
	g, err := issuer.rules.grant(j, claims, now)
	if err != nil {
		return fail(err)
	}
	a.revoked.saw(g.issuedAt, now)
	return g, source, set, nil
}

// unknownIssuer returns the error for a token whose iss is none of the issuers'. If one of them has signed it
// all the same, as with a slash too many, the client is told both names. For that at most one signature is
// verified, as for any other token, and no key is fetched.
func (a *Authenticator) unknownIssuer(j *jws, claims map[string]any) error {
	for _, is := range a.named {
		source := is.source(j.alg)
		if source == nil {
			continue
		}
		set := source.set.Load()
		if set == nil {
			continue
		}
		keys, err := set.find(j)
		if err != nil {
			continue
		}
		if verifyWith(keys, j) != nil {
			break
		}
		switch iss, isText := claims["iss"].(string); {
		case isText:
			return refused("the token's iss is '" + printable(iss) + "', but its key is that of the issuer '" + printable(is.name) + "': the two must be the same, to the letter")
		case claims["iss"] == nil:
			return refused("no iss: the key is that of the issuer '" + printable(is.name) + "', which its tokens must name")
		default:
			return refused("iss must be a string, not " + typeName(claims["iss"]))
		}
	}
	return unverified("no such issuer")
}
