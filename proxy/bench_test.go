package proxy_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/issuer"
	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
	"tilegate/proxy"
	"tilegate/proxy/archive"
)

// sink is a response writer that a benchmark can use again and again, as net/http's own is but for the network.
type sink struct {
	header http.Header
	status int
	bytes  int
}

func (s *sink) Header() http.Header              { return s.header }
func (s *sink) WriteHeader(status int)           { s.status = status }
func (s *sink) Write(b []byte) (int, error)      { s.bytes += len(b); return len(b), nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) FlushError() error                { return nil }

func (s *sink) reset() {
	clear(s.header)
	s.status, s.bytes = 0, 0
}

// busy is a proxy in its usual clothes, with an access log and metrics, that holds one tile of 20 KB,
// and a request for it with an issuer's RS256 token.
func busy(t testing.TB, more ...func(*setup)) (*world, *http.Request) {
	t.Helper()
	i, err := issuer.New(issuer.Options{URL: "https://id.example.com/"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := i.Token("RS256", map[string]any{"sub": "alice", "aud": "tiles", "tilesets": []string{"basemap", "streets", "acme-*"}, "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	kid, err := i.KeyID("RS256")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := i.Keys()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(keys[kid])
	if err != nil {
		t.Fatal(err)
	}
	w, _ := build(t, append(more, func(s *setup) {
		s.auth.Issuers = []auth.Issuer{{
			Issuer: "https://id.example.com/", Audience: []string{"tiles"}, Algorithms: []string{"RS256"},
			PublicKeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		}}
		s.auth.Clock, s.cache.Clock = nil, nil
		log := proxy.NewLogBuffer(io.Discard, dropReport)
		t.Cleanup(func() { log.Close(context.Background()) })
		s.proxy.AccessLog, s.proxy.Usage = log, proxy.NewUsage()
		s.proxy.CORS.Origins = []string{"https://app.example.com"}
		s.proxy.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})...)
	w.origin.put("basemap", 7, 66, 44, object{body: pngBody(20_000), etag: `"0123456789abcdef"`, modified: modified})
	r := httptest.NewRequest(http.MethodGet, "/tiles/basemap/7/66/44.png", nil)
	r.RemoteAddr = "192.0.2.1:54321"
	r.Header.Set("Authorization", "Bearer "+token)
	return w, r
}

func serveOnce(t testing.TB, w *world, s *sink, r *http.Request, want int) {
	s.reset()
	w.proxy.ServeHTTP(s, r)
	if s.status != want {
		t.Fatalf("got %d, want %d", s.status, want)
	}
}

// What a hit costs besides net/http's own part. docs/performance.md states the goal: six at most.
func TestHitAllocations(t *testing.T) {
	w, r := busy(t)
	for _, test := range []struct {
		name   string
		header []string
		want   int
		most   float64
	}{
		{"bearer", nil, 200, 0},
		{"not modified", []string{"If-None-Match", `"0123456789abcdef"`}, 304, 0},
		{"from a page", []string{"Origin", "https://app.example.com", "Accept-Encoding", "gzip, br", "X-Request-Id", "a"}, 200, 0},
		{"through a proxy", []string{"X-Forwarded-For", "203.0.113.9, 192.0.2.77"}, 200, 0},
		{"part", []string{"Range", "bytes=0-99"}, 206, 5},
	} {
		asked := r.Clone(context.Background())
		for i := 0; i < len(test.header); i += 2 {
			asked.Header.Set(test.header[i], test.header[i+1])
		}
		s := &sink{header: http.Header{}}
		serveOnce(t, w, s, r, 200)
		if got := testing.AllocsPerRun(1000, func() { serveOnce(t, w, s, asked, test.want) }); got > test.most+pooledAnew {
			t.Errorf("%s: a hit allocates %v times, want at most %v", test.name, got, test.most)
		}
	}
}

// busyArchive is busy with a tile of an archive.
func busyArchive(t testing.TB) (*world, *http.Request) {
	t.Helper()
	file := &bucketFile{}
	file.put(writeArchive(t, pmtiles.WriteOptions{TileType: pmtiles.PNG, TileCompression: pmtiles.None}, 1, func(id uint64) []byte { return []byte(pngBody(20_000 + int(id))) }))
	w, r := busy(t, withArchive(file, nil), func(s *setup) {
		archives := s.archives
		s.archives = func(o archive.Options) {
			o.Clock = nil // the cache's is the machine's, too
			archives(o)
		}
	})
	asked := httptest.NewRequest(http.MethodGet, "/tiles/streets/0/0/0.png", nil)
	asked.RemoteAddr, asked.Header = r.RemoteAddr, r.Header
	return w, asked
}

// A tile of an archive costs no more than one of a pyramid.
func TestHitAllocationsOfAnArchive(t *testing.T) {
	w, r := busyArchive(t)
	s := &sink{header: http.Header{}}
	serveOnce(t, w, s, r, 200)
	if got := testing.AllocsPerRun(1000, func() { serveOnce(t, w, s, r, 200) }); got > pooledAnew {
		t.Errorf("a hit of an archive allocates %v times", got)
	}
}

func BenchmarkHitOfAnArchive(b *testing.B) {
	w, r := busyArchive(b)
	s := &sink{header: http.Header{}}
	serveOnce(b, w, s, r, 200)
	b.ReportAllocs()
	for b.Loop() {
		serveOnce(b, w, s, r, 200)
	}
}

// A hit: the token is known, the tile is held.
func BenchmarkHit(b *testing.B) {
	w, r := busy(b)
	s := &sink{header: http.Header{}}
	serveOnce(b, w, s, r, 200)
	b.ReportAllocs()
	for b.Loop() {
		serveOnce(b, w, s, r, 200)
	}
}

// The same of a caller with limits.
func BenchmarkHitWithLimits(b *testing.B) {
	w, r := busy(b, func(s *setup) {
		s.proxy.Limiter = proxy.NewLimiter(proxy.Limits{Hourly: 3600 * 100_000, Burst: 1_000_000, Distinct: []proxy.DistinctLimit{
			{Window: time.Hour, Tiles: 20_000}, {Window: 24 * time.Hour, Tiles: 100_000},
		}}, s.proxy.Logger)
	})
	s := &sink{header: http.Header{}}
	serveOnce(b, w, s, r, 200)
	b.ReportAllocs()
	for b.Loop() {
		serveOnce(b, w, s, r, 200)
	}
}

func BenchmarkHitParallel(b *testing.B) {
	w, r := busy(b)
	serveOnce(b, w, &sink{header: http.Header{}}, r, 200)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		s := &sink{header: http.Header{}}
		for pb.Next() {
			serveOnce(b, w, s, r, 200)
		}
	})
}

func BenchmarkNotModified(b *testing.B) {
	w, r := busy(b)
	s := &sink{header: http.Header{}}
	serveOnce(b, w, s, r, 200)
	r.Header.Set("If-None-Match", `"0123456789abcdef"`)
	b.ReportAllocs()
	for b.Loop() {
		serveOnce(b, w, s, r, 304)
	}
}

// A miss, with an origin that has all of the tile at hand.
func BenchmarkMiss(b *testing.B) {
	w, r := busy(b)
	body := pngBody(20_000)
	w.origin.respond(func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
		return wholeObject(body), nil
	})
	s := &sink{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		purge(b, w)
		serveOnce(b, w, s, r, 200)
	}
}
