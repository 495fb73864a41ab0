//go:build unix

package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

// fleet is instances on one Redis and one bucket.
type fleet struct {
	bucket *fakeaws.Server
	key    string // the file of the signing key
	redis  string
	more   string // of the configuration
}

func newFleet(t *testing.T, redis string) *fleet {
	t.Helper()
	f := &fleet{bucket: privateBucket(t), redis: redis}
	f.bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: randomTiles(1)["9/0/0"]})
	key, _, _ := command(t, "keygen")
	f.key = writeFile(t, "tilegate.key", key)
	return f
}

// member is one instance of a fleet.
type member struct {
	*program
	admin, config string
}

func (f *fleet) start(t *testing.T) *member {
	t.Helper()
	m := &member{admin: freeAddress(t)}
	m.config = writeFile(t, "tilegate.yaml", fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: %q}
aws: {endpoint: %q, sts_endpoint: %q, path_style: true, role: {arn: %q}}
auth: {signing_keys: [{file: %q}]}
shared: {url: "redis://%s/0", timeout: 1s} # by default a busy machine makes instances ask S3 alone
tilesets:
  basemap: {source: "s3://tiles/basemap/{z}/{x}/{y}.png"}
%s`, m.admin, f.bucket.URL(), f.bucket.URL(), testRole, f.key, f.redis, f.more))
	m.program, _ = start(t, baseCredentials(testKey, testSecret), "serve", "-c", m.config)
	return m
}

// status asks for a tile with a token.
func (m *member) status(t *testing.T, token string) int {
	t.Helper()
	answer, _ := get(t, m.url+"/tiles/basemap/0/0/0", "Authorization", "Bearer "+token)
	return answer.StatusCode
}

func (m *member) waitFor(t *testing.T, what, token string, want int) {
	t.Helper()
	eventually(t, what, func() error {
		if got := m.status(t, token); got != want {
			return fmt.Errorf("got %d, want %d", got, want)
		}
		return nil
	})
}

func (m *member) waitReady(t *testing.T, want string) {
	t.Helper()
	eventually(t, "/ready says "+want, func() error {
		answer, body := get(t, m.url+"/ready")
		if answer.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			return fmt.Errorf("%s %s", answer.Status, body)
		}
		return nil
	})
}

// twoThatServe starts two instances on one Redis, and returns a token that both accept.
func twoThatServe(t *testing.T, redis *testenv.RedisServer) (f *fleet, a, b *member, token string) {
	t.Helper()
	f = newFleet(t, redis.Address)
	a, b = f.start(t), f.start(t)
	token = mintToken(t, a.config, "--tilesets", "basemap")
	a.waitFor(t, "the first serves", token, http.StatusOK)
	b.waitFor(t, "the second serves", token, http.StatusOK)
	return f, a, b, token
}

// A revocation at one instance used to leave the others open, and a restart forgot it.
func TestRevokedAtOneRefusedAtAll(t *testing.T) {
	redis := testenv.Redis(t)
	f, a, b, token := twoThatServe(t, redis)

	if answer, body := send(t, http.MethodPost, "http://"+a.admin+"/admin/revoke", `{"subject":"test"}`); answer.StatusCode != http.StatusOK {
		t.Fatalf("revoke: %s %s", answer.Status, body)
	}
	if got := a.status(t, token); got != http.StatusUnauthorized {
		t.Errorf("where it was revoked: got %d, want 401", got)
	}
	b.waitFor(t, "the other refuses", token, http.StatusUnauthorized)
	if _, body := get(t, "http://"+b.admin+"/admin/revocations"); !strings.Contains(string(body), `"subject":"test"`) {
		t.Errorf("the other lists %s", body)
	}

	for _, m := range []*member{a, b} {
		if status := m.terminate(t); status != 0 {
			t.Errorf("exit status %d", status)
		}
	}
	c := f.start(t)
	c.waitReady(t, `"ready"`)
	if got := c.status(t, token); got != http.StatusUnauthorized {
		t.Errorf("a new instance that is ready: got %d, want 401", got)
	}

	// Redis is flushed: nobody comes back, neither here nor at one that starts later.
	redis.Do(t, "FLUSHALL")
	eventually(t, "the revocation is written again", func() error {
		if got := redis.Do(t, "XLEN", "tilegate:revocations"); got != ":1" {
			return fmt.Errorf("got %s", got)
		}
		return nil
	})
	d := f.start(t)
	d.waitReady(t, `"ready"`)
	for _, m := range []*member{c, d} {
		if got := m.status(t, token); got != http.StatusUnauthorized {
			t.Errorf("after FLUSHALL: got %d, want 401", got)
		}
	}

	if answer, body := send(t, http.MethodDelete, "http://"+d.admin+"/admin/revocations?subject=test", ""); string(body) != "{\"undone\":1}\n" {
		t.Fatalf("undo: %s %s", answer.Status, body)
	}
	c.waitFor(t, "undone at the other, too", token, http.StatusOK)
}

// Redis down: each works by itself and says so. Back again: what was revoked meanwhile reaches the others.
func TestRevocationsSurviveAnOutageOfRedis(t *testing.T) {
	redis := testenv.Redis(t)
	f, a, b, token := twoThatServe(t, redis)
	redis.Kill(t)
	a.waitReady(t, "shared: Redis does not answer")
	if answer, body := send(t, http.MethodPost, "http://"+a.admin+"/admin/revoke", `{"subject":"test"}`); answer.StatusCode != http.StatusOK {
		t.Fatalf("revoke: %s %s", answer.Status, body)
	}
	if got := a.status(t, token); got != http.StatusUnauthorized {
		t.Errorf("where it was revoked: got %d, want 401", got)
	}
	if got := b.status(t, token); got != http.StatusOK {
		t.Errorf("where nobody has told it: got %d, want 200", got)
	}
	if _, body := get(t, "http://"+a.admin+"/metrics"); !strings.Contains(string(body), "tilegate_shared_degraded 1") {
		t.Error("the metric does not say that it is degraded")
	}
	late := f.start(t) // it starts without Redis
	late.waitReady(t, "degraded")
	redis.Restart(t)
	b.waitFor(t, "it is told", token, http.StatusUnauthorized)
	late.waitFor(t, "the one that started without Redis is told", token, http.StatusUnauthorized)
	for _, m := range []*member{a, b, late} {
		m.waitReady(t, `"ready"`)
	}
	if log := a.log(); strings.Count(log, "works without it until it answers again") != 1 || strings.Contains(log, "go-redis") {
		t.Errorf("want one line of the outage:\n%s", log)
	}
}

// A purge at one instance used to leave the old tiles at the others.
func TestPurgedAtOneForgottenAtAll(t *testing.T) {
	redis := testenv.Redis(t)
	f := newFleet(t, redis.Address)
	a, b := f.start(t), f.start(t)
	token := mintToken(t, a.config, "--tilesets", "basemap")
	tileOf := func(m *member) string {
		_, body := get(t, m.url+"/tiles/basemap/0/0/0", "Authorization", "Bearer "+token)
		return string(body)
	}
	for _, m := range []*member{a, b} {
		m.waitFor(t, "it serves", token, http.StatusOK)
		m.waitReady(t, `"ready"`)
	}
	replace := func(id byte) string {
		body := append(randomTiles(1)["9/0/0"], id)
		f.bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: body})
		return string(body)
	}
	purge := func(m *member, area string) {
		t.Helper()
		if answer, body := send(t, http.MethodPost, "http://"+m.admin+"/admin/purge", `{"tileset":"basemap"`+area+`}`); answer.StatusCode != http.StatusOK {
			t.Fatalf("purge: %s %s", answer.Status, body)
		}
	}
	waitForTile := func(m *member, want string) {
		t.Helper()
		eventually(t, "the new tile is served", func() error {
			if got := tileOf(m); got != want {
				return fmt.Errorf("got %d bytes, want %d", len(got), len(want))
			}
			return nil
		})
	}
	second := replace(2)
	if tileOf(a) == second || tileOf(b) == second {
		t.Fatal("the tile is not kept at all")
	}
	purge(a, `,"zoom":"0-22","bbox":[170,-10,-170,10]`)
	waitForTile(a, second)
	waitForTile(b, second)

	// What is purged while Redis is down is told when it is back.
	redis.Kill(t)
	third := replace(3)
	purge(b, "")
	waitForTile(b, third)
	if tileOf(a) != second {
		t.Error("the other one forgot without being told")
	}
	redis.Restart(t)
	waitForTile(a, third)

	// An area that does not hold the tile leaves it. A soft purge has it revalidated.
	fourth := replace(4)
	purge(a, `,"zoom":"1-22"`)
	if tileOf(a) != third {
		t.Error("a tile of another zoom was forgotten")
	}
	purge(b, `,"zoom":"0-0","soft":true`)
	waitForTile(b, fourth)
	waitForTile(a, fourth)
}

// A tile that one instance has read is taken by the others, until it is purged at any of them.
func TestATileIsReadFromS3OnceForTheFleet(t *testing.T) {
	redis := testenv.Redis(t)
	f := newFleet(t, redis.Address)
	a, b := f.start(t), f.start(t)
	token := mintToken(t, a.config, "--tilesets", "basemap")
	tileOf := func(m *member) (*http.Response, string) {
		answer, body := get(t, m.url+"/tiles/basemap/0/0/0", "Authorization", "Bearer "+token)
		return answer, string(body)
	}
	a.waitReady(t, `"ready"`)
	b.waitReady(t, `"ready"`)
	first, old := tileOf(a)
	a.shows(t, `tilegate_shared_writes_total{outcome="written"} 1`)
	f.bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: append(randomTiles(1)["9/0/0"], 2)})
	second, body := tileOf(b)
	b.shows(t, `tilegate_shared_lookups_total{outcome="hit"} 1`)
	if body != old || body == "" {
		t.Errorf("the second instance answers with %d other bytes, want those that the first has read", len(body))
	}
	for _, name := range []string{"Etag", "Last-Modified", "Content-Type", "Content-Length", "Cache-Control"} {
		if got, want := second.Header.Get(name), first.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if answer, _ := get(t, b.url+"/tiles/basemap/0/0/0"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: got %s, want 401", answer.Status)
	}

	if answer, body := send(t, http.MethodPost, "http://"+b.admin+"/admin/purge", `{"tileset":"basemap"}`); answer.StatusCode != http.StatusOK {
		t.Fatalf("purge: %s %s", answer.Status, body)
	}
	for _, m := range []*member{b, a} {
		eventually(t, "the new tile is served", func() error {
			if _, body := tileOf(m); body == old {
				return errors.New("the old one is served")
			}
			return nil
		})
	}
}

// shows waits until an instance's metrics have a line.
func (m *member) shows(t *testing.T, line string) {
	t.Helper()
	eventually(t, line, func() error {
		if _, body := get(t, "http://"+m.admin+"/metrics"); !strings.Contains(string(body), line) {
			return errors.New("not there")
		}
		return nil
	})
}

// Four instances, 800 clients and one cold tile of a slow S3.
func TestTheFleetAsksS3OnceForAColdTile(t *testing.T) {
	redis := testenv.Redis(t)
	f := newFleet(t, redis.Address)
	var members []*member
	for range 4 {
		members = append(members, f.start(t))
	}
	token := mintToken(t, members[0].config, "--tilesets", "basemap")
	for _, m := range members {
		m.waitReady(t, `"ready"`)
	}
	const object = "basemap/0/0/0.png"
	before := f.bucket.Count("GetObject", "tiles", object)
	release, met := make(chan struct{}), make(chan struct{}, 8)
	f.bucket.Inject(fakeaws.Fault{
		Op: "GetObject", Bucket: "tiles", Key: object, HangBeforeHeaders: true, Release: release,
		Met: func(fakeaws.Request) { met <- struct{}{} },
	})
	var clients sync.WaitGroup
	var good atomic.Int64
	for n := range 800 {
		clients.Go(func() {
			if members[n%4].status(t, token) == http.StatusOK {
				good.Add(1)
			}
		})
	}
	<-met
	for _, m := range members {
		m.shows(t, `tilegate_shared_lookups_total{outcome="miss"} 1`)
	}
	close(release)
	clients.Wait()
	if n := f.bucket.Count("GetObject", "tiles", object) - before; n != 1 || good.Load() != 800 {
		t.Errorf("S3 was asked %d times and %d of 800 clients got the tile; want once, and all", n, good.Load())
	}
}

// Tiles of archives and objects of bundles are shared like all others.
func TestArchivesAndBundlesAreSharedByTheFleet(t *testing.T) {
	redis := testenv.Redis(t)
	f := newFleet(t, redis.Address)
	f.more = `  roads: {source: "s3://tiles/roads.pmtiles"}
bundles: {styles: {source: "s3://tiles/styles/", with: [basemap]}}
`
	f.bucket.Put("tiles", "roads.pmtiles", fakeaws.Object{Body: oneTileArchive(t, randomTiles(1)["9/0/0"])})
	f.bucket.Put("tiles", "styles/style.json", fakeaws.Object{Body: []byte(`{"a": 1}`)})
	a, b := f.start(t), f.start(t)
	token := mintToken(t, a.config, "--tilesets", "basemap,roads")
	for _, m := range []*member{a, b} {
		m.waitReady(t, `"ready"`)
	}
	read := func(m *member, path string) (*http.Response, string) {
		t.Helper()
		answer, body := get(t, m.url+path, "Authorization", "Bearer "+token)
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s", path, answer.Status, body)
		}
		return answer, string(body)
	}
	for n, tt := range []struct{ path, key string }{
		{"/tiles/roads/0/0/0.png", "roads.pmtiles"}, {"/assets/styles/style.json", "styles/style.json"},
	} {
		first, want := read(a, tt.path)
		a.shows(t, fmt.Sprintf(`tilegate_shared_writes_total{outcome="written"} %d`, n+1))
		if tt.key == "roads.pmtiles" {
			get(t, b.url+"/tiles/roads.json", "Authorization", "Bearer "+token) // it reads the header
		}
		before := f.bucket.Count("GetObject", "tiles", tt.key)
		second, got := read(b, tt.path)
		if asked := f.bucket.Count("GetObject", "tiles", tt.key) - before; asked != 0 || got != want {
			t.Errorf("%s: S3 was asked %d times and the bytes are the same: %t; want that it comes out of Redis", tt.path, asked, got == want)
		}
		for _, name := range []string{"Etag", "Last-Modified", "Content-Type", "Content-Length", "Cache-Control"} {
			if got, want := second.Header.Get(name), first.Header.Get(name); got != want {
				t.Errorf("%s: %s: got %q, want %q", tt.path, name, got, want)
			}
		}
	}
}
