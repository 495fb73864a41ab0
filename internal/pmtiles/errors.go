package pmtiles

import (
	"errors"
	"fmt"
)

// ErrTooLarge is wrapped by the FormatError of something that is over one of this package's bounds, or over the
// caller's. It may be correct otherwise.
var ErrTooLarge = errors.New("over the limit")

// FormatError says what is wrong with an archive. Its text is for the operator, not for a client.
type FormatError struct {
	Part    string // header, directory, metadata, or data: what is being decompressed
	Problem string
	Hint    string // what helps, usually a command; may be empty
	Err     error  // the cause: ErrTooLarge, a decoder's error, or nil
}

func (e *FormatError) Error() string {
	text := "PMTiles " + e.Part + ": " + e.Problem
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

func bad(part, format string, args ...any) *FormatError {
	return &FormatError{Part: part, Problem: fmt.Sprintf(format, args...)}
}

// tooLarge is the error of something that has more bytes than allowed.
func tooLarge(part string, limit int64, format string, args ...any) *FormatError {
	e := bad(part, format, args...)
	e.Err = fmt.Errorf("%w of %d bytes", ErrTooLarge, limit)
	return e
}
