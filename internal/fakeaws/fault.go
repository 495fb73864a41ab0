package fakeaws

import (
	"cmp"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is something that goes wrong with the requests that it matches. They have been
// authenticated and authorized by then, so that a fault never hides a wrong signature. A request
// meets one fault at most: the oldest that still has uses.
//
// Faults that can happen to one request together may be combined, e.g. Mutate with ResetAt. Offsets
// count bytes of the response's body, not of the object; new(int64(0)) is right behind the headers.
type Fault struct {
	// Which requests. Patterns with * and ?; "" matches all.
	Op, Bucket, Key string
	Times           int           // how many requests; 0: until removed
	Met             func(Request) // called as a request meets the fault, before anything else happens

	// When. Whoever waits goes on with a value from Release (one request), when Release is closed
	// (all), when the fault is removed, and when its client leaves.
	Delay             time.Duration // of real time, first of all
	HangBeforeHeaders bool
	HangAt            *int64
	Drip              *Drip
	Release           <-chan struct{}

	// Instead of the answer.
	Status int    // refuse with it, and with Code in the service's error document, e.g. 503 SlowDown
	Code   string // default InternalError
	Reset  bool   // TCP RST before any header; net/http itself repeats a GET when a reused connection answers so
	Body   []byte // 200 with this body, e.g. an XML error document

	// What the answer becomes.
	Header      http.Header // overrides headers; nil removes one: without Content-Length the length is unknown
	NotModified bool        // 304, asked for or not
	Mutate      *Object     // this request still gets the old object; the key holds this one from then on
	ResetAt     *int64      // TCP RST once the client's kernel has that much of the body
	TruncateAt  *int64      // orderly end of the connection after that much of the body
	ExtraBytes  []byte      // sent beyond Content-Length

	// What STS issues.
	Lifetime *time.Duration // of credentials, whatever was asked; negative: they have expired already
	Empty    bool           // keys and token are empty strings
}

// Drip sends a body in pieces of Chunk bytes. After each it waits for Pause, and for a value from
// Next when there is a Next.
type Drip struct {
	Chunk int
	Pause time.Duration // of real time
	Next  <-chan struct{}
}

type activeFault struct {
	Fault
	left    int
	removed chan struct{}
	once    sync.Once
}

func (f *activeFault) remove() { f.once.Do(func() { close(f.removed) }) }

type faultList struct {
	mu     sync.Mutex
	faults []*activeFault
	some   atomic.Bool // spares requests the lock when there are none
}

// Inject makes requests fail until the fault is used up or removed. Removing it lets go on the
// requests that wait in it; it may be called more than once.
func (s *Server) Inject(f Fault) (remove func()) {
	l := &s.faults
	active := &activeFault{Fault: f, left: f.Times, removed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, active)
	l.some.Store(true)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.drop(active)
		active.remove()
	}
}

// drop is called with the lock held.
func (l *faultList) drop(f *activeFault) {
	l.faults = slices.DeleteFunc(l.faults, func(other *activeFault) bool { return other == f })
	l.some.Store(len(l.faults) > 0)
}

func (l *faultList) removeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.faults {
		f.remove()
	}
	l.faults = nil
	l.some.Store(false)
}

func (l *faultList) match(r *entry) *activeFault {
	if !l.some.Load() {
		return nil
	}
	matches := func(pattern, s string) bool { return pattern == "" || matchWildcard(pattern, s) }
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.faults {
		if !matches(f.Op, r.Op) || !matches(f.Bucket, r.Bucket) || !matches(f.Key, r.Key) {
			continue
		}
		if f.left == 1 { // used up; whoever waits in it still waits
			l.drop(f)
		}
		f.left--
		return f
	}
	return nil
}

// meetFault does what happens before an answer. It returns a refusal to send, or true when the
// request has been dealt with.
func (c *call) meetFault() (refused *apiError, answered bool) {
	f := c.s.faults.match(c.entry)
	if f == nil {
		return nil, false
	}
	c.fault = f
	if f.Met != nil {
		f.Met(c.s.log.copy(c.entry))
	}
	c.pause(f.Delay)
	if f.HangBeforeHeaders {
		c.wait(f.Release)
	}
	switch {
	case f.Reset:
		c.cut(true)
		return nil, true
	case f.Status != 0:
		return refuse(f.Status, cmp.Or(f.Code, "InternalError"), "fakeaws was told to answer "+strconv.Itoa(f.Status)), false
	case f.Body != nil:
		c.w.Header()["Content-Type"] = []string{"application/xml"}
		c.respond(http.StatusOK, f.Body)
		return nil, true
	}
	return nil, false
}

// wait ends with a value from ch, or when the fault is removed; the request ends when its client
// leaves.
func (c *call) wait(ch <-chan struct{}) {
	select {
	case <-ch:
	case <-c.fault.removed:
	case <-c.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

func (c *call) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	over := make(chan struct{})
	defer time.AfterFunc(d, func() { close(over) }).Stop()
	c.wait(over)
}

// begin sends the status and the headers.
func (c *call) begin(status int) {
	if c.fault != nil {
		for name, values := range c.fault.Header {
			if name = http.CanonicalHeaderKey(name); values == nil {
				c.w.Header().Del(name)
			} else {
				c.w.Header()[name] = values
			}
		}
	}
	c.s.log.answered(c.entry, status)
	c.w.WriteHeader(status)
}

// respond sends status, headers and body, deformed by the request's fault, if it has one.
func (c *call) respond(status int, body []byte) {
	if !c.unsized {
		c.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	c.begin(status)
	if c.unsized {
		c.flush() // or net/http tells the length of a short body
	}
	switch {
	case c.Method == http.MethodHead:
	case c.fault == nil:
		c.send(body)
	default:
		c.sendFaulty(body)
	}
}

func (c *call) send(b []byte) {
	n, err := c.w.Write(b)
	c.sent += int64(n)
	if err != nil {
		panic(http.ErrAbortHandler) // the client has left
	}
}

func (c *call) sendFaulty(body []byte) {
	f := c.fault
	cutAt := func(offset *int64) bool {
		if offset == nil {
			return false
		}
		body = body[:min(*offset, int64(len(body)))]
		return true
	}
	reset, truncate := cutAt(f.ResetAt), cutAt(f.TruncateAt)
	if f.HangAt != nil {
		at := min(*f.HangAt, int64(len(body)))
		c.send(body[:at])
		c.flush()
		c.wait(f.Release)
		body = body[at:]
	}
	for f.Drip != nil && len(body) > 0 {
		n := min(max(f.Drip.Chunk, 1), len(body))
		c.send(body[:n])
		c.flush()
		body = body[n:]
		c.pause(f.Drip.Pause)
		if f.Drip.Next != nil {
			c.wait(f.Drip.Next)
		}
	}
	c.send(body)
	switch {
	case reset || truncate:
		c.flush()
		c.cut(reset)
	case f.ExtraBytes != nil:
		c.flush()
		conn := c.hijack()
		_, _ = conn.Write(f.ExtraBytes) // the client may have hung up on them, rightly
		_ = conn.Close()
	}
}

func (c *call) flush() {
	if err := http.NewResponseController(c.w).Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (c *call) hijack() net.Conn {
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // net/http then closes the connection itself
	}
	return conn
}

// cut ends the connection: with a reset, or in order as if the body were complete.
func (c *call) cut(reset bool) {
	conn := c.hijack()
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		// A reset discards what has not been delivered yet, and the client is to get exactly as
		// many bytes as the test says.
		waitDelivered(tcp, c.s.closing)
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
