package main

import (
	"testing"
	"time"
)

// patience is how long what happens by itself may take on a machine that does ten other things.
const patience = 90 * time.Second

// eventually asks until holds has no objection left.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("%s: still not after %s: %v", what, patience, err)
		}
	}
}
