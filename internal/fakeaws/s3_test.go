package fakeaws_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"tilegate/internal/fakeaws"
)

func TestHeadObject(t *testing.T) {
	server := start(t)
	client := s3Client(server, static(userKey, userSecret, ""))
	out, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("tiles"), Key: aws.String(tile)})
	must(t, err)
	if *out.ContentLength != int64(len(tileBody)) || *out.ContentType != "image/png" {
		t.Errorf("got %d bytes of %s", *out.ContentLength, *out.ContentType)
	}
	_, err = client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("tiles"), Key: aws.String("none")})
	var absent *types.NotFound // the SDK's own name for a 404 without a document
	if !errors.As(err, &absent) {
		t.Errorf("got %v, want NotFound", err)
	}
}

func TestAnonymousRequestsAreRefused(t *testing.T) {
	server := start(t)
	for path, want := range map[string]string{"/tiles/" + tile: "AccessDenied", "/tiles/none": "AccessDenied", "/tiles?list-type=2": "AccessDenied", "/": "AccessDenied", "/nowhere/x": "NoSuchBucket"} {
		if status, code, _ := do(t, server, request(t, server.URL()+path)); code != want || status != map[string]int{"AccessDenied": 403, "NoSuchBucket": 404}[want] {
			t.Errorf("%s: got %d %s, want %s", path, status, code, want)
		}
	}
}

func TestAbsence(t *testing.T) {
	server := start(t)
	client := s3Client(server, static(userKey, userSecret, ""))
	_, err := get(t.Context(), client, "tiles", "none")
	wantRefusal(t, err, http.StatusNotFound, "NoSuchKey")
	_, err = get(t.Context(), client, "nowhere", tile)
	wantRefusal(t, err, http.StatusNotFound, "NoSuchBucket")
	server.Delete("tiles", tile)
	_, err = get(t.Context(), client, "tiles", tile)
	wantRefusal(t, err, http.StatusNotFound, "NoSuchKey")
	must(t, server.AddUser(fakeaws.User{AccessKeyID: "AKIANOLIST", SecretAccessKey: "secret", Policy: readOnly}))
	_, err = get(t.Context(), s3Client(server, static("AKIANOLIST", "secret", "")), "tiles", "none")
	wantRefusal(t, err, http.StatusForbidden, "AccessDenied")
}

func TestResponseHeaders(t *testing.T) {
	clock := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	server := start(t, func(o *fakeaws.Options) { o.Clock = func() time.Time { return clock } })
	r := signed(t, server, aws.Credentials{AccessKeyID: userKey, SecretAccessKey: userSecret}, "us-east-1", clock)
	response, err := viaAddress(server).Do(r)
	must(t, err)
	must(t, response.Body.Close())
	for name, want := range map[string]string{
		"Accept-Ranges": "bytes", "Content-Length": "65536", "Content-Type": "image/png", "Server": "AmazonS3",
		"Date": "Wed, 02 Jan 2030 03:04:05 GMT", "Last-Modified": "Sun, 01 Nov 2026 12:00:00 GMT", "X-Amz-Checksum-Crc32": "",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
}

func TestObjectMetadata(t *testing.T) {
	server := start(t)
	server.Put("tiles", "gzipped", fakeaws.Object{Body: []byte("gzipped bytes"), ContentEncoding: "gzip", ETag: `"abc-2"`, Checksum: "CRC64NVME"})
	client := s3Client(server, static(userKey, userSecret, ""))
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{
		Bucket: aws.String("tiles"), Key: aws.String("gzipped"),
		ResponseContentType: aws.String("application/x-protobuf"), ResponseContentDisposition: aws.String(`attachment; filename="a.pdf"`),
	})
	must(t, err)
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body) // the SDK verifies CRC64NVME
	if err != nil || string(body) != "gzipped bytes" || aws.ToString(out.ChecksumCRC64NVME) == "" {
		t.Errorf("got %q, %v, checksum %q", body, err, aws.ToString(out.ChecksumCRC64NVME))
	}
	for name, pair := range map[string][2]string{
		"Content-Encoding":    {aws.ToString(out.ContentEncoding), "gzip"},
		"Content-Type":        {aws.ToString(out.ContentType), "application/x-protobuf"},
		"Content-Disposition": {aws.ToString(out.ContentDisposition), `attachment; filename="a.pdf"`},
		"ETag":                {aws.ToString(out.ETag), `"abc-2"`},
	} {
		if pair[0] != pair[1] {
			t.Errorf("got %s %q, want %q", name, pair[0], pair[1])
		}
	}
}

func TestVirtualHostStyle(t *testing.T) {
	server := start(t)
	server.Put("dotted.bucket", "a/b", fakeaws.Object{Body: []byte("b")})
	must(t, server.AddUser(fakeaws.User{AccessKeyID: userKey, SecretAccessKey: userSecret, Policy: `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`}))
	for _, endpoint := range []string{"http://localhost:9000", "http://s3.us-east-1.amazonaws.com"} {
		client := s3Client(server, static(userKey, userSecret, ""), func(o *s3.Options) {
			o.UsePathStyle, o.BaseEndpoint, o.HTTPClient = false, aws.String(endpoint), viaAddress(server)
		})
		if body, err := get(t.Context(), client, "tiles", tile); err != nil || !bytes.Equal(body, tileBody) {
			t.Errorf("%s: got %d bytes, %v", endpoint, len(body), err)
		}
		if body, err := get(t.Context(), client, "dotted.bucket", "a/b"); err != nil || string(body) != "b" {
			t.Errorf("%s: got %q, %v", endpoint, body, err)
		}
	}
}

func TestBuckets(t *testing.T) {
	for region, want := range map[string]types.BucketLocationConstraint{"us-east-1": "", "eu-central-1": "eu-central-1"} {
		server := start(t, func(o *fakeaws.Options) { o.Region = region })
		must(t, server.AddUser(fakeaws.User{AccessKeyID: userKey, SecretAccessKey: userSecret, Policy: `{"Statement":{"Effect":"Allow","Action":["s3:ListBucket","s3:GetBucketLocation"],"Resource":"*"}}`}))
		client := s3Client(server, static(userKey, userSecret, ""), func(o *s3.Options) { o.Region = region })
		location, err := client.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String("tiles")})
		if err != nil || location.LocationConstraint != want {
			t.Errorf("got location %v, %v, want %q", location, err, want)
		}
		head, err := client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("tiles")})
		if err != nil || aws.ToString(head.BucketRegion) != region {
			t.Errorf("got %v, %v, want region %s", head, err, region)
		}
	}
}

func TestWriting(t *testing.T) {
	server := start(t)
	client := s3Client(server, static(userKey, userSecret, ""))
	put := func() error {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("tiles"), Key: aws.String("new"), Body: strings.NewReader("new"), ContentType: aws.String("text/plain")})
		return err
	}
	wantRefusal(t, put(), http.StatusForbidden, "AccessDenied")
	_, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("tiles"), Key: aws.String(tile)})
	wantRefusal(t, err, http.StatusForbidden, "AccessDenied")

	must(t, server.AddUser(fakeaws.User{AccessKeyID: userKey, SecretAccessKey: userSecret, Policy: `{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`}))
	must(t, put())
	if body, err := get(t.Context(), client, "tiles", "new"); err != nil || string(body) != "new" {
		t.Errorf("got %q, %v", body, err)
	}
	_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("tiles"), Key: aws.String("new")})
	must(t, err)
	_, err = get(t.Context(), client, "tiles", "new")
	wantRefusal(t, err, http.StatusNotFound, "NoSuchKey")
}

func TestWhatIsNotImplementedSaysSo(t *testing.T) {
	server := start(t)
	client := s3Client(server, static(userKey, userSecret, ""))
	_, err := client.ListBuckets(t.Context(), &s3.ListBucketsInput{})
	wantRefusal(t, err, http.StatusNotImplemented, "NotImplemented")
	_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: aws.String(tile), VersionId: aws.String("1")})
	wantRefusal(t, err, http.StatusNotImplemented, "NotImplemented")
}

func TestLookup(t *testing.T) {
	server := start(t, func(o *fakeaws.Options) {
		o.Lookup = func(bucket, key string) (fakeaws.Object, bool) {
			return fakeaws.Object{Body: []byte(bucket + ":" + key), Checksum: "none"}, strings.HasPrefix(key, "made/")
		}
	})
	client := s3Client(server, static(userKey, userSecret, ""))
	if body, err := get(t.Context(), client, "tiles", "made/1"); err != nil || string(body) != "tiles:made/1" {
		t.Errorf("got %q, %v", body, err)
	}
	_, err := get(t.Context(), client, "tiles", "none")
	wantRefusal(t, err, http.StatusNotFound, "NoSuchKey")
}

func TestRequestLog(t *testing.T) {
	server := start(t, func(o *fakeaws.Options) { o.Log = 3 })
	client := s3Client(server, static(userKey, userSecret, ""))
	for range 3 {
		_, err := get(t.Context(), client, "tiles", tile)
		must(t, err)
	}
	if got := server.Count("GetObject", "tiles", tile); got != 3 {
		t.Errorf("got %d, want 3", got)
	}
	_, err := get(t.Context(), client, "tiles", "none")
	wantRefusal(t, err, http.StatusNotFound, "")
	must(t, server.Wait(t.Context(), func() bool {
		return !slices.ContainsFunc(server.Requests(), func(r fakeaws.Request) bool { return !r.Done })
	}))
	requests := server.Requests()
	if len(requests) != 3 || requests[2].Key != "none" || requests[2].Status != 404 || requests[0].Bytes != int64(len(tileBody)) {
		t.Errorf("got %+v", requests)
	}
	if got := server.Count("GetObject", "", ""); got != 4 {
		t.Errorf("got %d, want 4 though one is forgotten", got)
	}
	if got := server.Count("", "", tile); got != -1 {
		t.Errorf("got %d, want -1: nobody knows any more", got)
	}
	server.ResetRequests()
	if got := server.Count("", "", tile); got != 0 || len(server.Requests()) != 0 {
		t.Errorf("got %d after the reset, want 0", got)
	}
}
