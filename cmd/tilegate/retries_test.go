package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/configs"
	"tilegate/proxy/origin"
)

// worstS3 fails each request in another way that is worth a retry, and breaks off the bodies that it sends.
type worstS3 struct {
	mu       sync.Mutex
	clock    time.Duration // how far it is ahead
	tiles    int           // requests for the tile
	probes   map[string]int
	requests int
}

const (
	brokenAtOnce = "body broken off within its first bytes"
	brokenLater  = "body broken off later"
)

// worstFill is what happens to the requests of one fill: two Fetches that get an object, and three that resume it.
var worstFill = []string{
	"InternalError", "InternalError", "ExpiredToken", "RequestTimeTooSkewed", "PermanentRedirect", "Odd", brokenAtOnce,
	"InternalError", "InternalError", "ExpiredToken", "RequestTimeTooSkewed", brokenLater,
	"InternalError", "InternalError", "RequestTimeTooSkewed", "AccessDenied",
	"InternalError", "InternalError", "RequestTimeTooSkewed", "AccessDenied",
	"InternalError", "InternalError", "RequestTimeTooSkewed", "AccessDenied",
}

func (s *worstS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	what := "AccessDenied"
	switch {
	case r.Header.Get("Range") == "bytes=0-0":
		if s.probes[r.URL.Path]++; s.probes[r.URL.Path]%2 == 1 {
			what = "RequestTimeTooSkewed"
		}
	case s.tiles < len(worstFill):
		what = worstFill[s.tiles]
		s.tiles++
	default:
		s.tiles++
	}
	if what == "RequestTimeTooSkewed" {
		s.clock += time.Hour
	}
	if what == "PermanentRedirect" {
		w.Header().Set("X-Amz-Bucket-Region", "eu-north-1")
	}
	w.Header().Set("Date", time.Now().Add(s.clock).UTC().Format(http.TimeFormat))
	if what != brokenAtOnce && what != brokenLater {
		w.WriteHeader(map[string]int{"InternalError": 500, "ExpiredToken": 400, "RequestTimeTooSkewed": 403, "AccessDenied": 403, "PermanentRedirect": 301, "Odd": 400}[what])
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", what)
		return
	}
	body := "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 20_000)
	w.Header().Set("Etag", `"v1"`)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = io.WriteString(w, body[:map[string]int{brokenAtOnce: 5, brokenLater: 9000}[what]])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// Package origin states the most requests to S3 that one request of a client can cause, through all loops that retry.
func TestMostRequestsToS3OfOneClient(t *testing.T) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	s3 := &worstS3{probes: map[string]int{}}
	bucket := httptest.NewServer(s3)
	defer bucket.Close()
	config, err := configs.Load(writeFile(t, "tilegate.yaml", "aws: {endpoint: \""+bucket.URL+"\", path_style: true}\n"+
		"tilesets:\n  basemap: {public: true, source: \"s3://tiles/basemap/{z}/{x}/{y}.png\"}\n"), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	s, err := newService(t.Context(), config, noLog(), extras{origins: func(o *origin.Options) {
		o.Base = func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: fmt.Sprintf("AKIA%d", n.Add(1)), SecretAccessKey: "secret"}, nil
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.origins.Run(ctx) })
	defer running.Wait()
	defer stop()
	server := httptest.NewServer(s.proxy)
	defer server.Close()
	eventually(t, "S3 answers", func() error {
		if lines := s.origins.NotReady(); len(lines) > 0 {
			return errors.New(lines[0])
		}
		return nil
	})
	s3.mu.Lock()
	atStart := s3.requests
	s3.mu.Unlock()

	response, err := http.Get(server.URL + "/tiles/basemap/1/0/1.png")
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || err == nil {
		t.Errorf("got status %d and %v, want a body that breaks off", response.StatusCode, err)
	}
	s3.mu.Lock()
	defer s3.mu.Unlock()
	// The probes are shared for a second, so that there are 6 to 18 of them.
	if total := s3.requests - atStart; s3.tiles != len(worstFill) || total < len(worstFill)+6 || total > 47 {
		t.Errorf("%d requests, %d of them for the tile; want %d for the tile and 47 at most", total, s3.tiles, len(worstFill))
	}
}
