package origin_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/internal/fakeaws"
	"tilegate/proxy/origin"
	"tilegate/tilecache"
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
}

// change is what a test wants different from the usual world.
type change func(*fakeaws.Role, *origin.Options)

// start builds a world that reads s3://tiles/base/{z}/{x}/{y}.png with an assumed role, and runs it until
// the test ends. In a synctest bubble the network is in memory, since a wait for a socket stops its clock.
func start(t testing.TB, listener net.Listener, changes ...change) *world {
	t.Helper()
	server, err := fakeaws.Start(fakeaws.Options{Listener: listener})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Server: server, log: &logBuffer{}, seen: &observed{}}
	role := fakeaws.Role{ARN: roleARN, Policy: readAndList, TrustedUsers: []string{"AKIAUSER"}, MaxDuration: 12 * time.Hour}
	opt := origin.Options{
		Region: "us-east-1", Endpoint: server.URL(), STSEndpoint: server.URL(), PathStyle: true,
		Base: static("AKIAUSER", "user-secret"),
		Sources: []origin.Source{{
			ID: "base", Bucket: "tiles", Prefix: "base/", Key: keyOf("base/"), Canary: tilecache.Key{},
			Role: origin.Role{ARN: roleARN},
		}},
		Logger:  slog.New(slog.NewTextHandler(w.log, nil)),
		Observe: w.seen.observer(),
	}
	if memory, ok := listener.(*memoryNetwork); ok {
		opt.Dial = memory.dial
	}
	for _, c := range changes {
		c(&role, &opt)
	}
	if err := errors.Join(
		server.AddUser(fakeaws.User{AccessKeyID: "AKIAUSER", SecretAccessKey: "user-secret", Policy: readAndList}),
		server.AddRole(role)); err != nil {
		t.Fatal(err)
	}
	w.Put("tiles", "base/0/0/0.png", fakeaws.Object{Body: tile(0)})
	w.Put("tiles", "base/1/0/1.png", fakeaws.Object{Body: tile(1)})
	if w.origin, err = origin.New(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	w.tiles = w.origin.Source("base")
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.origin.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		w.origin.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// tile is n's content: 20 KB that differ from every other's.
func tile(n byte) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("tile %3d: 0123456789 abcdefghijklmnop\n", n), 540))
}

func keyOf(prefix string) func(tilecache.Key) string {
	return func(k tilecache.Key) string { return fmt.Sprintf("%s%d/%d/%d.png", prefix, k.Z, k.X, k.Y) }
}

var tile101 = tilecache.Key{Z: 1, X: 0, Y: 1}

func static(id, secret string) func(context.Context) (aws.Credentials, error) {
	return func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, Source: "static"}, nil
	}
}

// fetch reads a tile to its end.
func (w *world) fetch(ctx context.Context, key tilecache.Key, cond tilecache.Condition) (*tilecache.Object, []byte, error) {
	return read(w.tiles.Fetch(ctx, key, cond))
}

func read(o *tilecache.Object, err error) (*tilecache.Object, []byte, error) {
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = o.Body.Close() }()
	body, err := io.ReadAll(o.Body)
	return o, body, err
}

// memoryNetwork is a listener whose connections block on channels alone.
type memoryNetwork struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newMemoryNetwork() *memoryNetwork {
	return &memoryNetwork{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

func (m *memoryNetwork) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case m.accepted <- server:
		return client, nil
	case <-m.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *memoryNetwork) Accept() (net.Conn, error) {
	select {
	case c := <-m.accepted:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memoryNetwork) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (m *memoryNetwork) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "127.0.0.1:80" }

// logBuffer keeps what is logged.
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

// observed counts what the Observer is told.
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

func (o *observed) observer() origin.Observer {
	return origin.Observer{
		Request: func(source, outcome string, _ time.Duration) { o.note("request " + source + " " + outcome) },
		Body:    func(source, outcome string) { o.note("body " + source + " " + outcome) },
		Retry:   func(source string) { o.note("retry " + source) },
		Refresh: func(credentials string, ok bool) { o.note(fmt.Sprintf("refresh %s %t", credentials, ok)) },
	}
}

// randomSecret is for what must not turn up anywhere.
func randomSecret() string { return "SECRET" + rand.Text() }
