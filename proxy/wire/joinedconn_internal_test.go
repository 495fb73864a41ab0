package wire

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
)

// What waits is not lost when its connection is closed.
func TestCloseSendsWhatWaits(t *testing.T) {
	client, server := net.Pipe()
	c := &joinedConn{Conn: server, collects: true, stall: time.Minute}
	c.gather() // and never leaves
	if _, err := c.Write([]byte("goodbye")); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		b, _ := io.ReadAll(client)
		got <- string(b)
	}()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-got; got != "goodbye" {
		t.Errorf("the client got %q", got)
	}
}

// A client that reads nothing does not keep Close, nor sendLate, for ever.
func TestWhatWaitsForAStuckClientIsGivenUp(t *testing.T) {
	for name, end := range map[string]func(*joinedConn){
		"closed":    func(c *joinedConn) { _ = c.Close() },
		"sent late": func(*joinedConn) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				const stall = 30 * time.Second
				c := &joinedConn{Conn: server, collects: true, stall: stall}
				c.gather()
				if _, err := c.Write([]byte("tile")); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				end(c)
				bubble.Advance(2 * maxGather)
				_ = c.SetReadDeadline(begun.Add(2 * stall))
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
					t.Errorf("got %v, want a closed connection", err)
				}
				if took := time.Since(begun); took > stall+2*maxGather {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// After its time is up, a stream that still gathers makes nobody wait.
func TestGatheringEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		c := &joinedConn{Conn: server, collects: true, stall: time.Minute}
		late := c.gather()
		if _, err := c.Write([]byte("a")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 9)
		begun := time.Now()
		if n, err := client.Read(b); err != nil || string(b[:n]) != "a" || time.Since(begun) != maxGather {
			t.Fatalf("got %q, %v after %s", b[:n], err, time.Since(begun))
		}
		synctest.Wait()
		go func() { _, _ = c.Write([]byte("b")) }()
		if n, err := client.Read(b); err != nil || string(b[:n]) != "b" || time.Since(begun) != maxGather {
			t.Errorf("got %q, %v after %s", b[:n], err, time.Since(begun))
		}
		late.leave()
		if c.gather(); !c.gathers() {
			t.Error("the stream that left late has left for another one")
		}
	})
}

func TestTurnIsOnesAtATime(t *testing.T) {
	var mine turn
	var all sync.WaitGroup
	count := 0 // for the race detector, too
	for range 8 {
		all.Go(func() {
			for range 1000 {
				mine.lock()
				count++
				mine.unlock()
				if mine.tryLock() {
					count--
					mine.unlock()
					mine.lock()
					count++
					mine.unlock()
				}
			}
		})
	}
	all.Wait()
	if count != 8000 {
		t.Errorf("counted %d, want 8000", count)
	}
	if !mine.tryLock() || mine.tryLock() {
		t.Error("tryLock does not say whether the turn is free")
	}
}
