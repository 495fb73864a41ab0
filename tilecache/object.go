package tilecache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// Key names a tile's bytes, never who asks for them. Take Tileset and Version from the
// configuration rather than from a request, so that an entry does not keep a request's memory alive.
type Key struct {
	Tileset string
	Version string // the tileset's configured version: raising it leaves the old entries behind
	Z       uint8  // 0 to 30
	X, Y    uint32 // below 2^Z, Y counted from the north
	Scale   uint8  // pixel ratio; 1 unless the source has {scale}
}

// Condition narrows a fetch. The zero value asks for the whole object, whatever it is by now.
type Condition struct {
	IfNoneMatch string // revalidate: the ETag as stored; Fetch answers ErrNotModified when it still holds
	IfMatch     string // resume: Fetch answers ErrChanged when the object is another one by now
	Offset      int64  // the first byte wanted, as in Range: bytes=Offset- (RFC 9110 section 14.2)
}

// Object is an origin's answer. What it refers to must not change once Fetch has returned.
type Object struct {
	Body         io.ReadCloser // yields Size-Offset bytes; an error at its end (a checksum's) fails the tile
	Size         int64         // the whole object's length in bytes, -1 when unknown
	ETag         string        // strong, with its quotes; empty when unknown
	LastModified time.Time     // zero when unknown
	Encoding     string        // the stored Content-Encoding: "" or "gzip"; of a part "" where it is not known
	Header       http.Header   // kept with the tile for whoever serves it; counted against the budget

	// Check tells whether these bytes are the object, by what the origin has said of it. It is asked when
	// they came in several parts, of which Body's own check has seen one; nil: nothing is known.
	Check func(whole []byte) error
}

// Fetch asks the origin. It answers ErrMissing for a proven absence, and ErrNotModified or
// ErrChanged where cond provokes them; any other error counts as passing, and whether it was worth
// another attempt Fetch has decided itself. It may be called from
// several goroutines at once, for several keys. When ctx ends, Fetch and reads of the Object's Body
// must return promptly: ctx is what stops a tile that nobody waits for any more.
type Fetch func(ctx context.Context, key Key, cond Condition) (*Object, error)

// What a Fetch answers besides an object.
var (
	// ErrMissing says that there is no such tile; remembered for Policy.MissingFor.
	ErrMissing = errors.New("no such tile")
	// ErrNotModified says that the object still has the ETag of Condition.IfNoneMatch.
	ErrNotModified = errors.New("object not modified")
	// ErrChanged says that the object is not the one of Condition.IfMatch any more.
	ErrChanged = errors.New("object changed while it was read")
)

// What the cache itself answers.
var (
	// ErrOverloaded says that there was no room in the byte budget within the bounded wait.
	ErrOverloaded = errors.New("tile cache: no room in the byte budget")
	// ErrCutOff says that this reader was too slow while others needed the bytes that it held.
	ErrCutOff = errors.New("tile cache: reader too slow for the byte budget")
	// ErrClosed says that the cache begins no more fetches.
	ErrClosed = errors.New("tile cache: closed")
)
