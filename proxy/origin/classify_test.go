package origin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

func TestFailuresAreToldApart(t *testing.T) {
	for _, tc := range []struct {
		status   int
		code     string
		want     error
		requests int    // in all, retries and a second try with new credentials included
		says     string // what to do
	}{
		{404, "NoSuchKey", tile.ErrMissing, 1, ""},
		{404, "NoSuchBucket", tile.ErrBadAnswer, 1, "the bucket doesn't exist"},
		{404, "NotFound", tile.ErrBadAnswer, 1, ""},
		{403, "AllAccessDisabled", tile.ErrDenied, 1, "policy"},
		{403, "SomethingElse", tile.ErrDenied, 1, "aws.endpoint"},
		{400, "KMS.DisabledException", tile.ErrDenied, 1, "kms:Decrypt"},
		{400, "KMSInvalidStateException", tile.ErrDenied, 1, "kms:Decrypt"},
		{403, "SignatureDoesNotMatch", tile.ErrDenied, 1, "secret key"},
		{403, "InvalidObjectState", tile.ErrBadAnswer, 1, "archived"},
		{403, "RequestTimeTooSkewed", tile.ErrDenied, 1, "clock"},
		{400, "ExpiredToken", tile.ErrNoCredentials, 2, ""},
		{400, "InvalidToken", tile.ErrNoCredentials, 2, ""},
		{403, "InvalidAccessKeyId", tile.ErrNoCredentials, 2, ""},
		{301, "PermanentRedirect", tile.ErrBadAnswer, 1, "set aws.region to us-east-1"},
		{307, "TemporaryRedirect", tile.ErrBadAnswer, 1, "another region"},
		{407, "", tile.ErrUnreachable, 1, "HTTPS_PROXY"},
		{503, "SlowDown", tile.ErrSlowDown, 3, "fewer requests"},
		{503, "ServiceUnavailable", tile.ErrSlowDown, 3, "fewer requests"},
		{429, "Whatever", tile.ErrSlowDown, 3, "fewer requests"},
		{500, "InternalError", tile.ErrUnreachable, 3, ""},
		{502, "BadGateway", tile.ErrUnreachable, 3, ""},
		{400, "RequestTimeout", tile.ErrTimeout, 3, ""},
		{405, "MethodNotAllowed", tile.ErrBadAnswer, 1, "aws.endpoint"},
		{418, "Teapot", tile.ErrBadAnswer, 1, ""},
	} {
		t.Run(fmt.Sprintf("%d %s", tc.status, tc.code), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waitReady(t)
				w.Inject(fakeaws.Fault{Op: "GetObject", Status: tc.status, Code: tc.code, Header: http.Header{"X-Amz-Bucket-Region": {"us-east-1"}}})
				text := w.mustFail(t, tc.want)
				if n := w.Count("GetObject", "", ""); n != tc.requests {
					t.Errorf("%d requests, want %d", n, tc.requests)
				}
				if !strings.Contains(text, tc.says) {
					t.Errorf("got %q, want it to say %q", text, tc.says)
				}
				if operator := tc.want != tile.ErrMissing; operator != strings.Contains(w.log.String(), "origin request failed") { //nolint:errorlint // the table's own value
					t.Errorf("logged: %q", w.log.String())
				}
			})
		})
	}
}

func TestMessagesThatMatter(t *testing.T) {
	for name, tc := range map[string]struct {
		code, message string
		want          error
		says          string
	}{
		"KMS behind AccessDenied": {"AccessDenied", "User: arn:aws:sts::1:assumed-role/a/b is not authorized to perform: kms:Decrypt on the resource", tile.ErrDenied, "kms:Decrypt in the role"},
		"KMS without its prefix":  {"AccessDenied", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.", tile.ErrDenied, "kms:Decrypt in the role"},
		"KMS in words":            {"AccessDenied", "Access to AWS KMS is denied", tile.ErrDenied, "kms:Decrypt in the role"},
		"a key's state":           {"InvalidRequest", "arn:aws:kms:eu-central-1:1:key/1 is pending deletion (KMS)", tile.ErrDenied, "kms:Decrypt in the role"},
		"a customer's key":        {"InvalidRequest", "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.", tile.ErrBadAnswer, "SSE-C"},
		"requester pays":          {"AccessDenied", "Bucket is requester pays bucket but no x-amz-request-payer header provided", tile.ErrDenied, "request_payer: true"},
		"region in the message":   {"AuthorizationHeaderMalformed", "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'ap-south-1'", tile.ErrBadAnswer, "set aws.region to ap-south-1"},
	} {
		t.Run(name, func(t *testing.T) {
			tiles := stub(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", tc.code, tc.message)
			}, func(o *origin.Options) { o.Sources[0].MissingOn403 = origin.Auto })
			_, err := tiles.Fetch(t.Context(), tile101, tile.Condition{})
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %v that says %q", err, tc.want, tc.says)
			}
		})
	}
}

// S3, or a proxy in front of it, may echo the request.
func TestSecretsThatS3EchoesReachNoErrorAndNoLog(t *testing.T) {
	var log logBuffer
	const token, secret = "FwoGZXIvYXdzEXAMPLETOKEN", "wJalrXUtnFEMIEXAMPLEKEY"
	tiles := stub(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" { // at start, or its line might still be on its way to the log
			_, _ = fmt.Fprint(w, "x")
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, "<Error><Code>Odd%s</Code><Message>\nhttps://b.s3/k?X-Amz-Signature=abcdef0123&amp;X-Amz-Credential=AKIA%%2F1 and %s and %s and %s</Message></Error>",
			secret, r.Header.Get("X-Amz-Security-Token"), secret, r.Header.Get("Authorization"))
	}, func(o *origin.Options) {
		o.Logger = logger(&log)
		o.Base = func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "ASIAKEY", SecretAccessKey: secret, SessionToken: token}, nil
		}
	})
	_, err := tiles.Fetch(t.Context(), tile101, tile.Condition{})
	if !errors.Is(err, tile.ErrBadAnswer) || !strings.Contains(err.Error(), "400 Odd") {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(log.String(), "origin request failed") {
		t.Fatalf("nothing logged: %q", log.String())
	}
	for _, secret := range []string{token, secret, "abcdef0123", "AKIA%2F1", "\n"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error holds %q: %q", secret, err)
		}
		if secret != "\n" && strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %q: %s", secret, log.String())
		}
	}
}

func TestOneLogLineAMinuteOfEachKind(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		w.Inject(fakeaws.Fault{Op: "GetObject", Status: http.StatusNotFound, Code: "NoSuchBucket"})
		for range 100 {
			w.mustFail(t, tile.ErrBadAnswer)
		}
		if n := strings.Count(w.log.String(), "origin request failed"); n != 1 {
			t.Errorf("%d lines for 100 alike failures", n)
		}
		pass(time.Minute)
		w.mustFail(t, tile.ErrBadAnswer)
		if log := w.log.String(); !strings.Contains(log, "skipped=99") {
			t.Errorf("got %q", log)
		}
	})
}
