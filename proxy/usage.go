package proxy

import (
	"cmp"
	"hash/maphash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	usageShards = 16
	// maxUsage bounds what /admin/usage tells of a day. A shard keeps twice its part of that, since shards differ.
	maxUsage        = 10_000
	maxUsageOfShard = 2 * maxUsage / usageShards
	maxUsageBytes   = 32 << 20 // in all
	// maxUsageTiles is how many tiles one range of an archive counts as at most.
	maxUsageTiles = 1 << 16
)

// Usage counts what each subject has asked for of each tileset, today and yesterday. It outlives a reload of the configuration.
type Usage struct {
	seed   maphash.Seed
	room   room
	shards [usageShards]usageShard
}

// usageShard has the use of some subjects.
type usageShard struct {
	mu   sync.Mutex
	date int64 // of the first of days, in days since 1970
	days [2]map[usageKey]*used
}

type usageKey struct{ subject, tileset string }

type used struct {
	requests, bytes int64
	tiles           tileCount
}

// NewUsage makes a Usage.
func NewUsage() *Usage {
	u := &Usage{seed: maphash.MakeSeed()}
	u.room.max = maxUsageBytes
	return u
}

// meter counts a request right before it is answered, so that whoever has the answer finds it counted.
func (x *exchange) meter(status int) {
	if x.usage == nil || x.metered {
		return
	}
	x.metered = true
	sent := contents{}
	if x.sent && status < http.StatusBadRequest {
		sent = x.contents
		if length := x.Get("Content-Length"); length != nil {
			x.announced, _ = strconv.ParseInt(length[0], 10, 64)
		}
	}
	x.usage.add(x.subject(), x.tileset.ID, 1, x.announced, &sent, x.start)
}

// meterRest counts what was not known before the answer: how many bytes it had.
func (x *exchange) meterRest() {
	x.meter(x.Status())
	if x.usage != nil && x.Bytes() != x.announced {
		x.usage.add(x.subject(), x.tileset.ID, 0, x.Bytes()-x.announced, &contents{}, x.start)
	}
}

func (x *exchange) subject() string {
	if x.grant == nil {
		return ""
	}
	return x.grant.Subject
}

// add counts requests and bytes; the latter may be negative, to correct what was announced.
func (u *Usage) add(subject, tileset string, requests, bytes int64, sent *contents, now time.Time) {
	key := usageKey{subject, tileset}
	s := &u.shards[maphash.String(u.seed, subject)%usageShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(u, now)
	e := s.days[0][key]
	if e == nil {
		if len(s.days[0]) >= maxUsageOfShard {
			s.thin(u)
		}
		if s.days[0] == nil {
			s.days[0] = map[usageKey]*used{}
		}
		e = &used{}
		u.room.used.Add(usedCost)
		key.subject = strings.Clone(subject) // it may be a part of a token
		s.days[0][key] = e
	}
	e.requests += requests
	e.bytes += bytes
	for i := range min(sent.n, maxUsageTiles) {
		growth := e.tiles.growth()
		if !u.room.take(growth) {
			if s.thin(u); s.days[0][key] != e || !u.room.take(growth) {
				break
			}
		}
		if growth < 0 {
			u.room.used.Add(growth)
		}
		e.tiles.add(sent.hash(i))
	}
}

const usedCost = 256 // bytes for an entry in the map, about

// turn begins a new day when one has begun by UTC: what was today becomes yesterday.
func (s *usageShard) turn(u *Usage, now time.Time) {
	date := now.Unix() / 86400
	for ; s.date < date; s.date++ {
		for _, e := range s.days[1] {
			u.room.used.Add(-e.tiles.bytes() - usedCost)
		}
		s.days[1], s.days[0] = s.days[0], nil
		if s.days[1] == nil {
			s.date = date - 1 // nothing is left of other days
		}
	}
}

// thin drops the quarter of a shard's entries with the fewest requests, of the day that has more entries.
func (s *usageShard) thin(u *Usage) {
	day := s.days[0]
	if len(day) < len(s.days[1]) {
		day = s.days[1]
	}
	keys := make([]usageKey, 0, len(day))
	for key := range day {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b usageKey) int { return cmp.Compare(day[a].requests, day[b].requests) })
	for _, key := range keys[:(len(keys)+3)/4] {
		u.room.used.Add(-day[key].tiles.bytes() - usedCost)
		delete(day, key)
	}
}

// usageAnswer is the body of /admin/usage.
type usageAnswer struct {
	Date      string      `json:"date"` // of today, in UTC
	Today     []usageLine `json:"today"`
	Yesterday []usageLine `json:"yesterday"`
}

// usageLine is what a subject asked for of a tileset in a day.
type usageLine struct {
	Subject       string `json:"subject"` // "": requests without one: for public tilesets, and of a CDN that authorizes
	Tileset       string `json:"tileset"`
	Requests      int64  `json:"requests"`
	Bytes         int64  `json:"bytes"`
	DistinctTiles int    `json:"distinct_tiles"`
}

// usage says what subjects have used, those with most requests first.
func (p *Proxy) usage(w http.ResponseWriter, _ *http.Request) error {
	if p.opt.Usage == nil {
		return errNotFound
	}
	now := time.Now().UTC()
	days := p.opt.Usage.list(now)
	return adminJSON(w, usageAnswer{now.Format(time.DateOnly), days[0], days[1]})
}

func (u *Usage) list(now time.Time) (days [2][]usageLine) {
	for i := range days {
		days[i] = []usageLine{}
	}
	for i := range u.shards {
		s := &u.shards[i]
		s.mu.Lock()
		s.turn(u, now)
		for i, day := range s.days {
			for key, e := range day {
				days[i] = append(days[i], usageLine{key.subject, key.tileset, e.requests, e.bytes, e.tiles.count()})
			}
		}
		s.mu.Unlock()
	}
	for i := range days {
		slices.SortFunc(days[i], func(a, b usageLine) int {
			return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Tileset, b.Tileset))
		})
		days[i] = days[i][:min(len(days[i]), maxUsage)]
	}
	return days
}
