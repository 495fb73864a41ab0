package shared

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"tilegate/internal/tile"
)

// What callers use at one instance is sent to Redis in batches, and Redis' answer says what they have used at all of
// them. Sums are numbers, and distinct tiles are HyperLogLogs. Both end with their window. Neither can be sealed, as
// Redis itself counts: somebody who can write to Redis can change counts, but does not see whose they are.

// CountOptions says who learns what all instances have counted. The functions are called by one goroutine and must not
// block.
type CountOptions struct {
	// OnDistinct gets how many distinct tiles all instances have counted, with a standard error of 0.29 %, and how
	// many of those this instance had counted by then, as it said itself.
	OnDistinct func(counter tile.Counter, all, own int64)
	// OnSum gets what all instances, this one included, have counted since a time: what OnSum returned before, or the
	// beginning of the window. It does not include waiting, which this one has counted and not sent yet.
	OnSum func(counter tile.Counter, n, waiting int64, since time.Time) (until time.Time)
	// OnCount counts what happens: sent, failed, dropped.
	OnCount func(outcome string)
}

const (
	countEvery      = 250 * time.Millisecond // between two batches
	countSoon       = 10 * time.Millisecond  // before a batch of a caller who is close to a limit
	countShards     = 16
	countersInShard = 2048    // that wait to be sent; of subjects and of addresses 32,768 each, some 16 MiB in all
	maxCountedTiles = 1 << 18 // that wait to be sent, of subjects and of addresses each; 4 bytes apiece
	maxKnownSums    = 1 << 17 // sums of which it is known what was learned before
	countersInCall  = 256     // in one exchange
	tilesInCall     = 1 << 13 // or a few more
	tilesInCommand  = 1 << 10
	// distinctParts are the HyperLogLogs of a counter. One of Redis' has a standard error of 0.81 %, and the sum of eight 0.29 %.
	distinctParts = 8
	countGrace    = time.Minute // that a counter is kept after its window, for clocks that differ
	refusalsEvery = time.Hour   // between two log lines that Redis refuses to count
)

// counts sends Redis what this instance counts.
type counts struct {
	CountOptions
	c     *Client
	names []byte       // the key of the names
	tiles cipher.Block // hides which tiles were sent
	seed  maphash.Seed
	soon  chan struct{} // has a value when a batch is to be sent soon
	kinds [2]countKind  // of subjects and of addresses: made-up addresses take no room from subjects

	// These belong to the goroutine of run.
	brokenUntil time.Time
	refused     time.Time // when the log last said so
	sums        map[tile.Counter]learned
	swept       time.Time
}

type countKind struct {
	tiles  atomic.Int64 // that wait
	shards [countShards]countShard
}

// countShard holds what waits to be sent.
type countShard struct {
	mu             sync.Mutex
	pending, spare map[tile.Counter]unsent
}

// unsent is what has been counted and not been sent yet.
type unsent struct {
	sum   int64
	tiles []uint32
	own   int64 // how many tiles this instance has counted
}

// learned is what Redis last said of a sum.
type learned struct {
	total int64
	until time.Time // what OnSum returned
	at    time.Time
}

func newCounts(c *Client, o CountOptions) *counts {
	key, err := hkdf.Key(sha256.New, c.opt.SigningKeys[0], nil, "tilegate v1 shared counters\x00"+c.opt.Prefix, sha256.Size+32)
	if err != nil {
		panic(err) // it does not refuse 64 bytes
	}
	block, err := aes.NewCipher(key[sha256.Size:])
	if err != nil {
		panic(err) // nor this 32
	}
	return &counts{CountOptions: o, c: c, names: key[:sha256.Size], tiles: block, soon: make(chan struct{}, 1), seed: maphash.MakeSeed(), sums: map[tile.Counter]learned{}}
}

// AddRequests adds n, which may be negative, to the count of requests. It does not wait.
func (c *Client) AddRequests(counter tile.Counter, n int64) {
	if c.counts != nil {
		c.counts.add(counter, n, nil, 0)
	}
}

// AddTiles counts tiles, each by a number that is the same at all instances. own is how many the instance has
// counted with them. Without tiles it asks how many there are. With soon that is not left to the next regular batch: for
// a caller who is close to a limit. It does not wait, and does not keep tiles.
func (c *Client) AddTiles(counter tile.Counter, tiles []uint32, own int, soon bool) {
	if c.counts == nil {
		return
	}
	c.counts.add(counter, 0, tiles, int64(own))
	if soon {
		select {
		case c.counts.soon <- struct{}{}:
		default:
		}
	}
}

func (s *counts) add(counter tile.Counter, n int64, tiles []uint32, own int64) {
	kind, shard := s.shard(counter)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	waiting, known := shard.pending[counter]
	switch more := int64(len(tiles)); {
	case !known && len(shard.pending) >= countersInShard:
		s.OnCount("dropped")
		return
	case kind.tiles.Add(more) > maxCountedTiles:
		kind.tiles.Add(-more)
		s.OnCount("dropped")
		return
	case shard.pending == nil:
		shard.pending = map[tile.Counter]unsent{}
	}
	waiting.sum += n
	waiting.tiles = append(waiting.tiles, tiles...)
	waiting.own = max(waiting.own, own)
	shard.pending[counter] = waiting
}

// shard returns where a counter waits to be sent.
func (s *counts) shard(counter tile.Counter) (*countKind, *countShard) {
	kind := &s.kinds[0]
	if counter.Subject == "" {
		kind = &s.kinds[1]
	}
	return kind, &kind.shards[maphash.Comparable(s.seed, counter)%countShards]
}

// waiting is how much of a sum waits to be sent.
func (s *counts) waiting(counter tile.Counter) int64 {
	_, shard := s.shard(counter)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	return shard.pending[counter].sum
}

// run sends until ctx ends.
func (s *counts) run(ctx context.Context) {
	ticker := time.NewTicker(countEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.soon:
			if !pause(ctx, countSoon) {
				return
			}
		}
		s.turn(ctx)
	}
}

// turn sends all that waits. While Redis does not answer, it keeps waiting, within its bounds.
func (s *counts) turn(ctx context.Context) {
	var b batch
	for k := range s.kinds {
		kind := &s.kinds[k]
		for i := range kind.shards {
			if time.Now().Before(s.brokenUntil) {
				return
			}
			shard := &kind.shards[i]
			shard.mu.Lock()
			pending := shard.pending
			shard.pending, shard.spare = shard.spare, nil
			shard.mu.Unlock()
			for counter, n := range pending {
				b.add(counter, n)
				if len(b.entries) >= countersInCall || b.tiles >= tilesInCall {
					s.send(ctx, &b)
				}
			}
			s.send(ctx, &b)
			for _, n := range pending {
				kind.tiles.Add(-int64(len(n.tiles)))
			}
			clear(pending)
			shard.mu.Lock()
			shard.spare = pending
			shard.mu.Unlock()
		}
	}
	s.sweep()
}

// batch is what one exchange sends.
type batch struct {
	entries []entry
	tiles   int
}

type entry struct {
	counter tile.Counter
	unsent
	total           *redis.IntCmd
	added, distinct []*redis.IntCmd
}

func (b *batch) add(counter tile.Counter, n unsent) {
	b.entries = append(b.entries, entry{counter: counter, unsent: n})
	b.tiles += len(n.tiles)
}

// send sends a batch to Redis, passes on the answers, and empties the batch.
func (s *counts) send(ctx context.Context, b *batch) {
	defer func() {
		clear(b.entries)
		b.entries, b.tiles = b.entries[:0], 0
	}()
	now := time.Now()
	if len(b.entries) == 0 {
		return
	}
	if now.Before(s.brokenUntil) {
		for i := range b.entries {
			s.add(b.entries[i].counter, b.entries[i].sum, b.entries[i].tiles, b.entries[i].own)
		}
		return
	}
	calling, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := s.c.redis.Pipelined(calling, func(p redis.Pipeliner) error {
		for i := range b.entries {
			s.ask(calling, p, &b.entries[i], now)
		}
		return nil
	})
	if ctx.Err() != nil {
		return
	}
	now = time.Now()
	if _, refused := errors.AsType[redis.Error](err); refused && now.Sub(s.refused) >= refusalsEvery {
		s.refused = now
		s.c.opt.Logger.Warn("Redis refuses to count what callers use: this instance's own counts hold; the next line about this comes in an hour",
			"error", err)
	}
	for i := range b.entries {
		e := &b.entries[i]
		switch err := s.learn(e, now); {
		case err == nil || redis.HasErrorPrefix(err, "WRONGTYPE") || redis.HasErrorPrefix(err, "NOPERM"):
			continue
		case e.total == nil:
			s.add(e.counter, 0, e.tiles, e.own) // tiles may be sent twice
		default:
			if _, refused := errors.AsType[redis.Error](err); refused { // else Redis may have counted the requests
				s.add(e.counter, e.sum, nil, 0)
			}
		}
		s.brokenUntil = now.Add(breakFor)
	}
}

// ask adds the commands of one counter to an exchange.
func (s *counts) ask(ctx context.Context, p redis.Pipeliner, e *entry, now time.Time) {
	end := time.Unix(e.counter.End, 0).Add(countGrace)
	if !now.Before(end) {
		return // its window is over
	}
	name, tweak := s.name(&e.counter)
	if e.counter.Tileset == "" {
		e.total = p.IncrBy(ctx, name, e.sum)
		p.ExpireAt(ctx, name, end)
		return
	}
	var parts [distinctParts][]any
	for _, t := range e.tiles {
		part := &parts[t%distinctParts]
		*part = append(*part, s.element(t, tweak))
	}
	for i, elements := range parts {
		name := name + ":" + strconv.Itoa(i)
		for some := range slices.Chunk(elements, tilesInCommand) {
			e.added = append(e.added, p.PFAdd(ctx, name, some...))
		}
		if len(elements) > 0 {
			p.ExpireAt(ctx, name, end)
		}
		e.distinct = append(e.distinct, p.PFCount(ctx, name))
	}
}

// learn passes on what Redis has answered about one counter. An error says that it has not, or has refused.
func (s *counts) learn(e *entry, now time.Time) error {
	for _, c := range slices.Concat([]*redis.IntCmd{e.total}, e.added, e.distinct) {
		if c != nil && c.Err() != nil {
			delete(s.sums, e.counter) // whether it has counted is not known
			s.OnCount("failed")
			return c.Err()
		}
	}
	switch {
	case e.distinct != nil:
		all := int64(0)
		for _, part := range e.distinct {
			all += part.Val()
		}
		s.OnDistinct(e.counter, all, e.own)
	case e.total != nil:
		total := e.total.Val()
		before, known := s.sums[e.counter]
		if !known {
			before.until = time.Unix(e.counter.Begin, 0)
		}
		until := s.OnSum(e.counter, total-before.total, s.waiting(e.counter), before.until)
		if known || len(s.sums) < maxKnownSums {
			s.sums[e.counter] = learned{total, until, now}
		}
	default:
		return nil // its window is over
	}
	s.OnCount("sent")
	return nil
}

// sweep forgets sums whose window is over, once a minute, and those that nobody adds to when there are many.
func (s *counts) sweep() {
	now := time.Now()
	if now.Sub(s.swept) < time.Minute {
		return
	}
	s.swept = now
	for counter, l := range s.sums {
		if now.Unix() >= counter.End || len(s.sums) > maxKnownSums/2 && now.Sub(l.at) > time.Minute {
			delete(s.sums, counter)
		}
	}
}

// name hides whose counter it is, and what it counts. tweak tells the counters' elements apart.
func (s *counts) name(c *tile.Counter) (name string, tweak [8]byte) {
	client := ""
	if c.Subject == "" {
		client = c.Client.String()
	}
	mac := hmac.New(sha256.New, s.names)
	_, _ = fmt.Fprintf(mac, "%d %q %q %q %d %d", format, c.Subject, client, c.Tileset, c.Begin, c.End)
	sum := mac.Sum(nil)
	return s.c.opt.Prefix + "count:{" + base64.RawURLEncoding.EncodeToString(sum[:18]) + "}", [8]byte(sum[24:])
}

// element is a tile under a cipher: who reads the counters cannot ask whether a tile is in one.
func (s *counts) element(t uint32, tweak [8]byte) string {
	var b [aes.BlockSize]byte
	copy(b[:], tweak[:])
	binary.BigEndian.PutUint32(b[8:], t)
	s.tiles.Encrypt(b[:], b[:])
	return string(b[:])
}
