package fakeaws_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tilegate/internal/fakeaws"
)

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// viaAddress sends every request to the server, whatever its host.
func viaAddress(server *fakeaws.Server) *http.Client {
	address := strings.TrimPrefix(server.URL(), "http://")
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}}
}

func request(t testing.TB, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	return r
}

// do returns the status, the error document's code, and the body.
func do(t testing.TB, server *fakeaws.Server, r *http.Request) (status int, code string, body []byte) {
	t.Helper()
	response, err := viaAddress(server).Do(r)
	must(t, err)
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	must(t, err)
	var document struct {
		Code      string
		RequestID string `xml:"RequestId"`
	}
	if bytes.HasPrefix(body, []byte("<?xml")) {
		must(t, xml.Unmarshal(body, &document))
		if document.RequestID == "" || document.RequestID != response.Header.Get("X-Amz-Request-Id") {
			t.Errorf("request ID is %q in the document, %q in the header", document.RequestID, response.Header.Get("X-Amz-Request-Id"))
		}
	}
	return response.StatusCode, document.Code, body
}

// TestSignaturesOfTheAWSDocumentation replays the requests that AWS publishes with their signatures.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
func TestSignaturesOfTheAWSDocumentation(t *testing.T) {
	clock := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	server := start(t, func(o *fakeaws.Options) { o.Clock = func() time.Time { return clock } })
	server.Put("examplebucket", "test.txt", fakeaws.Object{Body: []byte("0123456789 and more")})
	must(t, server.AddUser(fakeaws.User{
		AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		Policy: `{"Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}]}`,
	}))

	inHeader := request(t, "http://examplebucket.s3.amazonaws.com/test.txt")
	inHeader.Header.Set("Range", "bytes=0-9")
	inHeader.Header.Set("X-Amz-Content-Sha256", emptyHash)
	inHeader.Header.Set("X-Amz-Date", "20130524T000000Z")
	inHeader.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"+
		"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
	if status, code, body := do(t, server, inHeader); status != http.StatusPartialContent || string(body) != "0123456789" {
		t.Errorf("header: got %d %s %q", status, code, body)
	}

	inQuery := request(t, "http://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"+
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"+
		"&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
	if status, code, body := do(t, server, inQuery); status != http.StatusOK || string(body) != "0123456789 and more" {
		t.Errorf("query: got %d %s %q", status, code, body)
	}
}

func TestKeysThatNeedEncoding(t *testing.T) {
	server := start(t)
	client := s3Client(server, static(userKey, userSecret, ""))
	for _, key := range []string{"a b/c+d.png", "ä/ö.png", "a//b.png", "a/../b.png", "100%.png", "a&b=c;d.png", "~-_.png", "@2x.png", "a?b#c.png", "*.png"} {
		t.Run(key, func(t *testing.T) {
			server.Put("tiles", key, fakeaws.Object{Body: []byte(key)})
			if got, err := get(t.Context(), client, "tiles", key); err != nil || string(got) != key {
				t.Errorf("got %q, %v, want the key", got, err)
			}
		})
	}
}

// signed is a GET of the tile, signed in its header by the user.
func signed(t testing.TB, server *fakeaws.Server, who aws.Credentials, region string, at time.Time) *http.Request {
	t.Helper()
	r := request(t, server.URL()+"/tiles/"+tile)
	r.Header.Set("X-Amz-Content-Sha256", emptyHash)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	must(t, signer.SignHTTP(t.Context(), who, r, emptyHash, "s3", region, at))
	return r
}

func TestWrongSignaturesAreRefused(t *testing.T) {
	user := aws.Credentials{AccessKeyID: userKey, SecretAccessKey: userSecret}
	tests := []struct {
		name   string
		who    aws.Credentials
		region string
		skew   time.Duration
		tamper func(*http.Request)
		status int
		code   string
	}{
		{name: "right", who: user, status: 200},
		{name: "14 minutes slow", who: user, skew: -14 * time.Minute, status: 200},
		{name: "16 minutes slow", who: user, skew: -16 * time.Minute, status: 403, code: "RequestTimeTooSkewed"},
		{name: "16 minutes fast", who: user, skew: 16 * time.Minute, status: 403, code: "RequestTimeTooSkewed"},
		{name: "unknown key", who: aws.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: userSecret}, status: 403, code: "InvalidAccessKeyId"},
		{name: "wrong secret", who: aws.Credentials{AccessKeyID: userKey, SecretAccessKey: "guess"}, status: 403, code: "SignatureDoesNotMatch"},
		{name: "token without a session", who: aws.Credentials{AccessKeyID: userKey, SecretAccessKey: userSecret, SessionToken: "x"}, status: 400, code: "InvalidToken"},
		{name: "another region", who: user, region: "eu-central-1", status: 400, code: "AuthorizationHeaderMalformed"},
		{name: "another key than signed", who: user, tamper: func(r *http.Request) { r.URL.Path += "x" }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "another query than signed", who: user, tamper: func(r *http.Request) { r.URL.RawQuery = "response-content-type=text/html" }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "another method than signed", who: user, tamper: func(r *http.Request) { r.Method = http.MethodDelete }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "another host than signed", who: user, tamper: func(r *http.Request) { r.Host = "localhost" }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "another payload hash than signed", who: user, tamper: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "a header added", who: user, tamper: func(r *http.Request) { r.Header.Set("X-Amz-Checksum-Mode", "ENABLED") }, status: 403, code: "AccessDenied"},
		{name: "no payload hash", who: user, tamper: func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }, status: 400, code: "InvalidRequest"},
		{name: "one digit changed", who: user, tamper: func(r *http.Request) {
			v := []byte(r.Header.Get("Authorization"))
			v[len(v)-1] ^= 1
			r.Header.Set("Authorization", string(v))
		}, status: 403, code: "SignatureDoesNotMatch"},
		{name: "signature empty", who: user, tamper: func(r *http.Request) {
			v := r.Header.Get("Authorization")
			r.Header.Set("Authorization", v[:strings.Index(v, "Signature=")+len("Signature=")])
		}, status: 403, code: "SignatureDoesNotMatch"},
		{name: "no signature", who: user, tamper: func(r *http.Request) {
			v := r.Header.Get("Authorization")
			r.Header.Set("Authorization", v[:strings.Index(v, ", Signature=")])
		}, status: 400, code: "AuthorizationHeaderMalformed"},
		{name: "a bearer token", who: user, tamper: func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, status: 400, code: "InvalidArgument"},
		{name: "two signatures", who: user, tamper: func(r *http.Request) { r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256" }, status: 400, code: "InvalidArgument"},
		{name: "anonymous", who: user, tamper: func(r *http.Request) { r.Header = http.Header{} }, status: 403, code: "AccessDenied"},
		{name: "not a query", who: user, tamper: func(r *http.Request) { r.URL.RawQuery = "a=%zz" }, status: 400, code: "InvalidURI"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := start(t)
			region := "us-east-1"
			if test.region != "" {
				region = test.region
			}
			r := signed(t, server, test.who, region, time.Now().Add(test.skew))
			if test.tamper != nil {
				test.tamper(r)
			}
			status, code, body := do(t, server, r)
			if status != test.status || code != test.code {
				t.Errorf("got %d %s, want %d %s", status, code, test.status, test.code)
			}
			if status != 200 && bytes.Contains(body, tileBody[:16]) {
				t.Error("a refusal carries the tile")
			}
			if got := server.Requests()[0]; got.Status != status || (got.Principal != "") != (status == 200) {
				t.Errorf("log says status %d, principal %q", got.Status, got.Principal)
			}
		})
	}
}

func TestPresignedURLs(t *testing.T) {
	tests := []struct {
		name   string
		later  time.Duration
		tamper func(*http.Request)
		status int
		code   string
	}{
		{name: "right", status: 200},
		{name: "at its last second", later: 59 * time.Second, status: 200},
		{name: "expired", later: 2 * time.Minute, status: 403, code: "AccessDenied"},
		{name: "not valid yet", later: -20 * time.Minute, status: 403, code: "AccessDenied"},
		{name: "prolonged", tamper: func(r *http.Request) { setQuery(r, "X-Amz-Expires", "3600") }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "for more than a week", tamper: func(r *http.Request) { setQuery(r, "X-Amz-Expires", "604801") }, status: 400, code: "AuthorizationQueryParametersError"},
		{name: "without its expiry", tamper: func(r *http.Request) { setQuery(r, "X-Amz-Expires", "") }, status: 400, code: "AuthorizationQueryParametersError"},
		{name: "without its token", tamper: func(r *http.Request) { setQuery(r, "X-Amz-Security-Token", "") }, status: 403, code: "InvalidAccessKeyId"},
		{name: "for another key", tamper: func(r *http.Request) { r.URL.Path = "/tiles/secret.pdf" }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "with an unknown parameter", tamper: func(r *http.Request) { setQuery(r, "x", "1") }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "with a range", tamper: func(r *http.Request) { r.Header.Set("Range", "bytes=0-0") }, status: 206},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clock := &manualClock{}
			server := start(t, func(o *fakeaws.Options) { o.Clock = clock.Now })
			server.Put("tiles", "secret.pdf", fakeaws.Object{Body: []byte("secret")})
			presigner := s3.NewPresignClient(s3Client(server, session(t, server)))
			presigned, err := presigner.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: aws.String(tile)}, s3.WithPresignExpires(time.Minute))
			must(t, err)
			clock.Advance(test.later)
			r := request(t, presigned.URL)
			if test.tamper != nil {
				test.tamper(r)
			}
			if status, code, _ := do(t, server, r); status != test.status || code != test.code {
				t.Errorf("got %d %s, want %d %s", status, code, test.status, test.code)
			}
		})
	}
}

func setQuery(r *http.Request, name, value string) {
	query := r.URL.Query()
	query.Del(name)
	if value != "" {
		query.Set(name, value)
	}
	r.URL.RawQuery = query.Encode()
}

// session assumes the role for an hour.
func session(t testing.TB, server *fakeaws.Server) aws.CredentialsProvider {
	t.Helper()
	out, err := stsClient(server, static(userKey, userSecret, "")).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("tilegate")})
	must(t, err)
	return static(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
}

func TestExpireSessions(t *testing.T) {
	server := start(t)
	from := session(t, server)
	server.ExpireSessions()
	_, err := get(t.Context(), s3Client(server, from), "tiles", tile)
	wantRefusal(t, err, http.StatusBadRequest, "ExpiredToken")
	_, err = stsClient(server, from).GetCallerIdentity(t.Context(), nil)
	wantRefusal(t, err, http.StatusForbidden, "ExpiredToken")
	if _, err = get(t.Context(), s3Client(server, session(t, server)), "tiles", tile); err != nil {
		t.Errorf("a session issued after that: %v", err)
	}
}

// TestSessionsEndByTheClock needs signatures of the server's time, which the SDK's signer takes as
// an argument.
func TestSessionsEndByTheClock(t *testing.T) {
	clock := &manualClock{}
	server := start(t, func(o *fakeaws.Options) { o.Clock = clock.Now })
	who, err := session(t, server).Retrieve(t.Context())
	must(t, err)
	clock.Advance(time.Hour - time.Minute)
	if status, code, _ := do(t, server, signed(t, server, who, "us-east-1", clock.Now())); status != 200 {
		t.Errorf("a minute before expiry: got %d %s", status, code)
	}
	clock.Advance(time.Minute)
	if status, code, _ := do(t, server, signed(t, server, who, "us-east-1", clock.Now())); status != 400 || code != "ExpiredToken" {
		t.Errorf("after an hour: got %d %s, want 400 ExpiredToken", status, code)
	}
	who.SessionToken += "x"
	if status, code, _ := do(t, server, signed(t, server, who, "us-east-1", clock.Now())); status != 400 || code != "InvalidToken" {
		t.Errorf("another token: got %d %s, want 400 InvalidToken", status, code)
	}
}
