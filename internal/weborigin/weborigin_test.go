package weborigin_test

import (
	"errors"
	"strings"
	"testing"

	"tilegate/internal/weborigin"
)

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		pattern string
		yes, no []string
	}{
		{"https://app.example.com", []string{"https://app.example.com"}, []string{"http://app.example.com", "https://app.example.com:8443", "https://app.example.com:443", "https://app.example.com.", "https://APP.example.com", "https://app.example.com/", ""}},
		{"https://app.example.com:8443", []string{"https://app.example.com:8443"}, []string{"https://app.example.com", "https://app.example.com:08443"}},
		{"http://[::1]:3000", []string{"http://[::1]:3000"}, []string{"http://[::1]", "http://[::2]:3000"}},
		{"https://*.wild.example", []string{"https://a.wild.example", "https://a.b.wild.example"}, []string{
			"https://wild.example", "https://.wild.example", "https://a..wild.example", "http://a.wild.example", "https://a.wild.example:8443", "https://evilwild.example",
			"https://evil.example:80.wild.example", "https://evil.example/.wild.example", "https://evil.example?.wild.example", "https://evil.example#.wild.example",
			"https://evil.example@a.wild.example", "https://evil.example\\.wild.example", "https://evil.example .wild.example", "https://evil.example,https://a.wild.example",
			"https://[::1].wild.example", "https://a.wild.example.evil.example", "https://%61.wild.example", "https://\u00e4.wild.example", "https://*.wild.example", "https://a.wild.example\x00",
		}},
		{"https://*.wild.example:8443", []string{"https://a.wild.example:8443"}, []string{"https://a.wild.example", "https://a.wild.example:8444"}},
		{"https://myapp-*.example.app", []string{"https://myapp-git-main.example.app", "https://myapp-1.example.app"}, []string{
			"https://myapp-.example.app", "https://myapp.example.app", "https://myapp-a.b.example.app", "https://evil.myapp-a.example.app", "https://xmyapp-a.example.app",
			"https://myapp-a.evil.app", "http://myapp-a.example.app", "https://myapp-a.example.app:8443", "https://myapp-evil.example:80.example.app",
		}},
		{"https://*-acme.example.app", []string{"https://pr7-acme.example.app"}, []string{"https://-acme.example.app", "https://pr7-acme2.example.app"}},
		{"https://a*a.example.app", []string{"https://aba.example.app"}, []string{"https://aa.example.app", "https://a.example.app"}},
		{"http://localhost:*", []string{"http://localhost", "http://localhost:3000", "http://localhost:65535"}, []string{
			"https://localhost:3000", "http://localhost:80", "http://localhost:", "http://localhost:0", "http://localhost:65536", "http://localhost:03000", "http://localhost:*",
			"http://localhost:3000.evil.example", "http://localhost.evil.example", "http://evil.localhost:3000", "http://localhost:+1",
		}},
		{"http://[::1]:*", []string{"http://[::1]:5173"}, []string{"http://[::2]:5173"}},
		{"capacitor://localhost", []string{"capacitor://localhost"}, []string{"http://localhost", "capacitor://localhost:80", "capacitor://evil", "ionic://localhost", "capacitor://"}},
		{"com.example.app://localhost", []string{"com.example.app://localhost"}, []string{"com.example.app2://localhost"}},
	} {
		p, err := weborigin.Parse(test.pattern)
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		for _, origin := range test.yes {
			if !p.Matches(origin) {
				t.Errorf("%s refuses %q", test.pattern, origin)
			}
		}
		for _, origin := range append(test.no, "null", "*", "https://evil.example") {
			if p.Matches(origin) {
				t.Errorf("%s allows %q", test.pattern, origin)
			}
		}
	}
	if (weborigin.Pattern{}).Matches("https://app.example.com") {
		t.Error("the zero pattern allows something")
	}
}

func TestParseRefuses(t *testing.T) {
	for pattern, want := range map[string]string{
		"*": "any site", "null": "any site", "https://*": "any site",
		"": "not an origin", "app.example.com": "not an origin", "https://": "not an origin", "//app.example.com": "not an origin", "1app://localhost": "not an origin",
		"https://app..example.com": "not an origin", "https://app.example.com.": "not an origin", "https://app.example.com:": "not an origin",
		"https://app.example.com:0": "not an origin", "https://app.example.com:65536": "not an origin", "https://app.example.com:port": "not an origin", "https://[::1": "not an origin",
		"https://ex ample.com": "not an origin", "capacitor://": "not an origin",
		"https://app.example.com/": "goes on after the host", "https://me@app.example.com": "goes on after the host", "https://app.example.com#x": "goes on after the host",
		"https://App.example.com": "as browsers send it", "HTTPS://app.example.com": "as browsers send it", "https://app.example.com:443": "as browsers send it", "http://app.example.com:80": "as browsers send it",
		"file://host": "send as null", "data://x": "send as null",
		"http://*.example.com": "over http", "http://app-*.example.com": "over http", "capacitor://*.example.com": "an app's own scheme",
		"https://*.com": "top-level domain", "https://app-*.com": "top-level domain",
		"https://a.*.example.com": "first label alone", "https://*.*.example.com": "first label alone", "https://a*b*.example.com": "first label alone",
		"https://app.example.com:*": "every port", "https://*.example.com:*": "every port", "http://localhost.example.com:*": "every port", "capacitor://localhost:*": "every port",
		"https://*.example.com.": "not an origin", "https://*..example.com": "not an origin",
	} {
		_, err := weborigin.Parse(pattern)
		var bad *weborigin.PatternError
		if !errors.As(err, &bad) || !strings.Contains(bad.Problem, want) {
			t.Errorf("%q: got %v, want %q", pattern, err, want)
		}
	}
}

func TestShared(t *testing.T) {
	for pattern, want := range map[string]bool{
		"https://*.vercel.app": true, "https://myapp-*.vercel.app": true, "https://*.co.uk": true, "https://*.github.io": true,
		"https://*.example.com": false, "https://*.myapp.vercel.app": false, "https://myapp.vercel.app": false, "http://localhost:*": false, "capacitor://localhost": false,
	} {
		p, err := weborigin.Parse(pattern)
		if err != nil || p.Shared() != want {
			t.Errorf("%s: got %v, %v, want %v", pattern, p.Shared(), err, want)
		}
	}
}

// Whatever is a pattern without a * is an origin, and allows itself and nothing else.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"https://app.example.com", "https://*.example.com", "http://localhost:*", "capacitor://localhost", "https://a-*.example.app:8443", "http://[::1]:80"} {
		f.Add(s, "https://evil.example:80.example.com")
	}
	f.Fuzz(func(t *testing.T, pattern, origin string) {
		p, err := weborigin.Parse(pattern)
		if err != nil {
			if p.Matches(origin) || p.Matches(pattern) {
				t.Errorf("%q is refused and matches", pattern)
			}
			return
		}
		if p.Exact() && (!p.Matches(pattern) || origin != pattern && p.Matches(origin)) {
			t.Errorf("%q and %q", pattern, origin)
		}
		if p.Matches(origin) && weborigin.Site(origin) == "" {
			t.Errorf("%q has no site", origin)
		}
		if p.Matches(origin) && strings.Count(origin, ":") > 2 && !strings.Contains(origin, "[") {
			t.Errorf("%q allows %q", pattern, origin)
		}
	})
}
