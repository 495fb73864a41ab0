package testenv_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tilegate/internal/issuer"
	"tilegate/internal/testenv"
)

const bucket = "tiles"

func fetch(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// checkS3 stores an object and reads it back, and that nobody else can.
func checkS3(t *testing.T, server *testenv.S3) {
	t.Helper()
	want := bytes.Repeat([]byte("tile "), 1000)
	server.CreateBucket(t, bucket)
	server.Put(t, bucket, map[string][]byte{"a/b.png": want})
	if got := read(t, server.Client(), "a/b.png"); !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want the %d that were put", len(got), len(want))
	}
	if status, _ := fetch(t, http.DefaultClient, server.Endpoint+"/tiles/a/b.png"); status != http.StatusForbidden {
		t.Errorf("anonymous: got %d, want 403", status)
	}
}

func read(t *testing.T, client *s3.Client, key string) []byte {
	t.Helper()
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestMinIO(t *testing.T) {
	mux := http.NewServeMux()
	listener := httptest.NewServer(mux)
	defer listener.Close()
	iss, err := issuer.New(issuer.Options{URL: listener.URL})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/", iss.Handler())
	server := testenv.MinIO(t, testenv.OpenID{ConfigURL: listener.URL + "/.well-known/openid-configuration", ClientID: "tiles"})
	checkS3(t, server)

	client := sts.New(sts.Options{
		Region: server.Region, BaseEndpoint: aws.String(server.Endpoint),
		Credentials: credentials.NewStaticCredentialsProvider(server.AccessKey, server.SecretKey, ""),
	})
	if _, err := client.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:xxx:xxx:xxx:xxxx"), RoleSessionName: aws.String("test")}); err != nil {
		t.Errorf("AssumeRole: %v", err)
	}
	token, err := iss.Token("RS256", map[string]any{"sub": "ada", "aud": "tiles", "policy": "readonly"})
	if err != nil {
		t.Fatal(err)
	}
	web, err := client.AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String("arn:xxx:xxx:xxx:xxxx"), RoleSessionName: aws.String("test"), WebIdentityToken: &token,
	})
	if err != nil {
		t.Fatalf("AssumeRoleWithWebIdentity: %v", err)
	}
	asAda := server.Client().Options()
	asAda.Credentials = credentials.NewStaticCredentialsProvider(*web.Credentials.AccessKeyId, *web.Credentials.SecretAccessKey, *web.Credentials.SessionToken)
	if got := read(t, s3.New(asAda), "a/b.png"); len(got) != 5000 {
		t.Errorf("with a web identity: got %d bytes, want 5000", len(got))
	}
}

func TestMinIOUserAssumesARole(t *testing.T) {
	server := testenv.MinIO(t)
	server.CreateBucket(t, bucket)
	server.Put(t, bucket, map[string][]byte{"a/b.png": []byte("tile"), "c.png": []byte("other")})
	server.AddPolicy(t, "tiles", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::tiles/*"]}]}`)
	server.AddUser(t, "reader", "reader-secret", "tiles")
	client := sts.New(sts.Options{
		Region: server.Region, BaseEndpoint: aws.String(server.Endpoint),
		Credentials: credentials.NewStaticCredentialsProvider("reader", "reader-secret", ""),
	})
	out, err := client.AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:xxx:xxx:xxx:xxxx"), RoleSessionName: aws.String("test"),
		Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::tiles/a/*"]}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	options := server.Client().Options()
	options.Credentials = credentials.NewStaticCredentialsProvider(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	if got := read(t, s3.New(options), "a/b.png"); string(got) != "tile" {
		t.Errorf("got %q", got)
	}
	if _, err := s3.New(options).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("c.png")}); err == nil {
		t.Error("the session policy does not narrow")
	}
}

func TestVersityGW(t *testing.T) { checkS3(t, testenv.VersityGW(t)) }

func TestNginx(t *testing.T) {
	url := testenv.Nginx(t, `server { listen {{.Address}}; location / { return 200 "from nginx"; } }`)
	if status, body := fetch(t, http.DefaultClient, url); status != 200 || body != "from nginx" {
		t.Errorf("got %d %q", status, body)
	}
}

func TestVarnish(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "from the origin") }))
	defer origin.Close()
	host, port, _ := strings.Cut(strings.TrimPrefix(origin.URL, "http://"), ":")
	url := testenv.Varnish(t, fmt.Sprintf("vcl 4.1;\nbackend default { .host = %q; .port = %q; }\n", host, port))
	if status, body := fetch(t, http.DefaultClient, url); status != 200 || body != "from the origin" {
		t.Errorf("got %d %q", status, body)
	}
}

func TestChromium(t *testing.T) {
	out, err := exec.Command(testenv.Chromium(t), "--version").Output()
	if err != nil || !strings.Contains(string(out), "Chrom") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestServersEndWithTheirTest(t *testing.T) {
	var url string
	t.Run("serving", func(t *testing.T) {
		url = testenv.Nginx(t, `server { listen {{.Address}}; location / { return 200; } }`)
	})
	if url == "" {
		return // the subtest says why
	}
	connection, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err == nil {
		_ = connection.Close()
		t.Error("nginx still listens")
	}
}

// verdict records whether a test would have been skipped or failed.
type verdict struct {
	testing.TB
	said string
}

func (v *verdict) Helper()                           {}
func (v *verdict) Skipf(format string, args ...any)  { v.end("skip: "+format, args...) }
func (v *verdict) Fatalf(format string, args ...any) { v.end("fail: "+format, args...) }

func (v *verdict) end(format string, args ...any) {
	v.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestAMissingProgramSkipsAndFailsInCI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for ci, want := range map[string]string{
		"":     "skip: chromium is missing; install it: apt-get install chromium",
		"true": "fail: chromium is missing; install it: apt-get install chromium",
	} {
		if testing.Short() {
			want = "skip: -short: this test starts chromium"
		}
		t.Setenv("CI", ci)
		v := &verdict{TB: t}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			testenv.Chromium(v)
		}()
		<-ended
		if v.said != want {
			t.Errorf("CI=%q: got %q, want %q", ci, v.said, want)
		}
	}
}
