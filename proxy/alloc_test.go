//go:build !race

package proxy_test

// pooledAnew is how often what is pooled is made anew within one request.
const pooledAnew = 0
