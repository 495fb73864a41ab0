package origin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// worstS3 answers so that every remedy is tried, and every probe is signed twice, before it denies.
type worstS3 struct {
	started chan struct{} // closed by the first request, the probe at start

	mu    sync.Mutex
	worst bool          // until then it sends tiles, but for the canary
	clock time.Duration // how far its clock is ahead
	asked map[string]int
}

func (s *worstS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	probe := r.Header.Get("Range") == "bytes=0-0"
	switch {
	case s.worst && probe:
		s.refuse(w, s.next(r, "RequestTimeTooSkewed"))
	case s.worst:
		s.refuse(w, s.next(r, "InternalError", "InternalError", "ExpiredToken", "RequestTimeTooSkewed", "PermanentRedirect", "Odd", "PreconditionFailed"))
	case probe:
		s.refuse(w, "NoSuchKey")
		close(s.started)
	default:
		_, _ = io.WriteString(w, "a tile")
	}
}

// next is the code for the next request of a path, AccessDenied after the last.
func (s *worstS3) next(r *http.Request, codes ...string) string {
	n := s.asked[r.URL.Path]
	s.asked[r.URL.Path]++
	if n < len(codes) {
		return codes[n]
	}
	return "AccessDenied"
}

func (s *worstS3) refuse(w http.ResponseWriter, code string) {
	if code == "RequestTimeTooSkewed" {
		s.clock += time.Hour
	}
	if code == "PermanentRedirect" {
		w.Header().Set("X-Amz-Bucket-Region", "eu-north-1")
	}
	w.Header().Set("Date", time.Now().Add(s.clock).UTC().Format(http.TimeFormat))
	w.WriteHeader(map[string]int{"InternalError": 500, "ExpiredToken": 400, "NoSuchKey": 404, "RequestTimeTooSkewed": 403, "PermanentRedirect": 301, "Odd": 400, "PreconditionFailed": 412, "AccessDenied": 403}[code])
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
}

// The package comment states the most requests that one Fetch causes.
func TestMostRequestsOfOneFetch(t *testing.T) {
	s3 := &worstS3{started: make(chan struct{}), asked: map[string]int{}}
	tiles := stub(t, s3.ServeHTTP, func(o *origin.Options) {
		o.Sources[0].MissingOn403 = origin.Auto
		var n atomic.Int64
		o.Base = func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: fmt.Sprintf("AKIA%d", n.Add(1)), SecretAccessKey: "secret"}, nil
		}
	})
	<-s3.started
	if _, _, err := read(tiles.Fetch(t.Context(), tile.Key{Z: 2}, tile.Condition{})); err != nil { // for probes to ask for
		t.Fatal(err)
	}
	s3.mu.Lock()
	s3.worst = true
	s3.mu.Unlock()
	_, _, err := read(tiles.Fetch(t.Context(), tile101, tile.Condition{IfNoneMatch: `"v1"`}))
	if !errors.Is(err, tile.ErrDenied) || !strings.Contains(err.Error(), "can't be read") {
		t.Errorf("got %v", err)
	}
	n := 0
	s3.mu.Lock()
	defer s3.mu.Unlock()
	for _, requests := range s3.asked {
		n += requests
	}
	if n != 14 || len(s3.asked) != 4 {
		t.Errorf("%d requests, want 14: %v", n, s3.asked)
	}
}
