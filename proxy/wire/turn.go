package wire

import "sync/atomic"

// turn is a mutex for what may wait for a client. Who waits for it waits on a channel, which the virtual clocks of
// tests (testing/synctest) count as waiting, unlike who waits for a sync.Mutex.
type turn struct {
	holders atomic.Int32 // the one who has it, and those who wait
	next    atomic.Pointer[chan struct{}]
}

func (t *turn) tryLock() bool { return t.holders.CompareAndSwap(0, 1) }

func (t *turn) lock() {
	if t.holders.Add(1) > 1 {
		<-t.handover()
	}
}

func (t *turn) unlock() {
	if t.holders.Add(-1) > 0 {
		t.handover() <- struct{}{}
	}
}

// handover is where one gives the turn to the next. It is made when somebody first waits.
func (t *turn) handover() chan struct{} {
	if c := t.next.Load(); c != nil {
		return *c
	}
	c := make(chan struct{}, 1)
	t.next.CompareAndSwap(nil, &c)
	return *t.next.Load()
}
