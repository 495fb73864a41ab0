package origin_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// A service that does not know x-amz-checksum-mode is asked again without it, and from then on at once.
func TestServicesThatRefuseChecksumMode(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusNotImplemented} {
		inService(t, fakeaws.Service{RefuseChecksumMode: status}, func(t *testing.T, w *world) {
			w.waitReady(t)
			for range 3 {
				w.mustFetch(t)
			}
			if n := w.Count("GetObject", "", ""); n != 4 {
				t.Errorf("%d: %d requests for 3 tiles, want 4", status, n)
			}
			if log := w.log.String(); strings.Count(log, "x-amz-checksum-mode") != 1 || strings.Contains(log, "origin request failed") {
				t.Errorf("logged %s", log)
			}
		})
	}
}

// A 400 for another reason teaches nothing.
func TestABadRequestDoesNotEndChecksums(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		remove := w.Inject(fakeaws.Fault{Op: "GetObject", Status: 400, Code: "Odd"})
		w.mustFail(t, tile.ErrBadAnswer)
		if n := w.Count("GetObject", "", ""); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
		remove()
		w.ResetRequests()
		w.mustFetch(t)
		if r := w.Requests()[0]; r.Header.Get("X-Amz-Checksum-Mode") != "ENABLED" {
			t.Error("checksums are not asked for any more")
		}
	})
}

func TestChecksumsWhenRequiredAreNeverAskedFor(t *testing.T) {
	t.Setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAUSER")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "user-secret")
	w := startService(t, fakeaws.Service{RefuseChecksumMode: 400}, func(_ *fakeaws.Role, o *origin.Options) { o.Base = nil })
	w.mustFetch(t)
	for _, r := range w.Requests() {
		if r.Header.Get("X-Amz-Checksum-Mode") != "" {
			t.Errorf("a request for %s asks for a checksum", r.Key)
		}
	}
}

func TestBodiesWithoutALength(t *testing.T) {
	for name, service := range map[string]fakeaws.Service{"chunked": {Unsized: true}, "until the connection closes": {UntilClose: true}} {
		t.Run(name, func(t *testing.T) {
			inService(t, service, func(t *testing.T, w *world) {
				w.waitReady(t)
				o, body, err := w.fetch(t.Context(), tile101, tile.Condition{})
				if err != nil || o.Size != -1 || !bytes.Equal(body, content(1)) {
					t.Errorf("got %d bytes, %v", len(body), err)
				}
				// What a closed connection cannot tell, the ETag does.
				w.withoutChecksum("")
				w.mustFetch(t)
				at := int64(5000)
				w.Inject(fakeaws.Fault{Op: "GetObject", TruncateAt: &at, Times: 1})
				if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{}); err == nil {
					t.Error("a truncated body ended properly")
				}
			})
		})
	}
}

// Google unpacks what is stored gzipped unless the request accepts gzip, and changes that header on its way.
func TestStoredGzipComesAsItIsStored(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(content(1))
	_ = z.Close()
	inService(t, fakeaws.Service{Transcodes: true}, func(t *testing.T, w *world) {
		w.Put("tiles", "base/1/0/1.png", fakeaws.Object{Body: zipped.Bytes(), ContentEncoding: "gzip"})
		w.waitReady(t)
		o, body, err := w.fetch(t.Context(), tile101, tile.Condition{})
		if err != nil || !bytes.Equal(body, zipped.Bytes()) || o.Size != int64(zipped.Len()) || o.Encoding != "gzip" {
			t.Errorf("got %d bytes of %d, %+v, %v", len(body), zipped.Len(), o, err)
		}
	})
}

// Whatever ETags a service has, a tile that has not changed is revalidated.
func TestRevalidationWithoutAStrongETag(t *testing.T) {
	for name, tc := range map[string]struct {
		service fakeaws.Service
		etag    string
	}{
		"unquoted": {fakeaws.Service{ETag: fakeaws.UnquotedETag}, md5ETag(content(1))},
		"weak":     {fakeaws.Service{ETag: fakeaws.WeakETag}, "W/" + md5ETag(content(1))},
		"absent":   {fakeaws.Service{ETag: fakeaws.NoETag}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inService(t, tc.service, func(t *testing.T, w *world) {
				w.waitReady(t)
				o, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
				if err != nil || o.ETag != tc.etag {
					t.Fatalf("got %+v, %v", o, err)
				}
				cond := tile.Condition{IfModifiedSince: o.LastModified}
				if name == "unquoted" {
					cond = tile.Condition{IfNoneMatch: o.ETag}
				}
				if _, err := w.tiles.Fetch(t.Context(), tile101, cond); !errors.Is(err, tile.ErrNotModified) {
					t.Errorf("got %v", err)
				}
				pass(time.Minute)
				w.Put("tiles", "base/1/0/1.png", fakeaws.Object{Body: content(2)})
				if _, body, err := w.fetch(t.Context(), tile101, cond); err != nil || !bytes.Equal(body, content(2)) {
					t.Errorf("a new tile: got %d bytes, %v", len(body), err)
				}
			})
		})
	}
}

// Some services answer 412 where 304 belongs.
func TestAFailedConditionThatMustBe304(t *testing.T) {
	inService(t, fakeaws.Service{FailNotModified: true}, func(t *testing.T, w *world) {
		w.waitReady(t)
		o, body, err := w.fetch(t.Context(), tile101, tile.Condition{IfNoneMatch: md5ETag(content(1))})
		if err != nil || !bytes.Equal(body, content(1)) || o.ETag != md5ETag(content(1)) {
			t.Errorf("got %d bytes, %v", len(body), err)
		}
		if n := w.Count("GetObject", "", ""); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
		if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{IfMatch: `"other"`, Offset: 5}); !errors.Is(err, tile.ErrChanged) {
			t.Errorf("a resumed body: %v", err)
		}
	})
}

// An answer's Date is believed where S3 refuses the time of a request, and nowhere else.
func TestADateOfAGoodAnswerMovesNoClock(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		w.Inject(fakeaws.Fault{Op: "GetObject", Times: 1, Header: http.Header{"Date": {time.Now().Add(-5 * time.Hour).UTC().Format(http.TimeFormat)}}})
		w.Inject(fakeaws.Fault{Op: "GetObject", Times: 1, Status: 403, Code: "SignatureDoesNotMatch", Header: http.Header{"Date": {time.Now().Add(5 * time.Hour).UTC().Format(http.TimeFormat)}}})
		w.mustFetch(t)
		w.mustFail(t, tile.ErrDenied)
		w.ResetRequests()
		for range 5 {
			w.mustFetch(t)
		}
		if n := w.Count("GetObject", "", ""); n != 5 {
			t.Errorf("%d requests for 5 tiles", n)
		}
		signed, err := w.tiles.Presign(t.Context(), tile101)
		if err != nil || time.Until(signed.Expires) < 9*time.Minute {
			t.Errorf("the URL expires at %s, %v", signed.Expires, err)
		}
	})
}

// A bucket in another region is found, once.
func TestTheRegionOfABucketIsLearnt(t *testing.T) {
	for name, redirect := range map[string]int{"301": 0, "307": 307, "400": 400} {
		t.Run(name, func(t *testing.T) {
			service := fakeaws.Service{Regions: map[string]string{"tiles": "eu-north-1"}, Redirect: redirect}
			inService(t, service, func(t *testing.T, w *world) {
				w.waitReady(t)
				for range 3 {
					w.mustFetch(t)
				}
				if n := w.Count("GetObject", "", ""); n != 3 {
					t.Errorf("%d requests for 3 tiles", n)
				}
				if log := w.log.String(); strings.Count(log, "another region") != 1 || !strings.Contains(log, "set aws.region, or the source's region, to eu-north-1") {
					t.Errorf("logged %s", log)
				}
				signed, err := w.tiles.Presign(t.Context(), tile101)
				if err != nil || !strings.Contains(signed.URL, "eu-north-1") {
					t.Errorf("got %s, %v", signed.URL, err)
				}
			})
		})
	}
}

// A region is part of a host name, so what an answer calls a region must not lead anywhere else.
func TestARegionThatIsNoneLeadsNowhere(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		w.Inject(fakeaws.Fault{Op: "GetObject", Status: 301, Code: "PermanentRedirect", Header: http.Header{"X-Amz-Bucket-Region": {"evil.example/"}}})
		text := w.mustFail(t, tile.ErrBadAnswer)
		if n := w.Count("GetObject", "", ""); n != 1 || strings.Contains(text, "evil") {
			t.Errorf("%d requests, %s", n, text)
		}
	})
}

// Names that S3's users choose may contain any word.
func TestAMissingTileInABucketNamedAfterKMS(t *testing.T) {
	const message = `User: arn:aws:sts::1:assumed-role/kms-reader/x is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::kms-tiles/kms/1.png" because no identity-based policy allows the s3:GetObject action`
	tiles := stub(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("<Error><Code>AccessDenied</Code><Message>" + message + "</Message></Error>"))
	}, func(o *origin.Options) { o.Sources[0].MissingOn403 = origin.Always })
	if _, err := tiles.Fetch(t.Context(), tile101, tile.Condition{}); !errors.Is(err, tile.ErrMissing) {
		t.Errorf("got %v", err)
	}
}
