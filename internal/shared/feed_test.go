//go:build unix

package shared_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tilegate/internal/shared"
	"tilegate/internal/testenv"
)

func TestWhatOneLearnsAllLearn(t *testing.T) {
	redis := testenv.Redis(t)
	a, b := begin(t, redis.Address, nil), begin(t, redis.Address, nil)
	a.learn("one")
	b.learn("two")
	a.waitFor(t, "two")
	b.waitFor(t, "one")
}

// A loaded machine may be late now and then, a pace that is too slow is late always.
func TestLearntWithinASecond(t *testing.T) {
	redis := testenv.Redis(t)
	a, b := begin(t, redis.Address, nil), begin(t, redis.Address, nil)
	until(t, "both are ready", func() bool { return a.ready() && b.ready() })
	slow := 0
	for n := range 10 {
		word := strings.Repeat("x", n+1)
		start := time.Now()
		a.learn(word)
		b.waitFor(t, word)
		if time.Since(start) > time.Second {
			slow++
		}
	}
	if slow > 5 {
		t.Errorf("%d of 10 words took more than a second", slow)
	}
}

func TestANewInstanceKnowsBeforeItIsReady(t *testing.T) {
	redis := testenv.Redis(t)
	a := begin(t, redis.Address, nil)
	for _, word := range []string{"one", "two", "three"} {
		a.learn(word)
	}
	b := begin(t, redis.Address, nil)
	b.waitFor(t, "three")
	a.stop()
	b.stop()
	c := begin(t, redis.Address, nil) // every other one has ended
	until(t, "it is ready", c.ready)
	for _, word := range []string{"one", "two", "three"} {
		if !c.knows(word) {
			t.Errorf("it is ready and does not know %q", word)
		}
	}
	if got := c.Degraded(); got != nil {
		t.Errorf("degraded: %q", got)
	}
}

// Redis down at start: it serves, says so, and tells what happened meanwhile.
func TestRedisDownAtStart(t *testing.T) {
	redis := testenv.Redis(t)
	redis.Kill(t)
	a := begin(t, redis.Address, nil)
	until(t, "it is ready", a.ready)
	if a.Degraded() == nil || a.Up() {
		t.Error("it is not degraded while Redis is down")
	}
	a.learn("meanwhile")
	redis.Restart(t)
	b := begin(t, redis.Address, nil)
	b.waitFor(t, "meanwhile")
	until(t, "it is up again", a.Up)
	if log := a.log.String(); strings.Count(log, "level=WARN") != 1 || strings.Count(log, "level=INFO") != 1 {
		t.Errorf("want one line that Redis is down and one that it is back, got\n%s", log)
	}
}

func TestWhatRedisForgetsIsWrittenAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(*testing.T, *testenv.RedisServer)
	}{
		{"flushed", func(t *testing.T, r *testenv.RedisServer) { r.Do(t, "FLUSHALL") }},
		{"killed and started empty", func(t *testing.T, r *testenv.RedisServer) {
			r.Kill(t)
			r.Restart(t)
		}},
		{"the oldest record deleted", func(t *testing.T, r *testenv.RedisServer) { r.Do(t, "XTRIM", "tilegate:words", "MAXLEN", "1") }},
		{"an older state restored", func(t *testing.T, r *testenv.RedisServer) {
			r.Do(t, "DEL", "tilegate:words")
			r.Do(t, "XADD", "tilegate:words", "1-1", "r", "foreign")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := testenv.Redis(t)
			a := begin(t, redis.Address, nil)
			until(t, "it is ready", a.ready) // a word that is learnt while the first turn is under way may be written twice
			a.learn("one")
			a.learn("two")
			until(t, "both are written", func() bool { return redis.Do(t, "XLEN", "tilegate:words") == ":2" })
			tt.lose(t, redis)
			a.learn("three") // after the loss, so that the stream is not empty
			b := begin(t, redis.Address, nil)
			for _, word := range []string{"one", "two", "three"} {
				b.waitFor(t, word)
			}
		})
	}
}

// afterWriting is called once, when records have been written and before they have been read again.
type afterWriting struct {
	redis.Hook
	armed atomic.Bool
	wrote atomic.Bool
	call  func()
}

func (h *afterWriting) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *afterWriting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if cmds[0].Name() == "xadd" && h.armed.CompareAndSwap(true, false) {
			h.wrote.Store(true)
		}
		return err
	}
}

func (h *afterWriting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if h.wrote.CompareAndSwap(true, false) {
			h.call()
		}
		return next(ctx, cmd)
	}
}

// Redis forgets a record between its writing and its reading, and another one takes its place.
func TestWhatRedisForgetsAtOnceIsWrittenAgain(t *testing.T) {
	server := testenv.Redis(t)
	a := begin(t, server.Address, nil)
	until(t, "it is ready", a.ready)
	forgotten := make(chan struct{})
	hook := &afterWriting{call: func() {
		server.Do(t, "FLUSHALL")
		server.Do(t, "XADD", "tilegate:words", "*", "r", "foreign")
		close(forgotten)
	}}
	a.AddHook(hook)
	hook.armed.Store(true)
	a.learn("one")
	<-forgotten
	begin(t, server.Address, nil).waitFor(t, "one")
}

func TestFaultsOfRedis(t *testing.T) {
	for _, tt := range []struct {
		name        string
		spoil, mend func(*testing.T, *testenv.RedisServer, *testenv.Relay)
		down        bool // it says that it is degraded
	}{
		{
			"killed", func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) { r.Kill(t) },
			func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) { r.Restart(t) }, true,
		},
		{
			"paused", func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) { r.Pause(t) },
			func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) { r.Resume(t) }, true,
		},
		{
			"cut off", func(_ *testing.T, _ *testenv.RedisServer, r *testenv.Relay) { r.Cut(true) },
			func(_ *testing.T, _ *testenv.RedisServer, r *testenv.Relay) { r.Cut(false) }, true,
		},
		{
			"corrupting", func(_ *testing.T, _ *testenv.RedisServer, r *testenv.Relay) { r.Corrupt(true) },
			func(_ *testing.T, _ *testenv.RedisServer, r *testenv.Relay) { r.Corrupt(false) }, false,
		},
		{
			"full",
			func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) {
				r.Do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
				r.Do(t, "CONFIG", "SET", "maxmemory", "1")
			},
			func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) {
				r.Do(t, "CONFIG", "SET", "maxmemory", "0")
			}, true,
		},
		{
			"read-only", func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) { r.Do(t, "REPLICAOF", "127.0.0.1", "1") },
			func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) { r.Do(t, "REPLICAOF", "NO", "ONE") }, true,
		},
		{
			"slow", func(_ *testing.T, _ *testenv.RedisServer, r *testenv.Relay) { r.Delay(100 * time.Millisecond) },
			func(_ *testing.T, _ *testenv.RedisServer, r *testenv.Relay) { r.Delay(0) }, false,
		},
		{
			"another type under our key",
			func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) {
				r.Do(t, "DEL", "tilegate:words")
				r.Do(t, "SET", "tilegate:words", "foreign")
			},
			func(t *testing.T, r *testenv.RedisServer, _ *testenv.Relay) { r.Do(t, "DEL", "tilegate:words") }, true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := testenv.Redis(t)
			relay := testenv.NewRelay(t, redis.Address)
			a := begin(t, relay.Address, nil)
			a.learn("before")
			b := begin(t, redis.Address, nil)
			b.waitFor(t, "before")
			tt.spoil(t, redis, relay)
			a.learn("meanwhile")
			if tt.down {
				until(t, "it is degraded", func() bool { return a.Degraded() != nil })
			} else {
				b.waitFor(t, "meanwhile")
			}
			if !a.knows("before") || !a.knows("meanwhile") {
				t.Error("what was known is not in force any more")
			}
			tt.mend(t, redis, relay)
			b.waitFor(t, "meanwhile")
			until(t, "it is up again", a.Up)
		})
	}
}

func TestWrongPassword(t *testing.T) {
	redis := testenv.Redis(t, "--requirepass", "the-right-password")
	with := func(password string) func(*shared.Options) {
		return func(o *shared.Options) { o.Password = password }
	}
	a := begin(t, redis.Address, with("the-right-password"))
	a.learn("one")
	b := begin(t, redis.Address, with("the-right-password"))
	b.waitFor(t, "one")
	wrong := begin(t, redis.Address, with("the-wrong-password"))
	until(t, "it is ready", wrong.ready)
	if wrong.Up() || wrong.knows("one") {
		t.Error("a wrong password was accepted")
	}
	if log := wrong.log.String(); !strings.Contains(log, "WRONGPASS") || strings.Contains(log, "the-wrong-password") {
		t.Errorf("the log should say what is wrong, without the password:\n%s", log)
	}
}

func TestACLUser(t *testing.T) {
	redis := testenv.Redis(t)
	// The least that docs/operations.md asks for.
	if got := redis.Do(t, "ACL", "SETUSER", "tiles", "on", ">secret-of-tiles", "~tilegate:*", "+xadd", "+xrange", "+xdel", "+xinfo|stream", "+set", "+getrange", "+del", "+pfadd", "+pfcount", "+incrby", "+expireat"); got != "+OK" {
		t.Fatal(got)
	}
	user := func(o *shared.Options) { o.Username, o.Password = "tiles", "secret-of-tiles" }
	a := begin(t, redis.Address, user)
	a.learn("one")
	b := begin(t, redis.Address, user)
	b.waitFor(t, "one")
	until(t, "both are up", func() bool { return a.ready() && a.Up() && b.Up() })
	sharesTiles(t, redis.Address, user)
	if log := redis.Do(t, "ACL", "LOG"); log != "*0" {
		t.Error("Redis refused something: see ACL LOG")
	}
}

// A record that is over is deleted, and so are second copies, when an instance begins; what others sealed stays.
func TestSweep(t *testing.T) {
	redis := testenv.Redis(t)
	a := begin(t, redis.Address, nil)
	until(t, "it is ready", a.ready)
	for _, word := range []string{"one", "two", "two", "over"} {
		a.learn(word)
	}
	redis.Do(t, "XADD", "tilegate:words", "*", "r", "foreign")
	until(t, "all are written", func() bool { return redis.Do(t, "XLEN", "tilegate:words") == ":5" })
	a.stop()
	b := begin(t, redis.Address, nil)
	until(t, "it is ready", b.ready)
	b.stop()
	if got := redis.Do(t, "XLEN", "tilegate:words"); got != ":4" {
		t.Errorf("after the second copy was deleted: got %s records, want :4", got)
	}
	c := begin(t, redis.Address, func(o *shared.Options) {
		apply := o.Feeds[0].Apply
		o.Feeds[0].Apply = func(record []byte) (bool, error) {
			if string(record) == "over" {
				return false, nil
			}
			return apply(record)
		}
	})
	until(t, "it is ready", c.ready)
	if got := redis.Do(t, "XLEN", "tilegate:words"); got != ":3" {
		t.Errorf("after what is over was deleted: got %s records, want :3", got)
	}
}
