package shared

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// Client is an instance's part in what all instances know. Its methods may be called from any goroutine.
type Client struct {
	opt    Options
	redis  redis.UniversalClient
	feeds  []*feed
	tiles  *tiles  // nil: there is no second level
	counts *counts // nil: each instance counts by itself

	mu      sync.Mutex
	failing map[string]bool // the feeds whose latest turn failed
	down    atomic.Bool     // one of them at least
}

// New makes a Client. It does not talk to Redis before Run.
func New(o Options) (*Client, error) {
	o = o.withDefaults()
	c := &Client{opt: o, failing: map[string]bool{}}
	for _, f := range o.Feeds {
		c.feeds = append(c.feeds, newFeed(c, f))
	}
	logTo(o.Logger)
	var err error
	if c.redis, err = o.connect(); err != nil {
		return nil, err
	}
	if o.Tiles != nil {
		c.tiles = newTiles(c, *o.Tiles)
	}
	if o.Counts != nil {
		c.counts = newCounts(c, *o.Counts)
	}
	return c, nil
}

// Check asks Redis once, as an instance with these options does at its start. Its error says what is wrong, and what to look at.
func Check(ctx context.Context, o Options) error {
	o.Tiles, o.Counts = nil, nil
	c, err := New(o)
	if err != nil {
		return err
	}
	for _, f := range c.feeds {
		if _, _, err = f.state(ctx); err != nil {
			break
		}
	}
	if closing := c.redis.Close(); err == nil {
		err = closing
	}
	switch {
	case err == nil:
		return nil
	case redis.IsAuthError(err):
		return fmt.Errorf("%w: look at shared.username and shared.password", err)
	case redis.IsPermissionError(err):
		return fmt.Errorf("%w: the ACL of the user lacks a permission; docs/operations.md lists them", err)
	}
	return fmt.Errorf("%w: look at shared.url, and at whether Redis runs", err)
}

// Run shares until ctx ends.
func (c *Client) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, f := range c.feeds {
		running.Go(func() { f.run(ctx) })
	}
	if c.tiles != nil {
		running.Go(func() { c.tiles.run(ctx) })
	}
	if c.counts != nil {
		running.Go(func() { c.counts.run(ctx) })
	}
	running.Wait()
	if err := c.redis.Close(); err != nil {
		c.opt.Logger.Debug("closing the connections to Redis failed", "error", err)
	}
}

// Tell gives a record that was made here to the other instances. If Redis is down it is told later: Feed.Known has it.
func (c *Client) Tell(feed string, record []byte) {
	for _, f := range c.feeds {
		if f.Name == feed {
			f.tell(record)
		}
	}
}

// NotReady lists what this instance has not asked Redis for yet. Whether Redis answered does not matter: an instance works
// without it, and Degraded says so.
func (c *Client) NotReady() []string {
	for _, f := range c.feeds {
		if !f.tried.Load() {
			return []string{"what other instances know has not been read yet"}
		}
	}
	return nil
}

// Degraded lists what does not work right now.
func (c *Client) Degraded() []string {
	if !c.down.Load() {
		return nil
	}
	return []string{"Redis does not answer, or refuses: this instance does not learn what happens at the others"}
}

// Up reports whether Redis did all that it was last asked for.
func (c *Client) Up() bool { return !c.down.Load() }

// note keeps how the latest turn of a feed ended. The first feed that fails is told, and that none does any more.
func (c *Client) note(feed string, err error) {
	if err != nil {
		c.opt.OnFailure(feed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was := len(c.failing) > 0
	if err != nil {
		c.failing[feed] = true
	} else {
		delete(c.failing, feed)
	}
	is := len(c.failing) > 0
	c.down.Store(is)
	switch {
	case is && !was:
		c.opt.Logger.Warn("Redis cannot be used: this instance works without it until it answers again", "feed", feed, "error", err)
	case was && !is:
		c.opt.Logger.Info("Redis answers again; what happened meanwhile has been exchanged")
	}
}
