package wire

import (
	"errors"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ClientLimits bound what clients may hold at once. A client is an IPv4 address or an IPv6 network of 64
// bits, which is what one subscriber gets. A request counts until the client has taken its answer.
type ClientLimits struct {
	Requests          int            // of all clients; 0: no limit
	ClientRequests    int            // of one client; 0: no limit
	ClientConnections int            // of one client; 0: no limit
	Proxies           []netip.Prefix // speak for many clients, and are none themselves
	Logger            *slog.Logger   // nil: discards
	// Changed is called when connections or requests have become many more or many fewer; nil: nobody is told.
	Changed func()
}

const (
	// modest is how many requests a client may have under way when those of all clients together are too
	// many: those who hold the most are refused first.
	modest = 32
	// changedBy is the number of connections, or of requests, of which Changed is told.
	changedBy = 256
	// replaced is how many connections of one client may make room for new ones within a second.
	replaced = 64
	// compared is how many of a client's connections are looked at to find an idle one.
	compared = 64
	// floodAfter is how many requests of one client are refused before it counts as a flood; where those of
	// all clients are too many, floodEarly. Then new connections of that client are closed, and those on which
	// it goes on asking: a refusal costs a good part of what an answer does. A flood ends floodFor after it
	// began, or after the client's latest attempt that found it with half of what it may have under way. Each
	// flood lasts twice as long as the one before. It lasts up to half as long again by chance, so that those who were shut
	// out in one moment do not all come back in another.
	floodAfter = 128
	floodEarly = 16
	floodFor   = 10 * time.Second
	maxDoubled = 3
	// remembered bounds how many clients without a connection are kept because of a flood, for each shard.
	remembered = 1024
	// idleAfter is how long a connection has had no request when it counts as idle.
	idleAfter = time.Second

	clientShards = 16
)

var (
	// ErrClientBusy refuses a request of a client that has too many under way.
	ErrClientBusy = errors.New("too many requests of this client are under way")
	// ErrServerBusy refuses a request because those of all clients together are too many.
	ErrServerBusy = errors.New("too many requests are under way")
	// ErrFlood is for a request whose connection has been closed: its client goes on after many refusals.
	ErrFlood = errors.New("too many requests are being refused")
)

// limit is one of those that refuse.
type limit int

const (
	limitRequests limit = iota
	limitClientRequests
	limitClientConnections
	limits
)

var limitNames = [limits]string{"requests", "client_requests", "client_connections"}

// String is the limit's name in the configuration.
func (l limit) String() string { return "server.limits." + limitNames[l] }

// Clients counts the connections and the requests under way of each client. A nil Clients limits nothing.
type Clients struct {
	limits ClientLimits
	seed   maphash.Seed
	shards [clientShards]clientShard

	connections, requests gauge
	refused               [limits]atomic.Int64
	log                   refusalLog

	mu   sync.Mutex
	open map[*connection]struct{}
}

// clientShard has those clients that have a connection, or a request that was forwarded.
type clientShard struct {
	mu      sync.Mutex
	clients map[netip.Addr]*client
	without int // of them, those that are kept without a reference
}

type client struct {
	address  netip.Addr
	refs     int // connections and forwarded requests; guarded by the shard's lock
	requests atomic.Int64
	refusals atomic.Int64 // since the last flood
	floods   atomic.Int64 // so far
	flood    atomic.Int64 // Unix nanoseconds: until when it is one

	mu          sync.Mutex
	connections map[*connection]struct{}
	second      int64 // Unix seconds
	replaced    int   // connections that made room for others in that second
}

// gauge is a number that tells when it has changed a lot.
type gauge struct{ now, told atomic.Int64 }

func (g *gauge) add(n int64) (now int64, changed bool) {
	now = g.now.Add(n)
	told := g.told.Load()
	return now, (now-told >= changedBy || told-now >= changedBy) && g.told.CompareAndSwap(told, now)
}

// NewClients makes the counts for a listener.
func NewClients(l ClientLimits) *Clients {
	if l.Logger == nil {
		l.Logger = slog.New(slog.DiscardHandler)
	}
	if l.Changed == nil {
		l.Changed = func() {}
	}
	c := &Clients{limits: l, seed: maphash.MakeSeed(), open: map[*connection]struct{}{}}
	for i := range c.shards {
		c.shards[i].clients = map[netip.Addr]*client{}
	}
	return c
}

// Counts returns how many connections are open and how many requests are under way.
func (c *Clients) Counts() (connections, requests int64) {
	return c.connections.now.Load(), c.requests.now.Load()
}

// Refused returns how many requests or connections each limit has refused, by its name.
func (c *Clients) Refused() map[string]int64 {
	counts := map[string]int64{}
	for l, name := range limitNames {
		counts[name] = c.refused[l].Load()
	}
	return counts
}

// ClientNetwork is what a client's address counts as: of IPv6 the network of 64 bits, which one subscriber has.
func ClientNetwork(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	network, _ := a.Prefix(64) // every IPv6 address has one
	return network.Addr()
}

func (c *Clients) isProxy(a netip.Addr) bool {
	for _, prefix := range c.limits.Proxies {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

func (c *Clients) shard(address netip.Addr) *clientShard {
	return &c.shards[maphash.Comparable(c.seed, address)%clientShards]
}

// acquire finds a client, and keeps it until release.
func (c *Clients) acquire(address netip.Addr) *client {
	address = ClientNetwork(address)
	s := c.shard(address)
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.clients[address]
	if of == nil {
		of = &client{address: address, connections: map[*connection]struct{}{}}
		s.clients[address] = of
	}
	of.refs++
	return of
}

func (c *Clients) release(of *client) {
	s := c.shard(of.address)
	s.mu.Lock()
	defer s.mu.Unlock()
	if of.refs--; of.refs > 0 {
		return
	}
	left := time.Until(time.Unix(0, of.flood.Load()))
	if left <= 0 || s.without >= remembered {
		delete(s.clients, of.address)
		return
	}
	s.without++
	of.refs++
	time.AfterFunc(left+floodFor, func() { // so that the next flood knows of this one
		s.mu.Lock()
		s.without--
		s.mu.Unlock()
		c.release(of)
	})
}

// connect counts a new connection. It reports whether the client may have it. When the client has too many, an idle one of
// them is closed, which browsers and proxies expect of any server; where none is idle, it may not have the new one.
func (c *Clients) connect(conn *connection) bool {
	if c == nil {
		return true
	}
	if tcp, ok := conn.socket.RemoteAddr().(*net.TCPAddr); ok {
		address := tcp.AddrPort().Addr().Unmap()
		if conn.proxied = c.isProxy(address); !conn.proxied && !c.connectClient(conn, address) {
			return false
		}
	}
	c.mu.Lock()
	c.open[conn] = struct{}{}
	c.mu.Unlock()
	if _, changed := c.connections.add(1); changed {
		c.limits.Changed()
	}
	return true
}

// connectClient counts a new connection of the client at an address.
func (c *Clients) connectClient(conn *connection, address netip.Addr) bool {
	of := c.acquire(address)
	now := time.Now()
	if of.flooding(now, c.limits.ClientRequests) {
		c.refuse(of.address, limitClientRequests)
		c.release(of)
		return false
	}
	surplus := of.connect(conn, c.limits.ClientConnections, now)
	if surplus != nil {
		c.refuse(of.address, limitClientConnections)
	}
	if surplus == conn {
		c.release(of)
		return false
	}
	conn.client.Store(of)
	if surplus != nil {
		_ = surplus.socket.Close() // net/http sees that at once
	}
	return true
}

// flooding reports whether a client goes on after many refusals.
func (of *client) flooding(now time.Time, limit int) bool {
	if now.UnixNano() >= of.flood.Load() {
		return false
	}
	if limit > 0 && of.requests.Load() >= int64(max(1, limit/2)) {
		of.flood.Store(max(of.flood.Load(), now.Add(floodFor).UnixNano()))
	}
	return true
}

// refused counts a refusal. It reports whether the client now floods.
func (of *client) refused(now time.Time, limit int, after int64) bool {
	if of.flooding(now, limit) {
		return true
	}
	if of.refusals.Add(1) <= after {
		return false
	}
	of.refusals.Store(0)
	length := floodFor << min(of.floods.Add(1)-1, maxDoubled)
	of.flood.Store(now.Add(length + rand.N(length/2)).UnixNano()) //nolint:gosec // nobody gains by guessing it
	return true
}

// connect adds a connection. It returns one that must be closed because there are more than limit.
func (of *client) connect(conn *connection, limit int, now time.Time) (surplus *connection) {
	of.mu.Lock()
	defer of.mu.Unlock()
	of.connections[conn] = struct{}{}
	if limit == 0 || len(of.connections) <= limit {
		return nil
	}
	surplus = conn
	if second := now.Unix(); second != of.second {
		of.second, of.replaced = second, 0
	}
	n := 0
	for other := range of.connections { // in random order
		if of.replaced == replaced {
			break
		}
		if other != conn && other.idle(now, idleAfter) {
			surplus = other
			of.replaced++
			break
		}
		if n++; n == compared {
			break
		}
	}
	delete(of.connections, surplus)
	return surplus
}

// idle reports whether a connection has waited for a request, and not for an answer, for so long.
func (c *connection) idle(now time.Time, after time.Duration) bool {
	return c.active.Load() == 0 && now.Sub(time.Unix(0, c.leftAt.Load())) >= after
}

// closeIdle closes the connections that have been idle for so long.
func (c *Clients) closeIdle(now time.Time, after time.Duration) {
	var found []*connection
	c.mu.Lock()
	for conn := range c.open {
		if conn.idle(now, after) {
			found = append(found, conn)
		}
	}
	c.mu.Unlock()
	for _, conn := range found {
		_ = conn.socket.Close() // net/http sees that at once
	}
}

// disconnect ends the count of a connection that is closed or hijacked.
func (c *Clients) disconnect(conn *connection) {
	if c == nil || conn == nil {
		return
	}
	c.mu.Lock()
	_, counted := c.open[conn]
	delete(c.open, conn)
	c.mu.Unlock()
	if !counted {
		return
	}
	if _, changed := c.connections.add(-1); changed {
		c.limits.Changed()
	}
	c.leave(conn)
}

// leave takes a connection away from its client.
func (c *Clients) leave(conn *connection) {
	of := conn.client.Swap(nil)
	if of == nil {
		return
	}
	of.mu.Lock()
	delete(of.connections, conn)
	of.mu.Unlock()
	c.release(of)
}

// Entry is a request that is counted, from Enter to Leave. The zero value counts nothing.
type Entry struct {
	clients   *Clients
	conn      *connection
	client    *client // nil: not limited by address
	forwarded bool    // client was acquired for this request
}

// FromProxy reports whether the request comes from one of ClientLimits.Proxies, so that Enter wants the
// address of its client.
func (w *Writer) FromProxy() bool { return w.conn != nil && w.conn.proxied }

// FirstRequest reports whether no request came before on this connection.
func (w *Writer) FirstRequest() bool {
	return w.conn != nil && !w.conn.asked.Load() && !w.conn.asked.Swap(true)
}

// Enter counts a request until its Entry's Leave, which must be called in any case. forwarded is the
// address of the client where a proxy has told it. The error is nil, ErrClientBusy, ErrServerBusy or
// ErrFlood.
func (c *Clients) Enter(w *Writer, forwarded netip.Addr) (Entry, error) {
	if c == nil {
		return Entry{}, nil
	}
	e := Entry{clients: c, conn: w.conn}
	if e.conn != nil {
		e.conn.active.Add(1)
	}
	all, changed := c.requests.add(1)
	if changed {
		c.limits.Changed()
	}
	switch {
	case forwarded.IsValid():
		if !c.isProxy(forwarded) {
			e.client, e.forwarded = c.acquire(forwarded), true
		}
	case e.conn != nil:
		e.client = e.conn.client.Load()
	}
	var own int64
	if e.client != nil {
		own = e.client.requests.Add(1)
	}
	err := c.admit(&e, all, own)
	if errors.Is(err, ErrFlood) && e.conn != nil {
		if e.conn.proxied {
			return e, ErrClientBusy // its connection is that of others, too
		}
		_ = e.conn.socket.Close() // with all that is held on it
	}
	return e, err
}

// admit holds the number of all requests, and that of their client's own, to the limits.
func (c *Clients) admit(e *Entry, all, own int64) error {
	most, mine := int64(c.limits.Requests), int64(c.limits.ClientRequests)
	switch {
	case mine > 0 && own > mine:
		c.refuse(e.client.address, limitClientRequests)
		if e.client.refused(time.Now(), c.limits.ClientRequests, floodAfter) {
			return ErrFlood
		}
		return ErrClientBusy
	case most > 0 && (all > 2*most || all > most && own > modest):
		var address netip.Addr
		if e.client != nil {
			address = e.client.address
		}
		c.refuse(address, limitRequests)
		if e.client != nil && own > modest && e.client.refused(time.Now(), c.limits.ClientRequests, floodEarly) {
			return ErrFlood
		}
		return ErrServerBusy
	}
	return nil
}

// Exempt ends the limits by address for this request and its connection: it has proved that it speaks for
// many clients.
func (e *Entry) Exempt() {
	if e.client == nil {
		return
	}
	e.client.requests.Add(-1)
	if e.forwarded {
		e.clients.release(e.client)
	} else {
		e.clients.leave(e.conn)
	}
	e.client, e.forwarded = nil, false
}

// Leave ends the count of a request, at now.
func (e *Entry) Leave(now time.Time) {
	if e.clients == nil {
		return
	}
	if e.client != nil {
		e.client.requests.Add(-1)
		if e.forwarded {
			e.clients.release(e.client)
		}
	}
	if _, changed := e.clients.requests.add(-1); changed {
		e.clients.limits.Changed()
	}
	if e.conn != nil {
		e.conn.leftAt.Store(now.UnixNano())
		e.conn.active.Add(-1)
	}
	*e = Entry{}
}

func (c *Clients) refuse(address netip.Addr, l limit) {
	c.refused[l].Add(1)
	c.log.refused(c.limits.Logger, refusal{address, l}, time.Now())
}

// refusal is whom which limit has refused. The address is the zero Addr where no one client is at fault.
type refusal struct {
	address netip.Addr
	limit   limit
}

const (
	// logEvery is how often one client and limit are logged.
	logEvery = time.Minute
	// maxLogged bounds how many of them are remembered. Beyond it they share one line.
	maxLogged = 1024
)

// refusalLog names the clients that are refused, each once a minute.
type refusalLog struct {
	mu     sync.Mutex
	lines  map[refusal]*refusalLine
	others refusalLine
	swept  time.Time
}

// refusalLine is the latest line of a client, and what has come since.
type refusalLine struct {
	at    time.Time
	since int
}

func (l *refusalLog) refused(logger *slog.Logger, r refusal, now time.Time) {
	count, named := l.count(r, now)
	switch {
	case count == 0:
	case !named:
		logger.Warn("many clients refused: they are over a limit", "limit", r.limit.String(), "refused", count)
	case r.address.IsValid():
		logger.Warn("client refused: it is over a limit", "client", r.address.String(), "limit", r.limit.String(), "refused", count,
			"hint", "list it in server.trusted_proxies if it is a proxy of yours")
	default:
		logger.Warn("requests refused: there are too many", "limit", r.limit.String(), "refused", count)
	}
}

// count returns how many refusals a line that is due should tell of, 0 when none is. named reports whether
// it is the client's own line.
func (l *refusalLog) count(r refusal, now time.Time) (n int, named bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.lines[r]
	if line == nil {
		if len(l.lines) >= maxLogged && now.Sub(l.swept) >= time.Second {
			l.swept = now
			for other, line := range l.lines {
				if now.Sub(line.at) >= logEvery {
					delete(l.lines, other)
				}
			}
		}
		if len(l.lines) >= maxLogged {
			return l.others.count(now), false
		}
		if l.lines == nil {
			l.lines = map[refusal]*refusalLine{}
		}
		line = &refusalLine{}
		l.lines[r] = line
	}
	return line.count(now), true
}

func (line *refusalLine) count(now time.Time) int {
	line.since++
	if !line.at.IsZero() && now.Sub(line.at) < logEvery {
		return 0
	}
	n := line.since
	line.at, line.since = now, 0
	return n
}
