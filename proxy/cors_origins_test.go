package proxy_test

import (
	"strings"
	"testing"
	"time"

	"tilegate/proxy"
)

// What stands in Origin is compared part by part: a host that goes on behind a port is no host, whatever it ends in.
func TestOriginThatIsNoOriginMatchesNothing(t *testing.T) {
	w := start(t, func(s *setup) {
		s.proxy.CORS.Origins = []string{"https://*.wild.example", "https://app.example.com", "https://myapp-*.example.app", "http://localhost:*"}
	})
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	for _, origin := range []string{
		"https://evil.example:80.wild.example", "https://evil.example:.wild.example", "https://evil.example\\.wild.example", "https://evil.example%2f.wild.example",
		"https://evil.example .wild.example", "https://*.wild.example", "https://app.example.com, https://evil.example", "https://app.example.com.", "https://[::1].wild.example",
		"https://myapp-x.evil.example/.example.app", "https://myapp-evil.example:1.example.app", "https://myapp-.example.app",
		"http://localhost:1.evil.example", "http://localhost.evil.example", "http://localhost:1@evil.example", "http://localhost:x",
	} {
		got := w.get("/tiles/basemap/1/0/0", w.as("Origin", origin)...)
		if allow := got.header["Access-Control-Allow-Origin"]; allow != nil {
			t.Errorf("%q: got Allow-Origin %q", origin, allow)
		}
		if got := w.do("POST", "/session", "", w.as("Origin", origin)...); got.status != 403 {
			t.Errorf("%q may sign in: got %d, want 403", origin, got.status)
		}
	}
}

func TestOriginsOfAppsAndPreviews(t *testing.T) {
	for _, test := range []struct{ configured, origin string }{
		{"capacitor://localhost", "capacitor://localhost"},
		{"ionic://localhost", "ionic://localhost"},
		{"tauri://localhost", "tauri://localhost"},
		{"http://localhost:*", "http://localhost:5173"},
		{"https://myapp-*.example.app", "https://myapp-git-main.example.app"},
	} {
		w := start(t, func(s *setup) {
			s.proxy.PublicURL, s.proxy.CORS.Origins = "https://tiles.example.com", []string{test.configured}
		})
		w.origin.put("basemap", 1, 0, 0, tilePNG)
		got := w.get("/tiles/basemap/1/0/0", w.as("Origin", test.origin)...)
		constant := !strings.Contains(test.configured, "*")
		if got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != test.origin || (got.header.Get("Vary") == "") != constant {
			t.Errorf("%s: got %d %v", test.configured, got.status, got.header)
		}
		if got.header.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
			t.Errorf("%s is of another site, but its images are refused: %v", test.configured, got.header)
		}
		if got := w.do("POST", "/session", "", w.as("Origin", test.origin)...); got.status != 200 {
			t.Errorf("%s: sign in: got %d %s", test.configured, got.status, got.body)
		}
	}
}

// Tracing libraries add their fields to every request of a page.
func TestPreflightAllowsTracingAndConfiguredHeaders(t *testing.T) {
	w := start(t, func(s *setup) {
		s.proxy.CORS = proxy.CORS{Origins: []string{"https://app.example.com"}, MaxAge: time.Hour, Headers: []string{"X-Client-Version", "authorization"}}
	})
	got := w.do("OPTIONS", "/tiles/basemap/1/0/0", "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "GET",
		"Access-Control-Request-Headers", "baggage,traceparent,tracestate,x-client-version")
	allowed := strings.Split(strings.ToLower(got.header.Get("Access-Control-Allow-Headers")), ", ")
	counts := map[string]int{}
	for _, name := range allowed {
		counts[name]++
	}
	for _, name := range []string{"traceparent", "tracestate", "baggage", "x-client-version", "authorization"} {
		if counts[name] != 1 {
			t.Errorf("%s is allowed %d times: %q", name, counts[name], allowed)
		}
	}
	if counts["x-forwarded-uri"]+counts["x-origin-verify"]+counts["*"] != 0 {
		t.Errorf("got %q", allowed)
	}
}
