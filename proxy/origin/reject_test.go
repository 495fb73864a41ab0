package origin_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// What the proxy refuses to serve, the operator sees: in the log once a minute, in /ready, and in the metrics.
func TestObjectsThatCannotBeServed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		reject := func() {
			o, err := w.tiles.Fetch(t.Context(), tile101, tile.Condition{})
			if err != nil {
				t.Fatal(err)
			}
			o.Reject("the object begins like HTML\nand more")
			_ = o.Body.Close()
		}
		for range 10 {
			reject()
			w.mustFetch(t) // other tiles are fine
		}
		log := w.log.String()
		if strings.Count(log, "an object cannot be served") != 1 || !strings.Contains(log, "key=base/1/0/1.png") || !strings.Contains(log, "class=bad_answer") ||
			!strings.Contains(log, `reason="the object begins like HTML and more"`) || strings.Contains(log, "healthy again") {
			t.Errorf("logged %s", log)
		}
		if lines := w.origin.Degraded(); !slices.Contains(lines, "objects that cannot be served: base (the log tells more)") {
			t.Errorf("degraded: %q", lines)
		}
		if n := w.seen.count("body base bad_answer"); n != 10 {
			t.Errorf("counted %d times", n)
		}
		pass(time.Minute)
		reject()
		if log := w.log.String(); !strings.Contains(log, "skipped=9") {
			t.Errorf("logged %s", log)
		}
		pass(5 * time.Minute)
		if lines := w.origin.Degraded(); len(lines) > 0 {
			t.Errorf("degraded: %q", lines)
		}
	})
}

// check refuses what serving refuses.
func TestCheckRefusesWhatServingRefuses(t *testing.T) {
	w := start(t, nil)
	r := w.origin.Check(t.Context(), func(_ context.Context, source string, o *tile.Object) error {
		_ = o.Body.Close()
		return errors.New(source + " has no such tiles")
	})[0]
	if len(r.Faults) != 1 || r.Faults[0] != "base/0/0/0.png: base has no such tiles" {
		t.Errorf("got %q", r.Faults)
	}
}

// check prints what a store does not know, and what follows.
func TestCheckTriesAStoresFeatures(t *testing.T) {
	for name, tc := range map[string]struct {
		service fakeaws.Service
		policy  string
		lacks   []string
	}{
		"S3":           {fakeaws.Service{}, readAndList, nil},
		"conditions":   {fakeaws.Service{IgnoreConditions: true}, readAndList, []string{"If-None-Match", "If-Match"}},
		"412 for 304":  {fakeaws.Service{FailNotModified: true}, readAndList, []string{"If-None-Match"}},
		"ranges":       {fakeaws.Service{IgnoreRange: true}, readAndList, []string{"Range", "416"}},
		"weak ETags":   {fakeaws.Service{ETag: fakeaws.WeakETag}, readAndList, []string{"If-None-Match", "strong ETag"}},
		"no ETags":     {fakeaws.Service{ETag: fakeaws.NoETag, NoLastModified: true}, readAndList, []string{"If-None-Match", "strong ETag", "Last-Modified"}},
		"no length":    {fakeaws.Service{Unsized: true}, readAndList, []string{"Content-Length"}},
		"no listing":   {fakeaws.Service{}, readOnly, []string{"404"}},
		"no checksums": {fakeaws.Service{RefuseChecksumMode: 400}, readAndList, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := startService(t, tc.service, func(r *fakeaws.Role, _ *origin.Options) { r.Policy = tc.policy })
			stores := w.origin.CheckStores(t.Context(), w.origin.Check(t.Context(), nil))
			if len(stores) != 1 || stores[0].Store != "default" || stores[0].Source != "base" || len(stores[0].Features) != 9 {
				t.Fatalf("got %+v", stores)
			}
			var lacks []string
			for _, f := range stores[0].Features {
				if !f.Works {
					lacks = append(lacks, f.Name)
				}
			}
			if !slices.Equal(lacks, tc.lacks) {
				t.Errorf("lacks %q, want %q", lacks, tc.lacks)
			}
		})
	}
}

// A 403 right after start, before any tile was read, seems to say that the credentials are broken. A tile that is
// read proves otherwise.
func TestAReadEndsTheResultThatAccessIsDenied(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Delete("tiles", "base/0/0/0.png") // the canary
		w.waitReady(t)
		if _, _, err := w.fetch(t.Context(), absent, tile.Condition{}); !errors.Is(err, tile.ErrDenied) {
			t.Fatalf("before any tile was read: %v", err)
		}
		w.mustFetch(t)
		if _, _, err := w.fetch(t.Context(), absent, tile.Condition{}); !errors.Is(err, tile.ErrMissing) {
			t.Errorf("after a tile was read: %v", err)
		}
	}, func(r *fakeaws.Role, _ *origin.Options) { r.Policy = readOnly })
}
