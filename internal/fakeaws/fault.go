package fakeaws

import (
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Fault is something that goes wrong with the requests that it matches. They have been
// authenticated and authorized by then, so that a fault never hides a wrong signature. A request
// meets one fault at most: the oldest that still has uses.
//
// The fields up to Release say which requests and when, the others what happens to them; those
// that can happen to one request together may be combined, e.g. Mutate with ResetAt. Offsets count
// bytes of the response's body, not of the object; new(int64(0)) is right behind the headers.
type Fault struct {
	Op, Bucket, Key string        // patterns with * and ?; "" matches all
	Times           int           // how many requests; 0: until removed
	Met             func(Request) // called as a request meets the fault, before anything happens to it
	Delay           time.Duration // of real time before anything happens
	Release         <-chan struct{}

	HangBeforeHeaders bool   // wait for Release (a value frees one request, closing it all) or for the removal, then go on
	HangAt            *int64 // the same, with that much of the body sent
	Drip              *Drip

	Status      int            // refuse with this status and Code, in the service's error document; 503 SlowDown …
	Code        string         // default: InternalError
	Reset       bool           // TCP RST instead of an answer
	ResetAt     *int64         // TCP RST after that much of the body has been delivered
	Truncate    *int64         // orderly end of the connection after that much of the body, Content-Length untouched
	Extra       []byte         // sent beyond Content-Length
	Body        []byte         // 200 with this body, e.g. an XML error document, instead of the object
	NotModified bool           // 304, asked for or not
	Mutate      *Object        // this request still gets the old object; the key holds this one from then on
	Header      http.Header    // overrides response headers; a nil value removes one (Content-Length: the length is unknown then)
	Lifetime    *time.Duration // of credentials that STS issues, whatever was asked; negative: they have expired already
	Empty       bool           // STS answers with credentials that are empty strings
}

// Drip sends a body in pieces of Chunk bytes. After each it waits for a value from Next, if there is
// a Next, and for Pause.
type Drip struct {
	Chunk int
	Next  <-chan struct{}
	Pause time.Duration
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
// requests that hang in it; it may be called more than once.
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
	for i := range l.faults {
		if l.faults[i] == f {
			l.faults = append(l.faults[:i:i], l.faults[i+1:]...)
			break
		}
	}
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

func (l *faultList) match(op, bucket, key string) *activeFault {
	if !l.some.Load() {
		return nil
	}
	matches := func(pattern, s string) bool { return pattern == "" || matchWildcard(pattern, s) }
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.faults {
		if !matches(f.Op, op) || !matches(f.Bucket, bucket) || !matches(f.Key, key) {
			continue
		}
		if f.left == 1 { // used up; what hangs in it still needs Release or the removal
			l.drop(f)
		}
		f.left--
		return f
	}
	return nil
}

// meetFault does what happens before an answer. It returns a refusal to send, or true when the
// request has been dealt with.
func (s *Server) meetFault(c *call) (*apiError, bool) {
	r := c.entry
	f := s.faults.match(r.Op, r.Bucket, r.Key)
	if c.fault = f; f == nil {
		return nil, false
	}
	if f.Met != nil {
		f.Met(s.log.copy(r))
	}
	f.pause(c, f.Delay)
	if f.HangBeforeHeaders {
		f.hang(c)
	}
	switch {
	case f.Reset:
		c.cut(true)
		return nil, true
	case f.Status != 0:
		code := f.Code
		if code == "" {
			code = "InternalError"
		}
		return refuse(f.Status, code, "fakeaws was told to answer "+strconv.Itoa(f.Status)), false
	case f.Body != nil:
		c.w.Header()["Content-Type"] = []string{"application/xml"}
		c.respond(http.StatusOK, f.Body)
		return nil, true
	}
	return nil, false
}

// hang ends when the fault releases the request; a client that leaves ends the request.
func (f *activeFault) hang(c *call) {
	select {
	case <-f.Release:
	case <-f.removed:
	case <-c.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

func (f *activeFault) pause(c *call, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.removed:
	case <-c.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// respond sends status and body, deformed by the request's fault, if it has one.
func (c *call) respond(status int, body []byte) {
	header := c.w.Header()
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	f := c.fault
	if f != nil {
		for name, values := range f.Header {
			if values == nil {
				delete(header, http.CanonicalHeaderKey(name))
			} else {
				header[http.CanonicalHeaderKey(name)] = values
			}
		}
	}
	c.status = status
	c.w.WriteHeader(status)
	if c.Method == http.MethodHead {
		return
	}
	if f == nil {
		c.send(body)
		return
	}
	f.send(c, body)
}

func (c *call) send(b []byte) {
	n, err := c.w.Write(b)
	c.sent += int64(n)
	if err != nil {
		panic(http.ErrAbortHandler) // the client has left
	}
}

func (f *activeFault) send(c *call, body []byte) {
	whole := body
	switch {
	case f.ResetAt != nil:
		body = body[:min(*f.ResetAt, int64(len(body)))]
	case f.Truncate != nil:
		body = body[:min(*f.Truncate, int64(len(body)))]
	}
	if f.HangAt != nil {
		at := min(*f.HangAt, int64(len(body)))
		c.send(body[:at])
		c.flush()
		f.hang(c)
		body = body[at:]
	}
	if f.Drip != nil {
		for len(body) > 0 {
			n := min(f.Drip.Chunk, len(body))
			c.send(body[:n])
			c.flush()
			body = body[n:]
			if f.Drip.Next != nil {
				select {
				case <-f.Drip.Next:
				case <-f.removed:
				case <-c.Context().Done():
					panic(http.ErrAbortHandler)
				}
			}
			f.pause(c, f.Drip.Pause)
		}
	}
	c.send(body)
	switch {
	case f.ResetAt != nil:
		c.cut(true)
	case f.Truncate != nil && *f.Truncate < int64(len(whole)):
		c.cut(false)
	case f.Extra != nil:
		c.flush()
		if conn := c.hijack(); conn != nil {
			_, _ = conn.Write(f.Extra) // the client may have hung up on them, rightly
			_ = conn.Close()
		}
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
	if c.status != 0 {
		c.flush()
	}
	conn := c.hijack()
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		// A reset discards what the kernel has not delivered yet, and the client is to get
		// exactly as many bytes as the test says.
		waitDelivered(tcp)
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
