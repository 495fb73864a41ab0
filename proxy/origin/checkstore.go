package origin

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"

	"tilegate/internal/tile"
)

// StoreReport is what `tilegate check --online` prints of one store.
type StoreReport struct {
	Store    string // its name, "default" for the default one
	Source   string // with whose object it was tried; empty where none could be read
	Features []Feature
}

// Feature is something that S3 does and that other services may not do.
type Feature struct {
	Name   string
	Works  bool
	Effect string // what follows where it does not work
}

// CheckStores tries what each store knows of S3's protocol, with an object that a report of Check names. The reports
// are sorted by store.
func (a *AWS) CheckStores(ctx context.Context, reports []Report) []StoreReport {
	tried := map[string]Report{}
	for _, r := range reports {
		s := a.sources[r.Source]
		if s == nil {
			continue
		}
		// The session policy of a file or an archive may allow its one key, so other tilesets tell more.
		if have, known := tried[s.Store]; !known || have.Object == "" || a.sources[have.Source].isOneObject() && r.Object != "" {
			tried[s.Store] = r
		}
	}
	var stores []StoreReport
	var mu sync.Mutex
	var wg sync.WaitGroup
	for store, r := range tried {
		wg.Go(func() {
			report := StoreReport{Store: a.stores[store].title()}
			if r.Object != "" {
				if report.Features = a.sources[r.Source].features(ctx, r); len(report.Features) > 0 {
					report.Source = r.Source
				}
			}
			mu.Lock()
			defer mu.Unlock()
			stores = append(stores, report)
		})
	}
	wg.Wait()
	slices.SortFunc(stores, func(a, b StoreReport) int { return cmp.Compare(a.Store, b.Store) })
	return stores
}

// features tries one object. It bypasses the gate and the retries, as the probes do.
func (s *S3) features(ctx context.Context, r Report) []Feature {
	creds, err := s.credentials.RetrieveLate(ctx)
	if err != nil {
		return nil
	}
	ask := func(r request) (http.Header, int64, int) {
		r.creds = creds
		resp, f := s.send(ctx, r)
		if f != nil {
			return nil, -1, f.status
		}
		_ = resp.Body.Close()
		return resp.Header, resp.ContentLength, resp.StatusCode
	}
	h, size, _ := ask(request{name: r.Object})
	etag := etagOf(h)
	strong := tile.StrongETag(etag)
	modified, _ := http.ParseTime(h.Get("Last-Modified"))
	_, _, notModified := ask(request{name: r.Object, cond: tile.Condition{IfNoneMatch: cmp.Or(etag, `"unknown"`)}})
	_, _, failed := ask(request{name: r.Object, cond: tile.Condition{IfMatch: `"another"`}})
	_, _, part := ask(request{name: r.Object, span: span{first: 0, length: 1}})
	_, _, beyond := ask(request{name: r.Object, span: span{first: math.MaxInt32, length: 1}})
	features := []Feature{
		{"If-None-Match", notModified == http.StatusNotModified, "stale tiles with a strong ETag are fetched whole"},
		{"If-Match", failed == http.StatusPreconditionFailed, "when a broken body is resumed, only the ETag of the answer shows whether it is still the same object"},
		{"Range", part == http.StatusPartialContent, "a body that breaks off is read again from its beginning, and archives cannot be read"},
		{"416", beyond == http.StatusRequestedRangeNotSatisfiable, "tilegate notices late that an archive was replaced by a shorter one"},
		{"strong ETag", strong, "stale tiles are revalidated by Last-Modified, and a body that breaks off is not resumed"},
		{"Last-Modified", !modified.IsZero(), "without a strong ETag, stale tiles are fetched whole"},
		{"Content-Length", size >= 0, "a tile is read completely before its first byte is sent"},
	}
	if !s.isOneObject() {
		f := s.probe(ctx, randomSibling(r.Object), creds)
		features = append(features, Feature{"404", f != nil && errors.Is(f, tile.ErrMissing), "a missing tile looks like a denied one; missing_on_403 says how they are told apart"})
	}
	return append(features, Feature{"STS", r.Identity != "" || strings.HasPrefix(r.Credentials, "AssumeRole"), "roles, session policies and POST /credentials need an STS"})
}
