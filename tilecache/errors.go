package tilecache

import "errors"

// What the cache itself answers, besides what a Fetch fails with.
var (
	// ErrOverloaded says that there was no room in the byte budget within the bounded wait.
	ErrOverloaded = errors.New("tile cache: no room in the byte budget")
	// ErrCutOff says that this reader was too slow while others needed the bytes that it held.
	ErrCutOff = errors.New("tile cache: reader too slow for the byte budget")
	// ErrClosed says that the cache begins no more fetches.
	ErrClosed = errors.New("tile cache: closed")
)
