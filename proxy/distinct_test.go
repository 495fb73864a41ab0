package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/auth"
	"tilegate/proxy"
)

// distinct lets each caller of a world have n different tiles of a tileset in a day.
func distinct(n int, changes ...func(*proxy.Limits)) func(*setup) {
	return func(s *setup) {
		limits := proxy.Limits{Distinct: []proxy.DistinctLimit{{Window: 24 * time.Hour, Tiles: n}}}
		for _, change := range changes {
			change(&limits)
		}
		s.proxy.Limiter = proxy.NewLimiter(limits, s.proxy.Logger)
	}
}

// copied is the path of one tile after another.
func copied(tileset string, n int) string { return fmt.Sprintf("/tiles/%s/10/500/%d.png", tileset, n) }

func copiedWorld(t *testing.T, changes ...func(*setup)) *world {
	t.Helper()
	w := start(t, changes...)
	w.origin.put("basemap", 3, 4, 2, tilePNG)
	for n := range uint32(10) {
		for _, tileset := range []string{"basemap", "retina", "open"} {
			w.origin.put(tileset, 10, 500, n, tilePNG)
		}
	}
	return w
}

func TestScraperIsStopped(t *testing.T) {
	w := copiedWorld(t, distinct(3))
	for n := range 3 {
		w.wantStatus(200, copied("basemap", n), w.bearer()...)
	}
	asked := len(w.origin.asked())
	for n := 3; n < 6; n++ {
		got := w.get(copied("basemap", n), w.bearer()...)
		if p := got.problem(t); got.status != 429 || p.Status != 429 || !strings.Contains(p.Detail, "different tiles") || got.header.Get("Retry-After") == "" {
			t.Fatalf("got %d %+v, Retry-After %q", got.status, p, got.header.Get("Retry-After"))
		}
	}
	if n := len(w.origin.asked()); n != asked {
		t.Errorf("tiles that were refused cost %d requests to S3", n-asked)
	}
	for n := range 3 {
		w.wantStatus(200, copied("basemap", n), w.bearer()...) // the map goes on working where it was looked at
	}
	w.wantStatus(200, copied("retina", 3), w.bearer()...)
	w.wantStatus(200, copied("basemap", 4), "Authorization", "Bearer "+w.tokenFor("bob", time.Hour, auth.Limits{Tilesets: []string{"*"}}))
	if got := strings.Count(w.logged.String(), "caller is over its limit"); got != 1 {
		t.Errorf("the log tells %d times, want once", got)
	}
	line := w.logged.waitForLine("caller is over its limit")
	for _, want := range []string{"subject=alice", "tileset=basemap", "limit=limits.distinct_tiles", "action=reject"} {
		if !strings.Contains(line, want) {
			t.Errorf("%s is not in %s", want, line)
		}
	}
}

func TestNewTokensGiveNoNewTiles(t *testing.T) {
	w := copiedWorld(t, distinct(2))
	for n, want := range []int{200, 200, 429, 429} {
		w.wantStatus(want, copied("basemap", n), "Authorization", "Bearer "+w.tokenFor("alice", time.Hour+time.Duration(n)*time.Minute, auth.Limits{Tilesets: []string{"*"}}))
	}
	w.wantStatus(429, "/t/"+w.mint(`{}`, w.bearer()...).Token+copied("basemap", 5))
}

func TestOtherWaysToTilesCountToo(t *testing.T) {
	inDefault := func(n int) string { return strings.Replace(copied("basemap", n), "/basemap", "", 1) }
	for name, ask := range map[string]func(w *world, n int) int{
		"range": func(w *world, n int) int { return w.get(copied("basemap", n), w.as("Range", "bytes=0-3")...).status },
		"made-up etag": func(w *world, n int) int {
			return w.get(copied("basemap", n), w.as("If-None-Match", `"made-up"`)...).status
		},
		"long ago": func(w *world, n int) int {
			return w.get(copied("basemap", n), w.as("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")...).status
		},
		"presigned URL": func(w *world, n int) int {
			return w.get("/presign"+strings.TrimPrefix(copied("basemap", n), "/tiles"), w.bearer()...).status
		},
		"redirect": func(w *world, n int) int {
			return w.get("/presign"+strings.TrimPrefix(copied("basemap", n), "/tiles")+"?redirect=1", w.bearer()...).status
		},
		"default": func(w *world, n int) int { return w.get(inDefault(n), w.bearer()...).status },
		"public":  func(w *world, n int) int { return w.get(copied("open", n)).status },
	} {
		w := copiedWorld(t, distinct(2))
		for n := range 4 {
			if got := ask(w, n); (got == 429) != (n >= 2) {
				t.Errorf("%s: tile %d: got %d", name, n, got)
			}
		}
	}
}

func TestWhatSendsNoTileCountsAsNone(t *testing.T) {
	w := copiedWorld(t, distinct(1))
	for n := range 3 {
		w.wantStatus(404, copied("basemap", 1000+n), w.bearer()...)
	}
	etag := w.get(copied("basemap", 0), w.bearer()...).header.Get("Etag")
	for n := 1; n < 4; n++ {
		if got := w.do(http.MethodHead, copied("basemap", n), "", w.bearer()...).status; got != 200 {
			t.Errorf("HEAD: got %d", got)
		}
		w.wantStatus(304, copied("basemap", n), w.as("If-None-Match", etag)...) // a copy that it held before
		w.wantStatus(401, copied("basemap", n))
	}
	w.wantStatus(429, copied("basemap", 1), w.bearer()...)
}

// A range holds as many tiles as its bytes are worth. Who copies an archive by ranges, or as a whole, gets no further than tile by tile.
func TestRangesOfAnArchiveAreNoWayAroundDistinctTiles(t *testing.T) {
	body := streets(t, "first")
	w, file := startArchive(t, body, raw, distinct(20))
	sent := 0
	for at := 0; at < len(body); at += 512 {
		got := w.get("/tiles/streets.pmtiles", w.as("Range", fmt.Sprintf("bytes=%d-%d", at, at+511))...)
		if got.status == 206 {
			sent += len(got.body)
		} else if got.status != 429 {
			t.Fatalf("got %d", got.status)
		}
	}
	if sent == 0 || sent > len(body)/4 {
		t.Errorf("%d of %d bytes came through", sent, len(body))
	}
	asked := len(file.requests())
	w.wantStatus(429, "/tiles/streets.pmtiles", w.bearer()...)
	if n := len(file.requests()); n > asked {
		t.Errorf("a refused copy costs %d requests to S3", n-asked)
	}
	w.wantStatus(206, "/tiles/streets.pmtiles", w.as("Range", "bytes=0-126")...) // header and directories are no tiles
}

// Who is over its limit could have S3 asked by conditions that it makes up.
func TestMadeUpConditionsDoNotReachS3WithoutEnd(t *testing.T) {
	w := start(t, budget(1))
	for n := range uint32(200) {
		w.origin.put("basemap", 10, 500, n, tilePNG)
	}
	for n := range 200 {
		w.get(copied("basemap", n), w.as("If-None-Match", `"made-up"`)...)
	}
	if n := len(w.origin.asked()); n > 70 {
		t.Errorf("S3 was asked %d times", n)
	}
}

func TestManyHeldCopiesAreNotLimited(t *testing.T) {
	w := limitedWorld(t, 1)
	etag := w.get(limitedTile, w.bearer()...).header.Get("Etag")
	for range 200 {
		w.wantStatus(304, limitedTile, w.as("If-None-Match", etag)...)
	}
	w.wantStatus(429, limitedTile, w.bearer()...)
}

// A request that waits does so by the bubble's clock.
func TestSlowDelaysWhoIsOverItsLimit(t *testing.T) {
	slow := func(l *proxy.Limits) { l.Action = proxy.Slow }
	for name, limit := range map[string]func(*setup){"requests": budget(2, slow), "distinct tiles": distinct(2, slow)} {
		synctest.Test(t, func(t *testing.T) {
			w, _ := build(t, limit)
			for n := range uint32(4) {
				w.origin.put("basemap", 10, 500, n, tilePNG)
			}
			for n, want := range []time.Duration{0, 0, time.Second, time.Second} {
				r, began := httptest.NewRequest(http.MethodGet, copied("basemap", n), nil), time.Now()
				header := w.bearer()
				r.Header.Set(header[0], header[1])
				answer := httptest.NewRecorder()
				w.proxy.ServeHTTP(answer, r)
				if took := time.Since(began); answer.Code != 200 || took != want || answer.Body.String() != tilePNG.body {
					t.Errorf("%s: tile %d: got %d after %v, want 200 after %v", name, n, answer.Code, took, want)
				}
			}
		})
	}
}

func TestLogOnlyRefusesNoTile(t *testing.T) {
	w := copiedWorld(t, distinct(1, func(l *proxy.Limits) { l.Action = proxy.LogOnly }))
	for n := range 3 {
		w.wantStatus(200, copied("basemap", n), w.bearer()...)
	}
	w.logged.waitForLine("action=log")
}

func TestEdgeThatAuthorizesHasAllTiles(t *testing.T) {
	w := copiedWorld(t, distinct(1), func(s *setup) {
		s.proxy.Edge = proxy.Edge{Authorizes: true, Tilesets: []string{"basemap"}, Secrets: [][]byte{edgeSecret}, TTL: time.Hour}
	})
	for n := range 3 {
		w.wantStatus(200, copied("basemap", n), throughEdge, string(edgeSecret))
	}
}

func TestNewLimitsGiveNoNewTiles(t *testing.T) {
	var limiter *proxy.Limiter
	w := copiedWorld(t, distinct(2), func(s *setup) { limiter = s.proxy.Limiter })
	w.wantStatus(200, copied("basemap", 0), w.bearer()...)
	w.wantStatus(200, copied("basemap", 1), w.bearer()...)
	limiter.SetLimits(proxy.Limits{Distinct: []proxy.DistinctLimit{{Window: time.Hour, Tiles: 100}, {Window: 24 * time.Hour, Tiles: 3}}})
	w.wantStatus(200, copied("basemap", 2), w.bearer()...)
	w.wantStatus(429, copied("basemap", 3), w.bearer()...)
}
