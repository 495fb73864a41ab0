package origin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/internal/bubble"
	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// Two services in one configuration: each source is read from its own store, with that store's keys.
func TestEachSourceIsReadFromItsStore(t *testing.T) {
	other, err := fakeaws.Start(fakeaws.Options{Region: "eu-central-2"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if err := other.AddUser(fakeaws.User{AccessKeyID: "WASABI", SecretAccessKey: "wasabi-secret", Policy: readAndList}); err != nil {
		t.Fatal(err)
	}
	other.Put("tiles", "base/1/0/1.png", fakeaws.Object{Body: content(9)})
	w := start(t, nil, func(_ *fakeaws.Role, o *origin.Options) {
		roads := source("roads", "tiles", "base/")
		roads.Store, roads.Role = "wasabi", origin.Role{}
		o.Stores = []origin.Store{{
			Name: "wasabi", Endpoint: other.URL(), Region: "eu-central-2", PathStyle: true, AccessKeyID: "WASABI", SecretAccessKey: "wasabi-secret",
		}}
		o.Sources = append(o.Sources, roads)
	})
	for id, want := range map[string][]byte{"base": content(1), "roads": content(9)} {
		if _, body, err := read(w.origin.Source(id).Fetch(t.Context(), tile101, tile.Condition{})); err != nil || !bytes.Equal(body, want) {
			t.Errorf("%s: got %d bytes, error %v", id, len(body), err)
		}
	}
	for _, r := range append(w.Requests(), other.Requests()...) {
		if r.AccessKeyID == "" {
			continue // a probe of the start, whose signature has not been looked at yet
		}
		if toOther := r.AccessKeyID == "WASABI"; toOther != strings.Contains(r.Header.Get("Authorization"), "/eu-central-2/") {
			t.Errorf("signed by %s: %s", r.AccessKeyID, r.Header.Get("Authorization"))
		}
	}
	var names []string
	for _, c := range w.origin.Credentials() {
		names = append(names, c.Name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"configured keys (wasabi)", "default credential chain", "role tiles-reader"}) {
		t.Errorf("credentials %q", names)
	}
}

// A failure of one store's credentials leaves the other store's sources alone.
func TestAStoreWithoutCredentialsHoldsUpNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		pass(5e9)
		if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{}); err != nil {
			t.Error(err)
		}
		if _, err := w.origin.Source("roads").Fetch(t.Context(), tile101, tile.Condition{}); !errors.Is(err, tile.ErrNoCredentials) {
			t.Errorf("got %v", err)
		}
	}, func(_ *fakeaws.Role, o *origin.Options) {
		roads := source("roads", "tiles", "base/")
		roads.Store, roads.Role = "broken", origin.Role{}
		o.Stores = []origin.Store{{Name: "broken", Endpoint: o.Endpoint, PathStyle: true, Base: func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("none today")
		}}}
		o.Sources = append(o.Sources, roads)
	})
}

func TestAPublicBucketNeedsNoCredentials(t *testing.T) {
	w := startService(t, fakeaws.Service{Public: true}, func(_ *fakeaws.Role, o *origin.Options) {
		o.Base, o.STSEndpoint, o.Anonymous = nil, "", true
		o.Sources[0].Role = origin.Role{}
	})
	if _, body, err := w.fetch(t.Context(), tile101, tile.Condition{}); err != nil || !bytes.Equal(body, content(1)) {
		t.Errorf("got %d bytes, error %v", len(body), err)
	}
	if _, _, err := w.fetch(t.Context(), absent, tile.Condition{}); !errors.Is(err, tile.ErrMissing) {
		t.Errorf("a missing tile: %v", err)
	}
	for _, r := range w.Requests() {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("a signed request for %s", r.Key)
		}
	}
	signed, err := w.tiles.Presign(t.Context(), tile101)
	if err != nil || strings.Contains(signed.URL, "X-Amz-") {
		t.Fatalf("got %q, %v", signed.URL, err)
	}
	if got := get(t, signed.URL); !bytes.Equal(got, content(1)) {
		t.Errorf("%s has %d bytes", signed.URL, len(got))
	}
	if lines := w.origin.NotReady(); len(lines) > 0 {
		t.Errorf("not ready: %q", lines)
	}
}

func TestRequesterPays(t *testing.T) {
	for _, pays := range []bool{true, false} {
		w := startService(t, fakeaws.Service{RequesterPays: true}, func(_ *fakeaws.Role, o *origin.Options) {
			o.RequestPayer = pays
			o.Sources[0].MissingOn403 = origin.Never
		})
		_, body, err := w.fetch(t.Context(), tile101, tile.Condition{})
		if !pays {
			if !errors.Is(err, tile.ErrDenied) || !strings.Contains(err.Error(), "request_payer") {
				t.Errorf("without request_payer: got %v", err)
			}
			continue
		}
		if err != nil || !bytes.Equal(body, content(1)) {
			t.Errorf("got %d bytes, error %v", len(body), err)
		}
		signed, err := w.tiles.Presign(t.Context(), tile101)
		if err != nil {
			t.Fatal(err)
		}
		if got := get(t, signed.URL); !bytes.Equal(got, content(1)) {
			t.Errorf("%s has %d bytes: %s", signed.URL, len(got), got)
		}
		if r := w.origin.Check(t.Context(), nil)[0]; len(r.Faults) > 0 {
			t.Errorf("check: %q", r.Faults)
		}
	}
}

// Only the region of one bucket differs.
func TestASourceHasItsOwnRegion(t *testing.T) {
	w := startService(t, fakeaws.Service{Regions: map[string]string{"tiles": "ap-south-1"}}, func(_ *fakeaws.Role, o *origin.Options) {
		o.Sources[0].Region = "ap-south-1"
	})
	if _, body, err := w.fetch(t.Context(), tile101, tile.Condition{}); err != nil || !bytes.Equal(body, content(1)) {
		t.Errorf("got %d bytes, error %v", len(body), err)
	}
	signed, err := w.tiles.Presign(t.Context(), tile101)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, signed.URL); !bytes.Equal(got, content(1)) {
		t.Errorf("%s has %d bytes: %s", signed.URL, len(got), got)
	}
	for _, r := range w.Requests() {
		if r.Op == "GetObject" && r.Status >= 400 {
			t.Errorf("%s: status %d", r.Key, r.Status)
		}
	}
}

func TestFaultsOfStores(t *testing.T) {
	_, err := origin.New(t.Context(), origin.Options{
		Store: origin.Store{Region: "us-east-1", Base: static("A", "B")},
		Stores: []origin.Store{
			{Name: "a", Endpoint: "http://127.0.0.1:9000", Anonymous: true, AccessKeyID: "A", SecretAccessKey: "B"},
			{Name: "b", Region: "us-east-1", AccessKeyID: "A"},
			{Name: "b", Region: "us-east-1"},
			{Name: "c", Region: "us-east-1", Anonymous: true, RequestPayer: true},
			{Name: "d", Endpoint: "http://127.0.0.1:9000", Base: static("A", "B")},
		},
		Sources: []origin.Source{{ID: "x", Bucket: "tiles", Store: "d", Role: origin.Role{ARN: roleARN}}, {ID: "y", Bucket: "tiles", Store: "e"}},
	})
	want := []string{"Anonymous", "SecretAccessKey", "Name", "RequestPayer", "STSEndpoint", "y Store"}
	if got := faultyFields(err); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q: %v", got, want, err)
	}
}

// startService starts a world whose S3 is another service.
func startService(t testing.TB, service fakeaws.Service, changes ...change) *world {
	t.Helper()
	return startServer(t, fakeaws.Options{Service: service}, changes...)
}

// inService is inBubble with another service.
func inService(t *testing.T, service fakeaws.Service, test func(*testing.T, *world), changes ...change) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, startServer(t, fakeaws.Options{Listener: bubble.NewNetwork(), Service: service}, changes...))
	})
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
