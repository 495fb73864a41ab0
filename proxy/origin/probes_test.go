package origin_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tilegate/internal/bubble"
	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

var absent = tile.Key{Z: 7, X: 66, Y: 44}

func withoutList(r *fakeaws.Role, _ *origin.Options) { r.Policy = readOnly }

func missingOn403(m origin.MissingOn403) change {
	return func(_ *fakeaws.Role, o *origin.Options) { o.Sources[0].MissingOn403 = m }
}

func TestMissingTileWithAndWithoutListBucket(t *testing.T) {
	for name, tc := range map[string]struct {
		changes  []change
		want     error
		requests int
	}{
		"ListBucket, ask":      {[]change{missingOn403(origin.Auto)}, tile.ErrMissing, 1},
		"ListBucket, true":     {[]change{missingOn403(origin.Always)}, tile.ErrMissing, 1},
		"ListBucket, false":    {[]change{missingOn403(origin.Never)}, tile.ErrMissing, 1},
		"no ListBucket, ask":   {[]change{withoutList, missingOn403(origin.Auto)}, tile.ErrMissing, 3},
		"no ListBucket, true":  {[]change{withoutList, missingOn403(origin.Always)}, tile.ErrMissing, 1},
		"no ListBucket, false": {[]change{withoutList, missingOn403(origin.Never)}, tile.ErrDenied, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waitReady(t)
				if _, _, err := w.fetch(t.Context(), absent, tile.Condition{}); !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if n := w.Count("GetObject", "", ""); n != tc.requests {
					t.Errorf("%d requests to S3, want %d", n, tc.requests)
				}
				w.mustFetch(t)
			}, tc.changes...)
		})
	}
}

// The observed outcome of a 403 is what the probes find, and probes are not observed: an alert on denials must not fire
// for missing tiles.
func TestObservedOutcomeOfA403(t *testing.T) {
	denied := fakeaws.Fault{Op: "GetObject", Status: http.StatusForbidden, Code: "AccessDenied"}
	for name, tc := range map[string]struct {
		changes []change
		breaks  *fakeaws.Fault
		want    string
	}{
		"ListBucket":          {nil, nil, "missing"},
		"no ListBucket, ask":  {[]change{withoutList}, nil, "missing"},
		"no ListBucket, true": {[]change{withoutList, missingOn403(origin.Always)}, nil, "missing"},
		"all denied, ask":     {[]change{withoutList}, &denied, "denied"},
		"all denied, false":   {[]change{withoutList, missingOn403(origin.Never)}, &denied, "denied"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waitReady(t)
				if tc.breaks != nil {
					w.Inject(*tc.breaks)
				}
				before := w.seen.all("request")
				for range 3 {
					_, _, _ = w.fetch(t.Context(), absent, tile.Condition{})
					pass(2 * time.Second) // for probes of its own
				}
				if n := w.seen.count("request base " + tc.want); n != 3 {
					t.Errorf("%d observed as %s, want 3", n, tc.want)
				}
				if n := w.seen.all("request") - before; n != 3 {
					t.Errorf("%d requests observed, want 3", n)
				}
			}, tc.changes...)
		})
	}
}

func TestBrokenCredentialsNeverMakeATileMissing(t *testing.T) {
	for name, tc := range map[string]struct {
		changes []change
		breaks  fakeaws.Fault
		says    string
	}{
		"everything denied":                  {[]change{withoutList}, fakeaws.Fault{Op: "GetObject", Status: 403, Code: "AccessDenied"}, "can't be read"},
		"everything denied, with ListBucket": {nil, fakeaws.Fault{Op: "GetObject", Status: 403, Code: "AccessDenied"}, "can't be read"},
		"this tile denied, with ListBucket":  {nil, fakeaws.Fault{Op: "GetObject", Key: "base/7/66/44.png", Status: 403, Code: "AccessDenied"}, "NoSuchKey"},
		"the probes fail":                    {[]change{withoutList}, fakeaws.Fault{Op: "GetObject", Key: "base/0/*", Status: 500}, "could not be asked for"},
		"the random key fails":               {[]change{withoutList}, fakeaws.Fault{Op: "GetObject", Key: "base/7/66/44-*", Status: 503, Code: "SlowDown"}, "could not be asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waitReady(t)
				w.Inject(tc.breaks)
				_, _, err := w.fetch(t.Context(), absent, tile.Condition{})
				if !errors.Is(err, tile.ErrDenied) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("got %v, want it to say %q", err, tc.says)
				}
			}, tc.changes...)
		})
	}
}

func TestProbesAreSharedAndHoldForASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		miss := func(n int) {
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					_, _, err := w.fetch(t.Context(), tile.Key{Z: 12, X: uint32(i), Y: 7}, tile.Condition{})
					if !errors.Is(err, tile.ErrMissing) {
						t.Errorf("got %v", err)
					}
				})
			}
			wg.Wait()
		}
		w.Inject(fakeaws.Fault{Op: "GetObject", Key: "base/0/0/0.png", Delay: 100 * time.Millisecond})
		for _, step := range []struct {
			wait          time.Duration
			misses, extra int
		}{{0, 50, 2}, {500 * time.Millisecond, 20, 0}, {600 * time.Millisecond, 20, 2}, {time.Hour, 1, 2}} {
			pass(step.wait)
			w.ResetRequests()
			miss(step.misses)
			if n := w.Count("GetObject", "", ""); n != step.misses+step.extra {
				t.Errorf("%d requests for %d missing tiles, want %d more", n, step.misses, step.extra)
			}
		}
		if w.assumed() > 1 {
			t.Error("proven absence asked STS for new credentials")
		}
	}, withoutList)
}

// When a role loses its rights, every 403 becomes a denial within a second, and no tile becomes missing.
func TestRightsTakenAwayShowWithinASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		if _, _, err := w.fetch(t.Context(), absent, tile.Condition{}); !errors.Is(err, tile.ErrMissing) {
			t.Fatalf("got %v", err)
		}
		w.Inject(fakeaws.Fault{Op: "GetObject", Status: http.StatusForbidden, Code: "AccessDenied"})
		pass(time.Second)
		if _, _, err := w.fetch(t.Context(), absent, tile.Condition{}); !errors.Is(err, tile.ErrDenied) {
			t.Errorf("got %v", err)
		}
	}, withoutList)
}

func TestProbeFallsBackToTheCanary(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t) // the canary has been read
		w.mustFetch(t)
		w.Delete("tiles", "base/0/0/0.png")
		if _, _, err := w.fetch(t.Context(), absent, tile.Condition{}); !errors.Is(err, tile.ErrDenied) {
			t.Errorf("without anything known to be there: got %v", err)
		}
		pass(time.Second)
		w.mustFetch(t) // now this one is known
		if _, _, err := w.fetch(t.Context(), absent, tile.Condition{}); !errors.Is(err, tile.ErrMissing) {
			t.Errorf("got %v", err)
		}
	}, withoutList)
}

func TestAccessDeniedAsksForNewCredentialsOnceAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		w.Inject(fakeaws.Fault{Op: "GetObject", Status: http.StatusForbidden, Code: "AccessDenied"})
		for range 10 * 60 {
			w.mustFail(t, tile.ErrDenied)
			pass(time.Second)
		}
		if n := w.assumed(); n < 9 || n > 11 {
			t.Errorf("%d calls of AssumeRole in ten minutes of AccessDenied", n)
		}
		if got := strings.Join(w.origin.Degraded(), "\n"); !strings.Contains(got, "origin denied access: base") {
			t.Errorf("degraded: %q", got)
		}
	}, missingOn403(origin.Never))
}

// A bundle has no tile that should be there. Until an object of it has been read, a 403 proves nothing and stays a failure;
// afterwards it means that the object is missing.
func TestMissingObjectOfABundleNeedsOneThatWasRead(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		bundle := w.origin.Source("bundle:carto")
		fetch := func(path string) error {
			o, err := bundle.Fetch(t.Context(), tile.Key{Tileset: "bundle:carto", Path: path}, tile.Condition{})
			if err == nil {
				_ = o.Body.Close()
			}
			return err
		}
		if err := fetch("nothing.json"); !errors.Is(err, tile.ErrDenied) || !strings.Contains(err.Error(), "no object of this bundle has been read yet") {
			t.Errorf("before a first read: got %v", err)
		}
		w.Put("tiles", "base/style.json", fakeaws.Object{Body: content(2)})
		if err := fetch("style.json"); err != nil {
			t.Fatal(err)
		}
		bubble.Advance(2 * time.Second) // of the bubble's time: what the probes found holds for a second
		if err := fetch("nothing.json"); !errors.Is(err, tile.ErrMissing) {
			t.Errorf("after a first read: got %v", err)
		}
	}, withoutList, func(_ *fakeaws.Role, o *origin.Options) {
		o.Sources = append(o.Sources, origin.Source{
			ID: "bundle:carto", Bucket: "tiles", Prefix: "base/", Key: func(k tile.Key) string { return "base/" + k.Path }, Role: o.Sources[0].Role,
		})
	})
}
