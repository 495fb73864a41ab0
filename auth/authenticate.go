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

// Authenticate finds the request's credential and returns what it grants. It looks in Authorization
// (Bearer, or Basic with the token as the password), the path, the query parameter and the cookie, in
// this order. The first credential that it finds decides: an invalid one is never skipped for the next.
// pathToken is the token in the path, "" if the route has none.
// Errors: ErrNoCredential, *InvalidError, ErrTwoCredentials, ErrMalformed, ErrKeysUnavailable.
func (a *Authenticator) Authenticate(r *http.Request, pathToken string) (*Grant, error) {
	kind, token, err := a.find(r, pathToken)
	if err != nil {
		return nil, err
	}
	return a.verify(r.Context(), kind, token)
}

// AuthenticateSession reads the session cookie and nothing else, for the routes that are about the
// session. Its errors are those of Authenticate.
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

// find returns the credential that decides, and the kind of token that may stand where it was found.
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

// authorization returns the token in the header's value (RFC 6750 section 2.1, RFC 7617).
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

// cookieValue finds our cookie without parsing the others. Two cookies of its name are refused. With
// __Host- no browser sends two; without it, a page on another port of this host could add one of its own
// (RFC 6265bis section 8.6), and the server could not tell them apart.
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
