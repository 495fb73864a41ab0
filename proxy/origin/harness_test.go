package origin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/internal/bubble"
	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

const (
	roleARN = "arn:aws:iam::123456789012:role/tiles-reader"
	// readAndList is what the role may do; readOnly lacks s3:ListBucket.
	readAndList = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}`
	readOnly    = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
)

// world is an in-process S3 and STS with a bucket of tiles, and the origin that reads them.
type world struct {
	*fakeaws.Server
	origin *origin.AWS
	tiles  *origin.S3
	log    *logBuffer
	seen   *observed
	opt    origin.Options
	stop   func()

	dialled atomic.Int64 // connections, in a bubble
}

// change is a difference from the usual world.
type change func(*fakeaws.Role, *origin.Options)

// start builds a world that reads s3://tiles/base/{z}/{x}/{y}.png with an assumed role, and runs it until
// the test ends. In a synctest bubble the network is in memory, since a wait for a socket stops its clock.
func start(t testing.TB, listener net.Listener, changes ...change) *world {
	t.Helper()
	return startServer(t, fakeaws.Options{Listener: listener}, changes...)
}

// startSkewed is start in a bubble where the clocks of S3 and STS are ahead.
func startSkewed(t testing.TB, ahead time.Duration, changes ...change) *world {
	t.Helper()
	return startServer(t, fakeaws.Options{
		Listener: bubble.NewNetwork(), Clock: func() time.Time { return time.Now().Add(ahead) },
	}, changes...)
}

func startServer(t testing.TB, of fakeaws.Options, changes ...change) *world {
	t.Helper()
	server, err := fakeaws.Start(of)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Server: server, log: &logBuffer{}, seen: &observed{}}
	role := fakeaws.Role{ARN: roleARN, Policy: readAndList, TrustedUsers: []string{"AKIAUSER"}, MaxDuration: 12 * time.Hour}
	opt := origin.Options{
		Store: origin.Store{
			Region: "us-east-1", Endpoint: server.URL(), STSEndpoint: server.URL(), PathStyle: true, Base: static("AKIAUSER", "user-secret"),
		},
		Sources: []origin.Source{{
			ID: "base", Bucket: "tiles", Prefix: "base/", Key: keyOf("base/"), Canary: tile.Key{},
			Role: origin.Role{ARN: roleARN},
		}},
		Logger:  slog.New(slog.NewTextHandler(w.log, nil)),
		Observe: w.seen.observer(),
	}
	if memory, ok := of.Listener.(*bubble.Network); ok {
		opt.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			w.dialled.Add(1)
			return memory.DialContext(ctx, network, address)
		}
	}
	for _, c := range changes {
		c(&role, &opt)
	}
	if err := errors.Join(
		server.AddUser(fakeaws.User{AccessKeyID: "AKIAUSER", SecretAccessKey: "user-secret", Policy: readAndList}),
		server.AddRole(role)); err != nil {
		t.Fatal(err)
	}
	w.Put("tiles", "base/0/0/0.png", fakeaws.Object{Body: content(0)})
	w.Put("tiles", "base/1/0/1.png", fakeaws.Object{Body: content(1)})
	w.opt, w.stop = opt, func() {}
	w.restart(t)
	t.Cleanup(func() {
		w.stop()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// restart makes a new origin with the same options and bucket.
func (w *world) restart(t testing.TB) {
	t.Helper()
	w.stop()
	var err error
	if w.origin, err = origin.New(t.Context(), w.opt); err != nil {
		t.Fatal(err)
	}
	w.tiles = w.origin.Source("base")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.origin.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-done
	}
}

// content is 20 KB of bytes that differ for each n.
func content(n byte) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("tile %3d: 0123456789 abcdefghijklmnop\n", n), 540))
}

func keyOf(prefix string) func(tile.Key) string {
	return func(k tile.Key) string { return fmt.Sprintf("%s%d/%d/%d.png", prefix, k.Z, k.X, k.Y) }
}

var tile101 = tile.Key{Z: 1, X: 0, Y: 1}

func static(id, secret string) func(context.Context) (aws.Credentials, error) {
	return func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, Source: "static"}, nil
	}
}

// fetch reads a tile to its end.
func (w *world) fetch(ctx context.Context, key tile.Key, cond tile.Condition) (*tile.Object, []byte, error) {
	return read(w.tiles.Fetch(ctx, key, cond))
}

func read(o *tile.Object, err error) (*tile.Object, []byte, error) {
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = o.Body.Close() }()
	body, err := io.ReadAll(o.Body)
	return o, body, err
}

// logBuffer keeps the log.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// observed counts the calls of an Observer.
type observed struct {
	mu     sync.Mutex
	counts map[string]int
}

func (o *observed) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.counts == nil {
		o.counts = map[string]int{}
	}
	o.counts[what]++
}

func (o *observed) count(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts[what]
}

// all counts the calls that begin with a word.
func (o *observed) all(word string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for what, count := range o.counts {
		if strings.HasPrefix(what, word+" ") {
			n += count
		}
	}
	return n
}

func (o *observed) observer() origin.Observer {
	return origin.Observer{
		Request: func(source, outcome string, _ time.Duration) { o.note("request " + source + " " + outcome) },
		Body:    func(source, outcome string) { o.note("body " + source + " " + outcome) },
		Retry:   func(source string) { o.note("retry " + source) },
		Refresh: func(credentials string, ok bool) { o.note(fmt.Sprintf("refresh %s %t", credentials, ok)) },
	}
}

// waitReady waits, in a bubble, until the origin is ready, and forgets the requests so far.
func (w *world) waitReady(t testing.TB) {
	t.Helper()
	pass(time.Second)
	if lines := w.origin.NotReady(); len(lines) > 0 {
		t.Fatalf("not ready: %q", lines)
	}
	w.ResetRequests()
}

// waitAssumed waits, in a bubble, for the first AssumeRole.
func (w *world) waitAssumed(t testing.TB) {
	t.Helper()
	if err := w.Wait(t.Context(), func() bool { return w.assumed() > 0 }); err != nil {
		t.Fatal(err)
	}
}

// stub runs an origin whose S3 is a handler.
func stub(t testing.TB, answer http.HandlerFunc, changes ...func(*origin.Options)) *origin.S3 {
	t.Helper()
	server := httptest.NewServer(answer)
	opt := origin.Options{
		Store:   origin.Store{Endpoint: server.URL, PathStyle: true, Base: static("AKIAUSER", "user-secret")},
		Sources: []origin.Source{{ID: "base", Bucket: "tiles", Prefix: "base/", Key: keyOf("base/"), MissingOn403: origin.Never}},
	}
	for _, c := range changes {
		c(&opt)
	}
	a, err := origin.New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		server.Close()
	})
	return a.Source("base")
}

func logger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// pass lets d of a bubble's virtual time go by.
func pass(d time.Duration) {
	if d > 0 { // a timer that is due at once can crash the race detector (go.dev/issue/78156)
		<-time.After(d)
	}
}
