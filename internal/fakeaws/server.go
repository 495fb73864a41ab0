// Package fakeaws is an S3 and an STS in this process, on a loopback address, for tests, benchmarks
// and the demo. It speaks the protocols as AWS does: it verifies Signature Version 4, issues
// temporary credentials that expire, intersects session policies with role policies, answers 403
// for a missing key without s3:ListBucket, and can be told to fail in every way that S3 and STS do.
//
// What it doesn't know it refuses loudly (501 NotImplemented, or an error from AddRole and AddUser)
// rather than ignore, so that no test passes because of something that wasn't looked at.
package fakeaws

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a Server. The zero value is ready to use.
type Options struct {
	Addr      string           // where to listen; default 127.0.0.1:0, a free port
	Listener  net.Listener     // instead of Addr, e.g. an in-memory one for testing/synctest
	Region    string           // of the buckets and of the signatures; default us-east-1
	AccountID string           // twelve digits; default 123456789012
	Clock     func() time.Time // judges signatures and sessions, and fills the Date header; default time.Now
	Logger    *slog.Logger     // default: nothing is logged
	Log       int              // how many requests Requests remembers; default 16384, negative: none

	Service Service // how it differs from S3

	// Lookup answers for keys that were never Put, so that a benchmark's million tiles need not be
	// held; they are not listed, and their bucket has to exist. It is called from many goroutines;
	// objects that bring their ETag, and want no checksum, cost little. Optional.
	Lookup func(bucket, key string) (Object, bool)
}

// Server is an S3 and an STS that share one address. Its methods are safe for concurrent use.
type Server struct {
	opt    Options
	url    string
	http   *http.Server
	served chan struct{} // closed when the listener's goroutine has ended
	ids    atomic.Uint64
	log    requestLog
	faults faultList

	closing  chan struct{}
	handlers sync.WaitGroup

	mu         sync.RWMutex
	closed     bool
	buckets    map[string]map[string]*stored
	identities map[string]*identity // by access key ID
	sessions   []*identity          // in order of issue; the oldest is forgotten beyond maxSessions
	roles      map[string]*role     // by ARN
}

// maxSessions bounds the temporary credentials remembered, expired ones included (S3 tells
// ExpiredToken from InvalidAccessKeyId).
const maxSessions = 10_000

// Start listens and serves until Close. The error tells the address that could not be had.
func Start(opt Options) (*Server, error) {
	opt.Addr = cmp.Or(opt.Addr, "127.0.0.1:0")
	opt.Region = cmp.Or(opt.Region, "us-east-1")
	opt.AccountID = cmp.Or(opt.AccountID, "123456789012")
	opt.Log = cmp.Or(opt.Log, 16384)
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	listener := opt.Listener
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", opt.Addr); err != nil {
			return nil, fmt.Errorf("in-process S3: listen on %s: %w", opt.Addr, err)
		}
	}
	s := &Server{
		opt:        opt,
		url:        "http://" + listener.Addr().String(),
		served:     make(chan struct{}),
		closing:    make(chan struct{}),
		buckets:    map[string]map[string]*stored{},
		identities: map[string]*identity{},
		roles:      map[string]*role{},
	}
	s.log.limit = opt.Log
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          slog.NewLogLogger(opt.Logger.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			opt.Logger.Error("in-process S3 stopped", "error", err)
		}
	}()
	return s, nil
}

// URL is the endpoint of both services, without a trailing slash. Virtual-host style addressing
// wants a name under localhost or amazonaws.com in the Host header, e.g. bucket.localhost:PORT.
func (s *Server) URL() string { return s.url }

// Close drops every connection, releases what hangs, and returns when nothing runs any more. A
// second call does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	close(s.closing)
	err := s.http.Close()
	s.faults.removeAll()
	<-s.served
	s.handlers.Wait()
	return err
}

// CreateBucket adds an empty bucket; an existing one keeps its objects.
func (s *Server) CreateBucket(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] == nil {
		s.buckets[name] = map[string]*stored{}
	}
}

// Put stores an object, replacing what was there; it adds the bucket when there is none. The body
// belongs to the server from then on.
func (s *Server) Put(bucket, key string, o Object) {
	s.CreateBucket(bucket)
	prepared := s.prepare(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[bucket][key] = prepared
}

// Delete removes an object, if it is there.
func (s *Server) Delete(bucket, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.buckets[bucket], key)
}

// call is one request on its way through the server.
type call struct {
	*http.Request
	s     *Server
	w     http.ResponseWriter
	id    string    // request ID
	now   time.Time // by the server's clock
	entry *entry
	who   *identity // nil: anonymous
	fault *activeFault
	sent  int64 // of the body

	unsized bool // the length of the body is not told
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		panic(http.ErrAbortHandler)
	}
	s.handlers.Add(1)
	s.mu.RUnlock()
	defer s.handlers.Done()

	c := &call{s: s, Request: r, w: w, now: s.opt.Clock(), id: s.requestID()}
	w.Header()["Date"] = []string{c.now.UTC().Format(http.TimeFormat)}
	defer func() { s.log.done(c.entry, c.sent) }() // a fault may end the handler by a panic
	if isSTS(r) {
		s.serveSTS(c)
	} else {
		s.serveS3(c)
	}
}

// isSTS tells the two services apart: S3 has no POST at the root of an endpoint.
func isSTS(r *http.Request) bool {
	return strings.HasPrefix(r.Host, "sts.") || r.Method == http.MethodPost && r.URL.Path == "/"
}

// requestID is 16 hexadecimal digits, like S3's.
func (s *Server) requestID() string {
	const digits = "0123456789ABCDEF"
	n := s.ids.Add(1) * 0x9E3779B97F4A7C15 // an odd multiplier: no two alike, and they don't look like a count
	var id [16]byte
	for i := range id {
		id[i] = digits[n>>60]
		n <<= 4
	}
	return string(id[:])
}

// randomHex is n random bytes in upper-case hexadecimal.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand.Read ends the program rather than return an error
	return strings.ToUpper(hex.EncodeToString(b))
}

// apiError is a refusal in the shape that both services share.
type apiError struct {
	status        int
	code, message string
	detail        [][2]string // further elements of S3's document, e.g. {"Key", "a/b.png"}
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func refuse(status int, code, message string, detail ...[2]string) *apiError {
	return &apiError{status: status, code: code, message: message, detail: detail}
}

func notImplemented(what string) *apiError {
	return refuse(http.StatusNotImplemented, "NotImplemented", "fakeaws does not implement "+what)
}
