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

// Authenticate finds the request's credential and says what it grants. Credentials are looked for
// in Authorization (Bearer, or Basic with the token as its password), the path, the query
// parameter, the cookie; the first that is found decides, and an invalid one never falls through
// to the next. pathToken is the token that stood in the path, "" if the route has none.
// Errors: ErrNoCredential, *InvalidError, ErrTwoCredentials, ErrMalformed, ErrKeysUnavailable.
func (a *Authenticator) Authenticate(r *http.Request, pathToken string) (*Grant, error) {
	kind, token, err := a.find(r, pathToken)
	if err != nil {
		return nil, err
	}
	return a.verify(r.Context(), kind, token)
}

// AuthenticateSession looks at the session cookie alone: for the routes that are about the
// session, whatever else the request carries. Errors as Authenticate's.
func (a *Authenticator) AuthenticateSession(r *http.Request) (*Grant, error) {
	token, found, err := a.cookieValue(r.Header["Cookie"])
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNoCredential
	}
	return a.verify(r.Context(), Session, token)
}

// find looks for the credential: Authorization, the path, the query, the cookie, in this order. Each of
// them brings its own kind of token and no other.
func (a *Authenticator) find(r *http.Request, pathToken string) (Kind, string, error) {
	switch lines := r.Header["Authorization"]; {
	case len(lines) > 1:
		return 0, "", ErrTwoCredentials
	case len(lines) == 1:
		token, err := authorization(lines[0])
		return Access, token, err
	case pathToken != "":
		return Path, pathToken, nil
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
			return Access, values[0], nil
		}
	}
	token, found, err := a.cookieValue(r.Header["Cookie"])
	if err == nil && !found {
		err = ErrNoCredential
	}
	return Session, token, err
}

// authorization takes the token out of the header's value (RFC 6750 section 2.1, RFC 7617).
func authorization(value string) (string, error) {
	scheme, credentials, _ := strings.Cut(value, " ")
	credentials = strings.TrimLeft(credentials, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return credentials, nil
	case strings.EqualFold(scheme, "Basic"):
		if len(credentials) > 2*maxToken {
			return "", malformed("longer than 8 KiB")
		}
		pair, err := base64.StdEncoding.Strict().DecodeString(credentials)
		_, password, found := strings.Cut(string(pair), ":")
		if err != nil || !found {
			return "", malformed("Basic credentials are not base64 of a name, a colon and the token")
		}
		return password, nil
	}
	return "", refused("Authorization has a scheme other than Bearer: send the token as a bearer token")
}

// cookieValue finds our cookie without parsing the others. Two of its name are refused: with
// __Host- no browser sends two, and without it a page on another port of this host could add one
// of its own choice (RFC 6265bis section 8.6), which the server cannot tell apart.
func (a *Authenticator) cookieValue(lines []string) (value string, found bool, err error) {
	for _, line := range lines {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, v, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if name != a.cookieName {
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

// verify says what a token of this kind grants, from memory if it was verified before.
func (a *Authenticator) verify(ctx context.Context, kind Kind, token string) (*Grant, error) {
	now := a.now()
	g := a.remembered.get(kind, token, now)
	if g == nil {
		e := entry{kind: kind, token: token}
		var err error
		var until time.Time
		if kind == Access {
			if e.grant, e.keys, e.set, err = a.verifyJWT(ctx, token, now); err != nil {
				return nil, err
			}
			until = e.grant.Expires.Add(a.leeway)
		} else {
			if e.grant, err = a.open(kind, token, now); err != nil {
				return nil, err
			}
			until = e.grant.Expires
		}
		if day := now.Add(24 * time.Hour); until.After(day) {
			until = day
		}
		e.until = until.UnixNano()
		a.remembered.put(e)
		g = e.grant
	}
	if a.revoked.has(g) {
		return nil, errRevoked
	}
	return g, nil
}

// verifyJWT verifies an issuer's token, or one of our own access tokens. What needs no key comes
// first; what the token says of itself is looked at, and told, only once its signature is good.
func (a *Authenticator) verifyJWT(ctx context.Context, token string, now time.Time) (*Grant, *keySource, *keySet, error) {
	fail := func(err error) (*Grant, *keySource, *keySet, error) { return nil, nil, nil, err }
	j, err := parseJWS(token)
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
		return fail(unverified("no such issuer"))
	}
	if !slices.Contains(issuer.keys.algorithms, j.alg) {
		return fail(unverified("the algorithm is not one of the issuer's"))
	}
	set := issuer.keys.set.Load()
	if set == nil {
		set = issuer.keys.awaitFirst(ctx)
	}
	if set == nil {
		return fail(ErrKeysUnavailable)
	}
	k, err := set.find(j)
	if errors.Is(err, errUnknownKID) && issuer.keys.awaitFetch(ctx) {
		set = issuer.keys.set.Load()
		k, err = set.find(j)
	}
	switch {
	case errors.Is(err, errUnknownKID):
		return fail(unverified("no key of this kid"))
	case err != nil:
		return fail(err)
	}
	if err := k.verify(j); err != nil {
		return fail(err)
	}
	g, err := issuer.rules.grant(j, claims, now)
	if err != nil {
		return fail(err)
	}
	return g, issuer.keys, set, nil
}
