package fakeaws_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tilegate/internal/fakeaws"
)

// plain is a response without the SDK in between.
func plain(t testing.TB, server *fakeaws.Server, header http.Header) (*http.Response, error) {
	t.Helper()
	r := signed(t, server, aws.Credentials{AccessKeyID: userKey, SecretAccessKey: userSecret}, "us-east-1", time.Now())
	for name, values := range header {
		r.Header[name] = values
	}
	return viaAddress(server).Do(r)
}

func TestFaultsOfTheBody(t *testing.T) {
	xmlError := []byte(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code></Error>`)
	size := int64(len(tileBody))
	tests := []struct {
		name  string
		fault fakeaws.Fault
		bytes int64 // that the client reads
		ends  error // how its reading ends; nil: orderly
	}{
		{"reset at 0", fakeaws.Fault{ResetAt: new(int64(0))}, 0, syscall.ECONNRESET},
		{"reset at 1", fakeaws.Fault{ResetAt: new(int64(1))}, 1, syscall.ECONNRESET},
		{"reset in the middle", fakeaws.Fault{ResetAt: new(size / 2)}, size / 2, syscall.ECONNRESET},
		{"reset before the last byte", fakeaws.Fault{ResetAt: new(size - 1)}, size - 1, syscall.ECONNRESET},
		{"truncated at 0", fakeaws.Fault{TruncateAt: new(int64(0))}, 0, io.ErrUnexpectedEOF},
		{"truncated before the last byte", fakeaws.Fault{TruncateAt: new(size - 1)}, size - 1, io.ErrUnexpectedEOF},
		{"longer than declared", fakeaws.Fault{ExtraBytes: []byte("more")}, size, nil},
		{"another body", fakeaws.Fault{Body: xmlError}, int64(len(xmlError)), nil},
		{"length unknown", fakeaws.Fault{Header: http.Header{"Content-Length": nil}}, size, nil},
		{"length unknown and truncated", fakeaws.Fault{Header: http.Header{"Content-Length": nil}, TruncateAt: new(int64(100))}, 100, io.ErrUnexpectedEOF},
		{"drip", fakeaws.Fault{Drip: &fakeaws.Drip{Chunk: 5000}}, size, nil},
		{"drip with pauses", fakeaws.Fault{Drip: &fakeaws.Drip{Chunk: 30000, Pause: time.Millisecond}}, size, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := start(t)
			test.fault.Op, test.fault.Times = "GetObject", 1
			server.Inject(test.fault)
			response, err := plain(t, server, nil)
			must(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if int64(len(body)) != test.bytes || !errors.Is(err, test.ends) {
				t.Errorf("read %d bytes, then %v; want %d, then %v", len(body), err, test.bytes, test.ends)
			}
			if test.fault.Body == nil && !bytes.HasPrefix(tileBody, body) {
				t.Error("these are not the tile's bytes")
			}
			if _, err := get(t.Context(), s3Client(server, static(userKey, userSecret, "")), "tiles", tile); err != nil {
				t.Errorf("the next request: %v", err)
			}
		})
	}
}

// A reader that is slower than the sender makes the kernel hold on to bytes, which a reset discards.
func TestResetDeliversItsBytesToASlowReader(t *testing.T) {
	server := start(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB, more than the reader's socket takes at once
	server.Put("tiles", tile, fakeaws.Object{Body: big})
	at := int64(len(big) - 1)
	server.Inject(fakeaws.Fault{ResetAt: &at, Times: 1})
	response, err := plain(t, server, nil)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(iotestSlow{response.Body})
	if int64(len(body)) != at || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d bytes, then %v; want %d, then ECONNRESET", len(body), err, at)
	}
}

// iotestSlow reads a little at a time.
type iotestSlow struct{ io.Reader }

func (r iotestSlow) Read(b []byte) (int, error) { return r.Reader.Read(b[:min(len(b), 512)]) }

func TestFaultsBeforeTheBody(t *testing.T) {
	server := start(t)
	client := s3Client(server, static(userKey, userSecret, ""))
	once := func(f fakeaws.Fault) error {
		f.Times = 1
		server.Inject(f)
		_, err := get(t.Context(), client, "tiles", tile)
		return err
	}
	wantRefusal(t, once(fakeaws.Fault{Status: 503, Code: "SlowDown"}), 503, "SlowDown")
	wantRefusal(t, once(fakeaws.Fault{Status: 500}), 500, "InternalError")
	wantRefusal(t, once(fakeaws.Fault{Status: 403, Code: "KMS.DisabledException"}), 403, "KMS.DisabledException")
	wantRefusal(t, once(fakeaws.Fault{NotModified: true}), 304, "")
	server.Inject(fakeaws.Fault{Reset: true, Times: 1})
	if _, err := plain(t, server, nil); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want ECONNRESET", err)
	}
	if err := once(fakeaws.Fault{Header: http.Header{"X-Amz-Checksum-Crc32": {"AAAAAA=="}}}); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("got %v, want the SDK to notice the wrong checksum", err)
	}
	if _, err := get(t.Context(), client, "tiles", tile); err != nil {
		t.Errorf("after the faults: %v", err)
	}
}

func TestFaultsMatchAndWearOut(t *testing.T) {
	server := start(t)
	server.Put("tiles", "roads/1.mvt", fakeaws.Object{Body: []byte("x")})
	client := s3Client(server, static(userKey, userSecret, ""))
	server.Inject(fakeaws.Fault{Op: "HeadObject", Status: 500})
	server.Inject(fakeaws.Fault{Bucket: "other", Status: 500})
	server.Inject(fakeaws.Fault{Key: "roads/*", Status: 500, Times: 2})
	remove := server.Inject(fakeaws.Fault{Key: "roads/*", Status: 503, Code: "SlowDown"})
	statuses := func(key string, n int) (got []int) {
		for range n {
			_, err := get(t.Context(), client, "tiles", key)
			var response interface{ HTTPStatusCode() int }
			switch {
			case err == nil:
				got = append(got, 200)
			case errors.As(err, &response):
				got = append(got, response.HTTPStatusCode())
			}
		}
		return got
	}
	if got := statuses(tile, 2); got[0] != 200 || got[1] != 200 {
		t.Errorf("unmatched: got %v", got)
	}
	if got := statuses("roads/1.mvt", 4); got[0] != 500 || got[1] != 500 || got[2] != 503 || got[3] != 503 {
		t.Errorf("matched: got %v, want 500 500 503 503", got)
	}
	remove()
	remove()
	if got := statuses("roads/1.mvt", 1); got[0] != 200 {
		t.Errorf("removed: got %v", got)
	}
}

// A fault hides no wrong signature.
func TestFaultsAreForTheAuthorized(t *testing.T) {
	server := start(t)
	server.Inject(fakeaws.Fault{Times: 1, Body: []byte("anything")})
	if status, _, _ := do(t, server, request(t, server.URL()+"/tiles/"+tile)); status != http.StatusForbidden {
		t.Errorf("anonymous: got %d, want 403", status)
	}
	_, err := get(t.Context(), s3Client(server, static(userKey, "guess", "")), "tiles", tile)
	wantRefusal(t, err, http.StatusForbidden, "SignatureDoesNotMatch")
	if body, err := get(t.Context(), s3Client(server, static(userKey, userSecret, "")), "tiles", tile); err != nil || string(body) != "anything" {
		t.Errorf("got %q, %v: the fault should still be there", body, err)
	}
}

func TestMutateBetweenResumeAttempts(t *testing.T) {
	server := start(t)
	server.Inject(fakeaws.Fault{Times: 1, ResetAt: new(int64(1000)), Mutate: &fakeaws.Object{Body: []byte("another tile")}})
	response, err := plain(t, server, nil)
	must(t, err)
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); !bytes.Equal(body, tileBody[:1000]) {
		t.Errorf("got %d bytes that are not the old tile's first thousand", len(body))
	}
	etag := response.Header.Get("Etag")
	client := s3Client(server, static(userKey, userSecret, ""))
	_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: aws.String(tile), Range: aws.String("bytes=1000-"), IfMatch: &etag})
	wantRefusal(t, err, http.StatusPreconditionFailed, "PreconditionFailed")
	if body, err := get(t.Context(), client, "tiles", tile); err != nil || string(body) != "another tile" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestHangs(t *testing.T) {
	release := make(chan struct{})
	for name, fault := range map[string]fakeaws.Fault{
		"before headers": {HangBeforeHeaders: true},
		"in the body":    {HangAt: new(int64(100))},
		"in a drip":      {Drip: &fakeaws.Drip{Chunk: 60000, Next: release}},
	} {
		for _, end := range []string{"released", "removed", "client leaves"} {
			t.Run(name+", "+end, func(t *testing.T) {
				server := start(t)
				met := make(chan fakeaws.Request, 1)
				fault.Met = func(r fakeaws.Request) { met <- r }
				fault.Release = release
				remove := server.Inject(fault)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				type result struct {
					body []byte
					err  error
				}
				done := make(chan result, 1)
				go func() {
					body, err := get(ctx, s3Client(server, static(userKey, userSecret, "")), "tiles", tile)
					done <- result{body, err}
				}()
				if r := <-met; r.Key != tile || r.Done {
					t.Errorf("met %+v", r)
				}
				switch end {
				case "released":
					release <- struct{}{}
					if fault.Drip != nil {
						release <- struct{}{} // for the second chunk
					}
				case "removed":
					remove()
				case "client leaves":
					leave()
					must(t, server.Wait(t.Context(), func() bool { return server.Requests()[0].Done }))
				}
				got := <-done
				if whole := end != "client leaves"; whole != (got.err == nil) || whole != bytes.Equal(got.body, tileBody) {
					t.Errorf("got %d bytes, %v", len(got.body), got.err)
				}
			})
		}
	}
}

func TestDelay(t *testing.T) {
	server := start(t)
	server.Inject(fakeaws.Fault{Delay: 20 * time.Millisecond})
	began := time.Now()
	_, err := get(t.Context(), s3Client(server, static(userKey, userSecret, "")), "tiles", tile)
	if took := time.Since(began); err != nil || took < 20*time.Millisecond {
		t.Errorf("took %v, %v", took, err)
	}
}

func TestCloseReleasesWhatHangs(t *testing.T) {
	server := start(t)
	met := make(chan struct{})
	server.Inject(fakeaws.Fault{HangBeforeHeaders: true, Times: 1, Met: func(fakeaws.Request) { close(met) }})
	failed := make(chan error)
	go func() {
		_, err := get(context.Background(), s3Client(server, static(userKey, userSecret, "")), "tiles", tile)
		failed <- err
	}()
	<-met
	must(t, server.Close())
	if err := <-failed; err == nil {
		t.Error("got an answer from a closed server")
	}
}

func TestFaultsOfSTS(t *testing.T) {
	server := start(t)
	client := stsClient(server, static(userKey, userSecret, ""))
	assume := func(f fakeaws.Fault) (*sts.AssumeRoleOutput, error) {
		f.Op, f.Times = "AssumeRole*", 1
		server.Inject(f)
		return client.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("test")})
	}
	_, err := assume(fakeaws.Fault{Status: 503, Code: "ServiceUnavailable"})
	wantRefusal(t, err, 503, "ServiceUnavailable")
	_, err = assume(fakeaws.Fault{Status: 400, Code: "PackedPolicyTooLarge"})
	wantRefusal(t, err, 400, "PackedPolicyTooLarge")
	if _, err = assume(fakeaws.Fault{Reset: true}); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want ECONNRESET", err)
	}
	out, err := assume(fakeaws.Fault{Empty: true})
	must(t, err)
	if *out.Credentials.AccessKeyId != "" || *out.Credentials.SecretAccessKey != "" {
		t.Errorf("got credentials %q, want empty ones", *out.Credentials.AccessKeyId)
	}
	out, err = assume(fakeaws.Fault{Lifetime: aws.Duration(-time.Minute)})
	must(t, err)
	if !out.Credentials.Expiration.Before(time.Now()) {
		t.Errorf("credentials expire at %v, want the past", out.Credentials.Expiration)
	}
	expired := static(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	_, err = get(t.Context(), s3Client(server, expired), "tiles", tile)
	wantRefusal(t, err, http.StatusBadRequest, "ExpiredToken")
}
