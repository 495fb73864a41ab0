package origin

import (
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // what S3 keeps of the object, against faults and not against forgers
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyauth "github.com/aws/smithy-go/auth"
	"github.com/aws/smithy-go/encoding/httpbinding"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// GetObject is the one call on the path of every miss. The SDK's costs as much as all the rest of a
// miss, nearly all of it spent on a stack of middleware built anew each time, so this is the call
// itself: the SDK's endpoint rules (asked once per source), its signer, and net/http.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html

// endpoint is where the objects of a bucket are, and how requests for them are signed.
type endpoint struct {
	url             url.URL // its path ends before the key's slash
	service, region string
}

// resolve asks the SDK's rules. The error tells a bucket's name that is none, or that needs another way of
// signing: directory buckets and multi-region access points.
func (a *AWS) resolve(ctx context.Context, bucket string) (endpoint, error) {
	o := a.s3.Options()
	resolved, err := o.EndpointResolverV2.ResolveEndpoint(ctx, s3.EndpointParameters{
		Bucket: &bucket, Region: &o.Region, Endpoint: o.BaseEndpoint, ForcePathStyle: &o.UsePathStyle,
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		UseArnRegion: &o.UseARNRegion, DisableMultiRegionAccessPoints: aws.Bool(true),
	})
	if err != nil {
		return endpoint{}, fmt.Errorf("bucket %q: %w", bucket, err)
	}
	e := endpoint{url: resolved.URI, service: "s3", region: o.Region}
	e.url.Path = strings.TrimSuffix(e.url.Path, "/")
	options, _ := smithyauth.GetAuthOptions(&resolved.Properties)
	for _, option := range options {
		if option.SchemeID != "sigv4" {
			return endpoint{}, fmt.Errorf("bucket %q: it wants to be asked in a way (%s) that tilegate doesn't know", bucket, option.SchemeID)
		}
		if name, ok := smithyhttp.GetSigV4SigningName(&option.SignerProperties); ok {
			e.service = name
		}
		if region, ok := smithyhttp.GetSigV4SigningRegion(&option.SignerProperties); ok {
			e.region = region
		}
	}
	return e, nil
}

// emptyPayload is the SHA-256 of nothing, which a signature of a GET holds.
const emptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// request is one GetObject.
type request struct {
	name  string // the object's key
	cond  tile.Condition
	bytes string // firstByte of a probe, whose answer is for taste
	creds credentials
}

// send returns S3's answer, whatever it is, and notes S3's clock.
func (s *S3) send(ctx context.Context, r request) (*http.Response, *fault) {
	u := s.endpoint.url
	u.RawPath = u.EscapedPath() + "/" + httpbinding.EscapePath(r.name, false)
	u.Path += "/" + r.name
	header := http.Header{"User-Agent": userAgent, "X-Amz-Content-Sha256": {emptyPayload}}
	switch {
	case r.bytes != "":
		header["Range"] = []string{r.bytes}
	case r.cond.Offset > 0:
		header["Range"] = []string{"bytes=" + strconv.FormatInt(r.cond.Offset, 10) + "-"}
	default:
		header["X-Amz-Checksum-Mode"] = []string{"ENABLED"} // of ranges S3 knows none
	}
	if r.cond.IfMatch != "" {
		header["If-Match"] = []string{r.cond.IfMatch}
	}
	if r.cond.IfNoneMatch != "" {
		header["If-None-Match"] = []string{r.cond.IfNoneMatch}
	}
	req := &http.Request{Method: http.MethodGet, URL: &u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	skew := s.aws.clockSkew()
	if err := s.aws.signer.SignHTTP(ctx, r.creds.Credentials, req, emptyPayload, s.endpoint.service, s.endpoint.region, time.Now().Add(skew)); err != nil {
		return nil, badAnswer("cannot sign: %s", plain(err.Error(), r.secrets()))
	}
	sent := time.Now()
	answer, err := s.aws.client.do(ctx, req)
	if err != nil {
		return nil, classifySilence(ctx, err, r.secrets())
	}
	s.aws.noteClock(answer.Header, sent)
	switch {
	case answer.StatusCode == http.StatusOK, answer.StatusCode == http.StatusPartialContent,
		answer.StatusCode == http.StatusRequestedRangeNotSatisfiable && r.bytes != "": // an empty object
		return answer, nil
	}
	f := errorDocument(ctx, answer, r.secrets())
	if (f.code == "RequestTimeTooSkewed" || f.code == "SignatureDoesNotMatch") && (s.aws.clockSkew()-skew).Abs() >= noticeableSkew {
		f.remedy = newSignature
	}
	return nil, f
}

// firstByte is the Range of whoever wants to know whether an object can be read.
const firstByte = "bytes=0-0"

// taste reads what firstByte asked for to its end, or the connection is lost.
func taste(body io.Reader) { _, _ = io.CopyN(io.Discard, body, 2) }

var userAgent = []string{"tilegate"}

func (r *request) secrets() []string { return []string{r.creds.SecretAccessKey, r.creds.SessionToken} }

// errorDocument reads what S3 sends instead of an object, to its end, so that the connection can be reused.
func errorDocument(ctx context.Context, answer *http.Response, secrets []string) *fault {
	defer func() { _ = answer.Body.Close() }()
	var doc struct{ Code, Message string }
	_ = xml.NewDecoder(answer.Body).Decode(&doc) // what isn't S3's has no code
	_, err := io.Copy(io.Discard, answer.Body)
	left := ctx.Err() // one look: the caller may leave right after it
	if left != nil || errors.Is(err, errStalled) {
		return classifySilence(ctx, cmp.Or(left, err), secrets)
	}
	return classifyAnswer(answer.StatusCode, answer.Header, doc.Code, doc.Message, answer.Header.Get("X-Amz-Request-Id"), secrets)
}

// clockSkew is how far S3's clock is ahead of this machine's, 0 when nearly nothing.
func (a *AWS) clockSkew() time.Duration {
	skew := time.Duration(a.skew.Load())
	if skew.Abs() < noticeableSkew {
		return 0 // S3 tells whole seconds: nearly alike is alike
	}
	return skew
}

// noteClock learns from an answer to what was sent then. S3 wrote its Date, in whole seconds, some time since: a
// skew that explains it stays, or windows of presigned URLs would begin again with each slow answer.
func (a *AWS) noteClock(h http.Header, sent time.Time) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || h.Get("Age") != "" {
		return
	}
	least, most := time.Until(date), date.Add(time.Second).Sub(sent)
	if known := time.Duration(a.skew.Load()); known < least || known > most {
		a.skew.Store(int64(least))
	}
}

// crc64NVME is the checksum that S3 computes of an object by itself.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
var (
	crc64NVME = crc64.MakeTable(0x9a6c9329ac4bc9b5)
	crc32C    = crc32.MakeTable(crc32.Castagnoli)
)

// checksumOf returns what an answer's body has to sum up to, nil when S3 doesn't tell. A checksum of a multipart
// upload's parts' checksums has a hyphen, and cannot be told from the body alone.
func checksumOf(h http.Header) (hash.Hash, string) {
	for _, c := range []struct {
		header string
		make   func() hash.Hash
	}{
		{"X-Amz-Checksum-Crc64nvme", func() hash.Hash { return crc64.New(crc64NVME) }},
		{"X-Amz-Checksum-Crc32c", func() hash.Hash { return crc32.New(crc32C) }},
		{"X-Amz-Checksum-Crc32", func() hash.Hash { return crc32.NewIEEE() }},
		{"X-Amz-Checksum-Sha256", sha256.New},
		{"X-Amz-Checksum-Sha1", sha1.New},
	} {
		if want := h[c.header]; len(want) == 1 && !strings.Contains(want[0], "-") {
			return c.make(), want[0]
		}
	}
	return nil, ""
}

// body gives the errors of reading their classes, a wrong checksum's at the end included.
type body struct {
	io.ReadCloser
	s    *S3
	ctx  context.Context
	sum  hash.Hash // nil: S3 told none
	want string
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.sum != nil {
		_, _ = b.sum.Write(p[:n]) // never fails
	}
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF:
		return n, b.failed(classifySilence(b.ctx, err, nil))
	case b.sum != nil:
		if err := b.verdict(); err != nil {
			return n, err
		}
	}
	return n, io.EOF
}

// check is tile.Object's Check: whole has come in several parts, of which this body was the first.
func (b *body) check(whole []byte) error {
	b.sum.Reset()
	_, _ = b.sum.Write(whole) // never fails
	return b.verdict()
}

func (b *body) verdict() error {
	if base64.StdEncoding.EncodeToString(b.sum.Sum(nil)) == b.want {
		return nil
	}
	return b.failed(badAnswer("the body doesn't have the checksum that S3 keeps of it"))
}

func (b *body) failed(f *fault) error {
	b.s.aws.opt.Observe.Body(b.s.ID, outcome(f))
	return fmt.Errorf("%s: %w", b.s.ID, f)
}

func newSigner() *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // as S3 wants it
}
