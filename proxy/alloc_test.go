//go:build !race

package proxy_test

// The goal of DESIGN section 11 is six.
const maxHitAllocations = 2
