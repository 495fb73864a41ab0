package testenv

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3 is an S3-compatible server with its administrator's credentials.
type S3 struct {
	Endpoint  string // http://127.0.0.1:PORT, for path-style addressing
	Region    string
	AccessKey string
	SecretKey string
}

// VersityGW starts a versitygw over a temporary directory: S3 without an STS.
func VersityGW(t testing.TB) *S3 {
	t.Helper()
	binary := find(t, "go install github.com/versity/versitygw/cmd/versitygw@v1.8.0", "versitygw")
	s := &S3{Region: "us-east-1", AccessKey: "versity-root", SecretKey: "versity-root-secret"}
	dir := t.TempDir()
	s.Endpoint = "http://" + run(t, "/", func(address string) *exec.Cmd {
		cmd := exec.Command(binary, "-p", address, "-a", s.AccessKey, "-s", s.SecretKey, "posix", dir)
		cmd.Env = environment("VGW_", "ROOT_")
		return cmd
	})
	return s
}

// environment is this process's without the variables that a server would take for its own.
func environment(withoutPrefix ...string) []string {
	var env []string
next:
	for _, variable := range os.Environ() {
		for _, prefix := range withoutPrefix {
			if strings.HasPrefix(variable, prefix) {
				continue next
			}
		}
		env = append(env, variable)
	}
	return env
}

// Client is the administrator's.
func (s *S3) Client() *s3.Client {
	return s3.New(s3.Options{
		Region:       s.Region,
		BaseEndpoint: aws.String(s.Endpoint),
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		HTTPClient:   &http.Client{Transport: &http.Transport{}},
	})
}

// CreateBucket fails the test when the bucket cannot be made.
func (s *S3) CreateBucket(t testing.TB, bucket string) {
	t.Helper()
	if _, err := s.Client().CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatalf("create bucket %s at %s: %v", bucket, s.Endpoint, err)
	}
}

// Put stores objects by key, and fails the test when one cannot be stored.
func (s *S3) Put(t testing.TB, bucket string, objects map[string][]byte) {
	t.Helper()
	client := s.Client()
	for key, body := range objects {
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)}); err != nil {
			t.Fatalf("put %s/%s at %s: %v", bucket, key, s.Endpoint, err)
		}
	}
}
