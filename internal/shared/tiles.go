package shared

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"tilegate/internal/tile"
)

// TileOptions configures a second level of tiles.
type TileOptions struct {
	Timeout   time.Duration // of one look-up; a slower answer counts as none
	MaxObject int64         // larger tiles are not written, in bytes
	// OnLookup and OnWrite count what happens: hit, miss, failed, skipped; written, failed, dropped. They must not block.
	OnLookup, OnWrite func(outcome string)
}

const (
	breakFor       = time.Second        // without look-ups or writes after one that failed
	writers        = 2                  // writes at once
	maxQueued      = 1024               // tiles that wait to be written
	maxHead        = 16 << 10           // bytes of a tile's metadata and seal
	maxQueuedBytes = 16 << 20           // of them, and of those that are being read for it
	maxKept        = 7 * 24 * time.Hour // less than keepPurges: a tile never outlives the purge that it precedes
)

// tiles is the second level of tiles: after the memory of an instance, before S3.
type tiles struct {
	TileOptions
	c     *Client
	seal  sealer
	names []byte // the key of the names

	brokenUntil atomic.Int64 // Unix nanoseconds; 0: Redis answers
	queued      atomic.Int64 // bytes
	queue       chan write
	leases      leases
}

// write is a tile to be written, or one of which Redis has the bytes and that S3 has just found unchanged.
type write struct {
	name    string
	stored  storedTile
	body    []byte
	ttl     time.Duration
	renewed bool  // stored has the ETag and the time of the version that S3 confirmed, and when
	leased  bool  // this instance holds the lease of the tile
	size    int64 // what it counts for in queued
}

// lifetimes are how long what is stored answers, and what purges have said of it.
type lifetimes struct {
	keep, missing time.Duration
	outdated      int64 // Epoch.Outdated of the tile
}

// result is what a tile.Fetch returns.
type result struct {
	object *tile.Object
	err    error
}

// answer makes of what is stored the result of a fetch; without ok it is too old for that. What was read before a soft purge is
// stale, if it is a tile, and too old if it is an absence.
func (l lifetimes) answer(stored storedTile, body []byte, now time.Time) (r result, ok bool) {
	validated := time.Unix(0, stored.Validated)
	age, outdated := max(0, now.Sub(validated)), stored.Outdated < l.outdated
	switch {
	case stored.Missing:
		return result{err: tile.ErrMissing}, age < l.missing && !outdated
	case age >= l.keep:
		return r, false
	}
	r.object = &tile.Object{
		Body: io.NopCloser(bytes.NewReader(body)), Size: int64(len(body)), Total: stored.Total, ETag: stored.ETag,
		LastModified: stored.LastModified, Encoding: stored.Encoding, Header: stored.Header, Validated: validated,
	}
	if outdated {
		r.object.Outdated = time.Unix(0, l.outdated)
	}
	return r, true
}

// storedTile is what is stored before a tile's bytes.
type storedTile struct {
	Validated    int64       `json:"validated"`          // Unix nanoseconds
	Outdated     int64       `json:"outdated,omitempty"` // Epoch.Outdated when S3 was asked
	Missing      bool        `json:"missing,omitempty"`
	Total        int64       `json:"total,omitempty"`
	ETag         string      `json:"etag,omitempty"`
	LastModified time.Time   `json:"last_modified,omitzero"`
	Encoding     string      `json:"encoding,omitempty"`
	Header       http.Header `json:"header,omitempty"`
}

// isVersion reports whether s is the version of the object that S3 confirmed, by ETag or else by Last-Modified.
func (s *storedTile) isVersion(confirmed storedTile) bool {
	switch {
	case s.Missing:
		return false
	case confirmed.ETag != "":
		return s.ETag == confirmed.ETag
	}
	return s.LastModified.Equal(confirmed.LastModified)
}

func newTiles(c *Client, o TileOptions) *tiles {
	key, err := hkdf.Key(sha256.New, c.opt.SigningKeys[0], nil, "tilegate v1 shared names\x00"+c.opt.Prefix, sha256.Size)
	if err != nil {
		panic(err) // it does not refuse 32 bytes
	}
	return &tiles{
		TileOptions: o, c: c, names: key, seal: newSealer(c.opt.SigningKeys, "tiles", c.opt.Prefix),
		queue: make(chan write, maxQueued), leases: leases{said: map[string]string{}, changed: make(chan struct{}, 1)},
	}
}

// Forever is how long a tile is kept at most. It is for tiles of archives: their keys name the version of the archive.
const Forever = maxKept

// Level is what is shared of a tileset, or of a bundle.
type Level struct {
	Source     string                // where its objects are; instances with another source do not share
	Keep       time.Duration         // how long a tile is kept after it was validated; Forever at most
	MissingFor time.Duration         // how long an absence is kept; 0: not at all
	Epoch      func(*tile.Key) Epoch // what purges of a tile there were
}

// Tiles puts the second level between a tileset's fills and fetch. Of the instances that miss a tile at the same time one calls
// fetch. Without Options.Tiles, fetch is returned as it is.
func (c *Client) Tiles(fetch tile.Fetch, l Level) tile.Fetch {
	t := c.tiles
	if t == nil {
		return fetch
	}
	return func(ctx context.Context, key tile.Key, cond tile.Condition) (*tile.Object, error) {
		purged := l.Epoch(&key) // before fetch: what a purge overtakes is stored where nobody looks, or as outdated
		name := t.name(key, l.Source, purged.Forgotten)
		life := lifetimes{min(l.Keep, maxKept), min(l.MissingFor, maxKept), purged.Outdated}
		leased := false
		if cond == (tile.Condition{}) {
			r, ok, missed := t.lookup(ctx, name, life)
			if missed {
				r, ok, leased = t.await(ctx, name, life)
			}
			if ok {
				return r.object, r.err
			}
		}
		return t.fetch(ctx, fetch, key, cond, name, life, leased)
	}
}

// fetch calls the fetch of S3 and has written what it returns.
func (t *tiles) fetch(ctx context.Context, fetch tile.Fetch, key tile.Key, cond tile.Condition, name string, life lifetimes, leased bool) (*tile.Object, error) {
	promised := false // that it will be written, or not, is said by somebody else
	defer func() {
		if leased && !promised {
			t.say(name, alone)
		}
	}()
	o, err := fetch(ctx, key, cond)
	if cond.Offset > 0 {
		return o, err // a part of a tile
	}
	now := time.Now()
	w := write{name: name, leased: leased, ttl: life.keep, stored: storedTile{Validated: now.UnixNano(), Outdated: life.outdated}}
	switch {
	case err == nil:
		promised = true
		t.record(o, w, now)
	case errors.Is(err, tile.ErrMissing) && life.missing > 0:
		promised = true
		w.stored.Missing, w.ttl = true, life.missing
		t.enqueue(w)
	case errors.Is(err, tile.ErrNotModified):
		w.renewed, w.stored.ETag, w.stored.LastModified = true, cond.IfNoneMatch, cond.IfModifiedSince
		t.enqueue(w)
	}
	return o, err
}

// name hides what a tile is called. Every field of the key counts, those that it will get as well.
func (t *tiles) name(key tile.Key, source string, epoch int64) string {
	text, err := json.Marshal([]any{key, source})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	mac := hmac.New(sha256.New, t.names)
	mac.Write(text)
	mac.Write([]byte("\x00" + strconv.FormatInt(epoch, 10) + "\x00" + strconv.Itoa(format)))
	return t.c.opt.Prefix + "tile:{" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:18]) + "}"
}

// allowed reports whether Redis may be asked. For a second after a failure it may not, then one may try.
func (t *tiles) allowed(now time.Time) bool {
	until := t.brokenUntil.Load()
	return until == 0 || now.UnixNano() >= until && t.brokenUntil.CompareAndSwap(until, now.Add(breakFor).UnixNano())
}

func (t *tiles) failed() { t.brokenUntil.Store(time.Now().Add(breakFor).UnixNano()) }

// lookup asks Redis for a tile. ok is false for whatever does not answer the question, and missed true if Redis does not have it.
func (t *tiles) lookup(ctx context.Context, name string, life lifetimes) (r result, ok, missed bool) {
	now := time.Now()
	if !t.allowed(now) {
		t.OnLookup("skipped")
		return r, false, false
	}
	calling, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	stored, body, err := t.get(calling, name)
	switch {
	case errors.Is(err, redis.Nil) || errors.Is(err, errForeign):
		t.brokenUntil.Store(0)
		t.OnLookup("miss")
		return r, false, true
	case err != nil:
		if ctx.Err() == nil {
			t.failed()
		}
		t.OnLookup("failed")
		return r, false, false
	}
	t.brokenUntil.Store(0)
	if r, ok := life.answer(stored, body, now); ok {
		t.OnLookup("hit")
		return r, true, false
	}
	t.OnLookup("miss")
	return r, false, true
}

func (t *tiles) get(ctx context.Context, name string) (stored storedTile, body []byte, err error) {
	// A foreign value may have any size, so that no more is asked for than a tile can take.
	value, err := t.c.redis.GetRange(ctx, name, 0, t.MaxObject+maxHead).Bytes()
	if err != nil {
		return stored, nil, err
	}
	return t.parse(value, name)
}

// parse opens what Redis has under the name of a tile.
func (t *tiles) parse(value []byte, name string) (stored storedTile, body []byte, err error) {
	if len(value) == 0 {
		return stored, nil, redis.Nil
	}
	record, err := t.seal.open(value, name)
	if err != nil {
		return stored, nil, err
	}
	length, n := binary.Uvarint(record)
	if n <= 0 || length > uint64(len(record)-n) {
		return stored, nil, errForeign
	}
	head, body := record[n:n+int(length)], record[n+int(length):]
	if json.Unmarshal(head, &stored) != nil || int64(len(body)) > t.MaxObject {
		return stored, nil, errForeign
	}
	return stored, body, nil
}

// record has the bytes of an object kept as they are read, and written when they have come to their end.
func (t *tiles) record(o *tile.Object, w write, now time.Time) {
	w.size = o.Size
	if w.size < 0 {
		w.size = t.MaxObject
	}
	if w.size > t.MaxObject {
		t.unwritten(&w)
		return
	}
	if !t.reserve(w.size) {
		t.OnWrite("dropped")
		t.unwritten(&w)
		return
	}
	validated := now
	if !o.Validated.IsZero() {
		validated = o.Validated
	}
	w.ttl -= max(0, now.Sub(validated))
	w.stored = storedTile{
		Validated: validated.UnixNano(), Outdated: w.stored.Outdated, Total: o.Total, ETag: o.ETag, LastModified: o.LastModified, Encoding: o.Encoding, Header: o.Header,
	}
	if o.Size > 0 {
		w.body = make([]byte, 0, o.Size)
	}
	o.Body = &recorder{ReadCloser: o.Body, tiles: t, write: w, announced: o.Size}
}

// unwritten tells the instances that wait for a tile that it will not be written.
func (t *tiles) unwritten(w *write) {
	if w.leased {
		t.say(w.name, alone)
	}
}

// reserve takes bytes of the bound of what waits to be written.
func (t *tiles) reserve(size int64) bool {
	if t.queued.Add(size) > maxQueuedBytes {
		t.queued.Add(-size)
		return false
	}
	return true
}

// recorder keeps what is read of a body. Its methods are called by one goroutine at a time.
type recorder struct {
	io.ReadCloser
	tiles     *tiles
	write     write
	announced int64 // bytes; -1: unknown
	done      bool  // the reservation is given back, or gone with the write
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.done {
		return n, err
	}
	if int64(len(r.write.body)+n) > r.write.size {
		r.drop() // longer than announced, or than may be written
		return n, err
	}
	r.write.body = append(r.write.body, p[:n]...)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) && (r.announced < 0 || r.announced == int64(len(r.write.body))):
		r.done = true
		r.tiles.enqueue(r.write)
	default:
		r.drop()
	}
	return n, err
}

func (r *recorder) Close() error {
	r.drop()
	return r.ReadCloser.Close()
}

func (r *recorder) drop() {
	if !r.done {
		r.done = true
		r.tiles.queued.Add(-r.write.size)
		r.write.body = nil
		r.tiles.unwritten(&r.write)
	}
}

// enqueue has a tile written soon, or drops it when too much waits.
func (t *tiles) enqueue(w write) {
	select {
	case t.queue <- w:
	default:
		t.queued.Add(-w.size)
		t.OnWrite("dropped")
		t.unwritten(&w)
	}
}

// run writes until ctx ends.
func (t *tiles) run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { t.runLeases(ctx) })
	for range writers {
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case w := <-t.queue:
					outcome := t.put(ctx, &w)
					if outcome == "written" && w.leased {
						t.say(w.name, written)
					} else {
						t.unwritten(&w)
					}
					t.OnWrite(outcome)
					t.queued.Add(-w.size)
				}
			}
		})
	}
	running.Wait()
}

// put writes one tile, and returns what became of it.
func (t *tiles) put(ctx context.Context, w *write) string {
	if w.ttl < time.Millisecond || !t.allowed(time.Now()) {
		return "dropped"
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if w.renewed {
		confirmed := w.stored
		var err error
		w.stored, w.body, err = t.get(ctx, w.name)
		if errors.Is(err, redis.Nil) || errors.Is(err, errForeign) || err == nil && !w.stored.isVersion(confirmed) {
			t.brokenUntil.Store(0)
			return "dropped"
		}
		if err != nil {
			t.failed()
			return "failed"
		}
		w.stored.Validated = max(confirmed.Validated, w.stored.Validated)
		w.stored.Outdated = max(confirmed.Outdated, w.stored.Outdated)
	}
	head, err := json.Marshal(&w.stored)
	if err != nil || len(head) > maxHead/2 {
		return "failed" // a time of an odd year, or a header that no tile has
	}
	record := make([]byte, 1, 1+binary.MaxVarintLen64+len(head)+len(w.body)+sealOverhead)
	record = append(append(binary.AppendUvarint(record, uint64(len(head))), head...), w.body...)
	if err := t.c.redis.Set(ctx, w.name, t.seal.sealInPlace(record, w.name), w.ttl).Err(); err != nil {
		if _, refused := errors.AsType[redis.Error](err); !refused { // one that is full or read-only can still be asked
			t.failed()
		}
		return "failed"
	}
	t.brokenUntil.Store(0)
	return "written"
}
