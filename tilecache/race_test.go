//go:build race

package tilecache_test

const raceDetector = true
