package auth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/auth"
)

// keyServer answers as the test says. It is a transport, so that time stays the bubble's.
type keyServer struct {
	mu       sync.Mutex
	answers  map[string]func(*http.Request) (*http.Response, error)
	requests []time.Time
	targets  []string
}

const jwksURL = "https://id.example.com/jwks.json"

func (k *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	k.requests = append(k.requests, time.Now())
	k.targets = append(k.targets, r.URL.String())
	answer := k.answers[r.URL.String()]
	k.mu.Unlock()
	if answer == nil {
		return response(http.StatusNotFound, ""), nil
	}
	return answer(r)
}

func (k *keyServer) set(url string, answer func(*http.Request) (*http.Response, error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.answers == nil {
		k.answers = map[string]func(*http.Request) (*http.Response, error){}
	}
	k.answers[url] = answer
}

func (k *keyServer) serve(url, document string) {
	k.set(url, func(*http.Request) (*http.Response, error) { return response(http.StatusOK, document), nil })
}

func (k *keyServer) publish(signers ...signer) {
	jwks := []map[string]any{}
	for _, s := range signers {
		jwks = append(jwks, s.jwk())
	}
	k.serve(jwksURL, set(jwks...))
}

func (k *keyServer) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.requests)
}

func response(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}
}

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// withKeyServer runs test in a bubble, with an Authenticator whose one issuer's keys are the
// server's and whose Run has ended its first fetch.
func withKeyServer(t *testing.T, k *keyServer, change func(*auth.Options), test func(t *testing.T, a *auth.Authenticator)) {
	synctest.Test(t, func(t *testing.T) {
		o := auth.Options{
			Issuers: []auth.Issuer{{
				Issuer: "https://id.example.com/", Audience: []string{"tiles"}, Algorithms: []string{"ES256"}, JWKSURL: jwksURL,
			}},
			HTTPClient: &http.Client{Transport: k}, SigningKeys: [][]byte{make([]byte, 32)},
		}
		if change != nil {
			change(&o)
		}
		a := newAuth(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		synctest.Wait()
		test(t, a)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// pass lets d of the bubble's virtual time go by.
func pass(d time.Duration) {
	if d > 0 { // a timer that is due at once can crash the race detector (go.dev/issue/78156)
		<-time.After(d)
	}
}

// current are claims that are good now.
func current() map[string]any {
	return claims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
}

func TestKeyPublishedOneRefreshBeforeUseIsNeverRejected(t *testing.T) {
	old, next, other := ecSigner("old"), ecSigner("next"), ecSigner("other")
	for i := range 20 { // the moment within the interval, and the jitter, vary
		k := &keyServer{}
		k.publish(old)
		withKeyServer(t, k, nil, func(t *testing.T, a *auth.Authenticator) {
			pass(time.Duration(i) * 31 * time.Second)
			k.publish(old, next)
			pass(10*time.Minute - 5*time.Second)
			// An attacker uses up the fetch for unknown kids.
			if _, err := a.Authenticate(bearer(other.token(current())), ""); err == nil {
				t.Error("a key that was never published is accepted")
			}
			pass(5 * time.Second)
			before := k.count()
			authenticate(t, a, next.token(current()))
			if k.count() != before {
				t.Error("the key had to be fetched for")
			}
		})
	}
}

func TestRemovedKeyStopsWithinOneRefresh(t *testing.T) {
	old, next := ecSigner("old"), ecSigner("next")
	k := &keyServer{}
	k.publish(old, next)
	withKeyServer(t, k, nil, func(t *testing.T, a *auth.Authenticator) {
		token := old.token(current())
		authenticate(t, a, token)
		pass(time.Minute)
		authenticate(t, a, token)
		if tokens, _ := a.Verified(); tokens != 1 {
			t.Fatalf("%d tokens are in the cache, want 1", tokens)
		}
		k.publish(next)
		pass(10 * time.Minute)
		_, err := a.Authenticate(bearer(token), "") // in the cache, and bound to the old set
		wantInvalid(t, err, unverifiable)
		authenticate(t, a, next.token(current()))
	})
}

func TestKeyReplacedUnderItsKidStopsWithinOneRefresh(t *testing.T) {
	old, next := ecSigner("same"), ecSigner("same")
	k := &keyServer{}
	k.publish(old)
	withKeyServer(t, k, nil, func(t *testing.T, a *auth.Authenticator) {
		token := old.token(current())
		authenticate(t, a, token)
		k.publish(next)
		pass(10 * time.Minute)
		_, err := a.Authenticate(bearer(token), "")
		wantInvalid(t, err, unverifiable)
		authenticate(t, a, next.token(current()))
	})
}

func TestLastGoodSetServesThroughAnOutage(t *testing.T) {
	s := ecSigner("k")
	for _, tt := range []struct {
		name   string
		answer func(*http.Request) (*http.Response, error)
		want   string // in the line for /ready
	}{
		{"refused", func(*http.Request) (*http.Response, error) {
			return nil, errors.New("dial tcp 10.1.2.3:443: connection refused")
		}, "cannot be reached"},
		{"hanging", hang, "no answer in time"},
		{"500", func(*http.Request) (*http.Response, error) { return response(500, set(s.jwk())), nil }, "status is 500"},
		{"204", func(*http.Request) (*http.Response, error) { return response(204, ""), nil }, "status is 204"},
		{"a redirect", func(*http.Request) (*http.Response, error) {
			res := response(302, "")
			res.Header.Set("Location", "https://elsewhere.example/jwks.json")
			return res, nil
		}, "status is 302"},
		{"malformed", func(*http.Request) (*http.Response, error) { return response(200, "<html>"), nil }, "malformed"},
		{"empty set", func(*http.Request) (*http.Response, error) { return response(200, `{"keys":[]}`), nil }, "no usable key"},
		{"only unusable keys", func(*http.Request) (*http.Response, error) {
			return response(200, set(rsaSigner("r").jwk())), nil
		}, "no usable key"},
		{"endless", func(*http.Request) (*http.Response, error) {
			res := response(200, "")
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"keys":["`), endless{}))
			return res, nil
		}, "longer than 1 MiB"},
		{"cut off", func(*http.Request) (*http.Response, error) {
			res := response(200, "")
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"keys":[`), broken{}))
			return res, nil
		}, "cannot be reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var good, bad atomic.Int64
			k := &keyServer{}
			k.publish(s)
			k.set("https://elsewhere.example/jwks.json", func(*http.Request) (*http.Response, error) {
				t.Error("the redirect was followed")
				return response(404, ""), nil
			})
			withKeyServer(t, k, func(o *auth.Options) {
				o.OnKeySetRefresh = func(issuer string, ok bool) {
					if issuer != "https://id.example.com/" {
						t.Errorf("got issuer %q", issuer)
					}
					if ok {
						good.Add(1)
					} else {
						bad.Add(1)
					}
				}
			}, func(t *testing.T, a *auth.Authenticator) {
				if lines := a.Degraded(); lines != nil {
					t.Errorf("got %q while all is well", lines)
				}
				k.set(jwksURL, tt.answer)
				pass(24 * time.Hour)
				authenticate(t, a, s.token(current()))
				if lines := a.NotReady(); lines != nil {
					t.Errorf("not ready: %q", lines)
				}
				lines := strings.Join(a.Degraded(), "\n")
				if !strings.Contains(lines, tt.want) || !strings.Contains(lines, "https://id.example.com/") || strings.Contains(lines, "10.1.2.3") {
					t.Errorf("got %q, want it to contain %q", lines, tt.want)
				}
				if n := bad.Load(); n < 140 || n > 400 {
					t.Errorf("%d failed refreshes in a day", n)
				}
				k.publish(s)
				pass(10*time.Minute + time.Second)
				if lines := a.Degraded(); lines != nil {
					t.Errorf("got %q after recovery", lines)
				}
				if good.Load() < 2 {
					t.Errorf("%d good refreshes were told", good.Load())
				}
			})
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestFirstFetchIsRetriedUntilReady(t *testing.T) {
	s := ecSigner("k")
	k := &keyServer{}
	withKeyServer(t, k, nil, func(t *testing.T, a *auth.Authenticator) {
		if _, err := a.Authenticate(bearer(s.token(current())), ""); !errors.Is(err, auth.ErrKeysUnavailable) {
			t.Errorf("got %v, want ErrKeysUnavailable", err)
		}
		if lines := a.NotReady(); len(lines) != 1 || lines[0] != auth.ErrKeysUnavailable.Error() {
			t.Errorf("not ready: got %q, want ErrKeysUnavailable", lines)
		}
		if lines := a.Degraded(); len(lines) != 1 || !strings.Contains(lines[0], "no key set yet: the answer's status is 404") {
			t.Errorf("got %q", lines)
		}
		k.publish(s)
		pass(time.Second + time.Millisecond) // the first retry comes after a second at the latest
		if lines := a.NotReady(); lines != nil {
			t.Errorf("not ready: %q", lines)
		}
		authenticate(t, a, s.token(current()))
	})
}

// A map that opens while the process starts gets its tiles a moment later, and not a 503.
func TestRequestsWaitForTheFirstFetch(t *testing.T) {
	s := ecSigner("k")
	for _, tt := range []struct {
		name   string
		takes  time.Duration
		want   error
		waited time.Duration
	}{
		{"it comes in time", time.Second, nil, time.Second},
		{"it takes too long", 3 * time.Second, auth.ErrKeysUnavailable, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &keyServer{}
			k.set(jwksURL, func(*http.Request) (*http.Response, error) {
				pass(tt.takes)
				return response(http.StatusOK, set(s.jwk())), nil
			})
			withKeyServer(t, k, nil, func(t *testing.T, a *auth.Authenticator) {
				began := time.Now()
				var wg sync.WaitGroup
				var overflow atomic.Int64
				for range 256 + 7 {
					wg.Go(func() {
						_, err := a.Authenticate(bearer(s.token(current())), "")
						switch waited := time.Since(began); {
						case errors.Is(err, auth.ErrKeysUnavailable) && waited == 0:
							overflow.Add(1)
						case !errors.Is(err, tt.want) || waited != tt.waited:
							t.Errorf("got %v after %v, want %v after %v", err, waited, tt.want, tt.waited)
						}
					})
				}
				wg.Wait()
				if overflow.Load() != 7 {
					t.Errorf("%d were answered at once, want all but 256", overflow.Load())
				}
				if k.count() != 1 {
					t.Errorf("got %d fetches, want 1", k.count())
				}
			})
		})
	}
}

func TestUnknownKidsCauseOneFetchIn30Seconds(t *testing.T) {
	s := ecSigner("k")
	k := &keyServer{}
	k.publish(s)
	withKeyServer(t, k, nil, func(t *testing.T, a *auth.Authenticator) {
		flood := func(name string) {
			var wg sync.WaitGroup
			for i := range 200 {
				wg.Go(func() {
					_, err := a.Authenticate(bearer(ecSigner(fmt.Sprint(name, i)).token(current())), "")
					wantInvalid(t, err, unverifiable)
				})
			}
			wg.Wait()
		}
		for round := 1; round <= 3; round++ {
			flood(fmt.Sprint(round, "-"))
			flood(fmt.Sprint(round, "+")) // after the fetch has ended: refused at once
			if got, want := k.count(), 1+round; got != want {
				t.Fatalf("round %d: got %d fetches, want %d", round, got, want)
			}
			pass(30 * time.Second)
		}
	})
}

func TestUnknownKidIsFetchedForAndAccepted(t *testing.T) {
	old, next := ecSigner("old"), ecSigner("next")
	k := &keyServer{}
	k.publish(old)
	withKeyServer(t, k, nil, func(t *testing.T, a *auth.Authenticator) {
		k.publish(next, old)
		before := time.Now()
		authenticate(t, a, next.token(current()))
		if waited := time.Since(before); waited != 0 {
			t.Errorf("waited %v for a server that answers at once", waited)
		}
		if k.count() != 2 {
			t.Errorf("got %d fetches, want 2", k.count())
		}
	})
}

func TestWaitForAnUnknownKidIsBounded(t *testing.T) {
	s, next := ecSigner("k"), ecSigner("next")
	k := &keyServer{}
	k.publish(s)
	withKeyServer(t, k, nil, func(t *testing.T, a *auth.Authenticator) {
		k.set(jwksURL, hang)
		began := time.Now()
		token := next.token(current())
		var atOnce, waited atomic.Int64
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				_, err := a.Authenticate(bearer(token), "")
				wantInvalid(t, err, unverifiable)
				switch time.Since(began) {
				case 0:
					atOnce.Add(1)
				case 2 * time.Second:
					waited.Add(1)
				}
			})
		}
		synctest.Wait()
		if atOnce.Load() != 44 {
			t.Errorf("%d of 300 were refused at once, want 44", atOnce.Load())
		}
		authenticate(t, a, s.token(current())) // known kids do not wait
		if time.Since(began) != 0 {
			t.Error("a known kid waited for the fetch")
		}
		wg.Wait()
		if waited.Load() != 256 {
			t.Errorf("%d waited 2 s, want 256", waited.Load())
		}
		if k.count() != 2 {
			t.Errorf("got %d fetches, want 2", k.count())
		}
		// A client that leaves does not wait on.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := a.Authenticate(bearer(token).WithContext(ctx), "")
		wantInvalid(t, err, unverifiable)
		if time.Since(began) != 2*time.Second {
			t.Error("waited for a client that left")
		}
	})
}

func TestForgedTokenReachesNoKeyServer(t *testing.T) {
	s := ecSigner("k")
	k := &keyServer{}
	k.publish(s)
	withKeyServer(t, k, nil, func(t *testing.T, a *auth.Authenticator) {
		kidless := s
		kidless.kid = ""
		for _, token := range []string{
			s.sign(`{"alg":"ES256","kid":""}`, asJSON(current())),
			s.sign(`{"alg":"RS256","kid":"unknown"}`, asJSON(current())),
			s.sign(`{"alg":"ES256","kid":"unknown"}`, `{"iss":"https://evil.example/"}`),
			s.token(current()) + "A",
		} {
			_, err := a.Authenticate(bearer(token), "")
			wantInvalid(t, err, "")
		}
		if k.count() != 1 {
			t.Errorf("got requests for %q", k.targets)
		}
	})
}

func TestUnchangedSetIsNotReplaced(t *testing.T) {
	s := ecSigner("k")
	k := &keyServer{}
	k.publish(s)
	var log strings.Builder
	withKeyServer(t, k, func(o *auth.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) }, func(t *testing.T, a *auth.Authenticator) {
		pass(24 * time.Hour)
		if got := strings.Count(log.String(), "key set changed"); got != 1 || k.count() < 100 {
			t.Errorf("%d changes in %d fetches of the same set", got, k.count())
		}
	})
}

func TestDiscovery(t *testing.T) {
	s := ecSigner("k")
	const wellKnown = "https://id.example.com/.well-known/openid-configuration"
	for _, tt := range []struct {
		name     string
		document string
		want     string // in the line for /ready; "": accepted
	}{
		{"found", `{"issuer":"https://id.example.com/","jwks_uri":"` + jwksURL + `"}`, ""},
		{"another issuer, but for a slash", `{"issuer":"https://id.example.com","jwks_uri":"` + jwksURL + `"}`, "another issuer's"},
		{"no issuer", `{"jwks_uri":"` + jwksURL + `"}`, "another issuer's"},
		{"issuer twice", `{"issuer":"https://id.example.com/","issuer":"https://id.example.com/","jwks_uri":"` + jwksURL + `"}`, "malformed"},
		{"no jwks_uri", `{"issuer":"https://id.example.com/"}`, "not https"},
		{"plain http", `{"issuer":"https://id.example.com/","jwks_uri":"http://id.example.com/jwks.json"}`, "not https"},
		{"a service on this machine", `{"issuer":"https://id.example.com/","jwks_uri":"http://127.0.0.1:9090/debug"}`, "not https"},
		{"a file", `{"issuer":"https://id.example.com/","jwks_uri":"file:///etc/passwd"}`, "not https"},
		{"relative", `{"issuer":"https://id.example.com/","jwks_uri":"/jwks.json"}`, "not https"},
		{"with a password", `{"issuer":"https://id.example.com/","jwks_uri":"https://a:b@id.example.com/jwks.json"}`, "not https"},
		{"not JSON", `<html>`, "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &keyServer{}
			k.publish(s)
			k.serve(wellKnown, tt.document)
			withKeyServer(t, k, func(o *auth.Options) { o.Issuers[0].JWKSURL = "" }, func(t *testing.T, a *auth.Authenticator) {
				if tt.want == "" {
					authenticate(t, a, s.token(current()))
					return
				}
				if lines := strings.Join(a.Degraded(), "\n"); !strings.Contains(lines, tt.want) {
					t.Errorf("got %q, want it to contain %q", lines, tt.want)
				}
				for _, target := range k.targets {
					if target != wellKnown {
						t.Errorf("a request went to %s", target)
					}
				}
			})
		})
	}
}

// The default client against a real listener: redirects, cookies and compression are net/http's.
func TestKeySetOverHTTP(t *testing.T) {
	s := ecSigner("k")
	fetched := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":"http://%s","jwks_uri":"http://%s/keys"}`, r.Host, r.Host)
		case "/keys":
			fmt.Fprint(w, set(s.jwk()))
		}
	}))
	defer server.Close()
	a := newAuth(t, auth.Options{
		Issuers:         []auth.Issuer{{Issuer: server.URL, Audience: []string{"tiles"}, Algorithms: []string{"ES256"}}},
		OnKeySetRefresh: func(string, bool) { fetched <- struct{}{} },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	<-fetched
	c := current()
	c["iss"] = server.URL
	authenticate(t, a, s.token(c))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
