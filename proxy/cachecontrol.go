package proxy

import (
	"fmt"
	"strings"
	"time"
)

// Header values that never change are slices made once: assigning one to a header costs no allocation.
var (
	nosniff        = []string{"nosniff"}
	privateNoStore = []string{"private, no-store"}
	acceptRanges   = []string{"bytes"}
	gzipEncoding   = []string{"gzip"}
)

// browserPolicies are the names that a tileset's browser setting may use; anything else is a literal Cache-Control.
var browserPolicies = map[string]string{
	"strict":    "private, no-cache",
	"balanced":  "private, max-age=3600, stale-while-revalidate=600",
	"immutable": "private, max-age=31536000, immutable",
}

// A tile that a soft purge has marked stale is being refreshed. A CDN that was purged as well must not keep the old one
// for the whole time of a tile.
var (
	outdatedSharedCacheControl = []string{"max-age=0, s-maxage=1"}
	outdatedCDNCacheControl    = []string{"max-age=1"}
)

func browserCacheControl(setting string) string {
	if setting == "" {
		setting = "balanced"
	}
	if value, ok := browserPolicies[setting]; ok {
		return value
	}
	return setting
}

// sharedCacheControl makes the value for shared caches from the one for browsers: without private, and
// with s-maxage (RFC 9111 section 5.2.2).
func sharedCacheControl(browser string, ttl time.Duration) string {
	var kept []string
	for directive := range strings.SplitSeq(browser, ",") {
		directive = strings.TrimSpace(directive)
		name, _, _ := strings.Cut(strings.ToLower(directive), "=")
		if directive != "" && name != "private" && name != "s-maxage" {
			kept = append(kept, directive)
		}
	}
	return strings.Join(append(kept, fmt.Sprintf("s-maxage=%d", int(ttl.Seconds()))), ", ")
}

// setSharedHeaders tells a CDN how long it may keep a tile, and by which names it can purge it: those that setTags has set,
// or else the tileset's. The CDN must have proved who it is.
func (ts *tileset) setSharedHeaders(x *exchange) {
	x.Set("Cache-Control", ts.sharedCacheControl)
	x.Set("Cdn-Cache-Control", ts.cdnCacheControl)
	x.Set("Surrogate-Control", ts.cdnCacheControl)
	if !x.tagged {
		x.Set("Surrogate-Key", ts.surrogateKey)
		x.Set("Cache-Tag", ts.surrogateKey)
	}
}
