package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy"
	"tilegate/proxy/archive"
	"tilegate/proxy/wire"
	"tilegate/tilecache"
)

// noon is where the virtual clocks begin; it is on the edge of no window.
var noon = time.Date(2026, 11, 22, 12, 3, 4, 500e6, time.UTC)

// clock is a virtual one.
type clock struct {
	mu   sync.Mutex
	now  time.Time
	step time.Duration // by which each look advances it
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(c.step)
	return c.now
}

// run makes the clock advance with each look at it.
func (c *clock) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step = time.Microsecond
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// lines collects what is logged, and lets a test wait for it.
type lines struct {
	mu   sync.Mutex
	cond sync.Cond
	all  []string
}

func newLines() *lines {
	l := &lines{}
	l.cond.L = &l.mu
	return l
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(line))
	l.cond.Broadcast()
	return len(line), nil
}

// waitFor waits until n lines are there; go test's own timeout ends a wait that is in vain.
func (l *lines) waitFor(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.all) < n {
		l.cond.Wait()
	}
	return append([]string(nil), l.all...)
}

// waitForLine waits for a line that holds part.
func (l *lines) waitForLine(part string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for _, line := range l.all {
			if strings.Contains(line, part) {
				return line
			}
		}
		l.cond.Wait()
	}
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "")
}

// setup is what a test can have different from the usual world.
type setup struct {
	proxy  proxy.Options
	auth   auth.Options
	cache  tilecache.Options
	server wire.Server

	archives func(o archive.Options) // called with what the archives of a test share with the proxy
}

func (s *setup) tileset(id string) *proxy.Tileset {
	for i := range s.proxy.Tilesets {
		if s.proxy.Tilesets[i].ID == id {
			return &s.proxy.Tilesets[i]
		}
	}
	panic("no tileset " + id)
}

// world is a running tilegate: a real listener, authenticator and cache; the origin and the clock
// are in the test's hands.
type world struct {
	t       testing.TB
	proxy   *proxy.Proxy
	auth    *auth.Authenticator
	cache   *tilecache.Cache
	clock   *clock
	origin  *origin
	access  *lines // the access log
	logged  *lines // the log of events
	address string
	client  *http.Client
}

var policy = tilecache.Policy{Fresh: 5 * time.Minute, Stale: 24 * time.Hour, MissingFor: 30 * time.Second}

var everywhere = tile.World

// build makes a world that listens nowhere yet.
func build(t testing.TB, changes ...func(*setup)) (*world, *setup) {
	t.Helper()
	w := &world{t: t, clock: &clock{now: noon}, origin: newOrigin(), access: newLines(), logged: newLines()}
	logger := slog.New(slog.NewTextHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	tileset := func(id, format string) proxy.Tileset {
		return proxy.Tileset{
			ID: id, Format: format, Version: "2026-11", MaxZoom: 14, Bounds: everywhere,
			Name: "The " + id, Freshness: policy, Origin: w.origin, Presign: w.origin.Presign,
		}
	}
	s := &setup{
		auth: auth.Options{
			Leeway: 30 * time.Second, MaxLifetime: 24 * time.Hour, SecureCookie: true,
			SigningKeys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
		},
		cache: tilecache.Options{Memory: 64 << 20},
	}
	s.proxy.Tilesets = []proxy.Tileset{
		tileset("basemap", "png"), tileset("roads", "mvt"), tileset("retina", "png"), tileset("open", "png"), tileset("secret", "png"),
	}
	s.tileset("basemap").Default = true
	s.tileset("retina").Scalable = true
	s.tileset("open").Public = true
	s.proxy.Files = []proxy.File{{ID: "report", Presign: w.origin.presignFile}}
	s.proxy.AccessLog = w.access
	s.proxy.Logger, s.auth.Logger, s.cache.Logger, s.server.Logger = logger, logger, logger, logger
	s.auth.Clock, s.cache.Clock = w.clock.Now, w.clock.Now
	for _, change := range changes {
		change(s)
	}
	if s.auth.QueryParameter == "" {
		s.auth.QueryParameter = s.proxy.QueryParameter
	}
	var errs [3]error
	w.auth, errs[0] = auth.New(s.auth)
	w.cache, errs[1] = tilecache.New(s.cache)
	if err := errors.Join(errs[:2]...); err != nil {
		t.Fatal(err)
	}
	if s.archives != nil {
		s.archives(archive.Options{Cache: w.cache, Clock: w.clock.Now, Logger: logger, Fresh: policy.Fresh, Stale: policy.Stale, MissingFor: policy.MissingFor})
	}
	s.proxy.Auth, s.proxy.Cache = w.auth, w.cache
	w.proxy, errs[2] = proxy.New(s.proxy)
	if errs[2] != nil {
		t.Fatal(errs[2])
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.cache.Close(ctx); err != nil {
			t.Errorf("fetches outlive the test: %v", err)
		}
	})
	return w, s
}

// start makes a world and serves it on loopback.
func start(t testing.TB, changes ...func(*setup)) *world {
	t.Helper()
	w, s := build(t, changes...)
	s.server.Handler = w.proxy
	w.address = serve(t, &s.server)
	w.client = newClient(t)
	return w
}

// serve runs a server on loopback until the test ends, and returns its address.
func serve(t testing.TB, s *wire.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, 10*time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

// newClient is one that does only what it is told: no decompression, no redirects, no cookies.
func newClient(t testing.TB) *http.Client {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// reply is an answer with all of its body.
type reply struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// problem is the body as RFC 9457 shapes it.
func (r reply) problem(t testing.TB) (p struct {
	Type, Title, Detail string
	Status              int
},
) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("%q is not a problem: %v", r.body, err)
	}
	return p
}

func (r reply) decode(t testing.TB, into any) {
	t.Helper()
	if r.status != http.StatusOK {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
}

// request makes one; header is names and values in turn.
func (w *world) request(method, path, body string, header ...string) *http.Request {
	w.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, "http://"+w.address+path, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// do sends a request, reads all of its answer, and checks what holds for every answer.
func (w *world) do(method, path, body string, header ...string) reply {
	w.t.Helper()
	return w.send(w.client, w.request(method, path, body, header...))
}

func (w *world) get(path string, header ...string) reply {
	w.t.Helper()
	return w.do(http.MethodGet, path, "", header...)
}

func (w *world) send(client *http.Client, r *http.Request) reply {
	w.t.Helper()
	response, err := client.Do(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	got := readAll(response)
	checkEveryAnswer(w.t, r, got)
	return got
}

// checkEveryAnswer holds each answer of each test against what section 8 and 9 say of all.
func checkEveryAnswer(t testing.TB, r *http.Request, got reply) {
	t.Helper()
	name := r.Method + " " + r.URL.Path
	tile := strings.Contains(r.URL.Path, "/tiles/") || strings.Contains(r.URL.Path, "/assets/")
	if tile && got.header["Set-Cookie"] != nil {
		t.Errorf("%s: a tile sets a cookie: %q", name, got.header["Set-Cookie"])
	}
	if got.header.Get("Age") != "" {
		t.Errorf("%s: an origin sends no Age", name)
	}
	for _, vary := range got.header.Values("Vary") {
		if v := strings.ToLower(vary); strings.Contains(v, "authorization") || strings.Contains(v, "cookie") || strings.Contains(v, "*") {
			t.Errorf("%s: Vary is %q", name, vary)
		}
	}
	if got.header.Get("Access-Control-Allow-Origin") == "*" {
		t.Errorf("%s: every page may read it", name)
	}
	if got.status >= 300 && got.status != http.StatusNotModified && got.header.Get("Etag") != "" {
		t.Errorf("%s: a %d has an ETag", name, got.status)
	}
	if got.status < 400 || r.URL.Path == "/ready" || r.URL.Path == "/auth/verify" {
		return
	}
	if got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: a %d of type %q", name, got.status, got.header.Get("Content-Type"))
	}
	if got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s: a %d without nosniff", name, got.status)
	}
	if got.header.Get("X-Request-Id") == "" {
		t.Errorf("%s: a %d without X-Request-Id", name, got.status)
	}
	absent := got.status == http.StatusNotFound && tile
	if cc := got.header.Get("Cache-Control"); !strings.Contains(cc, "no-store") && !absent {
		t.Errorf("%s: a %d with Cache-Control %q", name, got.status, cc)
	}
	if r.Method != http.MethodHead && got.problem(t).Status != got.status {
		t.Errorf("%s: got %d, and the problem says %s", name, got.status, got.body)
	}
}

// raw sends bytes as they are on a connection of their own, and reads one answer.
func (w *world) raw(request string) reply {
	w.t.Helper()
	conn := w.dial()
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	return readReply(w.t, bufio.NewReader(conn))
}

// rawGet asks for a path as it is spelled.
func (w *world) rawGet(path string, header ...string) reply {
	w.t.Helper()
	var b strings.Builder
	b.WriteString("GET " + path + " HTTP/1.1\r\nHost: tiles.example.com\r\nConnection: close\r\n")
	for i := 0; i < len(header); i += 2 {
		b.WriteString(header[i] + ": " + header[i+1] + "\r\n")
	}
	return w.raw(b.String() + "\r\n")
}

// dial opens a connection that closes with the test.
func (w *world) dial() net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func readReply(t testing.TB, r *bufio.Reader) reply {
	t.Helper()
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(response)
}

// token is an access token of tilegate's own for an hour.
func (w *world) token(tilesets ...string) string {
	w.t.Helper()
	return w.tokenFor("alice", time.Hour, auth.Limits{Tilesets: tilesets})
}

func (w *world) tokenFor(subject string, ttl time.Duration, limits auth.Limits) string {
	w.t.Helper()
	token, _, err := w.auth.NewAccessToken(auth.AccessRequest{Subject: subject, Limits: limits, TTL: ttl})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// bearer are the header fields of a caller who may see everything.
func (w *world) bearer() []string {
	w.t.Helper()
	return []string{"Authorization", "Bearer " + w.token("*")}
}

// as adds the credential of a caller who may see everything to header fields.
func (w *world) as(header ...string) []string { w.t.Helper(); return append(w.bearer(), header...) }

// origin is a bucket in the test's hands.
type origin struct {
	mu      sync.Mutex
	tiles   map[tile.Key]object
	answer  fetcher
	fetches []fetch
	presign func(tileKey) (tile.Signed, error)
}

type tileKey = tile.Key

type fetcher func(context.Context, tile.Key, tile.Condition) (*tile.Object, error)

type fetch struct {
	key  tile.Key
	cond tile.Condition
}

type object struct {
	body, etag, encoding string
	modified             time.Time
}

func newOrigin() *origin { return &origin{tiles: map[tile.Key]object{}} }

// put stores a tile of scale 1, by its place.
func (o *origin) put(tileset string, z uint8, x, y uint32, v object) {
	o.putKey(tile.Key{Tileset: tileset, Z: z, X: x, Y: y, Scale: 1}, v)
}

func (o *origin) putKey(key tile.Key, v object) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tiles[key] = v
}

// respond makes f answer from now on; nil brings the stored tiles back.
func (o *origin) respond(f fetcher) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = f
}

func (o *origin) asked() []fetch {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]fetch(nil), o.fetches...)
}

func (o *origin) wantAsked(t testing.TB, n int) {
	t.Helper()
	if got := o.asked(); len(got) != n {
		t.Errorf("the origin was asked %d times, want %d: %+v", len(got), n, got)
	}
}

// Fetch answers as S3 does.
func (o *origin) Fetch(ctx context.Context, key tile.Key, cond tile.Condition) (*tile.Object, error) {
	o.mu.Lock()
	o.fetches = append(o.fetches, fetch{key, cond})
	answer := o.answer
	key.Version = ""
	v, ok := o.tiles[key]
	o.mu.Unlock()
	switch {
	case answer != nil:
		return answer(ctx, key, cond)
	case !ok:
		return nil, tile.ErrMissing
	case cond.IfNoneMatch != "" && cond.IfNoneMatch == v.etag:
		return nil, tile.ErrNotModified
	case cond.IfMatch != "" && cond.IfMatch != v.etag:
		return nil, tile.ErrChanged
	}
	return &tile.Object{
		Body: io.NopCloser(strings.NewReader(v.body[cond.Offset:])), Size: int64(len(v.body)),
		ETag: v.etag, LastModified: v.modified, Encoding: v.encoding,
	}, nil
}

func (o *origin) Presign(_ context.Context, key tile.Key) (tile.Signed, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fetches = append(o.fetches, fetch{key: key})
	return o.presign(key)
}

func (o *origin) presignFile(ctx context.Context) (tile.Signed, error) {
	return o.Presign(ctx, tile.Key{Tileset: "file:report"})
}

// live is an object whose body arrives as the test sends it.
type live struct {
	ctx context.Context // the fetch's
	*io.PipeWriter
	object *tile.Object
}

// newLive ends its body with the fetch's context, as a real connection does.
func newLive(ctx context.Context, size int64) *live {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) })
	return &live{ctx: ctx, PipeWriter: w, object: &tile.Object{Body: r, Size: size, ETag: `"live"`}}
}

// lives makes every fetch answer with a live object of the size, handed to the test.
func (o *origin) lives(size int64) <-chan *live {
	started := make(chan *live, 100)
	o.respond(func(ctx context.Context, _ tile.Key, _ tile.Condition) (*tile.Object, error) {
		l := newLive(ctx, size)
		started <- l
		return l.object, nil
	})
	return started
}

const pngMagic = "\x89PNG\r\n\x1a\n"

// pngBody is a body of n bytes that begins as a PNG does; no two pieces of it are alike.
func pngBody(n int) string { return pngMagic + filler(n-len(pngMagic)) }

func filler(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return string(b)
}

var modified = time.Date(2026, 11, 1, 10, 20, 30, 0, time.UTC)

// tilePNG is the tile that most tests serve.
var tilePNG = object{body: pngBody(1000), etag: `"0123456789abcdef"`, modified: modified}

// wholeObject has all of its body at hand.
func wholeObject(body string) *tile.Object {
	return &tile.Object{Body: io.NopCloser(strings.NewReader(body)), Size: int64(len(body)), ETag: `"whole"`, LastModified: modified}
}

// always answers every fetch with a body.
func always(body string) fetcher {
	return func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
		return wholeObject(body), nil
	}
}

// fails answers every fetch with an error.
func fails(err error) fetcher {
	return func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) { return nil, err }
}

// readAll reads what is left of an answer.
func readAll(response *http.Response) reply {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{status: response.StatusCode, header: response.Header, body: string(body), err: err}
}

// failing is an origin that always fails.
type failing struct{ err error }

func (f failing) Fetch(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
	return nil, f.err
}

// waitForJoined waits until n requests have joined others' fetches.
func (w *world) waitForJoined(n uint64) {
	for w.cache.Stats().Joined < n {
		runtime.Gosched()
	}
}
