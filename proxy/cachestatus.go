package proxy

import (
	"strconv"
	"sync/atomic"
	"time"

	"tilegate/tilecache"
)

// statusHeader is the field that tells what the cache did (RFC 9211).
const statusHeader = "Cache-Status"

// hitStatuses holds "tilegate; hit; ttl=N" for the usual N. Each value is made at its first use: every hit
// has one, and formatting it would be most of what a hit allocates.
type hitStatuses [1 << 12]atomic.Pointer[[]string]

func (c *hitStatuses) value(s tilecache.Status) []string {
	switch {
	case s.State == tilecache.Miss && s.Held:
		return outdatedStatus
	case s.State == tilecache.Miss:
		return missStatus
	case s.State == tilecache.Joined && s.Held:
		return outdatedJoinedStatus
	case s.State == tilecache.Joined:
		return joinedStatus
	}
	ttl := int64(s.TTL / time.Second)
	if s.TTL%time.Second < 0 {
		ttl-- // a tile that is stale by half a second says so
	}
	if ttl < 0 || ttl >= int64(len(c)) {
		return []string{"tilegate; hit; ttl=" + strconv.FormatInt(ttl, 10)}
	}
	if v := c[ttl].Load(); v != nil {
		return *v
	}
	v := []string{"tilegate; hit; ttl=" + strconv.FormatInt(ttl, 10)}
	c[ttl].Store(&v)
	return v
}

var (
	missStatus           = []string{"tilegate; fwd=uri-miss"}
	joinedStatus         = []string{"tilegate; fwd=uri-miss; collapsed"}
	outdatedStatus       = []string{"tilegate; fwd=stale"}
	outdatedJoinedStatus = []string{"tilegate; fwd=stale; collapsed"}
	outsideStatus        = []string{"tilegate; detail=outside-tileset"}
)
