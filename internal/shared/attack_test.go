//go:build unix

package shared_test

import (
	"io"
	"net"
	"strings"
	"testing"

	"tilegate/internal/shared"
	"tilegate/internal/testenv"
)

// copyStream copies the records of one stream to the end of another, as one who can write to Redis does.
func copyStream(t *testing.T, redis *testenv.RedisServer, from, to string) {
	t.Helper()
	script := `for _, e in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do redis.call('XADD', KEYS[2], '*', unpack(e[2])) end return 'OK'`
	if got := redis.Do(t, "EVAL", script, "2", from, to); got != "$2" {
		t.Fatalf("EVAL: %s", got)
	}
}

// One who can write to Redis, but has no signing key, makes nobody believe anything: neither by records of their own, nor by
// those of another service, of another prefix, or of another feed.
func TestRecordsAreNeitherForgedNorMoved(t *testing.T) {
	redis := testenv.Redis(t)
	feed := func(name string) func(*shared.Options) {
		return func(o *shared.Options) { o.Feeds[0].Name = name }
	}
	otherService := begin(t, redis.Address, func(o *shared.Options) { o.SigningKeys, o.Prefix = [][]byte{otherKey}, "other:" }, "of another key")
	otherPrefix := begin(t, redis.Address, func(o *shared.Options) { o.Prefix = "staging:" }, "of another prefix")
	otherFeed := begin(t, redis.Address, feed("logouts"), "of another feed")
	for _, i := range []*instance{otherService, otherPrefix, otherFeed} {
		until(t, "it is ready", i.ready)
		i.stop()
	}
	for _, from := range []string{"other:words", "staging:words", "tilegate:logouts"} {
		until(t, from+" is written", func() bool { return redis.Do(t, "XLEN", from) == ":1" })
		copyStream(t, redis, from, "tilegate:words")
	}
	redis.Do(t, "XADD", "tilegate:words", "*", "r", "forged")
	redis.Do(t, "XADD", "tilegate:words", "*", "r", "\x01forged, with the format's number")
	redis.Do(t, "XADD", "tilegate:words", "*", "r", "")
	redis.Do(t, "XADD", "tilegate:words", "*", "x", "another field")
	redis.Do(t, "XADD", "tilegate:words", "*", "r", "\x01"+strings.Repeat("x", 1<<20))

	a := begin(t, redis.Address, nil, "own")
	b := begin(t, redis.Address, nil)
	b.waitFor(t, "own")
	for _, i := range []*instance{a, b} {
		if words := i.known(); len(words) != 1 || !i.Up() {
			t.Errorf("got %q, want its own word alone; up: %v", words, i.Up())
		}
		if got := strings.Count(i.log.String(), "a record in Redis is ignored"); got != 1 {
			t.Errorf("the log tells %d times of foreign records, want once", got)
		}
	}
}

// What is stored is unreadable: neither whole nor in part is a word in Redis' memory.
func TestRecordsAreNotReadInRedis(t *testing.T) {
	redis := testenv.Redis(t)
	seen := &lockedBuffer{}
	a := begin(t, spy(t, redis.Address, seen), nil)
	a.learn("subject-eve-of-acme")
	b := begin(t, redis.Address, nil)
	b.waitFor(t, "subject-eve-of-acme")
	if text := seen.String(); !strings.Contains(text, "tilegate:words") || strings.Contains(text, "eve") {
		t.Errorf("the connection shows what is told, or nothing at all: %q", text)
	}
}

// spy passes connections on and keeps what is sent to the server.
func spy(t *testing.T, server string, seen io.Writer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				return
			}
			go func() {
				_, _ = io.Copy(upstream, io.TeeReader(client, seen))
				_ = upstream.Close()
			}()
			go func() {
				_, _ = io.Copy(client, upstream)
				_ = client.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// While a key is replaced, records of the old and of the new one are read.
func TestSigningKeysRotate(t *testing.T) {
	redis := testenv.Redis(t)
	keys := func(keys ...[]byte) func(*shared.Options) {
		return func(o *shared.Options) { o.SigningKeys = keys }
	}
	before := begin(t, redis.Address, keys(signingKey, otherKey))
	before.learn("of the old key")
	after := begin(t, redis.Address, keys(otherKey, signingKey))
	after.waitFor(t, "of the old key")
	after.learn("of the new key")
	before.waitFor(t, "of the new key")
}
