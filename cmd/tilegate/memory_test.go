package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
)

// The limit is never close to what is live: below it, the collector would run without pause.
func TestNeededMemory(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		name                               string
		cache, connections, requests, live int64
		want                               int64
	}{
		{"nobody there", 128 * mib, 0, 0, 20 * mib, 128*mib + 16*mib + 48*mib},
		{"connections", 128 * mib, 1024, 0, 20 * mib, 192*mib + 64*mib},
		{"requests", 128 * mib, 0, 4096, 20 * mib, 192*mib + 80*mib},
		{"more is live than was expected", 128 * mib, 500, 0, 1000 * mib, 1250*mib + 32*mib},
	} {
		if got := neededMemory(test.cache, test.connections, test.requests, test.live); got != test.want {
			t.Errorf("%s: got %d MiB, want %d MiB", test.name, got/mib, test.want/mib)
		}
	}
}

// What becomes live moves Go's limit, although no connection or request is counted, and down again.
func TestMemoryLimitFollowsWhatIsLive(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetMemoryLimit(-1)
	var requests atomic.Int64
	m := &memoryLimit{cache: 1 << 20, counts: func() (int64, int64) { return 0, requests.Load() }}
	m.start()
	limit := func() int64 { return debug.SetMemoryLimit(-1) }
	first := limit()
	if first == before {
		t.Error("no limit was set")
	}
	const size = 400 << 20
	held := make([]byte, size)
	eventually(t, "a limit above what is live", func() error {
		runtime.GC() // what is live is known after one
		if got := limit(); got < size+size/4 {
			return fmt.Errorf("the limit is %d MiB", got>>20)
		}
		return nil
	})
	runtime.KeepAlive(held) // and no longer
	eventually(t, "the limit as before", func() error {
		runtime.GC()
		if got := limit(); got > first+size/4 {
			return fmt.Errorf("the limit is %d MiB", got>>20)
		}
		return nil
	})
	requests.Store(20_480)
	m.update()
	if got := limit(); got < first+400<<20 {
		t.Errorf("with 20,480 requests the limit is %d MiB", got>>20)
	}
	requests.Store(0)
	m.update() // from the most there was
	if m.giveBack == nil {
		t.Error("memory is not returned although the requests have gone")
	}
	m.stop()
	if got := limit(); got != before {
		t.Errorf("the limit is %d after stop, want %d", got, before)
	}
}

// An operator's GOMEMLIMIT is left alone.
func TestMemoryLimitOfTheOperatorStays(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "1GiB")
	before := debug.SetMemoryLimit(-1)
	m := &memoryLimit{cache: 1 << 20, counts: func() (int64, int64) { return 0, 0 }}
	m.start()
	defer m.stop()
	if m.update() || debug.SetMemoryLimit(-1) != before {
		t.Error("it was changed")
	}
}
