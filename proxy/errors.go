package proxy

import "errors"

// The classes of origin failure. An origin wraps one of them with %w around what happened; the
// text is for the operator's log, never for a client. Proven absence is tilecache.ErrMissing.
var (
	// ErrDenied: the origin refused our credentials, or the key that encrypts the object. 502.
	ErrDenied = errors.New("origin denied access")
	// ErrBadAnswer: the origin answered with something that it should not have. 502.
	ErrBadAnswer = errors.New("origin gave a bad answer")
	// ErrUnreachable: the origin refused or dropped the connection, or failed with a 5xx. 502.
	ErrUnreachable = errors.New("origin unreachable")
	// ErrSlowDown: the origin asked for fewer requests. 503 with Retry-After.
	ErrSlowDown = errors.New("origin asks to slow down")
	// ErrNoCredentials: no valid credentials for the origin are held. 503 with Retry-After.
	ErrNoCredentials = errors.New("no valid origin credentials")
	// ErrTimeout: the origin did not answer in time. 504.
	ErrTimeout = errors.New("origin timed out")
)
