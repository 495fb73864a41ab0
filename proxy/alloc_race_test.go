//go:build race

package proxy_test

// pooledAnew: the race detector makes sync.Pool forget on purpose.
const pooledAnew = 4
