package tilecache

// Plain turns admission off: what is left is least recently used alone.
func Plain(o Options) Options {
	o.plain = true
	return o
}
