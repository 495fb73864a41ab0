package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

// vending is a configuration that hands out credentials for some of its tilesets.
func vending(t *testing.T, endpoint string) (path string) {
	t.Helper()
	return vendingOf(t, endpoint, `
  basemap: {vend: true, source: "s3://tiles/basemap/{z}/{x}/{y}.png"}
  roads: {vend: true, source: "s3://tiles/roads/{z}/{x}/{y}.png"}
  secret: {source: "s3://tiles/secret/{z}/{x}/{y}.png"}
  outer: {vend: true, source: "s3://mixed/base/{z}/{x}/{y}.png"}
  inner: {vend: true, source: "s3://mixed/base/inner/{z}/{x}/{y}.png"}
  open: {vend: true, source: "s3://mixed/{z}/open/{x}/{y}.png"}
  closed: {source: "s3://mixed/{z}/closed/{x}/{y}.png"}
`)
}

// vendingOf is a configuration with these tilesets and all that vending needs.
func vendingOf(t *testing.T, endpoint, tilesets string) (path string) {
	t.Helper()
	key, _, _ := command(t, "keygen")
	return writeFile(t, "tilegate.yaml", fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: ""}
aws: {endpoint: %q, sts_endpoint: %q, path_style: true, role: {arn: %q}}
auth: {signing_keys: [{file: %q}]}
tilesets:%s`, endpoint, endpoint, testRole, writeFile(t, "tilegate.key", key), tilesets))
}

// mixedTiles are of those whose keys lie within and among each other.
func mixedTiles() map[string][]byte {
	tiles := map[string][]byte{}
	for _, key := range []string{"base/0/0/0.png", "base/inner/0/0/0.png", "0/open/0/0.png", "0/closed/0/0.png"} {
		tiles[key] = []byte("\x89PNG\r\n\x1a\n" + key)
	}
	return tiles
}

// vendedTiles are one tile of each of vending's tilesets, by its key.
func vendedTiles() map[string][]byte {
	tiles := map[string][]byte{}
	for _, tileset := range []string{"basemap", "roads", "secret"} {
		tiles[tileset+"/0/0/0.png"] = []byte("\x89PNG\r\n\x1a\n" + tileset)
	}
	return tiles
}

// vended is what POST /credentials answers, as credential_process wants it.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
type vended struct {
	Version                                   int
	AccessKeyID                               string `json:"AccessKeyId"`
	SecretAccessKey, SessionToken, Expiration string
}

func vend(t *testing.T, server *program, token string) (v vended) {
	t.Helper()
	answer, body := send(t, http.MethodPost, server.url+"/credentials", "", "Authorization", "Bearer "+token)
	if err := json.Unmarshal(body, &v); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("POST /credentials: got %s %s", answer.Status, body)
	}
	if cc := answer.Header.Get("Cache-Control"); cc != "private, no-store" {
		t.Errorf("credentials come with Cache-Control %q", cc)
	}
	return v
}

func (v vended) provider() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(v.AccessKeyID, v.SecretAccessKey, v.SessionToken)
}

func s3Client(endpoint string, provider aws.CredentialsProvider) *s3.Client {
	return s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true, Credentials: provider, RetryMaxAttempts: 1})
}

// object reads one, or returns S3's error code.
func object(ctx context.Context, client *s3.Client, key string) (body []byte, code string, err error) {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: &key})
	if err != nil {
		return nil, errorCode(err), err
	}
	defer out.Body.Close()
	body, err = io.ReadAll(out.Body)
	return body, "", err
}

func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// wantReadable wants exactly these tilesets to be readable, of all that the bucket holds.
func wantReadable(t *testing.T, client *s3.Client, readable ...string) {
	t.Helper()
	for key, want := range vendedTiles() {
		tileset, _, _ := strings.Cut(key, "/")
		body, code, err := object(t.Context(), client, key)
		switch {
		case slices.Contains(readable, tileset):
			if err != nil || string(body) != string(want) {
				t.Errorf("%s, which is granted: got %q, %v", key, body, err)
			}
		case code != "AccessDenied":
			t.Errorf("%s, which is not granted: got %q, %v, want AccessDenied", key, body, err)
		}
	}
	key := readable[0] + "/0/0/0.png"
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("tiles"), Key: &key, Body: strings.NewReader("x")}); errorCode(err) != "AccessDenied" {
		t.Errorf("writing %s: got %v, want AccessDenied", key, err)
	}
	if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("tiles"), Key: &key}); errorCode(err) != "AccessDenied" {
		t.Errorf("deleting %s: got %v, want AccessDenied", key, err)
	}
	if _, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("tiles")}); errorCode(err) != "AccessDenied" {
		t.Errorf("listing the whole bucket: got %v, want AccessDenied", err)
	}
	listed, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("tiles"), Prefix: aws.String(readable[0] + "/")})
	if err != nil || len(listed.Contents) != 1 {
		t.Errorf("listing %s/: got %v, %v", readable[0], listed, err)
	}
}

// stsRelay passes everything on to a server, and remembers the names that sessions were asked for with.
func stsRelay(t *testing.T, endpoint string) (address string, names func() []string) {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	relay := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	var mu sync.Mutex
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/" {
			body, err := io.ReadAll(r.Body)
			form, _ := url.ParseQuery(string(body))
			if err == nil && form.Get("Action") == "AssumeRole" {
				mu.Lock()
				seen = append(seen, form.Get("RoleSessionName"))
				mu.Unlock()
			}
			r.Body = io.NopCloser(strings.NewReader(string(body)))
		}
		relay.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

// A caller reads the tilesets of its grant, and no others, straight from a real S3 with the SDK.
func TestVendedCredentialsReadTheGrantedTilesetsOfMinIO(t *testing.T) {
	minio := testenv.MinIO(t)
	minio.CreateBucket(t, "tiles")
	minio.Put(t, "tiles", vendedTiles())
	minio.CreateBucket(t, "mixed")
	minio.Put(t, "mixed", mixedTiles())
	endpoint, names := stsRelay(t, minio.Endpoint)
	config := vending(t, endpoint)
	server, _ := start(t, baseCredentials(minio.AccessKey, minio.SecretKey), "serve", "-c", config)

	one := vend(t, server, mintToken(t, config, "--tilesets", "basemap"))
	expires, err := time.Parse(time.RFC3339, one.Expiration)
	if left := time.Until(expires); one.Version != 1 || err != nil || left < 50*time.Minute || left > time.Hour {
		t.Errorf("got version %d and expiration %q, %v", one.Version, one.Expiration, err)
	}
	wantReadable(t, s3Client(minio.Endpoint, one.provider()), "basemap")
	if !slices.Contains(names(), "test") {
		t.Errorf("sessions were named %q, want the subject's, test, among them", names())
	}

	// A grant of everything opens what is vended, and not the tileset that isn't.
	all := vend(t, server, mintToken(t, config, "--tilesets", "*"))
	wantReadable(t, s3Client(minio.Endpoint, all.provider()), "basemap", "roads")

	// Credentials are for their tileset alone, wherever in the bucket that is, or there are none.
	for tilesets, readable := range map[string][]string{
		"open": {"0/open/0/0.png"}, "inner": {"base/inner/0/0/0.png"}, "outer,inner": {"base/0/0/0.png", "base/inner/0/0/0.png"},
	} {
		client := s3Client(minio.Endpoint, vend(t, server, mintToken(t, config, "--tilesets", tilesets)).provider())
		for key := range mixedTiles() {
			out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("mixed"), Key: &key})
			if err == nil {
				_ = out.Body.Close()
			}
			if want := slices.Contains(readable, key); want != (err == nil) || !want && errorCode(err) != "AccessDenied" {
				t.Errorf("%s with those for %s: got %v", key, tilesets, err)
			}
		}
	}
	answer, body := send(t, http.MethodPost, server.url+"/credentials", "", "Authorization", "Bearer "+mintToken(t, config, "--tilesets", "outer"))
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("a tileset around another: got %s %s, want 403", answer.Status, body)
	}

	if status := server.terminate(t); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	for _, v := range []vended{one, all} {
		if log := server.log(); strings.Contains(log, v.SecretAccessKey) || strings.Contains(log, v.SessionToken) {
			t.Error("a vended credential is in the log")
		}
	}
}

// The line in a profile that lets GDAL, DuckDB or the AWS CLI read beside the map.
func TestCredentialProcessInAProfileReadsMinIO(t *testing.T) {
	minio := testenv.MinIO(t)
	minio.CreateBucket(t, "tiles")
	minio.Put(t, "tiles", vendedTiles())
	configFile := vending(t, minio.Endpoint)
	server, _ := start(t, baseCredentials(minio.AccessKey, minio.SecretKey), "serve", "-c", configFile)

	// The token stays out of curl's arguments, which every user of the machine could read.
	token := writeFile(t, "token", mintToken(t, configFile, "--tilesets", "roads")+"\n")
	script := writeFile(t, "tilegate-credentials", fmt.Sprintf("#!/bin/sh\n"+
		"printf 'Authorization: Bearer %%s\\n' \"$(cat '%s')\" | curl -fsS -X POST -H @- '%s/credentials'\n", token, server.url))
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	profile := writeFile(t, "config", "[profile tiles]\nregion = us-east-1\ncredential_process = "+script+"\n")

	loaded, err := config.LoadDefaultConfig(t.Context(),
		config.WithSharedConfigFiles([]string{profile}), config.WithSharedCredentialsFiles([]string{os.DevNull}), config.WithSharedConfigProfile("tiles"))
	if err != nil {
		t.Fatal(err)
	}
	wantReadable(t, s3Client(minio.Endpoint, loaded.Credentials), "roads")
	got, err := loaded.Credentials.Retrieve(t.Context())
	if err != nil || got.Source != "ProcessProvider" || !got.CanExpire {
		t.Errorf("got credentials from %q that can expire: %v, %v", got.Source, got.CanExpire, err)
	}

	if err := os.WriteFile(token, []byte("expired\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh, err := config.LoadDefaultConfig(t.Context(),
		config.WithSharedConfigFiles([]string{profile}), config.WithSharedCredentialsFiles([]string{os.DevNull}), config.WithSharedConfigProfile("tiles"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Credentials.Retrieve(t.Context()); err == nil {
		t.Error("a bad token got credentials")
	}
}

// What the bucket's owner sees in CloudTrail is who it was: the session bears the subject's name.
func TestVendedSessionIsNamedAfterItsSubject(t *testing.T) {
	bucket := privateBucket(t)
	for key, body := range vendedTiles() {
		bucket.Put("tiles", key, fakeaws.Object{Body: body})
	}
	config := vending(t, bucket.URL())
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	const session = "arn:aws:sts::123456789012:assumed-role/tiles-reader/"
	seen := map[string]string{}
	for _, test := range []struct{ subject, name string }{
		{"ada@example.com", "ada@example.com"},
		{"auth0|ada lovelace", "auth0-ada-lovelace-"}, // and a part of the hash
		{"auth0/ada lovelace", "auth0-ada-lovelace-"},
		{strings.Repeat("long", 40), "longlong"},
	} {
		v := vend(t, server, mintToken(t, config, "--tilesets", "basemap", "--subject", test.subject))
		bucket.ResetRequests()
		wantReadable(t, s3Client(bucket.URL(), v.provider()), "basemap")
		for _, r := range bucket.Requests() {
			if r.AccessKeyID != v.AccessKeyID {
				continue // tilegate's own
			}
			name, ok := strings.CutPrefix(r.Principal, session)
			if !ok || !strings.HasPrefix(name, test.name) || len(name) > 64 {
				t.Fatalf("%s of %q is by %q, want %s%s…", r.Op, test.subject, r.Principal, session, test.name)
			}
			if other, taken := seen[name]; taken && other != test.subject {
				t.Fatalf("%q and %q are both %q", other, test.subject, name)
			}
			seen[name] = test.subject
		}
	}
	if len(seen) != 4 {
		t.Errorf("saw the sessions %q, want 4", seen)
	}
}

// What S3 cannot enforce, and who may not, gets nothing, and STS isn't asked.
func TestCredentialsAreRefused(t *testing.T) {
	bucket := privateBucket(t)
	bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: vendedTiles()["basemap/0/0/0.png"]})
	config := vending(t, bucket.URL())
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	eventually(t, "ready", func() error { return wantStatus(t, http.StatusOK, server.url+"/ready") })
	before := bucket.Count("AssumeRole", "", "")
	bearer := func(args ...string) []string {
		return []string{"Authorization", "Bearer " + mintToken(t, config, args...)}
	}
	for _, test := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"nobody", nil, 401},
		{"a forged token", []string{"Authorization", bearer("--tilesets", "basemap")[1] + "A"}, 401},
		{"a path token as bearer", bearer("--tilesets", "basemap", "--path"), 401},
		{"a zoom range", bearer("--tilesets", "basemap", "--zoom", "0-14"), 403},
		{"a box", bearer("--tilesets", "basemap", "--bbox", "5,47,15,55"), 403},
		{"zooms and a box", bearer("--tilesets", "*", "--zoom", "3-4", "--bbox", "5,47,15,55"), 403},
		{"a tileset that is not vended", bearer("--tilesets", "secret"), 403},
		{"no tileset of ours", bearer("--tilesets", "another"), 403},
		{"less life than STS gives", bearer("--tilesets", "basemap", "--ttl", "14m"), 403},
		{"another site's page", append([]string{"Origin", "https://evil.example"}, bearer("--tilesets", "basemap")...), 403},
	} {
		answer, body := send(t, http.MethodPost, server.url+"/credentials", "", test.headers...)
		if answer.StatusCode != test.want || answer.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(string(body), "AccessKey") {
			t.Errorf("%s: got %s %s, want a problem of %d", test.name, answer.Status, body, test.want)
		}
	}
	if answer, _ := get(t, server.url+"/credentials", bearer("--tilesets", "basemap")...); answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: got %s, want 405", answer.Status)
	}
	if got := bucket.Count("AssumeRole", "", ""); got != before {
		t.Errorf("refusals caused %d calls to STS, want none", got-before)
	}
}
