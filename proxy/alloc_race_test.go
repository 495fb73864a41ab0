//go:build race

package proxy_test

// The race detector makes sync.Pool forget on purpose, so that what is pooled is sometimes made anew.
const maxHitAllocations = 6
