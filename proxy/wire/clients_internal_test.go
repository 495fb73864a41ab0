package wire

import (
	"testing"
	"time"
)

// Many clients that are shut out in the same moment would be a wave of requests when all of them may come back in the same moment.
func TestFloodsThatBeginTogetherEndApart(t *testing.T) {
	const clients, limit = 200, 1
	now := time.Unix(1_700_000_000, 0)
	ended := map[time.Duration]int{} // in seconds from now
	for range clients {
		of := &client{}
		for !of.refused(now, limit, floodAfter) {
			continue
		}
		length := time.Duration(of.flood.Load() - now.UnixNano())
		if length < floodFor || length > floodFor*3/2 {
			t.Fatalf("a flood of %s", length)
		}
		ended[length.Truncate(time.Second)]++
	}
	for second, n := range ended {
		if n > clients/2 { // a fifth is expected
			t.Errorf("%d of %d floods end in the second after %s", n, clients, second)
		}
	}
}
