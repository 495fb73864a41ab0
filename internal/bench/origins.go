package main

import (
	"context"
	"crypto/md5" //nolint:gosec // S3's ETags
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tilegate/internal/fakeaws"
)

const (
	benchKey    = "AKIABENCHTILEGATE001" //nolint:gosec // opens nothing outside of the bench
	benchSecret = "bench-secret"
	benchRole   = "arn:aws:iam::123456789012:role/bench"
	tileSize    = 20_000 // bytes of a usual tile
)

// servers are the processes that this program is besides the bench itself.
var servers = map[string]func(context.Context, []string) error{
	"serve-s3":   serveS3,
	"serve-bare": serveBare,
	"serve-keys": serveKeys,
	"loop":       loopGetObject,

	"serve-limited":  serveLimited,
	"attack-process": runAttack,
	"good-process":   loadGood,
	"serve-late":     serveLate,
	"miss-process":   loadMisses,
}

func tileBody(size int) []byte {
	body := make([]byte, size)
	copy(body, "\x89PNG\r\n\x1a\n")
	for i := 8; i < size; i++ {
		body[i] = byte(i * 7)
	}
	return body
}

// etagOf is S3's ETag of an object, which tilegate compares with the body.
func etagOf(body []byte) string { return fmt.Sprintf("\"%x\"", md5.Sum(body)) } //nolint:gosec // what S3 does

// serveS3 is an S3 that has every tile, and an archive of all to a zoom where one is given: serve-s3 ADDRESS SIZE [ZOOM].
func serveS3(ctx context.Context, args []string) error {
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var archive []byte
	if len(args) > 2 { // made before anybody can ask
		zoom, err := strconv.ParseUint(args[2], 10, 5)
		if err != nil {
			return err
		}
		if archive, err = archiveOf(upTo(uint8(zoom)), size); err != nil {
			return err
		}
	}
	object := fakeaws.Object{Body: tileBody(size), ETag: etagOf(tileBody(size)), LastModified: time.Unix(1_700_000_000, 0), Checksum: "none"}
	s, err := fakeaws.Start(fakeaws.Options{Addr: args[0], Log: -1, Lookup: func(bucket, key string) (fakeaws.Object, bool) {
		return object, bucket == "tiles" && strings.HasPrefix(key, "basemap/")
	}})
	if err != nil {
		return err
	}
	s.CreateBucket("tiles")
	if archive != nil {
		s.Put("tiles", archiveKey, fakeaws.Object{Body: archive, Checksum: "none"})
	}
	if err := addBenchUser(s); err != nil {
		return err
	}
	err = s.AddRole(fakeaws.Role{
		ARN: benchRole, TrustedUsers: []string{benchKey},
		Policy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}`,
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}

// addBenchUser lets the servers under test read everything.
func addBenchUser(s *fakeaws.Server) error {
	return s.AddUser(fakeaws.User{
		AccessKeyID: benchKey, SecretAccessKey: benchSecret,
		Policy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}`,
	})
}

// serveKeys is the issuer's key set: serve-keys ADDRESS FILE.
func serveKeys(_ context.Context, args []string) error {
	set, err := os.ReadFile(args[1]) //nolint:gosec // the bench names it
	if err != nil {
		return err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(set) //nolint:gosec // a key set of the bench's own
	})
	return (&http.Server{Addr: args[0], Handler: handler, ReadHeaderTimeout: 5 * time.Second}).ListenAndServe()
}

// serveBare is a net/http handler that does nothing but write a response: serve-bare ADDRESS [tls:CERT:KEY] NAME=VALUE…
func serveBare(_ context.Context, args []string) error {
	header := http.Header{}
	var certificate []string
	for _, field := range args[1:] {
		if pair, ok := strings.CutPrefix(field, "tls:"); ok {
			certificate = strings.Split(pair, ":")
			continue
		}
		name, value, _ := strings.Cut(field, "=")
		header[name] = []string{value}
	}
	body := tileBody(tileSize)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for name, value := range header {
			h[name] = value
		}
		_, _ = w.Write(body) // a client that has gone is the load's own doing
	})
	server := &http.Server{Addr: args[0], Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	if certificate != nil {
		return server.ListenAndServeTLS(certificate[0], certificate[1])
	}
	return server.ListenAndServe()
}

// loopGetObject is the bare SDK: loop ENDPOINT CONCURRENCY DURATION prints GetObjects in a second of
// its own processor time.
func loopGetObject(ctx context.Context, args []string) error {
	concurrency, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	length, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: concurrency} //nolint:exhaustruct // defaults
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &args[0], UsePathStyle: true, HTTPClient: &http.Client{Transport: transport},
		Credentials: aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(benchKey, benchSecret, "")),
	})
	var done sync.WaitGroup
	counts := make([]int, concurrency)
	failed := make(chan error, concurrency)
	begun := time.Now()
	for worker := range concurrency {
		done.Go(func() {
			for i := 0; time.Since(begun) < length; i++ {
				key := fmt.Sprintf("basemap/16/%d/%d.png", worker, i)
				out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: &key})
				if err == nil {
					_, err = io.Copy(io.Discard, out.Body)
					_ = out.Body.Close() // it has been read
				}
				if err != nil {
					failed <- err
					return
				}
				counts[worker]++
			}
		})
	}
	done.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return err
	}
	seconds := time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	fmt.Printf("%.1f\n", float64(total)/seconds)
	return nil
}
