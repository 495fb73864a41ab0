package tile

import "errors"

// What a Fetch answers besides an object.
var (
	// ErrMissing says that there is no such tile. A cache may remember it.
	ErrMissing = errors.New("no such tile")
	// ErrNotModified says that the object still has the ETag of Condition.IfNoneMatch, or is no newer than
	// Condition.IfModifiedSince.
	ErrNotModified = errors.New("object not modified")
	// ErrChanged says that the object is not the one of Condition.IfMatch any more.
	ErrChanged = errors.New("object changed while it was read")
)

// The classes of an origin's failures. An origin wraps one of them with %w around what happened; the
// text is for the operator's log, never for a client. The status is what the proxy answers.
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
