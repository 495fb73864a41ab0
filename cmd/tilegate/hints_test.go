package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
)

// Each cause of an endpoint that does not work has a hint of its own.
func TestCheckOnlineHintsByCause(t *testing.T) {
	bucket := privateBucket(t)
	bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: []byte("\x89PNG\r\n\x1a\n")})
	// A port with TLS answers so. A real one may close the connection before it has read the request.
	secure := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, "Client sent an HTTP request to an HTTPS server.", http.StatusBadRequest)
	}))
	defer secure.Close()
	// MinIO answers so, for a wrong secret key as for a role that may not be assumed.
	minio := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`<?xml version="1.0" encoding="UTF-8"?><ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type></Type><Code>AccessDenied</Code><Message>Generating temporary credentials not allowed for this request.</Message></Error><RequestId>1</RequestId></ErrorResponse>`))
	}))
	defer minio.Close()
	plain := strings.Replace(bucket.URL(), "http://", "https://", 1)
	for _, test := range []struct{ name, s3, sts, secret, want string }{
		{"a wrong secret key", bucket.URL(), bucket.URL(), "wrong", "the base credentials' secret key is wrong"},
		{"a wrong secret key at MinIO", bucket.URL(), minio.URL, testSecret, "look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY first"},
		{"https at a port of http", plain, bucket.URL(), testSecret, "this port speaks plain http, not https: write http:// in aws.endpoint"},
		{"https at STS's port of http", bucket.URL(), plain, testSecret, "this port speaks plain http, not https: write http:// in aws.sts_endpoint"},
		{"http at a port of https", secure.URL, bucket.URL(), testSecret, "if this port speaks https, write https:// in aws.endpoint"},
		{"http at STS's port of https", bucket.URL(), secure.URL, testSecret, "if this port speaks https, write https:// in aws.sts_endpoint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			useTestCredentials(t)
			t.Setenv("AWS_SECRET_ACCESS_KEY", test.secret)
			t.Setenv("TILEGATE_TEST_KEY", strings.Repeat("A", 43)+"=")
			config := writeFile(t, "tilegate.yaml", `aws: {endpoint: "`+test.s3+`", sts_endpoint: "`+test.sts+`", path_style: true, role: {arn: "`+testRole+`"}}
auth: {signing_keys: [{env: TILEGATE_TEST_KEY}]}
tilesets: {basemap: {source: "s3://tiles/basemap/{z}/{x}/{y}.png"}}
`)
			out, errs, status := command(t, "check", "-c", config, "--online")
			if status != 1 || !strings.Contains(out, test.want) || strings.Contains(out, "trust policy") {
				t.Errorf("got status %d, %s%s, want %q", status, errs, out, test.want)
			}
		})
	}
}
