package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	memoryBase       = 36 << 20 // bytes for the program itself, its stacks and its S3 connections
	memoryConnection = 64 << 10 // bytes for one client's connection: buffers, stack, header
	memoryRequest    = 20 << 10 // bytes for one request under way: buffers, stack, header
	memoryReserve    = 12 << 20 // bytes for connections and requests that have not been counted yet
	memoryHeadroom   = 32 << 20 // bytes that may be allocated beyond a quarter of what is live
	memoryStep       = 4 << 20  // bytes by which the limit moves
	memoryRead       = 250 * time.Millisecond

	// When clients give back that much, memory is returned to the system a little later, and at most so often:
	// without requests Go would not collect it for minutes.
	memoryReturn      = 32 << 20
	memoryReturnAfter = 5 * time.Second
	memoryReturnEvery = 30 * time.Second
)

// memoryLimit keeps Go's soft memory limit where the cache, the connections and the requests of the moment
// fit, so that the garbage collector neither lets memory grow to twice the cache nor works itself to death
// when many clients come. The limit is never close to what is live: below that, the collector would run
// without pause and free nothing. An operator who sets GOMEMLIMIT knows better, and is left alone.
type memoryLimit struct {
	cache  int64
	counts func() (connections, requests int64)

	mu      sync.Mutex
	running bool
	before  int64 // the limit that start found
	limit   int64
	live    int64 // heap and stacks at the last reading
	readAt  time.Time

	peak     int64 // the most that clients took since memory was last returned
	giveBack *time.Timer
	gaveBack time.Time
}

// start sets the limit and keeps it up to date until stop.
func (m *memoryLimit) start() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	m.mu.Lock()
	m.running, m.before = true, debug.SetMemoryLimit(-1)
	m.mu.Unlock()
	m.update()
	m.watch()
}

// stop leaves Go's limit as it was before start.
func (m *memoryLimit) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running {
		m.running = false
		if m.giveBack != nil {
			m.giveBack.Stop()
		}
		debug.SetMemoryLimit(m.before)
	}
}

// watch has the limit updated whenever the garbage collector has found out what is live. No goroutine waits
// for that: a cleanup runs when its object has been collected, which nothing refers to.
func (m *memoryLimit) watch() {
	type collected struct{ _ [64]byte }
	runtime.AddCleanup(new(collected), func(m *memoryLimit) {
		if m.update() {
			m.watch()
		}
	}, m)
}

// update sets the limit to what the moment needs. It reports whether the limit is still kept.
func (m *memoryLimit) update() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running {
		return false
	}
	if now := time.Now(); now.Sub(m.readAt) >= memoryRead {
		m.live, m.readAt = readLive(), now
	}
	connections, requests := m.counts()
	m.noteClients(connections*memoryConnection + requests*memoryRequest)
	limit := neededMemory(m.cache, connections, requests, m.live)
	if limit-m.limit >= memoryStep || m.limit-limit >= memoryStep {
		m.limit = limit
		debug.SetMemoryLimit(limit)
	}
	return true
}

// noteClients plans to return memory when clients take far less than before.
func (m *memoryLimit) noteClients(bytes int64) {
	m.peak = max(m.peak, bytes)
	if m.peak-bytes < memoryReturn || bytes > m.peak/2 || m.giveBack != nil {
		return
	}
	wait := max(memoryReturnAfter, memoryReturnEvery-time.Since(m.gaveBack))
	m.giveBack = time.AfterFunc(wait, m.returnMemory)
}

func (m *memoryLimit) returnMemory() {
	runtime.GC() // what is in a sync.Pool goes with the second
	debug.FreeOSMemory()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.giveBack, m.gaveBack, m.peak = nil, time.Now(), 0
}

// neededMemory is the limit in bytes for a cache, the counts of the moment, and what is live.
func neededMemory(cache, connections, requests, live int64) int64 {
	expected := cache + cache/8 + memoryBase + memoryReserve + connections*memoryConnection + requests*memoryRequest
	return max(expected, live+live/4+memoryHeadroom)
}

// readLive returns the bytes of the heap that the last collection found live, and of all stacks.
func readLive() int64 {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	var sum uint64
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			sum += s.Value.Uint64()
		}
	}
	return int64(sum)
}
