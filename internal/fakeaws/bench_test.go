package fakeaws_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tilegate/internal/fakeaws"
)

// BenchmarkGetObject is one client's loop over a 20 KB tile: by the SDK, and by net/http with a
// request that is signed once, whose cost is next to the server's alone.
func BenchmarkGetObject(b *testing.B) {
	server := start(b, func(o *fakeaws.Options) { o.Log = -1 })
	server.Put("tiles", tile, fakeaws.Object{Body: bytes.Repeat([]byte("x"), 20_000)})
	b.Run("sdk", func(b *testing.B) {
		client := s3Client(server, static(userKey, userSecret, ""))
		b.ReportAllocs()
		for b.Loop() {
			out, err := client.GetObject(b.Context(), &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: aws.String(tile)})
			must(b, err)
			_, err = io.Copy(io.Discard, out.Body)
			must(b, err)
			must(b, out.Body.Close())
		}
	})
	b.Run("http", func(b *testing.B) {
		client := &http.Client{Transport: &http.Transport{}}
		r := signed(b, server, aws.Credentials{AccessKeyID: userKey, SecretAccessKey: userSecret}, "us-east-1", time.Now())
		b.ReportAllocs()
		for b.Loop() {
			response, err := client.Do(r)
			must(b, err)
			_, err = io.Copy(io.Discard, response.Body)
			must(b, err)
			must(b, response.Body.Close())
		}
	})
	b.Run("bare", func(b *testing.B) { // what net/http takes by itself, for comparison
		body := bytes.Repeat([]byte("x"), 20_000)
		bare := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "20000")
			_, _ = w.Write(body)
		})}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		go func() { _ = bare.Serve(listener) }()
		defer bare.Close()
		client := &http.Client{Transport: &http.Transport{}}
		r := request(b, "http://"+listener.Addr().String())
		b.ReportAllocs()
		for b.Loop() {
			response, err := client.Do(r)
			must(b, err)
			_, err = io.Copy(io.Discard, response.Body)
			must(b, err)
			must(b, response.Body.Close())
		}
	})
}
