package proxy

import (
	"maps"
	"net/http"
	"slices"
)

// cacheAnswer is the body of /admin/cache.
type cacheAnswer struct {
	Bytes    int64                `json:"bytes"` // held, bookkeeping included
	Limit    int64                `json:"limit"` // cache.memory
	Entries  int                  `json:"entries"`
	Fills    int                  `json:"fills"`
	Queued   int                  `json:"queued"`
	Tilesets []cacheTilesetAnswer `json:"tilesets"`
}

// cacheTilesetAnswer is one tileset's part, or one bundle's.
type cacheTilesetAnswer struct {
	ID       string `json:"id"`
	Bytes    int64  `json:"bytes"`
	Entries  int    `json:"entries"`
	Absences int    `json:"absences"` // tiles that are known to be missing
	Requests uint64 `json:"requests"` // that reached the cache since the start
	// HitRatio is the part of Requests that were answered from memory, from 0 to 1; absent without requests.
	HitRatio *float64 `json:"hit_ratio,omitempty"`
}

// cacheUsage says what the cache holds of each tileset and bundle, and how often it could answer.
func (p *Proxy) cacheUsage(w http.ResponseWriter, _ *http.Request) error {
	stats, usage, counted := p.opt.Cache.Stats(), p.opt.Cache.Usage(), p.opt.Metrics.outcomes()
	answer := cacheAnswer{Bytes: stats.Bytes, Limit: stats.Limit, Entries: stats.Entries, Fills: stats.Fills, Queued: stats.Queued}
	var ids []string
	for _, ts := range p.catalogue {
		ids = append(ids, ts.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(p.bundles)) {
		ids = append(ids, p.bundles[id].tileset.ID)
	}
	for _, id := range ids {
		u := usage[id]
		line := cacheTilesetAnswer{ID: id, Bytes: u.Bytes, Entries: u.Entries, Absences: u.Absences}
		if n := counted[id]; n != nil {
			hits := n[outcomeHit] + n[outcomeStale]
			if all := hits + n[outcomeMiss] + n[outcomeJoined]; all > 0 {
				ratio := hits / all
				line.Requests, line.HitRatio = uint64(all), &ratio
			}
		}
		answer.Tilesets = append(answer.Tilesets, line)
	}
	return adminJSON(w, answer)
}
