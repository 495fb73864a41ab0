package archive

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// failurePause is how long a failure answers those who come after it.
const failurePause = 500 * time.Millisecond

// Read gets length bytes of the archive from first on, fewer where it ends before. The answer's Total is the length of
// the whole archive. Its errors are those of tile.Fetch; tile.ErrChanged also means that the archive of cond.IfMatch or
// cond.IfUnmodifiedSince has no such bytes.
type Read func(ctx context.Context, first, length int64, cond tile.Condition) (*tile.Object, error)

// Options configure an Archive. Tileset, Read and Cache are required.
type Options struct {
	Tileset    string // as in tile.Key
	Source     string // where the archive is, for the log
	Read       Read
	Cache      *tilecache.Cache // holds directories and metadata
	Decoders   *Decoders        // shared with other archives; default: its own
	Fresh      time.Duration    // how long a generation is current without a question
	Stale      time.Duration    // how much longer, while that question is open or cannot be answered
	MissingFor time.Duration    // how long it is remembered that there is no archive
	Clock      func() time.Time // default time.Now
	Logger     *slog.Logger     // default: none
}

// Archive is one archive in a bucket. Its methods may be called from any goroutine.
type Archive struct {
	o        Options
	held     atomic.Pointer[held] // nil: none is known
	decoding chan struct{}        // holds one element while a part of this archive is decoded

	mu       sync.Mutex
	call     *call     // the one under way
	failed   failure   // the last call's
	retryAt  time.Time // no renewal in the background before
	failures int       // of renewals, in a row
}

// held is a generation and when it was last known to be current.
type held struct {
	*Generation
	validated time.Time
}

// failure answers those who need a call until its time is over.
type failure struct {
	err   error
	until time.Time
}

// State is the generation that is current, and when that was last known.
type State struct {
	*Generation
	Validated time.Time
}

// New makes an Archive. It reads nothing.
func New(o Options) *Archive {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Decoders == nil {
		o.Decoders = NewDecoders()
	}
	return &Archive{o: o, decoding: make(chan struct{}, 1)}
}

// Now is the time by the clock of State.Validated.
func (a *Archive) Now() time.Time { return a.o.Clock() }

// Current returns the generation that is to be served. It reads the header where none is held. Where one is held that is
// no longer fresh, it asks in the background whether that is still the one; where that is too old to be served, it
// waits for the answer.
//
// Errors: tile.ErrMissing where there is no archive; tile.ErrChanged where it is being replaced again and again; one of
// package tile's classes of failure, which answers others for half a second, too; ctx's own.
func (a *Archive) Current(ctx context.Context) (State, error) {
	h := a.held.Load()
	if h != nil {
		switch age := a.o.Clock().Sub(h.validated); {
		case age < a.o.Fresh:
			return State{h.Generation, h.validated}, nil
		case age < a.o.Fresh+a.o.Stale:
			a.renewInBackground(h)
			return State{h.Generation, h.validated}, nil
		}
	}
	a.mu.Lock()
	if h := a.held.Load(); h != nil && a.o.Clock().Sub(h.validated) < a.o.Fresh {
		a.mu.Unlock()
		return State{h.Generation, h.validated}, nil // renewed since
	}
	c, err := a.join(false)
	a.mu.Unlock()
	if err != nil {
		return State{}, err
	}
	return a.wait(ctx, c)
}

// Replaced says that a read of g failed with tile.ErrChanged, and returns the generation that there is instead. One
// read of the header does for all who need it. Errors are as those of Current.
func (a *Archive) Replaced(ctx context.Context, g *Generation) (State, error) {
	for {
		a.mu.Lock()
		if h := a.held.Load(); h != nil && h.ID != g.ID {
			a.mu.Unlock()
			return State{h.Generation, h.validated}, nil
		}
		joined := a.call != nil
		c, err := a.join(true)
		a.mu.Unlock()
		if err != nil {
			return State{}, err
		}
		s, err := a.wait(ctx, c)
		if err != nil || s.ID != g.ID || !joined {
			return s, err
		}
		// The call that was joined may have begun before the change.
	}
}

// Forget makes the next Current read the header anew. A call under way reaches those who wait for it, and is not kept.
func (a *Archive) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held.Store(nil)
	a.call, a.failed, a.failures, a.retryAt = nil, failure{}, 0, time.Time{}
}

// Outdate marks what is held as stale: the next Current serves it as stale, and asks whether it has changed. The answer to a question
// that was asked before is ignored, and an absence is forgotten.
func (a *Archive) Outdate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.held.Load(); h != nil {
		if at := a.o.Clock().Add(-a.o.Fresh); at.Before(h.validated) {
			a.held.Store(&held{h.Generation, at})
		}
	}
	a.call, a.failed, a.failures, a.retryAt = nil, failure{}, 0, time.Time{}
}
