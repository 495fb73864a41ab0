package shared

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Purges are the tilesets that were purged, and when. The latest purge of a tileset holds; earlier ones say nothing more. The zero
// value with Forget set is ready for use.
type Purges struct {
	// Forget is called with each tileset that another instance has purged since this one last forgot it.
	Forget func(tileset string)
	Clock  func() time.Time // default time.Now

	mu     sync.Mutex
	latest map[string]int64 // by tileset: when it was purged, in Unix nanoseconds
}

const (
	// keepPurges is for how long a purge is told to instances that were cut off from Redis.
	keepPurges = 8 * 24 * time.Hour
	maxPurges  = 1 << 16 // tilesets
)

type purge struct {
	Tileset string `json:"tileset"`
	At      int64  `json:"at"`
}

func (p *purge) encode() []byte {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // a string and a number always marshal
	}
	return text
}

func (p *Purges) now() time.Time {
	if p.Clock != nil {
		return p.Clock()
	}
	return time.Now()
}

// Add notes that a tileset is purged here, and returns the record that tells the others.
func (p *Purges) Add(tileset string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The clock of the instance that purged it last may run ahead.
	at := max(p.now().UnixNano(), p.latest[tileset]+1)
	p.set(tileset, at)
	return (&purge{tileset, at}).encode()
}

func (p *Purges) set(tileset string, at int64) {
	if p.latest == nil {
		p.latest = map[string]int64{}
	}
	p.latest[tileset] = at
}

// Epoch tells two purges of a tileset apart: it rises with each, and is 0 before the first.
func (p *Purges) Epoch(tileset string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest[tileset]
}

// Apply is that of a Feed.
func (p *Purges) Apply(record []byte) (needed bool, err error) {
	var told purge
	if err := json.Unmarshal(record, &told); err != nil {
		return true, fmt.Errorf("a record of a purge cannot be read: %w", err)
	}
	if told.Tileset == "" {
		return true, errors.New("a record of a purge cannot be read: it names no tileset")
	}
	if told.At < p.now().Add(-keepPurges).UnixNano() {
		return false, nil
	}
	p.mu.Lock()
	known, ok := p.latest[told.Tileset]
	isNew := told.At > known
	full := !ok && len(p.latest) >= maxPurges
	if isNew && !full {
		p.set(told.Tileset, told.At)
	}
	p.mu.Unlock()
	switch {
	case !isNew:
		return told.At == known, nil
	case full:
		err = errors.New("too many tilesets have been purged")
	}
	p.Forget(told.Tileset) // without room as well: once too often does no harm
	return true, err
}

// Known is that of a Feed.
func (p *Purges) Known() [][]byte {
	oldest := p.now().Add(-keepPurges).UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	var all [][]byte
	for tileset, at := range p.latest {
		if at >= oldest {
			all = append(all, (&purge{tileset, at}).encode())
		} else {
			delete(p.latest, tileset)
		}
	}
	return all
}
