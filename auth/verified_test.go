package auth_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRememberedTokenEndsWithItsExpiry(t *testing.T) {
	a, c, s := standard(t)
	token := s.token(claims(nil))
	for _, after := range []time.Duration{0, 30 * time.Minute, 30*time.Minute + 29*time.Second} {
		c.Advance(after)
		authenticate(t, a, token)
		c.mu.Lock()
		c.now = start
		c.mu.Unlock()
	}
	c.Advance(time.Hour + 30*time.Second)
	_, err := a.Authenticate(bearer(token), "")
	wantInvalid(t, err, "expired 30s ago")
}

func TestTokenThatHashesAlikeIsNotBelieved(t *testing.T) {
	a, _, s := standard(t)
	token := s.token(claims(nil))
	authenticate(t, a, token)
	forged := token[:len(token)-4] + "AAAA"
	a.Collide(token, forged)
	_, err := a.Authenticate(bearer(forged), "")
	wantInvalid(t, err, unverifiable)
	authenticate(t, a, token)
}

func TestRememberedTokensAreBoundedByCount(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	s := secretSigner(secret)
	o := testOptions(newClock(), rsaSigner(""))
	o.Issuers[0].PublicKeyPEM, o.Issuers[0].Secret, o.Issuers[0].Algorithms = nil, secret, []string{"HS256"}
	a := newAuth(t, o)
	a.Limit(800, 1<<30, 100)
	for i := range 1200 {
		authenticate(t, a, s.token(claims(map[string]any{"jti": fmt.Sprint(i)})))
	}
	tokens, bytes := a.Verified()
	if tokens > 800 || tokens < 700 || bytes < tokens*500 {
		t.Errorf("%d tokens of %d bytes are in the cache, want 800 at most", tokens, bytes)
	}
}

func TestRememberedTokensAreBoundedByBytes(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	s := secretSigner(secret)
	o := testOptions(newClock(), rsaSigner(""))
	o.Issuers[0].PublicKeyPEM, o.Issuers[0].Secret, o.Issuers[0].Algorithms = nil, secret, []string{"HS256"}
	a := newAuth(t, o)
	const limit = 4 << 20
	a.Limit(1<<20, limit, 100)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	filler := strings.Repeat("x", 5000)
	for i := range 800 {
		authenticate(t, a, s.token(claims(map[string]any{"jti": fmt.Sprint(i), "x": filler, "tilesets": []string{"a", "b", fmt.Sprint("c", i)}})))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	tokens, bytes := a.Verified()
	if bytes > limit || bytes < limit*3/4 || tokens >= 800 {
		t.Errorf("%d tokens of %d bytes are in the cache, want at most %d bytes", tokens, bytes, limit)
	}
	// What is counted is what is held.
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > limit*5/4 {
		t.Errorf("%d bytes are held, and %d counted", held, bytes)
	}
	runtime.KeepAlive(a)
}

func TestRememberingIsSafeForConcurrentUse(t *testing.T) {
	a, c, s := standard(t)
	var tokens []string
	for i := range 20 {
		tokens = append(tokens, s.token(claims(map[string]any{"jti": fmt.Sprint(i), "sub": fmt.Sprint("user-", i)})))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 400 {
				g, err := a.Authenticate(bearer(tokens[i%20]), "")
				if err != nil || g.Subject != fmt.Sprint("user-", i%20) {
					t.Errorf("got %v, %v", g, err)
				}
				c.Advance(time.Millisecond)
			}
		})
	}
	wg.Wait()
}
