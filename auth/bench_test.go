package auth_test

import (
	"net/http"
	"strings"
	"testing"

	"tilegate/auth"
	"tilegate/internal/tile"
)

// hits are requests whose credential has been verified before, as all but the first of a map's are.
func hits(t testing.TB) (*auth.Authenticator, map[string]*http.Request, map[string]string) {
	t.Helper()
	a, _, s := standard(t)
	token := s.token(claims(map[string]any{"name": strings.Repeat("x", 175)}))
	if len(token) < 780 || len(token) > 880 {
		t.Fatalf("the token has %d bytes, want about 800", len(token))
	}
	g := authenticate(t, a, token)
	session, err := a.NewSession(g)
	if err != nil {
		t.Fatal(err)
	}
	path, _, err := a.NewPathToken(g, auth.PathRequest{})
	if err != nil {
		t.Fatal(err)
	}
	requests := map[string]*http.Request{
		"bearer": bearer(token),
		"cookie": request("Cookie", "theme=dark; __Host-tilegate="+session.Token+"; lang=de"),
		"path":   request(),
	}
	return a, requests, map[string]string{"path": path}
}

func BenchmarkAuthenticateHit(b *testing.B) {
	a, requests, paths := hits(b)
	for name, r := range requests {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(r, paths[name]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAuthenticateHitParallel(b *testing.B) {
	a, requests, _ := hits(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.Authenticate(requests["bearer"], ""); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkAuthenticateRefused(b *testing.B) {
	a, _, s := standard(b)
	unsigned := func(token string) string { return token[:len(token)-4] + "AAAA" }
	for _, bb := range []struct{ name, token string }{
		{"wrong signature", unsigned(s.token(claims(nil)))},
		{"expired", s.token(claims(map[string]any{"exp": 1}))},
		{"8 KiB of text", unsigned(s.token(claims(map[string]any{"x": strings.Repeat("\\", 2500)})))},
		{"8 KiB of arrays", unsigned(s.token(claims(map[string]any{"x": make([]int, 2700)})))},
		{"over 8 KiB", strings.Repeat("a", 16<<10)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := bearer(bb.token)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(r, ""); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

func BenchmarkAdmits(b *testing.B) {
	g, err := auth.NewGrant(auth.Limits{
		Tilesets: []string{"acme-*", "roads", "basemap"}, BBox: &tile.Box{West: 5, South: 45, East: 15, North: 55},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !g.Admits("basemap", 7, 66, 44) {
			b.Fatal("not admitted")
		}
	}
}

func TestHitsDoNotAllocate(t *testing.T) {
	a, requests, paths := hits(t)
	for name, r := range requests {
		if got := testing.AllocsPerRun(100, func() {
			if _, err := a.Authenticate(r, paths[name]); err != nil {
				t.Fatal(err)
			}
		}); got > 0 {
			t.Errorf("%s: got %v allocations, want none", name, got)
		}
	}
	g := authenticate(t, a, strings.TrimPrefix(requests["bearer"].Header.Get("Authorization"), "Bearer "))
	if got := testing.AllocsPerRun(100, func() { g.Admits("basemap", 7, 66, 44) }); got > 0 {
		t.Errorf("Admits: got %v allocations, want none", got)
	}
}
