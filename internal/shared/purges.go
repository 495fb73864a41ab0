package shared

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"tilegate/internal/tile"
)

// Purges are what was purged, and when. A purge holds until a later one does all that it did. The zero value with Forget set is
// ready for use.
//
// An area may have more tiles than can be listed, so that purges of areas are kept as rules, and each look-up of a tile asks them. A
// tileset has at most maxRules of them: two that lie close become one that holds both, which forgets too much in Redis,
// never too little.
type Purges struct {
	// Forget is called with each purge that another instance has made and that this one has not known yet.
	Forget func(tile.Purge)
	Clock  func() time.Time // default time.Now

	mu     sync.Mutex
	latest map[string]*tilesetPurges
}

// tilesetPurges are those of one tileset. Times are Unix nanoseconds.
type tilesetPurges struct {
	forgotten int64  // when all of it was; 0: never
	rules     []rule // what came after that
}

// rule is a purge of an area, or a soft one.
type rule struct {
	tile.Purge
	at     int64
	merged bool // made of several here, so that other instances are not told
}

// Epoch tells which purges of a tile there were last, as numbers that rise with each; 0 before the first.
type Epoch struct {
	Forgotten int64 // by a purge
	Outdated  int64 // by a soft one, in Unix nanoseconds
}

const (
	// keepPurges is for how long a purge is told to instances that were cut off from Redis.
	keepPurges = 8 * 24 * time.Hour
	maxPurges  = 1 << 16 // tilesets
	maxRules   = 256     // of a tileset
)

// purge is a record. One of a whole tileset has it in Tileset, as ever. All others are in Area, which older versions do not know:
// they say that they cannot read the record, and leave it, rather than forget the whole tileset and tell everybody to.
type purge struct {
	Tileset string     `json:"tileset,omitempty"`
	Area    *areaPurge `json:"area,omitempty"`
	At      int64      `json:"at"`
}

type areaPurge struct {
	Tileset string    `json:"tileset"`
	Zoom    string    `json:"zoom,omitempty"` // with BBox, or neither: all that there is
	BBox    []float64 `json:"bbox,omitempty"`
	Soft    bool      `json:"soft,omitempty"`
}

func encodePurge(p tile.Purge, at int64) []byte {
	r := purge{Tileset: p.Tileset, At: at}
	if p.Tiles != nil || p.Soft {
		r.Tileset, r.Area = "", &areaPurge{Tileset: p.Tileset, Soft: p.Soft}
	}
	if p.Tiles != nil {
		degrees := p.Tiles.Box.Degrees()
		r.Area.Zoom, r.Area.BBox = fmt.Sprintf("%d-%d", p.Tiles.Zooms.Min, p.Tiles.Zooms.Max), degrees[:]
	}
	text, err := json.Marshal(&r)
	if err != nil {
		panic(err) // strings and valid numbers always marshal
	}
	return text
}

func decodePurge(record []byte) (p tile.Purge, at int64, err error) {
	var r purge
	if err := json.Unmarshal(record, &r); err != nil {
		return p, 0, fmt.Errorf("a record of a purge cannot be read: %w", err)
	}
	p.Tileset = r.Tileset
	if a := r.Area; a != nil {
		p.Tileset, p.Soft = a.Tileset, a.Soft
		if a.Zoom != "" || a.BBox != nil {
			zooms, err1 := tile.ParseZoomRange(a.Zoom)
			box, err2 := tile.ParseBox(a.BBox)
			if err := errors.Join(err1, err2); err != nil {
				return p, 0, fmt.Errorf("a record of a purge cannot be read: %w", err)
			}
			p.Tiles = tile.NewTiles(zooms, box)
		}
	}
	if p.Tileset == "" {
		return p, 0, errors.New("a record of a purge cannot be read: it names no tileset")
	}
	return p, r.At, nil
}

func (p *Purges) now() time.Time {
	if p.Clock != nil {
		return p.Clock()
	}
	return time.Now()
}

// Add notes what is purged here, and returns the record that tells the others.
func (p *Purges) Add(purged tile.Purge) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.of(purged.Tileset)
	at := max(p.now().UnixNano(), t.forgotten+1) // the clock of the instance that purged it last may run ahead
	for i := range t.rules {
		at = max(at, t.rules[i].at+1)
	}
	t.add(purged, at)
	return encodePurge(purged, at)
}

func (p *Purges) of(tileset string) *tilesetPurges {
	if p.latest == nil {
		p.latest = map[string]*tilesetPurges{}
	}
	t := p.latest[tileset]
	if t == nil {
		t = &tilesetPurges{}
		p.latest[tileset] = t
	}
	return t
}

func (t *tilesetPurges) add(p tile.Purge, at int64) {
	t.rules = slices.DeleteFunc(t.rules, func(r rule) bool { return r.at <= at && p.Covers(&r.Purge) })
	if p.Tiles == nil && !p.Soft {
		t.forgotten = at
		return
	}
	t.rules = append(t.rules, rule{Purge: p, at: at})
	if len(t.rules) > maxRules {
		t.merge()
	}
}

// merge makes one rule of the oldest and of the one that grows least by it, if possible of the same kind.
func (t *tilesetPurges) merge() {
	oldest, with, least := 0, -1, math.Inf(1)
	for i := range t.rules {
		if t.rules[i].at < t.rules[oldest].at {
			oldest = i
		}
	}
	old := t.rules[oldest]
	for i, r := range t.rules {
		growth := 1.0
		if both := r.Around(&old.Purge); both.Tiles != nil {
			growth = both.Tiles.Share() - r.Tiles.Share()
		}
		if r.Soft != old.Soft {
			growth += 2
		}
		if i != oldest && (growth < least || growth == least && r.at < t.rules[with].at) {
			with, least = i, growth
		}
	}
	r := &t.rules[with]
	*r = rule{Purge: r.Around(&old.Purge), at: r.at, merged: true}
	t.rules = slices.Delete(t.rules, oldest, oldest+1)
}

// Epoch returns that of a tile.
func (p *Purges) Epoch(key *tile.Key) Epoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.latest[key.Tileset]
	if t == nil {
		return Epoch{}
	}
	e := Epoch{Forgotten: t.forgotten}
	for i := range t.rules {
		r := &t.rules[i]
		last := &e.Forgotten
		if r.Soft {
			last = &e.Outdated
		}
		if r.at > *last && r.Holds(key) {
			*last = r.at
		}
	}
	return e
}

// known reports whether a purge is known already, and whether its record still tells something that no later one does.
func (t *tilesetPurges) known(p *tile.Purge, at int64) (known, needed bool) {
	if at <= t.forgotten {
		return true, at == t.forgotten && p.Tiles == nil && !p.Soft
	}
	needed = true
	for i := range t.rules {
		if r := &t.rules[i]; r.at >= at && r.Covers(p) {
			known = true
			needed = needed && (r.merged || r.at == at)
		}
	}
	return known, needed
}

// Apply is that of a Feed.
func (p *Purges) Apply(record []byte) (needed bool, err error) {
	told, at, err := decodePurge(record)
	if err != nil {
		return true, err
	}
	if at < p.now().Add(-keepPurges).UnixNano() {
		return false, nil
	}
	p.mu.Lock()
	t := p.latest[told.Tileset]
	full := t == nil && len(p.latest) >= maxPurges
	if !full {
		t = p.of(told.Tileset)
		var known bool
		if known, needed = t.known(&told, at); known {
			p.mu.Unlock()
			return needed, nil
		}
		t.add(told, at)
	}
	p.mu.Unlock()
	if full {
		err = errors.New("too many tilesets have been purged")
	}
	p.Forget(told) // without room as well: once too often does no harm
	return true, err
}

// Known is that of a Feed.
func (p *Purges) Known() [][]byte {
	oldest := p.now().Add(-keepPurges).UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	var all [][]byte
	for tileset, t := range p.latest {
		if t.forgotten < oldest {
			t.forgotten = 0
		}
		t.rules = slices.DeleteFunc(t.rules, func(r rule) bool { return r.at < oldest })
		if t.forgotten > 0 {
			all = append(all, encodePurge(tile.Purge{Tileset: tileset}, t.forgotten))
		}
		for _, r := range t.rules {
			if !r.merged {
				all = append(all, encodePurge(r.Purge, r.at))
			}
		}
		if t.forgotten == 0 && len(t.rules) == 0 {
			delete(p.latest, tileset)
		}
	}
	return all
}
