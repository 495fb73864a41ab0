package origin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/internal/bubble"
	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// inBubble runs a test on a virtual clock that S3, STS and the origin share.
func inBubble(t *testing.T, test func(t *testing.T, w *world), changes ...change) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, start(t, bubble.NewNetwork(), changes...))
	})
}

func (w *world) mustFetch(t *testing.T) time.Duration {
	t.Helper()
	begun := time.Now()
	_, body, err := w.fetch(t.Context(), tile101, tile.Condition{})
	if err != nil {
		t.Fatalf("after %s: %v", time.Since(begun), err)
	}
	if string(body) != string(content(1)) {
		t.Fatalf("got %d other bytes", len(body))
	}
	return time.Since(begun)
}

func (w *world) mustFail(t *testing.T, class error) string {
	t.Helper()
	_, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
	if !errors.Is(err, class) {
		t.Fatalf("got %v, want %v", err, class)
	}
	return err.Error()
}

func (w *world) assumed() int { return w.Count("AssumeRole", "", "") }

func TestCredentialsAreRefreshedWellBeforeTheyExpire(t *testing.T) {
	var moments []time.Duration
	for range 5 {
		inBubble(t, func(t *testing.T, w *world) {
			begun := time.Now()
			w.mustFetch(t)
			if err := w.Wait(t.Context(), func() bool { return w.assumed() == 2 }); err != nil {
				t.Fatal(err)
			}
			moments = append(moments, time.Since(begun))
		})
	}
	distinct := map[time.Duration]bool{}
	for _, m := range moments {
		distinct[m] = true
		if m < 29*time.Minute || m > 41*time.Minute {
			t.Errorf("the second AssumeRole came after %s, want half to two thirds of the hour", m)
		}
	}
	if len(distinct) < 2 {
		t.Errorf("every refresh came after %s: no jitter", moments[0])
	}
}

func TestCredentialsStayFreshForDays(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for range 3 * 24 * 2 {
			w.mustFetch(t)
			pass(30 * time.Minute)
		}
		if n := w.assumed(); n < 3*24 || n > 3*24*2+1 {
			t.Errorf("%d calls of AssumeRole in three days of one-hour sessions", n)
		}
		if lines := w.origin.Degraded(); len(lines) > 0 {
			t.Errorf("degraded: %q", lines)
		}
	})
}

func TestSlowSTSDelaysNoRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustFetch(t)
		hanging := make(chan struct{}, 100)
		w.Inject(fakeaws.Fault{Op: "AssumeRole", Delay: 30 * time.Second, Met: func(fakeaws.Request) { hanging <- struct{}{} }})
		<-hanging
		for range 20 {
			if took := w.mustFetch(t); took > 0 {
				t.Fatalf("a request took %s while STS took its 30 s", took)
			}
			pass(3 * time.Second)
		}
		if n := w.seen.count("refresh role tiles-reader true"); n != 2 {
			t.Errorf("%d refreshes succeeded, want the first and the slow one", n)
		}
	})
}

func TestSTSOutageFromMinute5To59FailsNothing(t *testing.T) {
	refused := fakeaws.Fault{Op: "AssumeRole", Status: http.StatusInternalServerError, Code: "InternalFailure"}
	silent := fakeaws.Fault{Op: "AssumeRole", HangBeforeHeaders: true}
	for _, tc := range []struct {
		name  string
		fault fakeaws.Fault
		until time.Duration
	}{
		{"refused", refused, 59 * time.Minute},
		{"silent", silent, 59 * time.Minute},
		{"refused almost to the end", refused, 59*time.Minute + 50*time.Second}, // three times, as the backoff is random
		{"refused almost to the end", refused, 59*time.Minute + 50*time.Second},
		{"refused almost to the end", refused, 59*time.Minute + 50*time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.mustFetch(t)
				begun := time.Now()
				pass(5 * time.Minute)
				restore := w.Inject(tc.fault)
				for time.Since(begun) < tc.until {
					if took := w.mustFetch(t); took > 0 {
						t.Fatalf("minute %s: a request took %s", time.Since(begun), took)
					}
					pass(min(30*time.Second, tc.until-time.Since(begun)))
				}
				if lines := strings.Join(w.origin.Degraded(), "\n"); !strings.Contains(lines, "refresh failing") || !strings.Contains(lines, "valid until") {
					t.Errorf("degraded: %q", lines)
				}
				if lines := w.origin.NotReady(); len(lines) > 0 {
					t.Errorf("not ready any more: %q", lines)
				}
				restore()
				for time.Since(begun) < 62*time.Minute { // past the end of the first session
					w.mustFetch(t)
					pass(5 * time.Second)
				}
				if lines := w.origin.Degraded(); len(lines) > 0 {
					t.Errorf("degraded after the outage: %q", lines)
				}
			})
		})
	}
}

func TestAfterTrueExpiryRequestsFailAtOnceUntilSTSIsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustFetch(t)
		restore := w.Inject(fakeaws.Fault{Op: "AssumeRole", Status: http.StatusForbidden, Code: "AccessDenied"})
		pass(59*time.Minute + 59*time.Second)
		w.mustFetch(t)
		pass(2 * time.Second)
		w.Inject(fakeaws.Fault{Op: "GetObject", Status: http.StatusTeapot, Code: "ShouldNotBeAsked"})
		begun := time.Now()
		text := w.mustFail(t, tile.ErrNoCredentials)
		if took := time.Since(begun); took > 0 {
			t.Errorf("without credentials a request took %s", took)
		}
		if !strings.Contains(text, "trust policy") {
			t.Errorf("the error does not say what to do: %q", text)
		}
		if lines := strings.Join(w.origin.Degraded(), "\n"); !strings.Contains(lines, "none valid, AccessDenied") {
			t.Errorf("degraded: %q", lines)
		}
		calls := w.assumed()
		pass(10 * time.Minute)
		if n := w.assumed() - calls; n < 10 || n > 60 {
			t.Errorf("%d calls in ten minutes of outage, want a backoff of at most 30 s", n)
		}
		restore()
		pass(31 * time.Second)
		if got := w.mustFail(t, tile.ErrBadAnswer); !strings.Contains(got, "ShouldNotBeAsked") {
			t.Errorf("S3 is still not asked: %q", got)
		}
	})
}

func TestThousandRequestsAtExpiredTokenMakeOneCallToSTS(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustFetch(t)
		pass(time.Minute)
		w.ExpireSessions()
		w.Inject(fakeaws.Fault{Op: "AssumeRole", Delay: time.Second}) // so that all of them meet it
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { w.mustFetch(t) })
		}
		wg.Wait()
		if n := w.assumed(); n != 2 {
			t.Errorf("%d calls of AssumeRole, want the first and one more", n)
		}
		if got := w.Count("GetObject", "", ""); got > 2010 {
			t.Errorf("%d requests to S3, want two each at most", got)
		}
	})
}

func TestRefusedCredentialsCauseNoStormAtSTS(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustFetch(t)
		w.Inject(fakeaws.Fault{Op: "GetObject", Status: http.StatusBadRequest, Code: "InvalidToken"})
		begun, calls := time.Now(), w.assumed()
		for time.Since(begun) < time.Minute {
			w.mustFail(t, tile.ErrNoCredentials)
			pass(300 * time.Millisecond)
		}
		if n := w.assumed() - calls; n < 5 || n > 13 {
			t.Errorf("%d calls of AssumeRole in a minute in which S3 refused all of them", n)
		}
	})
}

// Credentials are refreshed again if S3 rejects them soon after a refresh that AccessDenied forced, or rejects those
// that replaced rejected ones.
func TestRefusalIsNews(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, w *world){
		"after a denial": func(t *testing.T, w *world) {
			w.Inject(fakeaws.Fault{Op: "GetObject", Status: http.StatusForbidden, Code: "AccessDenied", Times: 1})
			w.mustFail(t, tile.ErrDenied)
		},
		"after a refusal": func(t *testing.T, w *world) {
			w.ExpireSessions()
			w.mustFetch(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waitReady(t)
				before(t, w)
				pass(500 * time.Millisecond)
				if n := w.assumed(); n != 1 {
					t.Fatalf("%d calls of AssumeRole, want one", n)
				}
				w.ExpireSessions()
				w.mustFetch(t)
				if n := w.assumed(); n != 2 {
					t.Errorf("%d calls of AssumeRole, want another", n)
				}
			}, missingOn403(origin.Never))
		})
	}
}

func TestOldCredentialsServeWhileSTSGivesUselessOnes(t *testing.T) {
	expired := -time.Minute
	for name, fault := range map[string]fakeaws.Fault{
		"empty":           {Op: "AssumeRole", Empty: true},
		"already expired": {Op: "AssumeRole", Lifetime: &expired},
		"no XML":          {Op: "AssumeRole", Body: []byte("it works!")},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.mustFetch(t)
				begun := time.Now()
				remove := w.Inject(fault)
				for time.Since(begun) < 55*time.Minute {
					w.mustFetch(t)
					pass(time.Minute)
				}
				if w.seen.count("refresh role tiles-reader false") == 0 {
					t.Error("the useless credentials do not count as a failure")
				}
				remove()
				pass(time.Minute)
				w.mustFetch(t)
				if lines := w.origin.Degraded(); len(lines) > 0 {
					t.Errorf("degraded: %q", lines)
				}
			})
		})
	}
}

func TestAtStartRequestsWaitShortlyForTheFirstCredentials(t *testing.T) {
	for name, tc := range map[string]struct {
		delay time.Duration
		want  error
		took  time.Duration
	}{
		"STS answers in a second":     {time.Second, nil, time.Second},
		"STS takes longer than we do": {20 * time.Second, tile.ErrNoCredentials, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.Inject(fakeaws.Fault{Op: "AssumeRole", Delay: tc.delay})
				w.restart(t)
				begun := time.Now()
				_, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
				if took := time.Since(begun); !errors.Is(err, tc.want) || took != tc.took {
					t.Errorf("got %v after %s, want %v after %s", err, took, tc.want, tc.took)
				}
				pass(30 * time.Second)
				w.mustFetch(t)
			})
		})
	}
}

func TestReadinessAtStart(t *testing.T) {
	for name, tc := range map[string]struct {
		fault fakeaws.Fault
		says  string
	}{
		"STS down": {fakeaws.Fault{Op: "AssumeRole", Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable"}, "no credentials from the role tiles-reader yet"},
		"S3 down":  {fakeaws.Fault{Op: "GetObject", Status: http.StatusBadGateway}, "S3 has not answered yet for base"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				restore := w.Inject(tc.fault)
				w.restart(t)
				for range 5 {
					pass(time.Minute)
					if lines := strings.Join(w.origin.NotReady(), "\n"); !strings.Contains(lines, tc.says) {
						t.Fatalf("not ready: got %q, want %q", lines, tc.says)
					}
				}
				restore()
				pass(time.Minute)
				if lines := w.origin.NotReady(); len(lines) > 0 {
					t.Errorf("not ready: %q", lines)
				}
				w.Inject(tc.fault)
				pass(2 * time.Hour)
				_, _, _ = w.fetch(t.Context(), tile101, tile.Condition{})
				if lines := w.origin.NotReady(); len(lines) > 0 {
					t.Errorf("not ready once it was: %q", lines)
				}
				if len(w.origin.Degraded()) == 0 {
					t.Error("not degraded in an outage")
				}
			})
		})
	}
}

// The probe at start is sent again as soon as there are credentials.
func TestReadyOnceCredentialsArrive(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		restore := w.Inject(fakeaws.Fault{Op: "AssumeRole", Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable"})
		w.restart(t)
		pass(10 * time.Minute)
		before := w.seen.count("refresh role tiles-reader true")
		restore()
		for w.seen.count("refresh role tiles-reader true") == before {
			pass(100 * time.Millisecond)
		}
		pass(100 * time.Millisecond)
		if lines := w.origin.NotReady(); len(lines) > 0 {
			t.Errorf("not ready: %q", lines)
		}
	})
}

func TestRoleOptionsReachSTS(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustFetch(t)
		form := w.Requests()[0].Form
		for name, want := range map[string]string{
			"RoleArn": roleARN, "RoleSessionName": "tiles-1", "ExternalId": "ext-7", "DurationSeconds": "7200",
			"Tags.member.1.Key": "app", "Tags.member.1.Value": "tilegate", "Tags.member.2.Key": "env", "Tags.member.2.Value": "test",
			"Policy": "",
		} {
			if got := form.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	}, func(r *fakeaws.Role, o *origin.Options) {
		r.ExternalID = "ext-7"
		o.Sources[0].Role = origin.Role{
			ARN: roleARN, SessionName: "tiles-1", ExternalID: "ext-7", Duration: 2 * time.Hour,
			Tags: map[string]string{"env": "test", "app": "tilegate"},
		}
	})
}

func TestStaticCredentialsAreAskedForOnce(t *testing.T) {
	var calls atomic.Int32
	inBubble(t, func(t *testing.T, w *world) {
		w.mustFetch(t)
		pass(30 * 24 * time.Hour)
		w.mustFetch(t)
		if n := calls.Load(); n != 1 {
			t.Errorf("the chain was asked %d times", n)
		}
		if c := w.origin.Credentials()[0]; c.Name != "default credential chain" || !c.Valid || !c.Expires.IsZero() || c.Source != "static" {
			t.Errorf("got %+v", c)
		}
	}, func(_ *fakeaws.Role, o *origin.Options) {
		o.Sources[0].Role = origin.Role{}
		o.Base = func(ctx context.Context) (aws.Credentials, error) {
			calls.Add(1)
			return static("AKIAUSER", "user-secret")(ctx)
		}
	})
}

// The platform returns the same instance or container credentials until some minutes before they expire.
func TestExpiringBaseCredentialsAreFollowed(t *testing.T) {
	var calls atomic.Int32
	inBubble(t, func(t *testing.T, w *world) {
		for range 24 * 6 {
			w.mustFetch(t)
			pass(10 * time.Minute)
		}
		if n := calls.Load(); n < 4 || n > 80 {
			t.Errorf("the platform was asked %d times in a day of six-hour credentials", n)
		}
	}, func(_ *fakeaws.Role, o *origin.Options) {
		o.Sources[0].Role = origin.Role{}
		begun := time.Now()
		o.Base = func(ctx context.Context) (aws.Credentials, error) {
			calls.Add(1)
			c, err := static("AKIAUSER", "user-secret")(ctx)
			rotation := (time.Since(begun) + 5*time.Minute) / (6 * time.Hour)
			c.CanExpire, c.Expires = true, begun.Add((rotation+1)*6*time.Hour)
			c.SessionToken = ""
			return c, err
		}
	})
}

func TestRevokedBaseCredentialsAreReadAnew(t *testing.T) {
	var rotated atomic.Bool
	inBubble(t, func(t *testing.T, w *world) {
		pass(10 * time.Second)
		w.mustFail(t, tile.ErrNoCredentials)
		rotated.Store(true)
		pass(time.Minute)
		w.mustFetch(t)
	}, func(_ *fakeaws.Role, o *origin.Options) {
		o.Base = func(ctx context.Context) (aws.Credentials, error) {
			if rotated.Load() {
				return static("AKIAUSER", "user-secret")(ctx)
			}
			return static("AKIAGONE", "old-secret")(ctx)
		}
	})
}

func TestWrongClockIsCorrectedFromWhatS3Says(t *testing.T) {
	for _, ahead := range []time.Duration{-3 * time.Hour, -20 * time.Minute, 20 * time.Minute, 3 * time.Hour} {
		t.Run(fmt.Sprint(ahead), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := startSkewed(t, ahead)
				for range 3 * 6 {
					w.mustFetch(t)
					pass(10 * time.Minute)
				}
				if n := w.assumed(); n > 8 {
					t.Errorf("%d calls of AssumeRole in three hours", n)
				}
				if lines := w.origin.Degraded(); len(lines) > 0 {
					t.Errorf("degraded: %q", lines)
				}
			})
		})
	}
}
