package shared

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Of the instances that miss a tile at the same time, one fetches it and the others take what it wrote. Who fetches holds a
// lease in Redis, which ends by itself unless it is renewed. Nobody checks that a lease is still his before he ends or renews
// it: the worst that comes of two holders is a second request to S3.

const (
	leaseFor   = time.Second // after which another instance fetches, if the holder has died
	renewEvery = leaseFor / 4
	firstPoll  = 5 * time.Millisecond // between two looks at what the holder does; doubled each time
	maxPoll    = 80 * time.Millisecond
	maxWait    = 10 * time.Second // for a holder who lives and does not come to an end
)

// What a lease says.
const (
	fetching = "fetching" // somebody fetches the tile and will write it
	alone    = "alone"    // it will not be written: whoever needs it fetches it
	written  = "written"  // it has been written, and the lease is deleted
)

var errSkipped = errors.New("no look-up for a second after a failure of Redis")

// leases are those that this instance holds.
type leases struct {
	mu      sync.Mutex
	said    map[string]string // what each says, by the tile's name
	changed chan struct{}     // has a value when one of them says something else
}

// await returns a tile that another instance fetches at the moment. Without ok the caller has to fetch it; with held it
// also holds the lease, which record or release ends.
func (t *tiles) await(ctx context.Context, name string, life lifetimes) (r result, ok, held bool) {
	deadline := time.Now().Add(maxWait)
	for poll := firstPoll; time.Now().Before(deadline); poll = min(2*poll, maxPoll) {
		a, err := t.acquire(ctx, name)
		if err != nil {
			return r, false, false
		}
		if r, ok := life.answer(a.tile, a.body, time.Now()); a.found && ok {
			if a.taken {
				t.say(name, written)
			}
			t.OnLookup("joined")
			return r, true, false
		}
		if a.taken {
			t.say(name, fetching)
		}
		if a.taken || a.lease != fetching || !pause(ctx, poll) {
			return r, false, a.taken
		}
	}
	return r, false, false
}

// acquired is what Redis has about a tile that this instance wants to fetch.
type acquired struct {
	taken bool   // the lease is ours
	lease string // what it says
	found bool
	tile  storedTile
	body  []byte
}

// acquire takes the lease of a tile if nobody has it, and looks once more whether the tile is there: it may have been
// written since the last look. An error means that Redis does not tell.
func (t *tiles) acquire(ctx context.Context, name string) (a acquired, err error) {
	if !t.allowed(time.Now()) {
		return a, errSkipped
	}
	calling, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	var taken *redis.BoolCmd
	var stored, lease *redis.StringCmd
	_, err = t.c.redis.Pipelined(calling, func(p redis.Pipeliner) error {
		taken = p.SetNX(calling, t.leaseName(name), t.lease(name, fetching), leaseFor)
		stored = p.GetRange(calling, name, 0, t.MaxObject+maxHead)
		lease = p.GetRange(calling, t.leaseName(name), 0, maxHead)
		return nil
	})
	if _, refused := errors.AsType[redis.Error](err); err != nil && !refused && ctx.Err() == nil {
		t.failed()
	} else if err == nil || refused {
		t.brokenUntil.Store(0)
	}
	if err != nil {
		return a, err
	}
	a.taken = taken.Val()
	a.tile, a.body, err = t.parse([]byte(stored.Val()), name)
	a.found = err == nil
	if a.lease = fetching; lease.Val() != "" { // else it has ended just now, and the next look tells why
		said, err := t.seal.open([]byte(lease.Val()), t.leaseName(name))
		if a.lease = string(said); err != nil {
			a.lease = alone // nobody waits for what others have written
		}
	}
	return a, nil
}

// leaseName is the name of a tile's lease. In a cluster, what has the same words in braces is kept by the same server.
func (t *tiles) leaseName(name string) string {
	return t.c.opt.Prefix + "fill:" + strings.TrimPrefix(name, t.c.opt.Prefix+"tile:")
}

// lease is the value of a lease. It is sealed, so that nobody waits for what others have written.
func (t *tiles) lease(name, state string) []byte {
	return t.seal.seal([]byte(state), t.leaseName(name))
}

// say notes what a lease that this instance holds says from now on.
func (t *tiles) say(name, state string) {
	t.leases.mu.Lock()
	t.leases.said[name] = state
	t.leases.mu.Unlock()
	if state == fetching {
		return // Redis has it
	}
	select {
	case t.leases.changed <- struct{}{}:
	default:
	}
}

// runLeases renews and releases until ctx ends.
func (t *tiles) runLeases(ctx context.Context) {
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.leases.changed:
		case <-ticker.C:
		}
		t.tellLeases(ctx)
	}
}

// tellLeases tells Redis what the leases say. Those that ended are forgotten, whether Redis took it or not: it ends them itself.
func (t *tiles) tellLeases(ctx context.Context) {
	t.leases.mu.Lock()
	said := make(map[string]string, len(t.leases.said))
	for name, state := range t.leases.said {
		said[name] = state
		if state != fetching {
			delete(t.leases.said, name)
		}
	}
	t.leases.mu.Unlock()
	if len(said) == 0 || !t.allowed(time.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := t.c.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for name, state := range said {
			switch state {
			case fetching:
				p.SetXX(ctx, t.leaseName(name), t.lease(name, fetching), leaseFor)
			case alone:
				p.Set(ctx, t.leaseName(name), t.lease(name, alone), leaseFor)
			case written:
				p.Del(ctx, t.leaseName(name))
			}
		}
		return nil
	})
	_, refused := errors.AsType[redis.Error](err)
	switch {
	case err == nil || refused:
		t.brokenUntil.Store(0)
	case ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded):
		t.failed()
	}
}

// pause waits for d and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
