package fakeaws_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

// TestConformance holds this server to what MinIO and versitygw do with the same requests. Where one
// of them is known not to do as AWS documents, it differs.
func TestConformance(t *testing.T) {
	objects := map[string][]byte{"ten": []byte("0123456789"), "a/1": nil, "a/2": nil, "a/b/3": nil, "d/4": nil}
	suite := func(t *testing.T, client *s3.Client, differs ...string) {
		t.Run("ranges", func(t *testing.T) { testRanges(t, client, differs) })
		t.Run("conditions", func(t *testing.T) { testConditions(t, client, differs) })
		t.Run("listing", func(t *testing.T) { testListing(t, client) })
	}
	t.Run("fakeaws", func(t *testing.T) {
		server := start(t)
		for key, body := range objects {
			server.Put("conformance", key, fakeaws.Object{Body: body})
		}
		must(t, server.AddUser(fakeaws.User{AccessKeyID: userKey, SecretAccessKey: userSecret, Policy: `{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`}))
		suite(t, s3Client(server, static(userKey, userSecret, "")))
	})
	against := func(t *testing.T, server *testenv.S3, differs ...string) {
		server.CreateBucket(t, "conformance")
		server.Put(t, "conformance", objects)
		suite(t, server.Client(), differs...)
	}
	t.Run("MinIO", func(t *testing.T) {
		against(t, testenv.MinIO(t), "bytes=5-3", "If-None-Match silences If-Modified-Since")
	})
	t.Run("versitygw", func(t *testing.T) { // which compares with fractions of a second
		against(t, testenv.VersityGW(t), "If-Modified-Since then", "If-Unmodified-Since then")
	})
}

func testRanges(t *testing.T, client *s3.Client, differs []string) {
	tests := []struct{ header, body, contentRange string }{
		{"bytes=0-", "0123456789", "bytes 0-9/10"},
		{"bytes=3-5", "345", "bytes 3-5/10"},
		{"bytes=9-", "9", "bytes 9-9/10"},
		{"bytes=8-99", "89", "bytes 8-9/10"},
		{"bytes=-3", "789", "bytes 7-9/10"},
		{"bytes=-99", "0123456789", "bytes 0-9/10"},
		{"bytes=5-3", "0123456789", ""},
		{"bytes=0-1,4-5", "0123456789", ""},
		{"bytes=a-b", "0123456789", ""},
		{"lines=0-1", "0123456789", ""},
		{"bytes=10-", "416", ""},
		{"bytes=-0", "416", ""},
	}
	for _, test := range tests {
		if slices.Contains(differs, test.header) {
			continue
		}
		t.Run(test.header, func(t *testing.T) {
			out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("conformance"), Key: aws.String("ten"), Range: &test.header})
			if test.body == "416" {
				wantRefusal(t, err, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
				return
			}
			must(t, err)
			defer out.Body.Close()
			body, err := io.ReadAll(out.Body)
			must(t, err)
			if string(body) != test.body || aws.ToString(out.ContentRange) != test.contentRange {
				t.Errorf("got %q, %q, want %q, %q", body, aws.ToString(out.ContentRange), test.body, test.contentRange)
			}
			if test.contentRange != "" && out.ChecksumCRC32 != nil {
				t.Error("a part carries the whole object's checksum")
			}
		})
	}
}

func testConditions(t *testing.T, client *s3.Client, differs []string) {
	head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("conformance"), Key: aws.String("ten")})
	must(t, err)
	etag, modified := head.ETag, head.LastModified
	before, after, other := aws.Time(modified.Add(-time.Second)), aws.Time(modified.Add(time.Second)), aws.String(`"0123456789abcdef0123456789abcdef"`)
	bare := aws.String(strings.Trim(*etag, `"`))
	tests := []struct {
		name string
		in   s3.GetObjectInput
		want int
	}{
		{"If-Match", s3.GetObjectInput{IfMatch: etag}, 200},
		{"If-Match bare", s3.GetObjectInput{IfMatch: bare}, 200},
		{"If-Match other", s3.GetObjectInput{IfMatch: other}, 412},
		{"If-Match any", s3.GetObjectInput{IfMatch: aws.String("*")}, 200},
		{"If-None-Match", s3.GetObjectInput{IfNoneMatch: etag}, 304},
		{"If-None-Match other", s3.GetObjectInput{IfNoneMatch: other}, 200},
		{"If-Modified-Since then", s3.GetObjectInput{IfModifiedSince: modified}, 304},
		{"If-Modified-Since before", s3.GetObjectInput{IfModifiedSince: before}, 200},
		{"If-Unmodified-Since then", s3.GetObjectInput{IfUnmodifiedSince: modified}, 200},
		{"If-Unmodified-Since before", s3.GetObjectInput{IfUnmodifiedSince: before}, 412},
		{"If-Match silences If-Unmodified-Since", s3.GetObjectInput{IfMatch: etag, IfUnmodifiedSince: before}, 200},
		{"If-None-Match silences If-Modified-Since", s3.GetObjectInput{IfNoneMatch: other, IfModifiedSince: after}, 200},
		{"If-Match and a range", s3.GetObjectInput{IfMatch: etag, Range: aws.String("bytes=1-")}, 200},
		{"If-Match other and a range", s3.GetObjectInput{IfMatch: other, Range: aws.String("bytes=1-")}, 412},
	}
	for _, test := range tests {
		if slices.Contains(differs, test.name) {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			test.in.Bucket, test.in.Key = aws.String("conformance"), aws.String("ten")
			out, err := client.GetObject(t.Context(), &test.in)
			if test.want != 200 {
				wantRefusal(t, err, test.want, "")
				return
			}
			must(t, err)
			must(t, out.Body.Close())
		})
	}
}

func testListing(t *testing.T, client *s3.Client) {
	const all = "a/1 a/2 a/b/3 d/4 ten"
	tests := []struct {
		name    string
		in      s3.ListObjectsV2Input
		want    string
		limited bool
	}{
		{name: "all", want: all},
		{name: "prefix", in: s3.ListObjectsV2Input{Prefix: aws.String("a/")}, want: "a/1 a/2 a/b/3"},
		{name: "delimiter", in: s3.ListObjectsV2Input{Delimiter: aws.String("/")}, want: "ten a/ d/"},
		{name: "prefix and delimiter", in: s3.ListObjectsV2Input{Prefix: aws.String("a/"), Delimiter: aws.String("/")}, want: "a/1 a/2 a/b/"},
		{name: "after", in: s3.ListObjectsV2Input{StartAfter: aws.String("a/2")}, want: "a/b/3 d/4 ten"},
		{name: "none", in: s3.ListObjectsV2Input{Prefix: aws.String("z")}, want: ""},
		{name: "limited", in: s3.ListObjectsV2Input{MaxKeys: aws.Int32(2)}, want: "a/1 a/2", limited: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.in.Bucket = aws.String("conformance")
			out, err := client.ListObjectsV2(t.Context(), &test.in)
			must(t, err)
			if got := strings.Join(listed(out), " "); got != test.want || *out.IsTruncated != test.limited || int(*out.KeyCount) != len(listed(out)) {
				t.Errorf("got %q (%d, truncated %v), want %q", got, *out.KeyCount, *out.IsTruncated, test.want)
			}
		})
	}
	for delimiter, want := range map[string]string{"": all, "/": "a/ d/ ten"} {
		in := &s3.ListObjectsV2Input{Bucket: aws.String("conformance"), MaxKeys: aws.Int32(1), Delimiter: &delimiter}
		var got []string
		for pages := s3.NewListObjectsV2Paginator(client, in); pages.HasMorePages(); {
			out, err := pages.NextPage(t.Context())
			must(t, err)
			got = append(got, listed(out)...)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("page by page with delimiter %q: got %q, want %q", delimiter, got, want)
		}
	}
}

func listed(out *s3.ListObjectsV2Output) (names []string) {
	for _, o := range out.Contents {
		names = append(names, *o.Key)
	}
	for _, p := range out.CommonPrefixes {
		names = append(names, *p.Prefix)
	}
	return names
}
