package origin_test

import (
	"slices"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// The names that buckets have, and where their objects are.
func TestWhereObjectsAre(t *testing.T) {
	const accessPoint = "arn:aws:s3:eu-west-1:123456789012:accesspoint/tiles"
	for name, tc := range map[string]struct {
		store  origin.Store
		bucket string
		begins string // the URL
	}{
		"a bucket":                    {origin.Store{}, "tiles", "https://tiles.s3.us-east-1.amazonaws.com/base/1/0/1.png"},
		"with dots":                   {origin.Store{}, "tiles.example.com", "https://s3.us-east-1.amazonaws.com/tiles.example.com/base/"},
		"path style":                  {origin.Store{PathStyle: true}, "tiles", "https://s3.us-east-1.amazonaws.com/tiles/base/"},
		"an access point":             {origin.Store{}, accessPoint, "https://tiles-123456789012.s3-accesspoint.eu-west-1.amazonaws.com/base/"},
		"an access point's alias":     {origin.Store{}, "tiles-abc123-s3alias", "https://tiles-abc123-s3alias.s3.us-east-1.amazonaws.com/base/"},
		"another service":             {origin.Store{Endpoint: "https://s3.example.com"}, "tiles", "https://tiles.s3.example.com/base/"},
		"another service, path style": {origin.Store{Endpoint: "https://s3.example.com/prefix", PathStyle: true}, "tiles", "https://s3.example.com/prefix/tiles/base/"},
		"an underscore":               {origin.Store{Endpoint: "https://s3.example.com"}, "my_tiles", "https://s3.example.com/my_tiles/base/"},
		"an underscore, path style":   {origin.Store{Endpoint: "https://s3.example.com", PathStyle: true}, "My_Tiles", "https://s3.example.com/My_Tiles/base/"},
	} {
		tc.store.Region, tc.store.Base = "us-east-1", static("AKIAUSER", "user-secret")
		src := source("base", tc.bucket, "base/")
		src.Role = origin.Role{}
		a := open(t, origin.Options{Store: tc.store, Sources: []origin.Source{src}})
		signed, err := a.Source("base").Presign(t.Context(), tile101)
		if err != nil || !strings.HasPrefix(signed.URL, tc.begins) {
			t.Errorf("%s: got %s, %v, want %s", name, signed.URL, err, tc.begins)
		}
		if want := map[bool]string{true: "eu-west-1", false: "us-east-1"}[tc.bucket == accessPoint]; !strings.Contains(signed.URL, want) {
			t.Errorf("%s: got %s, want it signed for %s", name, signed.URL, want)
		}
	}
}

// A session policy names an access point by its ARN. It cannot name an alias.
func TestSessionPolicyOfAnAccessPoint(t *testing.T) {
	const accessPoint = "arn:aws:s3:us-east-1:123456789012:accesspoint/tiles"
	inBubble(t, func(t *testing.T, w *world) {
		pass(1e9)
		policy := w.sentPolicy(t)
		for _, part := range []string{`"` + accessPoint + `/object/base/*"`, `"` + accessPoint + `"`} {
			if !strings.Contains(policy, part) {
				t.Errorf("got %s, want it to name %s", policy, part)
			}
		}
	}, sources(source("base", accessPoint, "base/")), func(_ *fakeaws.Role, o *origin.Options) { o.Endpoint, o.PathStyle = "", false })
	// An access point has a host name, which path_style rules out.
	_, err := origin.New(t.Context(), origin.Options{
		Store:   origin.Store{Endpoint: "https://s3.example.com", PathStyle: true, Base: static("A", "B")},
		Sources: []origin.Source{{ID: "base", Bucket: accessPoint}},
	})
	if got := faultyFields(err); !slices.Equal(got, []string{"base Bucket"}) || !strings.Contains(err.Error(), "name of the bucket") {
		t.Errorf("got %q, %v", got, err)
	}
	src := source("base", "tiles-abc-s3alias", "base/")
	_, err = origin.New(t.Context(), origin.Options{Store: origin.Store{Region: "us-east-1", Base: static("A", "B")}, Sources: []origin.Source{src}})
	if got := faultyFields(err); !slices.Equal(got, []string{"base Bucket"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

// Keys may begin with anything. S3 sees the very characters, in requests and in presigned URLs.
func TestOddPrefixes(t *testing.T) {
	prefixes := []string{
		"a b/", "a+b/", "a%20b/", "a%2Fb/", "a&b=c/", "a?b/", "a#b/", "ü/", "日本/", "a//b/", "./a/", "a:b@c/", "a'b(c)!/", "a~b*c/", "$a,b;/", "a=\\b/",
	}
	w := start(t, nil, func(_ *fakeaws.Role, o *origin.Options) {
		for _, prefix := range prefixes {
			src := source(prefix, "tiles", prefix)
			src.Role = o.Sources[0].Role
			o.Sources = append(o.Sources, src)
		}
	})
	for i, prefix := range prefixes {
		w.Put("tiles", prefix+"1/0/1.png", fakeaws.Object{Body: content(byte(i))})
		if _, body, err := read(w.origin.Source(prefix).Fetch(t.Context(), tile101, tile.Condition{})); err != nil || string(body) != string(content(byte(i))) {
			t.Errorf("%q: got %d bytes, %v", prefix, len(body), err)
		}
		signed, err := w.origin.Source(prefix).Presign(t.Context(), tile101)
		if err != nil {
			t.Fatal(err)
		}
		if got := get(t, signed.URL); string(got) != string(content(byte(i))) {
			t.Errorf("%q: %s has %d bytes", prefix, signed.URL, len(got))
		}
	}
}
