package auth

import "errors"

var (
	// ErrNoCredential means that the request carries no credential. 401 with a bare challenge.
	ErrNoCredential = errors.New("no credential in the request")
	// ErrTwoCredentials means that the request has two tokens in headers, or X-API-Key or our cookie twice. 400.
	ErrTwoCredentials = errors.New("the request carries the same kind of credential twice")
	// ErrMalformed means that the query, in which a credential may stand, cannot be read or holds it twice. 400.
	ErrMalformed = errors.New("the query string is malformed or repeats the credential")
	// ErrKeysUnavailable means that the issuer's key set has not been fetched yet. 503 with Retry-After.
	ErrKeysUnavailable = errors.New("the issuer's key set is not available yet")
	// ErrWrongKind means that this kind of credential is not good for the request, such as a session for
	// another session. 403.
	ErrWrongKind = errors.New("this kind of credential may not ask for this")
	// ErrWrongOrigin means that an API key is limited to the pages of some origins, and the request is of none
	// of them. 403.
	ErrWrongOrigin = errors.New("the API key is limited to other origins")
	// ErrWrongAddress means that an API key is limited to some addresses, and the request's is none of them. 403.
	ErrWrongAddress = errors.New("the API key is limited to other addresses")
	// ErrNotGranted means that more was asked for than the credential grants. 403.
	ErrNotGranted = errors.New("more than the credential grants")
	// ErrTooLarge means that the grant does not fit into a token that a cookie or a URL can hold. 400.
	ErrTooLarge = errors.New("the grant is too large for a cookie or a URL: use globs")
	// ErrTooManyRevocations means that the table of revocations is full and none may be dropped yet. 503.
	ErrTooManyRevocations = errors.New("too many revocations are in force")
)

// InvalidError means that a credential was found and refused. 401 with error="invalid_token".
type InvalidError struct {
	// Description is safe to send to the client: constant text and numbers, in the characters that RFC
	// 6750 section 3 allows in error_description. It says something of the token's content, or of the issuer's
	// configuration, only after the signature has been verified.
	Description string
	// Reason is for the operator's log only. It is constant text and holds nothing of the token.
	Reason string
}

func (e *InvalidError) Error() string {
	if e.Reason == "" {
		return "invalid credential: " + e.Description
	}
	return "invalid credential: " + e.Reason
}

// unverified returns the error for a well-formed token that cannot be verified. Its description is always
// the same: which of issuer, key, algorithm and signature failed must not be told to strangers.
func unverified(reason string) error {
	return &InvalidError{Description: "the token cannot be verified: check its issuer, key and algorithm", Reason: reason}
}

func malformed(reason string) error {
	return &InvalidError{Description: "the token is malformed: " + reason, Reason: "malformed token: " + reason}
}

func refused(description string) error { return &InvalidError{Description: description} }
