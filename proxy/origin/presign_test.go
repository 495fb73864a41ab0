package origin_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// browse gets a URL without any credential, as a browser does.
func (w *world) browse(t *testing.T, address string) (int, []byte) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: w.opt.Dial, DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = strings.TrimSuffix(r.URL.Host, ":80") // as browsers have it
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

func (w *world) presign(t *testing.T) (string, time.Time) {
	t.Helper()
	signed := w.sign(t)
	return signed.URL, signed.Expires
}

func (w *world) sign(t *testing.T) tile.Signed {
	t.Helper()
	signed, err := w.tiles.Presign(t.Context(), tile101)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(signed.Expires); left < 20*time.Second || left > 15*time.Minute {
		t.Errorf("it lives %s", left)
	}
	return signed
}

func TestPresignedURLStaysTheSameWithinAWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		seen := map[string]time.Time{}
		var order []string
		begun := time.Now()
		for time.Since(begun) < 2*time.Hour { // the credentials are refreshed three times meanwhile
			address, expires := w.presign(t)
			if first, known := seen[address]; known && !first.Equal(expires) {
				t.Errorf("the same URL expires at %s and at %s", first, expires)
			} else if !known {
				order = append(order, address)
				seen[address] = expires
			}
			if last := order[len(order)-1]; last != address {
				t.Fatal("an earlier URL came back")
			}
			pass(20 * time.Second)
		}
		if n := len(seen); n != 24 && n != 25 {
			t.Errorf("%d different URLs in two hours, want one for each five minutes", n)
		}
		if w.assumed() < 3 {
			t.Errorf("the credentials were refreshed %d times", w.assumed())
		}
	})
}

// For as long as Constant says, everybody gets the same URL.
func TestPresignedURLStaysForAsLongAsItSays(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"right clock": 0, "S3's is ahead": 132 * time.Second, "S3's is behind": -171 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := startSkewed(t, ahead)
				w.waitReady(t)
				pass(time.Minute)
				for range 5 {
					first := w.sign(t)
					pass(first.Constant - time.Second)
					if again := w.sign(t); again.URL != first.URL {
						t.Errorf("another one %s before the time", again.Constant)
					}
					pass(time.Second)
					if next := w.sign(t); next.URL == first.URL || next.Constant != 5*time.Minute {
						t.Errorf("after the time it is the same for %s more", next.Constant)
					}
				}
			})
		})
	}
}

func TestPresignedURLWorksUntilItExpires(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		address, expires := w.presign(t)
		if status, body := w.browse(t, address); status != http.StatusOK || string(body) != string(content(1)) {
			t.Fatalf("got %d, %d bytes", status, len(body))
		}
		pass(time.Until(expires) - time.Second)
		if status, _ := w.browse(t, address); status != http.StatusOK {
			t.Errorf("a second before it expires: %d", status)
		}
		pass(2 * time.Second)
		if status, _ := w.browse(t, address); status != http.StatusForbidden {
			t.Errorf("a second after it expired: %d", status)
		}
	})
}

func TestPresignedURLNeverOutlivesItsCredentials(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		w.Inject(fakeaws.Fault{Op: "AssumeRole", Status: http.StatusInternalServerError})
		end := w.origin.Credentials()[0].Expires
		if end.IsZero() {
			end = w.origin.Credentials()[1].Expires
		}
		for time.Until(end) > 21*time.Second {
			signed := w.sign(t)
			address, expires := signed.URL, signed.Expires
			if expires.After(end) {
				t.Fatalf("it expires at %s, its credentials at %s", expires, end)
			}
			if most := time.Until(end) - 20*time.Second; signed.Constant > most {
				t.Errorf("it is said to stay for %s, and its credentials are used for %s more", signed.Constant, most)
			}
			if time.Until(end) < 6*time.Minute {
				if status, _ := w.browse(t, address); status != http.StatusOK {
					t.Fatalf("%s before the end: %d", time.Until(end), status)
				}
			}
			pass(20 * time.Second)
		}
		pass(5 * time.Second)
		if _, err := w.tiles.Presign(t.Context(), tile101); !errors.Is(err, tile.ErrNoCredentials) {
			t.Errorf("with 16 s left of the credentials: %v", err)
		}
	})
}

func TestPresignDropsRefusedCredentials(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		before, _ := w.presign(t)
		w.ExpireSessions()
		if status, _ := w.browse(t, before); status == http.StatusOK {
			t.Fatal("the session still works")
		}
		w.mustFetch(t) // S3 refuses, new credentials come
		after, _ := w.presign(t)
		if status, _ := w.browse(t, after); status != http.StatusOK {
			t.Errorf("a URL signed after the refusal: %d", status)
		}
	})
}

func TestPresignDropsWhateverWasRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		w.presign(t)
		for range 3 { // within one window, and with no URL asked for between
			w.ExpireSessions()
			w.mustFetch(t)
			pass(10 * time.Second)
		}
		address, _ := w.presign(t)
		if status, _ := w.browse(t, address); status != http.StatusOK {
			t.Errorf("a URL signed after three refusals: %d", status)
		}
	})
}

// Rejected credentials sign URLs while there are no others, but not for the rest of the window.
func TestRefusedCredentialsAreNotKeptForAWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		restore := w.Inject(fakeaws.Fault{Op: "AssumeRole", Status: http.StatusInternalServerError})
		w.ExpireSessions()
		w.mustFail(t, tile.ErrNoCredentials)
		if signed := w.sign(t); signed.Constant > 0 {
			t.Errorf("a dead URL is said to stay for %s", signed.Constant)
		}
		restore()
		pass(time.Minute)
		address, _ := w.presign(t)
		if status, _ := w.browse(t, address); status != http.StatusOK {
			t.Errorf("a URL signed once STS was back: %d", status)
		}
	})
}

// A caller that waits for credentials while a new window begins gets a URL of the new window.
func TestWaitingForCredentialsSetsNoWindowBack(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		w.Inject(fakeaws.Fault{Op: "AssumeRole", Delay: 1500 * time.Millisecond})
		pass(5*time.Minute - time.Second - time.Duration(time.Now().UnixNano())%(5*time.Minute))
		w.restart(t)
		urls := make(chan string, 2)
		for range 2 {
			go func() {
				signed, err := w.tiles.Presign(t.Context(), tile101)
				if err != nil {
					t.Error(err)
				}
				urls <- signed.URL
			}()
			pass(1200 * time.Millisecond)
		}
		if first, second := <-urls, <-urls; first != second {
			t.Errorf("got\n%s and\n%s", first, second)
		}
	})
}

// The Date of a slow answer is old, and does not change the clock.
func TestSlowAnswerSetsNoWindowBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ahead = 10 * time.Minute
		w := startSkewed(t, ahead)
		w.waitReady(t)
		w.Inject(fakeaws.Fault{Op: "GetObject", Delay: 4 * time.Second, Times: 1})
		pass(5*time.Minute - 2*time.Second - time.Duration(time.Now().UnixNano())%(5*time.Minute))
		slow := make(chan struct{})
		go func() {
			defer close(slow)
			if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{}); err != nil {
				t.Error(err)
			}
		}()
		pass(3 * time.Second)
		before, _ := w.presign(t)
		<-slow
		if after, _ := w.presign(t); after != before {
			t.Errorf("got\n%s and then\n%s", before, after)
		}
	})
}

func TestPresignWithAWrongClock(t *testing.T) {
	for _, ahead := range []time.Duration{-40 * time.Minute, 40 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			w := startSkewed(t, ahead)
			w.waitReady(t)
			for range 20 {
				address, _ := w.presign(t)
				if status, _ := w.browse(t, address); status != http.StatusOK {
					t.Errorf("S3 is %s ahead: %d", ahead, status)
				}
				pass(100 * time.Second)
			}
		})
	}
}

func TestPresignedURLHoldsNoMoreThanItMust(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		address, _ := w.presign(t)
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		for name := range u.Query() {
			if !strings.HasPrefix(name, "X-Amz-") && name != "x-id" {
				t.Errorf("parameter %s", name)
			}
		}
		if got := u.Query().Get("X-Amz-SignedHeaders"); got != "host" {
			t.Errorf("signed headers %q: a browser sends none of ours", got)
		}
	})
}

func TestFileIsPresignedByItsWholeKey(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Put("docs", "2026/report & more+.pdf", fakeaws.Object{Body: []byte("%PDF")})
		signed, err := w.origin.Source("file:report").Presign(t.Context(), tile.Key{})
		if err != nil {
			t.Fatal(err)
		}
		if status, body := w.browse(t, signed.URL); status != http.StatusOK || string(body) != "%PDF" {
			t.Errorf("got %d %q", status, body)
		}
	}, func(_ *fakeaws.Role, o *origin.Options) {
		o.Sources = append(o.Sources, origin.Source{
			ID: "file:report", Bucket: "docs", Prefix: "2026/report & more+.pdf", Role: o.Sources[0].Role,
			Key: func(tile.Key) string { return "2026/report & more+.pdf" },
		})
	})
}
