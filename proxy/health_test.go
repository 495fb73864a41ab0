package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tilegate/auth"
	"tilegate/proxy"
	"tilegate/proxy/wire"
)

func TestReadiness(t *testing.T) {
	var missing, degraded []string
	w := start(t, func(s *setup) {
		s.proxy.Readiness = []proxy.Readiness{
			{Name: "credentials", Missing: func() []string { return missing }, Degraded: func() []string { return degraded }},
			{Name: "keys", Missing: func() []string { return nil }},
		}
	})
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	check := func(name string, want int, parts ...string) {
		t.Helper()
		got := w.get("/ready")
		if got.status != want || got.header.Get("Cache-Control") != "private, no-store" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %d %v", name, got.status, got.header)
		}
		for _, part := range parts {
			if !strings.Contains(got.body, part) {
				t.Errorf("%s: got %s, want %q in it", name, got.body, part)
			}
		}
		if got := w.do(http.MethodHead, "/ready", ""); got.status != want {
			t.Errorf("%s: HEAD: got %d", name, got.status)
		}
		if got := w.get("/health"); got.status != 200 {
			t.Errorf("%s: /health: got %d", name, got.status)
		}
	}
	missing = []string{"STS has not answered yet"}
	check("not there yet", 503, "credentials", "STS has not answered yet")
	missing = []string{"no credentials yet", "S3 has not answered yet"}
	check("two things not there yet", 503, `"missing":["credentials: no credentials yet","credentials: S3 has not answered yet"]`)
	missing = nil
	check("ready", 200, `"ready"`)
	degraded = []string{"refresh failing since noon"}
	check("degraded", 200, "degraded", "refresh failing since noon")
	w.proxy.Drain()
	check("draining", 503, "draining")
	if got := w.get("/tiles/basemap/1/0/0", w.bearer()...); got.status != 200 {
		t.Errorf("a tile while draining: got %d", got.status)
	}
}

func TestMetricsHaveBoundedLabels(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := proxy.NewMetrics()
	w := start(t, func(s *setup) { s.proxy.Metrics = m })
	m.Register(registry, w.cache, nil)
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	header := w.bearer()
	for i := range 50 {
		w.get(fmt.Sprintf("/tiles/nowhere-%d/1/0/0.png", i), header...)
		w.get(fmt.Sprintf("/nowhere-%d", i), "X-Request-Id", fmt.Sprint(i))
		w.get("/tiles/basemap/1/0/0.png", "Authorization", "Bearer "+w.tokenFor(fmt.Sprint("subject-", i), 3600e9, auth.Limits{Tilesets: []string{"*"}}))
		w.do(fmt.Sprint("M", i), "/tiles/basemap/1/0/0.png", "", header...)
	}
	w.access.waitFor(200)
	other := *w
	other.address = serve(t, &wire.Server{Handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})})
	got := other.ask("GET", "/metrics", "").body
	if n := strings.Count(got, "tilegate_requests_total{"); n > 8 {
		t.Errorf("%d series: labels come from requests:\n%s", n, got)
	}
	for _, part := range []string{
		`tilegate_requests_total{outcome="hit",status="200",tileset="basemap"} 49`,
		`tilegate_requests_total{outcome="miss",status="200",tileset="basemap"} 1`,
		`tilegate_requests_total{outcome="none",status="404",tileset=""} 100`,
		`tilegate_requests_total{outcome="none",status="405",tileset=""} 50`,
		`tilegate_response_bytes_total{tileset="basemap"} 50000`,
		`tilegate_cache_entries 1`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("lacks %s", part)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	if strings.Contains(got, "subject") || strings.Contains(got, "nowhere") {
		t.Errorf("metrics tell what requests said:\n%s", got)
	}
}

func TestNewSaysEverythingThatIsWrong(t *testing.T) {
	_, err := proxy.New(proxy.Options{
		Tilesets: []proxy.Tileset{
			{ID: "UPPER", Format: "png", Origin: newOrigin(), Bounds: everywhere},
			{ID: "gif", Format: "gif", Origin: newOrigin(), Bounds: everywhere},
			{ID: "no-origin", Format: "png", Bounds: everywhere},
			{ID: "odd", Format: "png", Origin: newOrigin(), Bounds: everywhere, Missing: "410"},
			{ID: "json", Format: "json", Origin: newOrigin(), Bounds: everywhere, Missing: "transparent"},
			{ID: "flat", Format: "png", Origin: newOrigin()},
			{ID: "twice", Format: "png", Origin: newOrigin(), Bounds: everywhere},
			{ID: "twice", Format: "png", Origin: newOrigin(), Bounds: everywhere},
			{ID: "first", Format: "png", Origin: newOrigin(), Bounds: everywhere, Default: true},
			{ID: "second", Format: "png", Origin: newOrigin(), Bounds: everywhere, Default: true},
		},
		PublicURL:    "tiles.example.com",
		CORS:         proxy.CORS{Origins: []string{"*"}},
		Edge:         proxy.Edge{Authorizes: true},
		VerifyHeader: "Host",
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"UPPER", "gif", "no-origin", "odd", "json", "flat", "twice", "second", "authenticator", "tiles.example.com", `"*"`, "origin secret", `"Host"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not told: %v", part, err)
		}
	}
}
