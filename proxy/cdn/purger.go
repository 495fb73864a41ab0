package cdn

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	maxAttempts = 3
	firstPause  = 500 * time.Millisecond // between attempts, when the CDN names none; doubles
	maxPause    = 15 * time.Second       // longer ones are not waited for
	maxAnswer   = 64 << 10               // bytes of an answer that are read
	maxReason   = 200                    // bytes of what a CDN says that are told
)

// Purger purges tags at one CDN.
type Purger struct {
	Name  string // cloudfront, fastly or cloudflare
	batch int    // the most tags of one request
	// send makes one attempt. reference is the same for all attempts of a batch.
	send func(ctx context.Context, reference string, tags []string, soft bool) error
}

// Purge purges tags and returns how many of them the CDN has accepted, in their order. soft marks stale where the CDN can do that,
// which only Fastly can; the others drop. The first batch that fails is the last.
func (p *Purger) Purge(ctx context.Context, tags []string, soft bool) (purged int, err error) {
	for batch := range slices.Chunk(tags, p.batch) {
		if err := p.attempt(ctx, batch, soft); err != nil {
			return purged, err
		}
		purged += len(batch)
	}
	return purged, nil
}

func (p *Purger) attempt(ctx context.Context, tags []string, soft bool) error {
	pause, reference := firstPause, "tilegate-"+crand.Text()
	for n := 1; ; n++ {
		err := p.send(ctx, reference, tags, soft)
		passing, ok := errors.AsType[*passingError](err)
		if err == nil || !ok || n == maxAttempts || ctx.Err() != nil {
			return err
		}
		wait := pause + rand.N(pause/4) //nolint:gosec // jitter
		pause *= 2
		if passing.after > 0 {
			wait = passing.after
		}
		if deadline, ok := ctx.Deadline(); wait > maxPause || ok && time.Until(deadline) < wait {
			return fmt.Errorf("%w; it asks for a pause of %s, which is too long to wait for", err, wait.Round(time.Second))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// passingError is a failure after which the same request may succeed.
type passingError struct {
	error
	after time.Duration // when, as the CDN says; 0: it does not
}

func (e *passingError) Unwrap() error { return e.error }
