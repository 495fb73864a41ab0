package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

const (
	testRole   = "arn:aws:iam::123456789012:role/tiles-reader"
	testKey    = "AKIATESTTILEGATE0001"
	testSecret = "the-base-user's-secret"
)

// privateBucket is an in-process S3 whose base user may do nothing but assume the role that reads "tiles".
func privateBucket(t *testing.T) *fakeaws.Server {
	t.Helper()
	return privateBucketOf(t, fakeaws.Options{})
}

// privateBucketOf is privateBucket of a service that is not quite S3.
func privateBucketOf(t *testing.T, o fakeaws.Options) *fakeaws.Server {
	t.Helper()
	s, err := fakeaws.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.CreateBucket("tiles")
	if err := s.AddUser(fakeaws.User{AccessKeyID: testKey, SecretAccessKey: testSecret}); err != nil {
		t.Fatal(err)
	}
	err = s.AddRole(fakeaws.Role{
		ARN: testRole, TrustedUsers: []string{testKey},
		Policy: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::tiles","arn:aws:s3:::tiles/*"]}}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func baseCredentials(key, secret string) []string {
	return []string{"AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_REGION=us-east-1"}
}

// tenLines is the shortest configuration that serves a bucket, on an S3-compatible service.
func tenLines(t *testing.T, endpoint, role string) (path, keyFile string) {
	t.Helper()
	key, _, _ := command(t, "keygen")
	keyFile = writeFile(t, "tilegate.key", key)
	path = writeFile(t, "tilegate.yaml", fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: ""}
aws: {endpoint: %q, sts_endpoint: %q, path_style: true, role: {arn: %q}}
auth: {signing_keys: [{file: %q}]}
tilesets:
  basemap:
    default: true
    source: s3://tiles/basemap/{z}/{x}/{y}.png
`, endpoint, endpoint, role, keyFile))
	return path, keyFile
}

func mintToken(t *testing.T, config string, args ...string) string {
	t.Helper()
	out, errs, status := command(t, append([]string{"token", "-c", config, "--subject", "test"}, args...)...)
	if status != 0 {
		t.Fatalf("token: status %d, %s", status, errs)
	}
	return strings.TrimSpace(out)
}

// randomTiles are n bodies that no compression or text handling would leave intact by luck.
func randomTiles(n int) map[string][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	tiles := map[string][]byte{}
	for i := range n {
		body := append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 100+random.IntN(60_000))...)
		for j := 8; j < len(body); j++ {
			body[j] = byte(random.Uint32())
		}
		tiles[fmt.Sprintf("9/%d/%d", i/20, i%20)] = body
	}
	return tiles
}

// Against a real S3 and STS: what is in the bucket comes back byte for byte to whoever has a token, and
// nobody else so much as causes a request there.
func TestServesAPrivateMinIOBucketByteForByte(t *testing.T) {
	minio := testenv.MinIO(t)
	minio.CreateBucket(t, "tiles")
	tiles := randomTiles(300)
	objects := map[string][]byte{}
	for path, body := range tiles {
		objects["basemap/"+path+".png"] = body
	}
	minio.Put(t, "tiles", objects)

	var requests atomic.Int64
	counted := httptest.NewServer(countRequests(t, minio.Endpoint, &requests))
	t.Cleanup(counted.Close)
	config, _ := tenLines(t, counted.URL, testRole)
	server, _ := start(t, baseCredentials(minio.AccessKey, minio.SecretKey), "serve", "-c", config)
	token := mintToken(t, config, "--tilesets", "basemap")

	for path, want := range tiles {
		answer, body := get(t, server.url+"/tiles/basemap/"+path+".png", "Authorization", "Bearer "+token)
		if answer.StatusCode != http.StatusOK || !bytes.Equal(body, want) {
			t.Fatalf("%s: got %s with %d bytes, want 200 with %d", path, answer.Status, len(body), len(want))
		}
	}
	before := requests.Load()
	for path, want := range tiles {
		answer, body := get(t, server.url+"/tiles/"+path, "Authorization", "Bearer "+token)
		if status := answer.Header.Get("Cache-Status"); !strings.HasPrefix(status, "tilegate; hit; ttl=") || !bytes.Equal(body, want) {
			t.Fatalf("%s: the second GET says %q, want a hit", path, status)
		}
		if answer, _ := get(t, server.url+"/tiles/basemap/"+path+".png"); answer.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%s without a token: got %s, want 401", path, answer.Status)
		}
		if answer, _ := get(t, minio.Endpoint+"/tiles/basemap/"+path+".png"); answer.StatusCode != http.StatusForbidden {
			t.Fatalf("%s straight at MinIO: got %s, want 403", path, answer.Status)
		}
	}
	if answer, _ := get(t, server.url+"/tiles/basemap/9/100/100.png"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a tile that is not cached, without a token: got %s, want 401", answer.Status)
	}
	if got := requests.Load(); got != before {
		t.Errorf("hits and refusals caused %d requests at MinIO, want none", got-before)
	}
	if answer, _ := get(t, server.url+"/tiles/basemap/9/100/100.png", "Authorization", "Bearer "+token); answer.StatusCode != http.StatusNotFound {
		t.Errorf("a tile that does not exist: got %s, want 404", answer.Status)
	}
	if strings.Contains(server.log(), token) || strings.Contains(server.log(), minio.SecretKey) {
		t.Error("a credential is in the log")
	}
}

// countRequests passes requests on as they are, Host included, since that is signed.
func countRequests(t *testing.T, to string, requests *atomic.Int64) http.Handler {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	relay := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		relay.ServeHTTP(w, r)
	})
}

var errWrongTile = errors.New("not the tile")

func TestOneGetObjectForAThousandClientsOfOneColdTile(t *testing.T) {
	bucket := privateBucket(t)
	body := randomTiles(1)["9/0/0"]
	bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: body})
	bucket.Put("tiles", "basemap/3/1/2.png", fakeaws.Object{Body: body})
	config, _ := tenLines(t, bucket.URL(), testRole)
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	token := mintToken(t, config, "--tilesets", "basemap")

	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	bucket.Inject(fakeaws.Fault{
		Op: "GetObject", Key: "basemap/3/1/2.png", HangBeforeHeaders: true, Release: release,
		Met: func(fakeaws.Request) { once.Do(func() { close(arrived) }) },
	})
	const clients = 1000
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	failures := make(chan error, clients)
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.url+"/tiles/basemap/3/1/2.png", http.NoBody)
			r.Header.Set("Authorization", "Bearer "+token)
			answer, err := client.Do(r)
			if err != nil {
				failures <- err
				return
			}
			defer answer.Body.Close()
			var got bytes.Buffer
			if _, err := got.ReadFrom(answer.Body); err != nil || answer.StatusCode != http.StatusOK || !bytes.Equal(got.Bytes(), body) {
				failures <- fmt.Errorf("%s, %d bytes, %w", answer.Status, got.Len(), cmp.Or(err, errWrongTile))
			}
		})
	}
	<-arrived
	close(release)
	wait.Wait()
	close(failures)
	for err := range failures {
		t.Fatal(err)
	}
	if got := bucket.Count("GetObject", "tiles", "basemap/3/1/2.png"); got != 1 {
		t.Errorf("%d clients caused %d GetObjects, want 1", clients, got)
	}
}

func TestTerminateLetsASlowRequestFinish(t *testing.T) {
	bucket := privateBucket(t)
	body := randomTiles(1)["9/0/0"]
	bucket.Put("tiles", "basemap/3/1/2.png", fakeaws.Object{Body: body})
	config, _ := tenLines(t, bucket.URL(), testRole)
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	token := mintToken(t, config, "--tilesets", "basemap")

	arrived, release := make(chan struct{}), make(chan struct{})
	bucket.Inject(fakeaws.Fault{
		Op: "GetObject", Key: "basemap/3/1/2.png", Times: 1, HangBeforeHeaders: true, Release: release,
		Met: func(fakeaws.Request) { close(arrived) },
	})
	type outcome struct {
		answer *http.Response
		body   []byte
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		answer, body, err := try(t.Context(), server.url+"/tiles/basemap/3/1/2.png", "Authorization", "Bearer "+token)
		done <- outcome{answer, body, err}
	}()
	<-arrived
	if err := server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The listener closes first; only then may the tile come.
	for {
		if _, _, err := try(t.Context(), server.url+"/health"); err != nil {
			if !errors.Is(err, syscall.ECONNREFUSED) {
				continue // a connection that was open is told to close, too
			}
			break
		}
	}
	close(release)
	if got := <-done; got.err != nil || got.answer.StatusCode != http.StatusOK || !bytes.Equal(got.body, body) {
		t.Errorf("the request under way got %+v, want the tile", got)
	}
	if status := server.wait(); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
}

// Whoever signals twice does not want to wait for load balancers.
func TestSecondSignalEndsTheDrainAtOnce(t *testing.T) {
	config := writeFile(t, "tilegate.yaml", `server: {listen: "127.0.0.1:0", admin_listen: "", drain_delay: 1h}
aws: {endpoint: "http://127.0.0.1:1"}
tilesets:
  a: {public: true, source: "s3://tiles/{z}/{x}/{y}.png"}
`)
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	terminate := func() {
		if err := server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	terminate()
	eventually(t, "draining", func() error {
		if !strings.Contains(server.log(), `"msg":"draining"`) {
			return errors.New("the log does not say so")
		}
		return nil
	})
	terminate()
	eventually(t, "the end", func() error {
		select {
		case <-server.ended:
			return nil
		default:
			return errors.New("still draining")
		}
	})
	server.wait()
	if ended := server.cmd.ProcessState.Sys().(syscall.WaitStatus); !ended.Signaled() || ended.Signal() != syscall.SIGTERM {
		t.Errorf("got %s, want the end by the signal", server.cmd.ProcessState)
	}
}

// What is worth knowing is worth one line.
func TestNoSigningKeyIsToldOnce(t *testing.T) {
	config := writeFile(t, "tilegate.yaml", `server: {listen: "127.0.0.1:0", admin_listen: ""}
aws: {endpoint: "http://127.0.0.1:1"}
auth:
  issuers: [{issuer: test, audience: [tiles], algorithms: [HS256], key: {env: HS_SECRET}}]
tilesets:
  a: {source: "s3://tiles/{z}/{x}/{y}.png", browser: immutable}
`)
	server, _ := start(t, append(baseCredentials(testKey, testSecret), "HS_SECRET="+strings.Repeat("s", 32)), "serve", "-c", config)
	if told := strings.Count(server.log(), "sessions and path tokens end with this process"); told != 1 {
		t.Errorf("told %d times, want once", told)
	}
	if told := strings.Count(server.log(), `"key":"tilesets.a.browser"`); told != 1 {
		t.Errorf("another note is told %d times, want once", told)
	}
}
