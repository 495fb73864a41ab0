package proxy

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"
)

// over asks n times at one moment and returns how many are refused.
func (l *Limiter) over(t *testing.T, subject, client string, now time.Duration, n int) (refused int) {
	t.Helper()
	address := netip.Addr{}
	if client != "" {
		address = netip.MustParseAddr(client)
	}
	for range n {
		c := l.caller(subject, address)
		if err := l.count(t.Context(), l.limits.Load(), &c, now); err != nil {
			if _, ok := errors.AsType[*limitedError](err); !ok {
				t.Fatal(err)
			}
			refused++
		}
	}
	return refused
}

func testLimiter(limits Limits) *Limiter {
	return NewLimiter(limits, slog.New(slog.DiscardHandler))
}

func TestBudgetRefillsAtItsRate(t *testing.T) {
	l := testLimiter(Limits{Hourly: 10 * 3600, Burst: 5})
	if got := l.over(t, "alice", "", 0, 8); got != 3 {
		t.Errorf("a burst of 5: %d of 8 are refused, want 3", got)
	}
	if got := l.over(t, "alice", "", 200*time.Millisecond, 4); got != 2 {
		t.Errorf("after 200ms at 10/s: %d of 4 are refused, want 2", got)
	}
	if got := l.over(t, "alice", "", time.Hour, 8); got != 3 {
		t.Errorf("after an hour: %d of 8 are refused, want 3: no more than the burst is saved up", got)
	}
	if got := l.over(t, "bob", "", 0, 5); got != 0 {
		t.Errorf("another subject: %d of 5 are refused", got)
	}
}

// New limits neither give a new budget nor lock anybody out for longer than they say.
func TestNewLimitsKeepWhatWasUsed(t *testing.T) {
	l := testLimiter(Limits{Hourly: 1, Burst: 1000})
	l.over(t, "alice", "", 0, 1000)
	l.SetLimits(Limits{Hourly: 3600, Burst: 10})
	if got := l.over(t, "alice", "", 0, 1); got != 1 {
		t.Error("new limits gave a new budget")
	}
	if got := l.over(t, "alice", "", time.Second, 1); got != 0 {
		t.Error("the debt of limits that are gone locks a caller out")
	}
}

// A client has a whole /64 of addresses.
func TestAddressesOfOneNetworkShareABudget(t *testing.T) {
	l := testLimiter(Limits{Hourly: 1, Burst: 2})
	got := l.over(t, "", "2001:db8::1", 0, 1) + l.over(t, "", "2001:db8::2", 0, 1) + l.over(t, "", "2001:db8::ffff:3", 0, 1)
	if got != 1 {
		t.Errorf("three addresses of a /64: %d are refused, want 1", got)
	}
	if got := l.over(t, "", "2001:db8:0:1::1", 0, 2); got != 0 {
		t.Errorf("another /64: %d are refused", got)
	}
	if got := l.over(t, "", "::ffff:192.0.2.7", 0, 2) + l.over(t, "", "192.0.2.7", 0, 1); got != 1 {
		t.Errorf("one IPv4 address, written twice: %d are refused, want 1", got)
	}
}

// Whoever makes up callers gets neither a budget of their own back nor takes one from a subject, and memory stays bounded.
func TestMadeUpCallersEvictNobody(t *testing.T) {
	l := testLimiter(Limits{Hourly: 1, Burst: 2})
	l.over(t, "alice", "", 0, 2)
	address := netip.MustParseAddr("10.0.0.0")
	limits, refused := l.limits.Load(), 0
	for range 4 * limiterShards * callersInShard {
		for _, subject := range []string{"", address.String()} {
			c := l.caller(subject, address)
			if l.count(t.Context(), limits, &c, time.Second) != nil {
				refused++
			}
		}
		address = address.Next()
	}
	if refused == 0 {
		t.Error("made-up callers are not limited once there is no room for them")
	}
	if got := l.over(t, "alice", "", time.Second, 1); got != 1 {
		t.Error("the budget of a subject has been forgotten")
	}
	for _, kind := range []*callers{&l.subjects, &l.clients} {
		for i := range kind.shards {
			if n := len(kind.shards[i].whole); n > callersInShard {
				t.Fatalf("a shard holds %d callers, want %d at most", n, callersInShard)
			}
		}
		if len(kind.lastLogged) > maxNamed {
			t.Errorf("%d callers are remembered as logged, want %d at most", len(kind.lastLogged), maxNamed)
		}
	}
	// Once their budgets are whole, callers make room.
	if got := l.over(t, "newcomer", "", 3*time.Hour, 2); got != 0 {
		t.Errorf("a newcomer after the flood: %d of 2 are refused", got)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	l := testLimiter(Limits{Hourly: 3600 * 100_000, Burst: 1_000_000})
	client := netip.MustParseAddr("2001:db8::1")
	l.over(t, "alice", "2001:db8::1", 0, 1)
	l.over(t, "", "2001:db8::1", 0, 1)
	for _, subject := range []string{"alice", ""} {
		c := l.caller(subject, client)
		if got := testing.AllocsPerRun(1000, func() { _ = l.count(t.Context(), l.limits.Load(), &c, 0) }); got > 0 {
			t.Errorf("subject %q: %v allocations", subject, got)
		}
	}
}
