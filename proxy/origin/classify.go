package origin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"tilegate/internal/tile"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// fault is the failure of one request, classified.
type fault struct {
	class  error  // for the caller: an error of package tile, or of a context
	code   string // S3's, e.g. NoSuchKey; empty without an answer
	status int    // of HTTP; 0 without an answer
	text   string // what happened, for the operator's log
	hint   string // what to do about it; may be empty
	remedy remedy

	region      string // the bucket's, where S3 refuses another one
	skewed      bool   // S3 refuses the time in the signature
	unexplained bool   // the code says nothing about the cause
}

// remedy is what may make the same request succeed.
type remedy uint8

const (
	noRemedy       remedy = iota
	tryAgain              // after a backoff, within the retry budget
	trySlower             // likewise, and with fewer requests at once
	newCredentials        // S3 has rejected those that the request was signed with
	newSignature          // S3's answer has corrected the clock
	newRegion             // S3's answer has named the bucket's region
	noChecksum            // the store may not know x-amz-checksum-mode
	noCondition           // the store answers 412 where 304 belongs
	remedies              // the number of remedies
)

func (f *fault) Error() string { return f.class.Error() + ": " + f.detail() }
func (f *fault) Unwrap() error { return f.class }

// detail is the text without the class.
func (f *fault) detail() string {
	if f.hint == "" {
		return f.text
	}
	return f.text + ": " + f.hint
}

// outcome is the label of a metric. A nil fault is an object.
func outcome(f *fault) string {
	if f == nil {
		return "ok"
	}
	for _, o := range outcomes {
		if errors.Is(f, o.class) {
			return o.label
		}
	}
	return "cancelled"
}

var outcomes = []struct {
	class error
	label string
}{
	{tile.ErrMissing, "missing"},
	{tile.ErrNotModified, "not_modified"},
	{tile.ErrChanged, "changed"},
	{tile.ErrDenied, "denied"},
	{tile.ErrBadAnswer, "bad_answer"},
	{tile.ErrUnreachable, "unreachable"},
	{tile.ErrSlowDown, "slow_down"},
	{tile.ErrNoCredentials, "no_credentials"},
	{tile.ErrTimeout, "timeout"},
}

type meaning struct {
	class  error
	remedy remedy
	hint   string
}

// meanings are those of the error codes that say more than the status does.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var meanings = func() map[string]meaning {
	var (
		denied   = meaning{tile.ErrDenied, noRemedy, "the role, its session policy or the bucket's policy doesn't allow s3:GetObject here; if its requester pays, set request_payer"}
		rejected = meaning{tile.ErrNoCredentials, newCredentials, "these credentials are rejected; new ones are asked for"}
		region   = meaning{tile.ErrBadAnswer, noRemedy, "the bucket is in another region: set aws.region"}
		skewed   = meaning{tile.ErrDenied, noRemedy, "this machine's clock is wrong: set it, e.g. with chrony"}
		slow     = meaning{tile.ErrSlowDown, trySlower, "S3 asks for fewer requests: raise cache.fresh and cache.memory, or spread the tileset over prefixes"}
		customer = "the object is encrypted with a key of the customer (SSE-C), which tilegate does not have: copy it with SSE-S3 or SSE-KMS"
		key      = meaning{tile.ErrDenied, noRemedy, "the KMS key that encrypts the object is not usable: allow kms:Decrypt in the role and in the key's policy, and look at the key's state"}
	)
	return map[string]meaning{
		"NoSuchKey":    {tile.ErrMissing, noRemedy, ""},
		"NoSuchBucket": {tile.ErrBadAnswer, noRemedy, "the bucket doesn't exist: look at the source, aws.region and aws.endpoint"},
		"AccessDenied": denied, "AllAccessDisabled": denied, "AccountProblem": denied,
		"SignatureDoesNotMatch": {tile.ErrDenied, noRemedy, "the secret key is wrong, or something on the way to S3 changes requests"},
		"RequestTimeTooSkewed":  skewed, "RequestInTheFuture": skewed,
		"ExpiredToken": rejected, "ExpiredTokenException": rejected, "TokenRefreshRequired": rejected,
		"InvalidToken": rejected, "InvalidTokenId": rejected, "InvalidAccessKeyId": rejected,
		"InvalidClientTokenId": rejected, "UnrecognizedClientException": rejected,
		"XAdminUserNotFound": rejected, // versitygw
		"PermanentRedirect":  region, "TemporaryRedirect": region, "AuthorizationHeaderMalformed": region,
		"IllegalLocationConstraintException": region,
		"SlowDown":                           slow, "ServiceUnavailable": slow, "Throttling": slow, "ThrottlingException": slow,
		"RequestLimitExceeded": slow, "TooManyRequests": slow, "BandwidthLimitExceeded": slow,
		"RequestTimeout":     {tile.ErrTimeout, tryAgain, ""},
		"InvalidObjectState": {tile.ErrBadAnswer, noRemedy, "the object is archived, in Glacier or a tier of Intelligent-Tiering: restore it, or change its storage class"},
		"MethodNotAllowed":   {tile.ErrBadAnswer, noRemedy, "this is no S3 API: look at aws.endpoint"},
		"KMS":                key,
		"SSE-C":              {tile.ErrBadAnswer, noRemedy, customer},
		"RequesterPays":      {tile.ErrDenied, noRemedy, "the bucket's requester pays: set request_payer: true in its store"},
		"InvalidAccessPoint": {tile.ErrBadAnswer, noRemedy, "the access point doesn't exist: look at the account, region and name in its ARN"},
		"NoSuchAccessPoint":  {tile.ErrBadAnswer, noRemedy, "the access point doesn't exist: look at the account, region and name in its ARN"},
	}
}()

// classify classifies a failed call of the SDK.
func classify(ctx context.Context, err error, secrets ...string) *fault {
	var answer *smithyhttp.ResponseError
	if ctx.Err() != nil || errors.Is(err, errStalled) || !errors.As(err, &answer) || answer.HTTPStatusCode() == 0 {
		return classifyNoAnswer(ctx, err, secrets)
	}
	var doc errorDoc
	request := ""
	var api smithy.APIError
	if errors.As(err, &api) {
		doc.Code, doc.Message = api.ErrorCode(), api.ErrorMessage()
	}
	var identified interface{ ServiceRequestID() string }
	if errors.As(err, &identified) {
		request = identified.ServiceRequestID()
	}
	f := classifyAnswer(answer.HTTPStatusCode(), answer.Response.Header, doc, request, secrets)
	var skewed interface{ RetryableError() bool } // the SDK's mark on an error that the Date header explains
	if errors.As(err, &skewed) && skewed.RetryableError() {
		f.remedy = newSignature
	}
	return f
}

// classifyAnswer classifies an error that S3 or STS answers. The fault quotes the answer without control characters,
// and without the secrets of the request, in case the answer echoes them.
func classifyAnswer(status int, h http.Header, doc errorDoc, request string, secrets []string) *fault {
	said, message := sanitize(doc.Code, secrets), sanitize(doc.Message, secrets)
	f := &fault{status: status, code: trueCode(said, message)}
	m, known := meanings[f.code]
	f.unexplained = !known
	f.skewed = m == meanings["RequestTimeTooSkewed"] || status == http.StatusForbidden && aboutTime.MatchString(message)
	switch {
	case known:
	case f.status == http.StatusServiceUnavailable, f.status == http.StatusTooManyRequests:
		m = meanings["SlowDown"]
	case f.status >= http.StatusInternalServerError:
		m = meaning{tile.ErrUnreachable, tryAgain, ""}
	case f.status == http.StatusForbidden, f.status == http.StatusUnauthorized:
		m = meaning{tile.ErrDenied, noRemedy, "that isn't how S3 refuses: look at aws.endpoint and at what stands before it"}
	case f.status == http.StatusProxyAuthRequired:
		m = meaning{tile.ErrUnreachable, noRemedy, "a proxy on the way wants credentials: look at HTTP_PROXY and HTTPS_PROXY"}
	case f.status >= http.StatusMultipleChoices && f.status < http.StatusBadRequest && f.status != http.StatusNotModified:
		m = meaning{tile.ErrBadAnswer, noRemedy, "the answer redirects" + redirectedTo(h) + ": look at aws.endpoint and aws.region"}
		if f.region = rightRegion(h, doc); f.region != "" {
			m = meanings["PermanentRedirect"]
		}
	case f.status == http.StatusBadRequest && f.code == "":
		m = meaning{tile.ErrBadAnswer, noRemedy, speaksTLS("aws.endpoint")}
	default:
		m = meaning{tile.ErrBadAnswer, noRemedy, ""}
	}
	f.class, f.remedy, f.hint = m.class, m.remedy, m.hint
	if m == meanings["PermanentRedirect"] {
		if f.region = rightRegion(h, doc); f.region != "" {
			f.hint += " to " + f.region
		}
	}
	f.text = answerText(f.status, said, message, sanitize(request, secrets))
	return f
}

// classifyNoAnswer classifies the failure of a request without an answer, or of a body. err is not nil.
func classifyNoAnswer(ctx context.Context, err error, secrets []string) *fault {
	f := &fault{text: sanitize(rootCause(err).Error(), secrets)}
	var network net.Error
	switch cause := ctx.Err(); {
	case errors.Is(err, errStalled):
		f.class, f.text = tile.ErrTimeout, "no byte of the body for longer than aws.timeouts.progress"
	case errors.Is(cause, context.DeadlineExceeded):
		f.class, f.text = tile.ErrTimeout, "the caller's time ran out"
	case cause != nil:
		f.class, f.text = cause, "the caller left"
	case connectionHint(err) != "":
		f.class, f.hint = tile.ErrUnreachable, connectionHint(err)
	case errors.As(err, &network) && network.Timeout():
		f.class = tile.ErrTimeout
		if notSent(err) {
			f.remedy = tryAgain
		}
	default:
		f.class, f.remedy = tile.ErrUnreachable, tryAgain
	}
	return f
}

// notSent reports whether a timeout happened before the request was sent, so that sending it again is safe.
// net/http's response-header timeout also matches context.DeadlineExceeded; dial timeouts do not.
func notSent(timeout error) bool {
	var operation *net.OpError
	return errors.As(timeout, &operation) && operation.Op == "dial" || !errors.Is(timeout, context.DeadlineExceeded)
}

// answerText formats an answer like this: 403 AccessDenied "Access Denied" (request 4442587FB7D0A2F9).
func answerText(status int, code, message, request string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", status)
	if code != "" {
		b.WriteString(" " + code)
	} else {
		b.WriteString(" without an error document of S3's")
	}
	if message != "" && message != code {
		fmt.Fprintf(&b, " %q", message)
	}
	if request != "" {
		b.WriteString(" (request " + request + ")")
	}
	return b.String()
}

// expecting finds the right region in the message of AuthorizationHeaderMalformed.
var expecting = regexp.MustCompile(`expecting '([a-z0-9-]{1,32})'`)

// regional finds the region in an endpoint of S3's.
var regional = regexp.MustCompile(`(?:^|[./])s3[.-]([a-z0-9-]{1,32})\.amazonaws\.com`)

// validRegion keeps a region that S3 names within one label of a host name.
var validRegion = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// rightRegion is the region that S3 names in its refusal of another one, "" where it names none.
func rightRegion(h http.Header, doc errorDoc) string {
	said := []string{h.Get("X-Amz-Bucket-Region"), doc.Region}
	for _, found := range [][]string{
		expecting.FindStringSubmatch(doc.Message), regional.FindStringSubmatch(doc.Endpoint), regional.FindStringSubmatch(h.Get("Location")),
	} {
		if found != nil {
			said = append(said, found[1])
		}
	}
	for _, region := range said {
		if validRegion.MatchString(region) {
			return region
		}
	}
	return ""
}

// redirectedTo is the end of a sentence about a redirect. It leaves out the path and the query.
func redirectedTo(h http.Header) string {
	u, err := url.Parse(h.Get("Location"))
	if err != nil || u.Host == "" {
		return ""
	}
	return sanitize(" to "+u.Scheme+"://"+u.Host, nil)
}

var (
	// ownNames are the names in a message that S3's users choose. They may contain any word.
	ownNames = regexp.MustCompile(`arn:[a-z-]+:(?:s3|sts|iam)[^\s"]*`)

	aboutKMS   = regexp.MustCompile(`(?i)\bkms\b|customer master key|ciphertext`)
	aboutSSEC  = regexp.MustCompile(`(?i)\bSSE-C\b|form of server.side encryption|customer.(?:provided|supplied) (?:encryption )?key`)
	aboutPayer = regexp.MustCompile(`(?i)requester.?pays|request-payer`)
	aboutTime  = regexp.MustCompile(`(?i)difference between the request time|signature (?:expired|not yet current)|request.{0,20}time.{0,20}skew|clock.{0,10}skew|skewed clock`)
)

// trueCode is the code of an error, or a code of this package's where the message tells the cause and the code does
// not. S3 often says AccessDenied where it does not mean a missing key.
func trueCode(code, message string) string {
	message = ownNames.ReplaceAllString(message, "")
	switch {
	case strings.HasPrefix(code, "KMS"), aboutKMS.MatchString(message):
		return "KMS"
	case aboutSSEC.MatchString(message):
		return "SSE-C"
	case aboutPayer.MatchString(message):
		return "RequesterPays"
	}
	return code
}

// connectionHint says what to do about a connection that cannot work, "" where it may work later.
func connectionHint(err error) string {
	var host *net.DNSError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var operation *net.OpError
	var proxy *proxyError
	if hint := schemeHint(err, "aws.endpoint"); hint != "" {
		return hint
	}
	switch {
	case errors.As(err, &proxy):
		return "look at HTTPS_PROXY and NO_PROXY, and at what the proxy allows"
	case errors.As(err, &operation) && operation.Op == "proxyconnect":
		return "the proxy can't be reached: look at HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
	case errors.As(err, &host) && host.IsNotFound:
		return "look at aws.region and aws.endpoint; set aws.path_style: true where buckets have no host name of their own"
	case errors.As(err, &authority):
		return "set AWS_CA_BUNDLE to a file with the certificate of that authority"
	case errors.As(err, &name):
		return "set aws.path_style: true where the certificate is not for the bucket's host name, as with dots in it"
	}
	return ""
}

// schemeHint says that an endpoint was asked by TLS and speaks none, "" where it is not so.
func schemeHint(err error, key string) string {
	var record tls.RecordHeaderError
	if errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record) {
		return "this port speaks plain http, not https: write http:// in " + key + ", or name the port with TLS"
	}
	return ""
}

// speaksTLS is the hint for a 400 without a document, which is how a port with TLS answers plain http.
func speaksTLS(key string) string { return "if this port speaks https, write https:// in " + key }

// rootCause strips what the SDK wraps around a network error.
func rootCause(err error) error {
	var operation *net.OpError
	if errors.As(err, &operation) {
		return operation // e.g. "dial tcp 192.0.2.1:443: connect: connection refused", which has the address
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// signatures finds the secrets of an echoed request or of a presigned URL.
var signatures = regexp.MustCompile(`(?i)((?:signature|credential|security-token)(?:=|: ?))[^\s&,;"'<]+`)

// sanitize makes foreign text fit for one line of a log: printable, without secrets, and not long.
func sanitize(s string, secrets []string) string { return cut(redact(s, secrets), 300) }

// sanitizeTo is sanitize for a chain of causes, which is longer.
func sanitizeTo(s string, most int) string { return cut(redact(s, nil), most) }

func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "[redacted]")
		}
	}
	s = signatures.ReplaceAllString(s, "$1[redacted]")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func cut(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func badAnswer(format string, args ...any) *fault {
	return &fault{class: tile.ErrBadAnswer, text: fmt.Sprintf(format, args...)}
}
