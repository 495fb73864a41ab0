package tile

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"
)

// Condition narrows a fetch. The zero value asks for the whole object, whatever it is by now.
type Condition struct {
	IfNoneMatch     string    // revalidate: the ETag as stored; Fetch answers ErrNotModified when it still holds
	IfModifiedSince time.Time // revalidate by the Last-Modified as stored, where there is no strong ETag; not both
	IfMatch         string    // resume: Fetch answers ErrChanged when the object is another one by now
	// IfUnmodifiedSince is what IfMatch is, by the Last-Modified as stored, where there is no strong ETag.
	IfUnmodifiedSince time.Time
	Offset            int64 // the first byte wanted, counted from the first byte of the tile, which may be a part of an object
}

// Object is an origin's answer. What it refers to must not change once Fetch has returned.
type Object struct {
	Body         io.ReadCloser // yields Size-Offset bytes; an error at its end (a checksum's) fails the tile
	Size         int64         // the tile's whole length in bytes, whatever Offset is; -1 when unknown
	Total        int64         // of a part of an object: the whole object's length in bytes; 0 when unknown, or where the object is a tile
	ETag         string        // with its quotes, and W/ where it is weak; empty when unknown
	LastModified time.Time     // zero when unknown
	Encoding     string        // the stored Content-Encoding: "", gzip, br, zstd or deflate; of a part "" where it is not known
	Header       http.Header   // kept with the tile for whoever serves it; counted against the cache's budget

	// Validated is when the object was last known to be what the origin has. Zero means now, which is
	// right for an answer of the origin itself. A copy from another level of cache states its own time, so
	// that passing from level to level never makes a tile look younger than it is.
	Validated time.Time

	// Outdated is when a purge has marked the object stale since it was validated; zero when none has. A copy from another
	// level of cache states it.
	Outdated time.Time

	// Check compares these bytes with what the origin has said of the object. It is called when they came
	// in several parts, of which Body's own check has seen one. Nil means that nothing is known.
	Check func(whole []byte) error

	// Reject tells the origin that the object cannot be served, and why. It is called instead of reading the
	// Body to its end. Nil means that nobody wants to know.
	Reject func(reason string)
}

// Fetch asks an origin. It answers ErrMissing for a proven absence, and ErrNotModified or ErrChanged
// where cond provokes them. Any other error counts as passing; whether it was worth another attempt,
// Fetch has decided itself. It may be called from several goroutines at once, for several keys. When
// ctx ends, Fetch and reads of the Object's Body must return promptly: ctx is what stops the fetch of a
// tile that nobody waits for any more.
type Fetch func(ctx context.Context, key Key, cond Condition) (*Object, error)

// StrongETag reports whether an ETag, with its quotes, tells that two bodies are the same byte for byte (RFC 9110 section 8.8.1). An empty one
// does not.
func StrongETag(etag string) bool { return etag != "" && !strings.HasPrefix(etag, "W/") }
