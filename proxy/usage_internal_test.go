package proxy

import (
	"fmt"
	"testing"
	"time"
)

func TestUsageIsOfTodayAndYesterday(t *testing.T) {
	u := NewUsage()
	monday := time.Date(2026, 11, 23, 23, 59, 59, 0, time.UTC)
	for n := range uint64(3) {
		u.add("alice", "basemap", 1, 100, tileNumber(n%2), monday)
	}
	u.add("alice", "roads", 1, 7, &contents{}, monday)
	u.add("", "open", 1, 5, tileNumber(1), monday)
	u.add("bob", "basemap", 1, 50, tileNumber(1), monday.Add(time.Second))
	days := u.list(monday.Add(time.Second))
	if got, want := fmt.Sprint(days[1]), "[{alice basemap 3 300 2} {alice roads 1 7 0} { open 1 5 1}]"; got != want {
		t.Errorf("yesterday: got %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(days[0]), "[{bob basemap 1 50 1}]"; got != want {
		t.Errorf("today: got %s, want %s", got, want)
	}
	for _, later := range []time.Duration{72 * time.Hour, 400 * 24 * time.Hour} {
		if days := u.list(monday.Add(later)); len(days[0])+len(days[1]) > 0 {
			t.Errorf("%v later: got %v", later, days)
		}
	}
	if used := u.room.used.Load(); used != 0 {
		t.Errorf("%d bytes are held of days that are over", used)
	}
}

func TestUsageIsBoundedAndKeepsTheLargest(t *testing.T) {
	u := NewUsage()
	u.room.max = 8 << 20
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for range 100 {
		u.add("largest", "basemap", 1, 1, &contents{}, now)
	}
	for n := range 100_000 {
		u.add(fmt.Sprint("subject", n), "basemap", 1, 1, &contents{kind: 1, first: uint64(n), n: 40}, now)
	}
	days := u.list(now)
	if len(days[0]) > maxUsage || len(days[0]) == 0 || days[0][0].Subject != "largest" || days[0][0].Requests != 100 {
		t.Errorf("got %d lines, the first is %+v", len(days[0]), days[0][0])
	}
	if used := u.room.used.Load(); used > u.room.max+usedCost*usageShards*maxUsageOfShard {
		t.Errorf("%d bytes are held", used)
	}
}
