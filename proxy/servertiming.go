package proxy

import (
	"strconv"
	"time"
)

// timing measures the parts of a tile's request for the Server-Timing field (W3C Server Timing).
type timing struct {
	last                time.Time
	auth, cache, origin time.Duration
}

// lap returns the time since the last lap.
func (t *timing) lap() time.Duration {
	now := time.Now()
	d := now.Sub(t.last)
	t.last = now
	return d
}

// header formats what was measured, in milliseconds; the cache's outcome is its description.
func (t *timing) header(o outcome) []string {
	b := make([]byte, 0, 96)
	b = appendMetric(b, "auth", "", t.auth)
	b = append(b, ", "...)
	b = appendMetric(b, "cache", o.String(), t.cache)
	b = append(b, ", "...)
	b = appendMetric(b, "origin", "", t.origin)
	return []string{string(b)}
}

func appendMetric(b []byte, name, description string, d time.Duration) []byte {
	b = append(b, name...)
	if description != "" {
		b = append(b, ";desc="...)
		b = append(b, description...)
	}
	b = append(b, ";dur="...)
	return strconv.AppendFloat(b, float64(d.Microseconds())/1000, 'f', -1, 64)
}
