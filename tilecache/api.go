// Package tilecache holds tiles in memory under a byte budget.
package tilecache

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Policy is a tileset's freshness.
type Policy struct{ Fresh, Stale, MissingFor time.Duration }

// State is how a Get was answered.
type State uint8

// The states.
const (
	Hit    State = iota // held and fresh
	Stale               // held, served while a refresh may run
	Miss                // this call began the fetch
	Joined              // a fetch was under way
)

// Status is what happened.
type Status struct {
	State State
	TTL   time.Duration // negative when stale
}

// Options configure a Cache; the zero value is the stated default.
type Options struct {
	Memory    int64            // bytes, default 512 MiB
	MaxObject int64            // bytes, default 8 MiB
	Clock     func() time.Time // default time.Now
	Logger    *slog.Logger     // default discards
}

// Cache is safe for concurrent use.
type Cache struct{}

// Tile pins bytes.
type Tile struct{}

// Stats is a snapshot.
type Stats struct{}

// New returns an empty cache.
func New(Options) (*Cache, error) { panic("api first, replaced at once") }

// Get returns the tile.
func (c *Cache) Get(ctx context.Context, key Key, p Policy, fetch Fetch) (Tile, Status, error) {
	panic("api first, replaced at once")
}

// Purge forgets a tileset.
func (c *Cache) Purge(tileset string) int { panic("api first, replaced at once") }

// Stats returns a snapshot.
func (c *Cache) Stats() Stats { panic("api first, replaced at once") }

// Close stops background work and waits for it.
func (c *Cache) Close(ctx context.Context) error { panic("api first, replaced at once") }

// Size is the length in bytes, -1 unknown.
func (t Tile) Size() int64 { panic("api first, replaced at once") }

// ETag is the origin's.
func (t Tile) ETag() string { panic("api first, replaced at once") }

// LastModified is the origin's.
func (t Tile) LastModified() time.Time { panic("api first, replaced at once") }

// Encoding is the stored Content-Encoding.
func (t Tile) Encoding() string { panic("api first, replaced at once") }

// Header is Object.Header.
func (t Tile) Header() http.Header { panic("api first, replaced at once") }

// Bytes is the whole body when complete.
func (t Tile) Bytes() ([]byte, bool) { panic("api first, replaced at once") }

// Next blocks for bytes at off.
func (t Tile) Next(ctx context.Context, off int64) ([]byte, error) {
	panic("api first, replaced at once")
}

// CutWith registers cut.
func (t Tile) CutWith(cut func()) { panic("api first, replaced at once") }

// Close unpins.
func (t Tile) Close() { panic("api first, replaced at once") }
