package origin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tilegate/internal/fakeaws"
	"tilegate/internal/issuer"
	"tilegate/internal/testenv"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// backend is an S3 that the conformance suite runs against.
type backend struct {
	endpoint   string
	key        string // of who may assume the role, or read when there is none
	secret     string
	role       origin.Role // zero: no STS
	put        func(t *testing.T, bucket, key, encoding string, body []byte)
	identifies bool // it has GetCallerIdentity
	exactDates bool // it compares If-Modified-Since with more than whole seconds, which never match
}

func TestConformance(t *testing.T) {
	for name, begin := range map[string]func(*testing.T) backend{"in-process": inProcess, "MinIO": minIO, "versitygw": versityGW} {
		t.Run(name, func(t *testing.T) { conform(t, begin(t)) })
	}
}

func inProcess(t *testing.T) backend {
	w := start(t, nil)
	return backend{
		endpoint: w.URL(), key: "AKIAUSER", secret: "user-secret", role: origin.Role{ARN: roleARN, ScopeDown: true}, identifies: true,
		put: func(_ *testing.T, bucket, key, encoding string, body []byte) {
			w.Put(bucket, key, fakeaws.Object{Body: body, ContentEncoding: encoding})
		},
	}
}

func minIO(t *testing.T) backend {
	server := testenv.MinIO(t)
	for _, bucket := range []string{"tiles", "other"} {
		server.CreateBucket(t, bucket)
	}
	server.AddPolicy(t, "reader", readAndList)
	server.AddUser(t, "reader", "reader-secret", "reader")
	return backend{
		endpoint: server.Endpoint, key: "reader", secret: "reader-secret", put: putter(server),
		role: origin.Role{ARN: "arn:minio:iam:::role/tiles-reader", ScopeDown: true},
	}
}

func versityGW(t *testing.T) backend {
	server := testenv.VersityGW(t)
	for _, bucket := range []string{"tiles", "other"} {
		server.CreateBucket(t, bucket)
	}
	return backend{endpoint: server.Endpoint, key: server.AccessKey, secret: server.SecretKey, put: putter(server), exactDates: true}
}

func putter(server *testenv.S3) func(*testing.T, string, string, string, []byte) {
	client := server.Client()
	return func(t *testing.T, bucket, key, encoding string, body []byte) {
		t.Helper()
		in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)}
		if encoding != "" {
			in.ContentEncoding = &encoding
		}
		if _, err := client.PutObject(t.Context(), in); err != nil {
			t.Fatalf("put %s/%s: %v", bucket, key, err)
		}
	}
}

// options are for the sources, read with the backend's role.
func (b backend) options(sources ...origin.Source) origin.Options {
	opt := origin.Options{Store: origin.Store{Region: "us-east-1", Endpoint: b.endpoint, PathStyle: true, Base: static(b.key, b.secret)}, Sources: sources}
	for i := range opt.Sources {
		opt.Sources[i].Role = b.role
	}
	if b.role.ARN != "" {
		opt.STSEndpoint = b.endpoint
	}
	return opt
}

// open runs an origin until the test ends.
func open(t *testing.T, opt origin.Options) *origin.AWS {
	t.Helper()
	a, err := origin.New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return a
}

func conform(t *testing.T, b backend) {
	base := origin.Source{ID: "base", Bucket: "tiles", Prefix: "conform/base/", Key: keyOf("conform/base/")}
	escape := origin.Source{ID: "escape", Bucket: "tiles", Prefix: "conform/base/", Key: keyOf("conform/secret/")}
	nowhere := origin.Source{ID: "nowhere", Bucket: "no-such-bucket", Prefix: "x/", Key: keyOf("x/")}
	odd := origin.Source{ID: "odd", Bucket: "tiles", Prefix: "conform/ödd +~/", Key: keyOf("conform/ödd +~/")}
	b.put(t, "tiles", "conform/base/0/0/0.png", "", content(0))
	b.put(t, "tiles", "conform/base/1/0/1.png", "", content(1))
	b.put(t, "tiles", "conform/secret/1/0/1.png", "", content(2))
	b.put(t, "tiles", "conform/ödd +~/1/0/1.png", "", content(3))
	a := open(t, b.options(base, escape, nowhere, odd))
	get := func(id string, key tile.Key, cond tile.Condition) (*tile.Object, []byte, error) {
		return read(a.Source(id).Fetch(t.Context(), key, cond))
	}

	t.Run("300 objects byte for byte", func(t *testing.T) {
		const n, atOnce = 300, 16
		for i := range n {
			b.put(t, "tiles", fmt.Sprintf("conform/base/9/%d/7.png", i), "", append(content(byte(i)), fmt.Sprint(i)...))
		}
		next := make(chan int)
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() {
				for i := range next {
					want := append(content(byte(i)), fmt.Sprint(i)...)
					o, body, err := get("base", tile.Key{Z: 9, X: uint32(i), Y: 7}, tile.Condition{})
					if err != nil || !bytes.Equal(body, want) || o.Size != int64(len(want)) || o.ETag == "" || o.LastModified.IsZero() {
						t.Errorf("object %d: %v", i, err)
					}
				}
			})
		}
		for i := range n {
			next <- i
		}
		close(next)
		wg.Wait()
	})
	t.Run("odd characters in the key", func(t *testing.T) {
		if _, body, err := get("odd", tile101, tile.Condition{}); err != nil || !bytes.Equal(body, content(3)) {
			t.Errorf("got %d bytes, error %v", len(body), err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		if _, _, err := get("base", absent, tile.Condition{}); !errors.Is(err, tile.ErrMissing) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("conditions and ranges", func(t *testing.T) {
		o, _, err := get("base", tile101, tile.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := get("base", tile101, tile.Condition{IfNoneMatch: o.ETag}); !errors.Is(err, tile.ErrNotModified) {
			t.Errorf("revalidate: got %v", err)
		}
		resumed, rest, err := get("base", tile101, tile.Condition{IfMatch: o.ETag, Offset: 5000})
		if err != nil || !bytes.Equal(rest, content(1)[5000:]) || resumed.Size != o.Size || resumed.ETag != o.ETag {
			t.Errorf("resume: %d bytes, error %v", len(rest), err)
		}
		b.put(t, "tiles", "conform/base/1/0/1.png", "", content(4))
		if _, _, err := get("base", tile101, tile.Condition{IfMatch: o.ETag, Offset: 5000}); !errors.Is(err, tile.ErrChanged) {
			t.Errorf("resume of what has changed: got %v", err)
		}
		if _, body, err := get("base", tile101, tile.Condition{IfNoneMatch: o.ETag}); err != nil || !bytes.Equal(body, content(4)) {
			t.Errorf("revalidate what has changed: %v", err)
		}
	})
	t.Run("stored gzip", func(t *testing.T) {
		want := []byte("\x1f\x8b\x08 not really, and passed on as it is")
		b.put(t, "tiles", "conform/base/2/0/0.png", "gzip", want)
		o, body, err := get("base", tile.Key{Z: 2}, tile.Condition{})
		if err != nil || o.Encoding != "gzip" || !bytes.Equal(body, want) {
			t.Errorf("got %q, encoding %v, error %v", body, o, err)
		}
	})
	t.Run("no such bucket", func(t *testing.T) {
		if _, _, err := get("nowhere", tile101, tile.Condition{}); !errors.Is(err, tile.ErrBadAnswer) || !strings.Contains(err.Error(), "the bucket doesn't exist") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("presigned", func(t *testing.T) { conformPresign(t, b, a) })
	t.Run("check", func(t *testing.T) {
		for _, r := range a.Check(t.Context(), nil) {
			if r.Source == "base" && (len(r.Faults) > 0 || r.Object != "conform/base/0/0/0.png" || !strings.HasPrefix(r.Missing, "404") || b.identifies != (r.Identity != "")) {
				t.Errorf("got %+v", r)
			}
			if r.Source == "nowhere" && len(r.Faults) == 0 {
				t.Errorf("got %+v", r)
			}
		}
	})
	t.Run("features", func(t *testing.T) {
		stores := a.CheckStores(t.Context(), a.Check(t.Context(), nil))
		if len(stores) != 1 || len(stores[0].Features) < 8 {
			t.Fatalf("got %+v", stores)
		}
		for _, f := range stores[0].Features {
			if works := f.Name != "STS" || b.role.ARN != ""; f.Works != works {
				t.Errorf("%s: got %t, want %t", f.Name, f.Works, works)
			}
		}
	})
	t.Run("revalidated by date", func(t *testing.T) {
		o, _, err := get("base", tile101, tile.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = get("base", tile101, tile.Condition{IfModifiedSince: o.LastModified})
		if b.exactDates && err == nil {
			return // it has strong ETags, so that nothing depends on this
		}
		if !errors.Is(err, tile.ErrNotModified) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("refused keys", func(t *testing.T) {
		wrong := b
		wrong.role = origin.Role{}
		wrong.secret = "not-the-secret"
		if _, _, err := read(open(t, wrong.options(base)).Source("base").Fetch(t.Context(), tile101, tile.Condition{})); !errors.Is(err, tile.ErrDenied) || !strings.Contains(err.Error(), "secret key") {
			t.Errorf("a wrong secret: got %v", err)
		}
		wrong.key = "AKIANOBODY"
		if _, _, err := read(open(t, wrong.options(base)).Source("base").Fetch(t.Context(), tile101, tile.Condition{})); !errors.Is(err, tile.ErrNoCredentials) {
			t.Errorf("an unknown key: got %v", err)
		}
	})
	if b.role.ARN == "" {
		return
	}
	t.Run("the session policy confines", func(t *testing.T) {
		if _, _, err := get("escape", tile101, tile.Condition{}); !errors.Is(err, tile.ErrDenied) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("vended credentials", func(t *testing.T) { conformVend(t, b) })
}

// conformPresign gets a presigned URL with plain HTTP: now, just before its expiry, and after it. The origin that
// signs runs in a bubble whose clock is that much earlier.
func conformPresign(t *testing.T, b backend, a *origin.AWS) {
	if status, body := httpGet(t, presigned(t, a)); status != http.StatusOK || !bytes.Equal(body, content(4)) {
		t.Errorf("now: got %d, %d bytes", status, len(body))
	}
	now := time.Now()
	for ago, want := range map[time.Duration]int{9 * time.Minute: http.StatusOK, 15*time.Minute + 5*time.Second: http.StatusForbidden} {
		var address string
		synctest.Test(t, func(t *testing.T) {
			pass(time.Until(now.Add(-ago)))
			plain := b
			plain.role = origin.Role{}
			opt := plain.options(origin.Source{ID: "base", Bucket: "tiles", Prefix: "conform/base/", Key: keyOf("conform/base/")})
			opt.Dial = func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("signing needs no network")
			}
			address = presigned(t, open(t, opt))
		})
		if status, _ := httpGet(t, address); status != want {
			t.Errorf("signed %s ago: got %d, want %d", ago, status, want)
		}
	}
}

func presigned(t *testing.T, a *origin.AWS) string {
	t.Helper()
	signed, err := a.Source("base").Presign(t.Context(), tile101)
	if err != nil {
		t.Fatal(err)
	}
	return signed.URL
}

func httpGet(t *testing.T, address string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

func conformVend(t *testing.T, b backend) {
	granted := origin.Source{ID: "granted", Bucket: "tiles", Prefix: "conform/base/", Literals: literalsOf("conform/base/"), Key: keyOf("conform/base/"), Vend: true}
	mixed := origin.Source{ID: "mixed", Bucket: "other", Literals: []string{"", "/public/", "/", ".png"}, Key: keyOf(""), Vend: true}
	b.put(t, "tiles", "conform/base/report.pdf", "", content(5))
	b.put(t, "other", "1/public/0/1.png", "", content(6))
	b.put(t, "other", "1/secret/0/1.png", "", content(7))
	a := open(t, b.options(granted, mixed))
	v, err := a.Vend(t.Context(), "ada@example.com", []string{"granted", "mixed"}, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(b.endpoint), UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: v.AccessKeyID, SecretAccessKey: v.SecretAccessKey, SessionToken: v.SessionToken}, nil
		}),
	})
	for path, allowed := range map[string]bool{
		"tiles/conform/base/1/0/1.png": true, "tiles/conform/base/report.pdf": false, "tiles/conform/secret/1/0/1.png": false,
		"other/1/public/0/1.png": true, "other/1/secret/0/1.png": false,
	} {
		bucket, key, _ := strings.Cut(path, "/")
		out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err == nil {
			_ = out.Body.Close()
		}
		if (err == nil) != allowed {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("other")}); err == nil {
		t.Error("the list of a bucket whose keys have no prefix")
	}
	for prefix, allowed := range map[string]bool{"conform/base/": true, "conform/secret/": false, "": false} {
		if _, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("tiles"), Prefix: &prefix}); (err == nil) != allowed {
			t.Errorf("list %q: %v", prefix, err)
		}
	}
}

// tokenIssuer is an identity provider and its URL.
func tokenIssuer(t *testing.T) (*issuer.Issuer, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	address := "http://" + server.Listener.Addr().String()
	iss, err := issuer.New(issuer.Options{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = iss.Handler()
	server.Start()
	t.Cleanup(server.Close)
	return iss, address
}

// tokenFile is like the one that Kubernetes keeps in a pod.
func tokenFile(t *testing.T, iss *issuer.Issuer) string {
	t.Helper()
	token, err := iss.Token("RS256", map[string]any{"sub": "system:serviceaccount:maps:tilegate", "aud": "tiles", "policy": "readonly"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWebIdentityOnMinIO(t *testing.T) {
	iss, address := tokenIssuer(t)
	server := testenv.MinIO(t, testenv.OpenID{ConfigURL: address + "/.well-known/openid-configuration", ClientID: "tiles"})
	server.CreateBucket(t, "tiles")
	putter(server)(t, "tiles", "base/1/0/1.png", "", content(1))
	putter(server)(t, "tiles", "secret/1/0/1.png", "", content(2))
	role := origin.Role{ARN: "arn:minio:iam:::role/any", WebIdentityTokenFile: tokenFile(t, iss), ScopeDown: true}
	a := open(t, origin.Options{
		Store: origin.Store{
			Region: "us-east-1", Endpoint: server.Endpoint, STSEndpoint: server.Endpoint, PathStyle: true,
			Base: func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{}, errors.New("nobody asks for these")
			},
		},
		Sources: []origin.Source{
			{ID: "base", Bucket: "tiles", Prefix: "base/", Key: keyOf("base/"), Role: role},
			{ID: "escape", Bucket: "tiles", Prefix: "base/", Key: keyOf("secret/"), Role: role},
		},
	})
	if _, body, err := read(a.Source("base").Fetch(t.Context(), tile101, tile.Condition{})); err != nil || !bytes.Equal(body, content(1)) {
		t.Errorf("got %d bytes, error %v", len(body), err)
	}
	if _, _, err := read(a.Source("escape").Fetch(t.Context(), tile101, tile.Condition{})); !errors.Is(err, tile.ErrDenied) {
		t.Errorf("outside the session policy: %v", err)
	}
}
