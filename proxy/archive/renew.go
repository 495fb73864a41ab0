package archive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
)

const (
	// callTimeout bounds one call. The origin bounds each of its requests; this is for an origin that does not.
	callTimeout = 2 * time.Minute
	// After a failed renewal in the background the next one follows after a pause, which grows between these bounds.
	minRenewPause = time.Second
	maxRenewPause = time.Minute
)

var (
	errNobodyWaits = errors.New("nobody waits for the archive's header any more")
	errPanicked    = errors.New("a panic ended the reading of an archive")
)

// call reads the header, or asks whether it still holds. It is one for all who wait, and belongs to none of them.
type call struct {
	ctx        context.Context
	cancel     context.CancelCauseFunc
	anew       bool          // read the header, whatever is held
	background bool          // goes on without anybody who waits
	waiters    int           // guarded by Archive.mu
	done       chan struct{} // closed once state or err is there
	state      State
	err        error
}

// join returns the call under way with one more who waits, or begins one. The archive is locked.
func (a *Archive) join(anew bool) (*call, error) {
	c := a.call
	if c == nil {
		if a.failed.err != nil && a.o.Clock().Before(a.failed.until) {
			return nil, a.failed.err
		}
		c = a.begin(anew)
	}
	c.waiters++
	return c, nil
}

// begin starts a call. The archive is locked.
func (a *Archive) begin(anew bool) *call {
	c := &call{anew: anew, done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	a.call = c
	go a.run(c)
	return c
}

// wait returns a call's result to one who has joined it.
func (a *Archive) wait(ctx context.Context, c *call) (State, error) {
	select {
	case <-c.done:
		return c.state, c.err
	case <-ctx.Done():
	}
	a.mu.Lock()
	if c.waiters--; c.waiters == 0 && !c.background {
		if a.call == c {
			a.call = nil // whoever comes now needs a call that lives
		}
		c.cancel(errNobodyWaits)
	}
	a.mu.Unlock()
	return State{}, context.Cause(ctx)
}

// renewInBackground begins a call that nobody waits for, to renew h, unless that has been done, one is under way, or the
// last one failed too recently.
func (a *Archive) renewInBackground(h *held) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.call == nil && a.held.Load() == h && !a.o.Clock().Before(a.retryAt) {
		a.begin(false).background = true
	}
}

func (a *Archive) run(c *call) {
	ctx, cancel := context.WithTimeoutCause(c.ctx, callTimeout, fmt.Errorf("%w: no header of the archive in %s", tile.ErrTimeout, callTimeout))
	defer cancel()
	before := a.held.Load()
	h, err := a.ask(ctx, c, before)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	a.mu.Lock()
	if err == nil {
		c.state = State{h.Generation, h.validated}
	}
	c.err = err
	if a.call == c { // else forgotten, or abandoned
		a.call = nil
		a.settle(c, h, err)
	}
	a.mu.Unlock()
	close(c.done)
	c.cancel(nil)
	if err == nil && before != nil && before.ID != h.ID {
		a.o.Logger.Info("the archive was replaced", "tileset", a.o.Tileset, "bytes", h.Size, "last_modified", h.LastModified)
	}
}

// settle keeps what a call has brought. The archive is locked.
func (a *Archive) settle(c *call, h *held, err error) {
	now := a.o.Clock()
	switch {
	case err == nil:
		a.held.Store(h)
		a.failed, a.failures, a.retryAt = failure{}, 0, time.Time{}
		return
	case errors.Is(err, tile.ErrMissing):
		if a.held.Load() != nil || !errors.Is(a.failed.err, tile.ErrMissing) {
			a.o.Logger.Warn("there is no archive where the configuration says; its tiles and its TileJSON are answered with 404", "tileset", a.o.Tileset,
				"source", a.o.Source, "hint", "upload it, or correct source of the tileset")
		}
		a.held.Store(nil)
		a.failed = failure{err, now.Add(a.o.MissingFor)}
		return
	case !errors.Is(err, errNobodyWaits):
		a.failed = failure{err, now.Add(failurePause)}
	}
	replaced := errors.Is(err, errSeenReplaced)
	if replaced {
		a.held.Store(nil) // tiles of a version that is known to be gone must not be served
	}
	pause := min(maxRenewPause, minRenewPause<<min(a.failures, 10))
	a.failures++
	a.retryAt = now.Add(pause + rand.N(pause/4)) //nolint:gosec // jitter
	switch {
	case replaced:
		a.o.Logger.Warn("the archive was replaced, and the new one cannot be read; its tiles are answered with an error until it can", "tileset", a.o.Tileset, "error", err)
	case c.background:
		a.o.Logger.Warn("an archive is served stale because it cannot be asked whether it has changed", "tileset", a.o.Tileset, "error", err)
	}
}

// errSeenReplaced marks the failure to read an archive that is known to be another one than what is held.
var errSeenReplaced = errors.New("the archive was replaced")

// ask returns what is current by now.
func (a *Archive) ask(ctx context.Context, c *call, h *held) (renewed *held, err error) {
	defer func() {
		if r := recover(); r != nil {
			renewed, err = nil, errPanicked
			a.o.Logger.Error("panic while an archive was read", "tileset", a.o.Tileset, "panic", r, "stack", string(debug.Stack()))
		}
	}()
	asked := a.o.Clock()
	if h == nil {
		return a.load(ctx, asked)
	}
	if !c.anew {
		unchanged, err := a.unchanged(ctx, h.Generation)
		if err != nil {
			return nil, err
		}
		if unchanged {
			return &held{h.Generation, asked}, nil
		}
	}
	renewed, err = a.load(ctx, asked)
	if err != nil && !errors.Is(err, tile.ErrMissing) {
		err = fmt.Errorf("%w: %w", errSeenReplaced, err)
	}
	return renewed, err
}

// unchanged asks for the archive's first byte, on condition that it has changed. It costs one request.
func (a *Archive) unchanged(ctx context.Context, g *Generation) (bool, error) {
	var cond tile.Condition
	if g.ETag != "" {
		cond.IfNoneMatch = g.ETag
	} else {
		cond.IfModifiedSince = g.LastModified
	}
	o, err := a.o.Read(ctx, 0, 1, cond)
	if errors.Is(err, tile.ErrNotModified) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	_ = o.Body.Close() // a byte that is known
	return g.isOf(o), nil
}

// load reads header and root directory of whatever is there. It begins once more if that is replaced meanwhile.
func (a *Archive) load(ctx context.Context, asked time.Time) (*held, error) {
	g, err := a.readHeader(ctx)
	if errors.Is(err, tile.ErrChanged) {
		g, err = a.readHeader(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &held{g, asked}, nil
}

func (a *Archive) readHeader(ctx context.Context) (*Generation, error) {
	o, err := a.o.Read(ctx, 0, pmtiles.FirstRead, tile.Condition{})
	if err != nil {
		return nil, err
	}
	g := &Generation{LastModified: o.LastModified, Size: o.Total, reject: o.Reject}
	if tile.StrongETag(o.ETag) {
		g.ETag = o.ETag
	}
	switch {
	case g.ETag == "" && g.LastModified.IsZero():
		_ = o.Body.Close()
		return nil, g.refuse("the store gives neither a strong ETag nor a Last-Modified, so parts of two versions could be mixed: an archive needs a store that gives one")
	case o.Total <= 0 || o.Size != min(o.Total, pmtiles.FirstRead):
		_ = o.Body.Close()
		return nil, g.refuse(fmt.Sprintf("the store sends %d bytes of %d for the first %d: an archive needs a store that supports ranges", o.Size, o.Total, pmtiles.FirstRead))
	}
	g.ID = g.id()
	first, err := a.readAll(ctx, g, o, pmtiles.Range{Length: o.Size})
	if err != nil {
		return nil, err
	}
	if g.Header, err = pmtiles.ParseHeader(first, g.Size); err != nil {
		return nil, g.refuseFormat(err)
	}
	if _, err := a.decodeRoot(ctx, g, first); err != nil {
		return nil, err
	}
	return g, nil
}
