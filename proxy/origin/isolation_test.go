package origin_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// withStuckStore adds sources s0 to s39 in a store whose S3 and STS never accept a connection.
func withStuckStore(role *fakeaws.Role, o *origin.Options) {
	vending(role, o)
	o.Sources = o.Sources[:1]
	o.Stores = []origin.Store{{
		Name: "stuck", Region: "us-east-1", Endpoint: "http://stuck.invalid", STSEndpoint: "http://stuck.invalid", PathStyle: true,
		Base: static("AKIAUSER", "user-secret"),
	}}
	for i := range 40 {
		id := fmt.Sprintf("s%d", i)
		s := source(id, "tiles", id+"/")
		s.Store, s.Vend, s.Literals = "stuck", true, literalsOf(id+"/")
		if i < 30 {
			s.Role = origin.Role{}
			s.Vend = false
		} else {
			s.Role = origin.Role{ARN: roleARN}
		}
		o.Sources = append(o.Sources, s)
	}
	dial := o.Dial
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "stuck.invalid") {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return dial(ctx, network, address)
	}
}

// The probes of a store that does not answer leave those of another store their turn.
func TestAStoreThatDoesNotAnswerDelaysNoOthersStart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		pass(time.Second)
		for _, line := range w.origin.NotReady() {
			if strings.Contains(line, "base") {
				t.Errorf("not ready: %s", line)
			}
		}
		w.mustFetch(t)
	}, withStuckStore)
}

// Callers who wait for credentials of a store that does not answer take no slot from those of another one.
func TestAStoreThatDoesNotAnswerVendsForTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		pass(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		var stuck sync.WaitGroup
		for i := range 20 {
			stuck.Go(func() {
				if _, err := w.origin.Vend(ctx, fmt.Sprint(i), []string{"s39"}, time.Hour); err == nil {
					t.Error("credentials from nowhere")
				}
			})
		}
		synctest.Wait()
		begun := time.Now()
		if _, err := w.origin.Vend(t.Context(), "ada", []string{"base"}, time.Hour); err != nil || time.Since(begun) > time.Second {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
		cancel()
		stuck.Wait()
	}, withStuckStore)
}

// The failures of one store take neither retries nor concurrency from the sources of another.
func TestAStoreThatFailsSlowsNoOther(t *testing.T) {
	for _, code := range []string{"InternalError", "SlowDown"} {
		t.Run(code, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waitReady(t)
				w.Inject(fakeaws.Fault{Op: "GetObject", Bucket: "failing", Status: 503, Code: code})
				for range 60 {
					if _, err := w.origin.Source("roads").Fetch(t.Context(), tile101, tile.Condition{}); err == nil || errors.Is(err, tile.ErrMissing) {
						t.Fatalf("got %v", err)
					}
					pass(time.Second)
				}
				w.Inject(fakeaws.Fault{Op: "GetObject", Bucket: "tiles", Times: 2, Status: 500})
				w.mustFetch(t)

				const clients = 200
				var inFlight atomic.Int64
				release := make(chan struct{})
				w.Inject(fakeaws.Fault{
					Op: "GetObject", Bucket: "tiles", HangBeforeHeaders: true, Release: release, Met: func(fakeaws.Request) { inFlight.Add(1) },
				})
				var all sync.WaitGroup
				for range clients {
					all.Go(func() {
						if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{}); err != nil {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				if n := inFlight.Load(); n != clients {
					t.Errorf("%d requests in flight, want %d", n, clients)
				}
				close(release)
				all.Wait()
			}, func(_ *fakeaws.Role, o *origin.Options) {
				roads := source("roads", "failing", "base/")
				roads.Store, roads.Role = "failing", origin.Role{}
				o.Stores = []origin.Store{{Name: "failing", Endpoint: o.Endpoint, PathStyle: true, Base: static("AKIAUSER", "user-secret")}}
				o.Sources = append(o.Sources, roads)
			})
		})
	}
}

// A wrong Date on a good answer of STS moves neither the expiry of its credentials nor the clock of the next call.
func TestAWrongDateOnAGoodAnswerOfSTSIsIgnored(t *testing.T) {
	for _, off := range []time.Duration{-6 * time.Hour, 6 * time.Hour} {
		t.Run(fmt.Sprint(off), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waitReady(t)
				w.Inject(fakeaws.Fault{Op: "AssumeRole", Header: http.Header{"Date": {time.Now().Add(off).UTC().Format(http.TimeFormat)}}})
				w.restart(t)
				w.mustFetch(t)
				check := func() {
					t.Helper()
					for _, c := range w.origin.Credentials() {
						if left := time.Until(c.Expires); strings.HasPrefix(c.Name, "role ") && (left > time.Hour || left < 0) {
							t.Errorf("%s: %s left", c.Name, left)
						}
					}
				}
				check()
				for range 3 {
					pass(time.Hour)
					w.mustFetch(t)
					check()
				}
				for _, r := range w.Requests() {
					if r.Status >= 400 {
						t.Errorf("%s was answered with %d", r.Op, r.Status)
					}
				}
			})
		})
	}
}

// A web identity token is not signed, so that STS never refuses this machine's clock. The expiry that it states counts
// by its own.
func TestAWrongClockAndAWebIdentityToken(t *testing.T) {
	iss, address := tokenIssuer(t)
	keys, err := iss.Keys()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		file := tokenFile(t, iss)
		w := startSkewed(t, 40*time.Minute, func(r *fakeaws.Role, o *origin.Options) {
			r.WebIdentity = &fakeaws.WebIdentity{Issuer: address, Audience: "tiles", Keys: keys}
			o.Sources[0].Role.WebIdentityTokenFile = file
		})
		w.mustFetch(t)
		if left := time.Until(w.origin.Credentials()[0].Expires); left > time.Hour+time.Minute || left < 59*time.Minute {
			t.Errorf("%s left", left)
		}
	})
}
