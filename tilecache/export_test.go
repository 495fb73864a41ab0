package tilecache

// Plain turns admission off: what is left is least recently used alone.
func Plain(o Options) Options {
	o.plain = true
	return o
}

// Leftovers sums what the shards and the budget count of an empty cache, which must be nothing.
func Leftovers(c *Cache) int64 {
	c.room.mu.Lock()
	sum := c.room.evictable.Load() + int64(c.room.retired.Len()) + int64(c.refreshing.Load())
	c.room.mu.Unlock()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		sum += s.recentBytes + s.filling + int64(len(s.retired)+len(s.fills))
		s.mu.Unlock()
	}
	return sum
}
