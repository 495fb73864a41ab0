package proxy

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"
)

// Whoever renews as fast as the provider lets him has a new refresh token each time, whose result is kept for a while.
func TestRenewalsOfOneUserLeaveRoomForOthers(t *testing.T) {
	now := func() time.Time { return time.Unix(1e9, 0) }
	ok := func(context.Context) (renewedTokens, error) { return renewedTokens{refresh: "next"}, nil }
	var s Renewals
	for n := range 2 * maxRenewals {
		if _, err := s.do(t.Context(), "mallory", strconv.Itoa(n), now, ok); err != nil {
			t.Fatalf("his renewal %d: %v", n, err)
		}
	}
	if _, err := s.do(t.Context(), "ada", "hers", now, ok); err != nil {
		t.Errorf("another user's: %v", err)
	}
	again := func(context.Context) (renewedTokens, error) {
		return renewedTokens{}, errors.New("her refresh token is used twice")
	}
	for n := range maxRenewals { // his take no room of hers
		_, _ = s.do(t.Context(), "mallory", "more"+strconv.Itoa(n), now, ok)
	}
	if _, err := s.do(t.Context(), "ada", "hers", now, again); err != nil {
		t.Error(err)
	}

	gate := make(chan struct{})
	hang := func(context.Context) (renewedTokens, error) { <-gate; return renewedTokens{refresh: "next"}, nil }
	gone, leave := context.WithCancel(t.Context())
	leave()
	for n := range maxOwnRenewals {
		if _, err := s.do(gone, "mallory", "slow"+strconv.Itoa(n), now, hang); !errors.Is(err, context.Canceled) {
			t.Fatalf("a renewal that hangs: %v", err)
		}
	}
	if _, err := s.do(t.Context(), "mallory", "one more", now, ok); !errors.Is(err, errRenewalsFull) {
		t.Errorf("beside all of his own that hang: %v", err)
	}
	if _, err := s.do(t.Context(), "ada", "her next", now, ok); err != nil {
		t.Errorf("another user's, beside those that hang: %v", err)
	}
	close(gate)
}
