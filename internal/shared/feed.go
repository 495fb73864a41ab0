package shared

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Feed is a set of facts that every instance must learn.
type Feed struct {
	Name string // of the stream, after the prefix
	// Apply takes in a record, its own ones included, as often as it is read. It reports whether the record is still needed: one that
	// is not may be deleted.
	Apply func(record []byte) (needed bool, err error)
	// Known returns all records that must be in the stream, each always as the same bytes.
	Known func() [][]byte
}

const (
	pollEvery  = 250 * time.Millisecond
	sweepEvery = 5 * time.Minute // the whole stream is read, and what is not needed any more deleted
	pageSize   = 1000            // records that one call reads or writes
	maxPending = 1024            // records to be told; beyond that, Feed.Known is asked for them
	maxSealed  = 4 << 10         // bytes of a record
	maxStream  = 1 << 20         // records: far beyond what instances keep, so that only a fault or an attack meets it
	field      = "r"
)

// feed keeps one instance and one stream the same. All but tell runs in one goroutine.
type feed struct {
	Feed
	c     *Client
	key   string
	seal  sealer
	tried atomic.Bool // a first turn has ended, well or not
	wake  chan struct{}

	mu      sync.Mutex
	pending [][]byte
	lost    bool // pending had no room

	whole     bool     // the stream must be read from its beginning, and what it lacks be written
	length    int64    // of the stream, as far as it has been read
	last      streamID // up to which it has been read
	nextSweep time.Time
	unread    map[[sha256.Size]byte]bool // records that were written and have not been read since
	warned    bool                       // a record could not be taken in
}

func newFeed(c *Client, f Feed) *feed {
	return &feed{
		Feed: f, c: c, key: c.opt.Prefix + f.Name, seal: newSealer(c.opt.SigningKeys, f.Name, c.opt.Prefix),
		wake: make(chan struct{}, 1), whole: true, unread: map[[sha256.Size]byte]bool{},
	}
}

func (f *feed) tell(record []byte) {
	f.mu.Lock()
	if len(f.pending) < maxPending {
		f.pending = append(f.pending, record)
	} else {
		f.lost = true
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) run(ctx context.Context) {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		err := f.turn(ctx)
		if ctx.Err() != nil {
			return
		}
		f.c.note(f.Name, err)
		f.tried.Store(true)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-f.wake:
		}
	}
}

// turn writes what was made here and reads what was made elsewhere. After a failure the next turn begins with the whole
// stream, so that nothing which this one may have missed is lost.
func (f *feed) turn(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			f.whole = true
		}
	}()
	f.mu.Lock()
	pending := f.pending
	f.pending = nil
	if f.lost {
		f.lost, f.whole = false, true
	}
	f.mu.Unlock()
	if err := f.write(ctx, pending); err != nil {
		return err
	}
	length, last, err := f.state(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	sweep := !now.Before(f.nextSweep)
	if !f.whole && !sweep && length >= f.length && !last.before(f.last) {
		if last == f.last && length == f.length && len(f.unread) == 0 {
			return nil
		}
		read, err := f.read(ctx, f.last, func(string, []byte) {})
		if err != nil {
			return err
		}
		// A stream that is shorter than what was read of it, or that does not have what was just written, has lost records, even
		// where new ones have filled it up.
		if f.length += read; f.length <= length && len(f.unread) == 0 {
			return nil
		}
	}
	if err := f.readWhole(ctx, sweep); err != nil {
		return err
	}
	f.whole = false
	if sweep {
		f.nextSweep = now.Add(sweepEvery)
	}
	return nil
}

// state returns how many records the stream has, and the id of the latest that it ever had.
func (f *feed) state(ctx context.Context) (length int64, last streamID, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := f.c.redis.XInfoStream(ctx, f.key).Result()
	if err != nil && strings.Contains(err.Error(), "no such key") {
		return 0, streamID{}, nil
	}
	if err != nil {
		return 0, streamID{}, fmt.Errorf("read the state of %s: %w", f.key, err)
	}
	last, err = parseStreamID(info.LastGeneratedID)
	return info.Length, last, err
}

// readWhole reads the stream from its beginning and writes what is known here and was not in it. With sweep it deletes records that
// are not needed any more, and second copies, which instances write that miss the same record at once.
func (f *feed) readWhole(ctx context.Context, sweep bool) error {
	present := map[[sha256.Size]byte]bool{}
	var surplus []string
	f.last = streamID{}
	clear(f.unread)
	read, err := f.read(ctx, f.last, func(id string, record []byte) {
		if record == nil {
			surplus = append(surplus, id)
			return
		}
		sum := sha256.Sum256(record)
		if present[sum] {
			surplus = append(surplus, id)
		}
		present[sum] = true
	})
	if err != nil {
		return err
	}
	f.length = read
	var missing [][]byte
	for _, record := range f.Known() {
		if !present[sha256.Sum256(record)] {
			missing = append(missing, record)
		}
	}
	if err := f.write(ctx, missing); err != nil {
		return err
	}
	for sweep && len(surplus) > 0 {
		page := surplus[:min(len(surplus), pageSize)]
		surplus = surplus[len(page):]
		calling, cancel := context.WithTimeout(ctx, callTimeout)
		deleted, err := f.c.redis.XDel(calling, f.key, page...).Result()
		cancel()
		if err != nil {
			return fmt.Errorf("delete records from %s: %w", f.key, err)
		}
		f.length -= deleted
	}
	return nil
}

// read takes in all records after an id and sets last. It calls each with every record that could be opened, or with nil
// for one that is not needed any more.
func (f *feed) read(ctx context.Context, after streamID, each func(id string, record []byte)) (read int64, err error) {
	f.last = after
	for read <= 2*maxStream {
		calling, cancel := context.WithTimeout(ctx, callTimeout)
		page, err := f.c.redis.XRangeN(calling, f.key, f.last.next(), "+", pageSize).Result()
		cancel()
		if err != nil {
			return read, fmt.Errorf("read %s: %w", f.key, err)
		}
		for _, message := range page {
			id, err := parseStreamID(message.ID)
			if err != nil || !f.last.before(id) {
				return read, fmt.Errorf("read %s: ids that do not rise", f.key)
			}
			f.last = id
			read++
			text, _ := message.Values[field].(string)
			f.take(message.ID, []byte(text), each)
		}
		if len(page) < pageSize {
			return read, nil
		}
	}
	return read, fmt.Errorf("read %s: it has no end", f.key)
}

// take opens one record and takes it in. What cannot be opened stays where it is: an instance with a newer signing key may have
// written it.
func (f *feed) take(id string, sealed []byte, each func(id string, record []byte)) {
	err := errForeign
	var record []byte
	if len(sealed) <= maxSealed {
		record, err = f.seal.open(sealed, f.key)
	}
	if err == nil {
		delete(f.unread, sha256.Sum256(record))
		var needed bool
		if needed, err = f.Apply(record); !needed {
			record = nil
		}
		each(id, record)
	}
	if err != nil && !f.warned {
		f.warned = true
		f.c.opt.Logger.Warn("a record in Redis is ignored; further ones are not told", "key", f.key, "id", id, "error", err)
	}
}

// write appends records to the stream.
func (f *feed) write(ctx context.Context, records [][]byte) error {
	for len(records) > 0 {
		page := records[:min(len(records), pageSize)]
		records = records[len(page):]
		calling, cancel := context.WithTimeout(ctx, callTimeout)
		_, err := f.c.redis.Pipelined(calling, func(p redis.Pipeliner) error {
			for _, record := range page {
				p.XAdd(calling, &redis.XAddArgs{Stream: f.key, MaxLen: maxStream, Approx: true, Values: []any{field, f.seal.seal(record, f.key)}})
			}
			return nil
		})
		cancel()
		if err != nil {
			return fmt.Errorf("write to %s: %w", f.key, err)
		}
		for _, record := range page {
			f.unread[sha256.Sum256(record)] = true
		}
	}
	return nil
}

// streamID is the id of a record in a stream: a time in milliseconds, and a number within it.
type streamID struct{ ms, seq uint64 }

func parseStreamID(text string) (streamID, error) {
	ms, seq, _ := strings.Cut(text, "-")
	a, err1 := strconv.ParseUint(ms, 10, 64)
	b, err2 := strconv.ParseUint(seq, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return streamID{}, fmt.Errorf("the id of a record in a stream: %w", err)
	}
	return streamID{a, b}, nil
}

func (s streamID) before(other streamID) bool {
	return s.ms < other.ms || s.ms == other.ms && s.seq < other.seq
}

// next is the start of a range that begins after s. The largest number is never given out within a millisecond.
func (s streamID) next() string {
	return strconv.FormatUint(s.ms, 10) + "-" + strconv.FormatUint(s.seq+1, 10)
}
