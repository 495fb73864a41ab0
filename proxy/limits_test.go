package proxy_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/proxy"
)

// budget lets each caller of a world send n requests in the test's time.
func budget(n int, changes ...func(*proxy.Limits)) func(*setup) {
	return func(s *setup) {
		limits := proxy.Limits{Hourly: 1, Burst: n}
		for _, change := range changes {
			change(&limits)
		}
		s.proxy.Limiter = proxy.NewLimiter(limits, s.proxy.Logger)
	}
}

const limitedTile = "/tiles/basemap/3/4/2.png"

func limitedWorld(t *testing.T, n int, changes ...func(*setup)) *world {
	w := start(t, append([]func(*setup){budget(n)}, changes...)...)
	w.origin.put("basemap", 3, 4, 2, tilePNG)
	w.origin.put("open", 3, 4, 2, tilePNG)
	return w
}

func (w *world) wantStatus(want int, path string, header ...string) {
	w.t.Helper()
	if got := w.get(path, header...); got.status != want {
		w.t.Errorf("%s: got %d, want %d", path, got.status, want)
	}
}

func TestCallerOverItsLimitIsRefusedAndToldOnce(t *testing.T) {
	w := limitedWorld(t, 2)
	w.wantStatus(200, limitedTile, w.bearer()...)
	w.wantStatus(200, limitedTile, w.bearer()...)
	for range 3 {
		got := w.get(limitedTile, w.bearer()...)
		if p := got.problem(t); got.status != 429 || p.Status != 429 || got.header.Get("Retry-After") == "" {
			t.Fatalf("got %d, Retry-After %q, want 429 and a problem", got.status, got.header.Get("Retry-After"))
		}
	}
	w.wantStatus(200, "/health")
	if got := strings.Count(w.logged.String(), "caller is over its limit"); got != 1 {
		t.Errorf("the log tells %d times, want once", got)
	}
	if line := w.logged.waitForLine("caller is over its limit"); !strings.Contains(line, "subject=alice") {
		t.Errorf("the log does not name the subject: %s", line)
	}
	w.wantStatus(200, limitedTile, "Authorization", "Bearer "+w.tokenFor("bob", time.Hour, auth.Limits{Tilesets: []string{"*"}}))
}

func TestLogOnlyRefusesNobody(t *testing.T) {
	w := start(t, budget(1, func(l *proxy.Limits) { l.Action = proxy.LogOnly }))
	w.origin.put("basemap", 3, 4, 2, tilePNG)
	for range 3 {
		w.wantStatus(200, limitedTile, w.bearer()...)
	}
	w.logged.waitForLine("caller is over its limit")
}

func TestTokenRotationGivesNoNewBudget(t *testing.T) {
	w := limitedWorld(t, 2)
	for i, want := range []int{200, 200, 429} {
		w.wantStatus(want, limitedTile, "Authorization", "Bearer "+w.tokenFor("alice", time.Hour+time.Duration(i)*time.Minute, auth.Limits{Tilesets: []string{"*"}}))
	}
}

func TestPathTokensAndSessionsCountForTheirSubject(t *testing.T) {
	w := limitedWorld(t, 2)
	minted := w.mint(`{}`, w.bearer()...)
	w.wantStatus(200, "/t/"+minted.Token+limitedTile)
	w.wantStatus(200, limitedTile, "Cookie", w.cookie(w.token("*")))
	w.wantStatus(429, "/t/"+w.mint(`{}`, w.bearer()...).Token+limitedTile)
}

func TestMadeUpForwardedForGivesNoNewBudget(t *testing.T) {
	const path = "/tiles/open/3/4/2.png"
	w := limitedWorld(t, 2)
	w.wantStatus(200, path, "X-Forwarded-For", "192.0.2.1")
	w.wantStatus(200, path, "X-Forwarded-For", "192.0.2.2")
	w.wantStatus(429, path, "X-Forwarded-For", "192.0.2.3")

	behind := limitedWorld(t, 1, func(s *setup) { s.proxy.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	behind.wantStatus(200, path, "X-Forwarded-For", "192.0.2.1")
	behind.wantStatus(200, path, "X-Forwarded-For", "192.0.2.2")
	behind.wantStatus(429, path, "X-Forwarded-For", "192.0.2.1")
}

func TestHeadRangesMissingTilesAndURLsCount(t *testing.T) {
	for name, ask := range map[string]func(*world) int{
		"head":    func(w *world) int { return w.do(http.MethodHead, limitedTile, "", w.bearer()...).status },
		"range":   func(w *world) int { return w.get(limitedTile, w.as("Range", "bytes=0-3")...).status },
		"missing": func(w *world) int { return w.get("/tiles/basemap/3/0/0.png", w.bearer()...).status },
		"guess":   func(w *world) int { return w.get("/tiles/basemap/3/0/0.png", w.as("If-None-Match", `"x"`)...).status },
		"presign": func(w *world) int { return w.get("/presign/basemap/3/4/2.png", w.bearer()...).status },
		"changed": func(w *world) int { return w.get(limitedTile, w.as("If-None-Match", `"made-up"`)...).status },
	} {
		w := limitedWorld(t, 1)
		if got := ask(w); got == 429 {
			t.Errorf("%s: the first is refused", name)
		}
		if got := ask(w); got != 429 {
			t.Errorf("%s: got %d, want 429: it did not count", name, got)
		}
	}
}

func TestHeldCopiesAreNotLimited(t *testing.T) {
	w := limitedWorld(t, 1)
	etag := w.get(limitedTile, w.bearer()...).header.Get("Etag")
	if etag == "" {
		t.Fatal("the tile has no ETag")
	}
	for range 3 {
		w.wantStatus(304, limitedTile, w.as("If-None-Match", etag)...)
	}
	w.wantStatus(429, limitedTile, w.bearer()...)
}

// The check comes after authorization: nobody spends another one's budget, or learns of it, without a credential.
func TestWhoIsRefusedSpendsNoBudget(t *testing.T) {
	w := limitedWorld(t, 1)
	for range 3 {
		w.wantStatus(401, limitedTile)
		w.wantStatus(403, limitedTile, "Authorization", "Bearer "+w.token("roads"))
	}
	w.wantStatus(200, limitedTile, w.bearer()...)
	w.wantStatus(429, limitedTile, w.bearer()...)
	w.wantStatus(403, limitedTile, "Authorization", "Bearer "+w.token("roads"))
}

func TestEdgeThatAuthorizesIsNotLimited(t *testing.T) {
	w := limitedWorld(t, 1, func(s *setup) {
		s.proxy.Edge = proxy.Edge{Authorizes: true, Tilesets: []string{"basemap"}, Secrets: [][]byte{edgeSecret}, TTL: time.Hour}
	})
	for range 3 {
		w.wantStatus(200, limitedTile, throughEdge, string(edgeSecret))
	}
}
