package origin_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// archiveSource is an archive of that key, in the bucket that has the tiles.
func archiveSource(id, key string) origin.Source {
	return origin.Source{
		ID: id, Bucket: "tiles", Prefix: key, Key: func(tile.Key) string { return key }, Archive: true, Literals: []string{key},
		Vend: true, Role: origin.Role{ARN: roleARN, ScopeDown: true},
	}
}

// besideRoads are keys that a wildcard or a prefix in a policy for roads.pmtiles would allow.
var besideRoads = []string{
	"roads.pmtiles.bak", "roads.pmtiles/secret", "roads", "roads.pmtile", "secret.pmtiles", "a/roads.pmtiles", "base/1/0/1.png", "r*ads.pmtiles",
}

func putArchive(w *world) {
	for _, key := range append([]string{"roads.pmtiles"}, besideRoads...) {
		w.Put("tiles", key, fakeaws.Object{Body: content(2)})
	}
}

// head reads the first bytes of the archive, as its header is read.
func head(t *testing.T, s *origin.S3, key tile.Key) ([]byte, error) {
	t.Helper()
	_, body, err := read(s.FetchPart(t.Context(), key, 0, 1000, tile.Condition{}))
	return body, err
}

// Credentials for an archive are for that one object: neither for what lies beside it, nor for the names of that.
func TestVendedCredentialsOfAnArchiveOpenNothingBesideIt(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		putArchive(w)
		v, err := w.origin.Vend(t.Context(), "ada", []string{"roads"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		client := w.as(v)
		get := func(key string) error {
			out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: &key, Range: aws.String("bytes=0-126")})
			if err == nil {
				_ = out.Body.Close()
			}
			return err
		}
		if err := get("roads.pmtiles"); err != nil {
			t.Errorf("the archive: %v", err)
		}
		for _, key := range besideRoads {
			if get(key) == nil {
				t.Errorf("they read %s", key)
			}
		}
		for _, prefix := range []string{"", "r", "roads.pmtiles", "base/"} {
			if _, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("tiles"), Prefix: &prefix}); err == nil {
				t.Errorf("they list %q", prefix)
			}
		}
	}, sources(archiveSource("roads", "roads.pmtiles"), source("base", "tiles", "base/")))
}

// tilegate's own credentials for an archive read that object alone, so that a fault in tilegate reaches no other.
func TestScopedDownCredentialsOfAnArchiveReadNothingBesideIt(t *testing.T) {
	beside := archiveSource("beside", "secret.pmtiles")
	beside.Role.ScopeDown = false // shows that the role may read it
	outside := func(_ *fakeaws.Role, o *origin.Options) {
		stray := archiveSource("roads", "roads.pmtiles")
		stray.MissingOn403 = origin.Never
		stray.Key = func(k tile.Key) string { // an archive of a wrong key
			if k.Path != "" {
				return k.Path
			}
			return "roads.pmtiles"
		}
		o.Sources = []origin.Source{stray, beside}
	}
	inBubble(t, func(t *testing.T, w *world) {
		putArchive(w)
		if _, err := head(t, w.origin.Source("beside"), tile.Key{}); err != nil {
			t.Errorf("without a session policy: %v", err)
		}
		roads := w.origin.Source("roads")
		if _, err := head(t, roads, tile.Key{}); err != nil {
			t.Errorf("the archive: %v", err)
		}
		for _, key := range besideRoads {
			if _, err := head(t, roads, tile.Key{Path: key}); !errors.Is(err, tile.ErrDenied) {
				t.Errorf("%s: got %v, want a denial", key, err)
			}
		}
	}, outside)
}

// The archive is one object that must be there. S3's 404 proves that it is not, and a 403 never does. What is denied for a
// moment must not be remembered as missing.
func TestBrokenCredentialsNeverMakeAnArchiveMissing(t *testing.T) {
	denied := fakeaws.Fault{Op: "GetObject", Key: "roads.pmtiles", Status: http.StatusForbidden, Code: "AccessDenied"}
	for name, tc := range map[string]struct {
		there   bool
		scoped  bool
		list    bool
		breaks  *fakeaws.Fault
		setting origin.MissingOn403
		want    error
	}{
		"absent, ListBucket":                  {list: true, want: tile.ErrMissing},
		"absent, ListBucket, scoped down":     {list: true, scoped: true, want: tile.ErrMissing},
		"absent, no ListBucket":               {want: tile.ErrDenied},
		"absent, no ListBucket, scoped down":  {scoped: true, want: tile.ErrDenied},
		"denied, ListBucket":                  {there: true, list: true, breaks: &denied, want: tile.ErrDenied},
		"denied, no ListBucket":               {there: true, breaks: &denied, want: tile.ErrDenied},
		"absent, the operator says missing":   {setting: origin.Always, want: tile.ErrMissing},
		"absent, the operator says denied":    {setting: origin.Never, want: tile.ErrDenied},
		"there, whatever the operator says":   {there: true, setting: origin.Always, want: nil},
		"there, no ListBucket and scoped too": {there: true, scoped: true, want: nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				if tc.there {
					putArchive(w)
				}
				w.waitReady(t)
				if tc.breaks != nil {
					w.Inject(*tc.breaks)
				}
				w.ResetRequests()
				for range 3 {
					if _, err := head(t, w.origin.Source("roads"), tile.Key{}); !errors.Is(err, tc.want) {
						t.Errorf("got %v, want %v", err, tc.want)
					}
				}
				if n := w.Count("GetObject", "", ""); n != 3 {
					t.Errorf("%d requests, want 3: there is nothing to probe with", n)
				}
			}, func(r *fakeaws.Role, o *origin.Options) {
				if !tc.list {
					r.Policy = readOnly
				}
				roads := archiveSource("roads", "roads.pmtiles")
				roads.Role.ScopeDown, roads.MissingOn403 = tc.scoped, tc.setting
				o.Sources = []origin.Source{roads}
			})
		})
	}
}

// check reads no archive whole, and draws no conclusion from the answers for other keys, which a session policy refuses.
func TestCheckOfAnArchiveReadsOneByte(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		putArchive(w)
		w.waitReady(t)
		w.ResetRequests()
		r := w.origin.Check(t.Context(), nil)[0]
		if r.Object != "roads.pmtiles" || r.Missing != "" || len(r.Faults)+len(r.Notes) > 0 {
			t.Errorf("got %+v", r)
		}
		for _, asked := range w.Requests() {
			if asked.Op == "GetObject" && (asked.Key != "roads.pmtiles" || asked.Header.Get("Range") != "bytes=0-0") {
				t.Errorf("it asked for %s of %s", asked.Header.Get("Range"), asked.Key)
			}
		}
	}, sources(archiveSource("roads", "roads.pmtiles")))
}
