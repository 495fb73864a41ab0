package fakeaws_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"tilegate/internal/fakeaws"
)

const (
	userKey    = "AKIAEXAMPLEREADER"
	userSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	tile       = "basemap/7/66/44.png"
	roleARN    = "arn:aws:iam::123456789012:role/tiles-reader"
	readAll    = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::tiles","arn:aws:s3:::tiles/*"]}]}`
	readOnly   = `{"Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::tiles/*"}}`
)

var tileBody = bytes.Repeat([]byte("not quite a PNG "), 4096) // 64 KiB

// manualClock starts at the real time, because the SDK signs with it.
type manualClock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *manualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// start is a server with one user, one bucket and one tile.
func start(t testing.TB, options ...func(*fakeaws.Options)) *fakeaws.Server {
	t.Helper()
	opt := fakeaws.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, option := range options {
		option(&opt)
	}
	server, err := fakeaws.Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	must(t, server.AddUser(fakeaws.User{AccessKeyID: userKey, SecretAccessKey: userSecret, Policy: readAll}))
	must(t, server.AddRole(fakeaws.Role{ARN: roleARN, Policy: readAll, TrustedUsers: []string{userKey}}))
	server.Put("tiles", tile, fakeaws.Object{Body: tileBody, ContentType: "image/png", LastModified: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)})
	return server
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func static(key, secret, token string) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(key, secret, token)
}

// s3Client makes one attempt only, so that each refusal is seen.
func s3Client(server *fakeaws.Server, from aws.CredentialsProvider, options ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL()), UsePathStyle: true,
		Credentials: from, RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: &http.Transport{}},
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	}, options...)
}

func stsClient(server *fakeaws.Server, from aws.CredentialsProvider) *sts.Client {
	return sts.New(sts.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL()),
		Credentials: from, RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: &http.Transport{}},
	})
}

func get(ctx context.Context, client *s3.Client, bucket, key string) ([]byte, error) {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

// wantRefusal checks an SDK error's status and code.
func wantRefusal(t testing.TB, err error, status int, code string) {
	t.Helper()
	var api smithy.APIError
	var response interface{ HTTPStatusCode() int }
	switch {
	case err == nil:
		t.Errorf("got no error, want %d %s", status, code)
	case !errors.As(err, &response) || response.HTTPStatusCode() != status:
		t.Errorf("got %v, want status %d", err, status)
	case code != "" && (!errors.As(err, &api) || api.ErrorCode() != code):
		t.Errorf("got %v, want code %s", err, code)
	}
}

func TestGetObject(t *testing.T) {
	server := start(t)
	client := s3Client(server, static(userKey, userSecret, ""))
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: aws.String(tile)})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body) // which also verifies the checksum
	if err != nil || !bytes.Equal(body, tileBody) {
		t.Errorf("got %d bytes, %v, want the tile's %d", len(body), err, len(tileBody))
	}
	if got := aws.ToString(out.ChecksumCRC32); got == "" {
		t.Error("no CRC32, though the SDK asks for checksums")
	}
	requests := server.Requests()
	if len(requests) != 1 || requests[0].Op != "GetObject" || requests[0].Key != tile || requests[0].AccessKeyID != userKey {
		t.Errorf("log: %+v", requests)
	}
}

func TestAssumeRole(t *testing.T) {
	server := start(t)
	out, err := stsClient(server, static(userKey, userSecret, "")).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String(roleARN), RoleSessionName: aws.String("tilegate"), DurationSeconds: aws.Int32(900), Policy: aws.String(readOnly),
	})
	if err != nil {
		t.Fatal(err)
	}
	if in := time.Until(*out.Credentials.Expiration); in < 14*time.Minute || in > 15*time.Minute {
		t.Errorf("credentials expire in %v, want 15m", in)
	}
	session := static(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	client := s3Client(server, session)
	if body, err := get(t.Context(), client, "tiles", tile); err != nil || !bytes.Equal(body, tileBody) {
		t.Errorf("got %d bytes, %v, want the tile's %d", len(body), err, len(tileBody))
	}
	// The session policy takes away the role's ListBucket, so that a missing key is a 403.
	_, err = get(t.Context(), client, "tiles", "basemap/7/66/45.png")
	wantRefusal(t, err, http.StatusForbidden, "AccessDenied")
	_, err = get(t.Context(), s3Client(server, static(userKey, userSecret, "")), "tiles", "basemap/7/66/45.png")
	wantRefusal(t, err, http.StatusNotFound, "NoSuchKey")

	who, err := stsClient(server, session).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:sts::123456789012:assumed-role/tiles-reader/tilegate"; *who.Arn != want {
		t.Errorf("got ARN %q, want %q", *who.Arn, want)
	}
}
