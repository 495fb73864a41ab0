package fakeaws

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	maxSkew    = 15 * time.Minute
	maxPresign = 7 * 24 * time.Hour
	unsigned   = "UNSIGNED-PAYLOAD"
)

// identity is whoever signs: a user, or the session of a role.
type identity struct {
	accessKeyID, secret string
	token               string    // "" for a user
	expires             time.Time // zero for a user
	arn, userID         string
	roleARN             string    // of a session
	policies            []*policy // every one has to allow, none may deny
	revoked             atomic.Bool
	key                 atomic.Pointer[signingKey]
}

// signingKey is derived once per day, region and service; deriving it costs more than all the rest
// of verifying a request.
type signingKey struct {
	scope string
	key   []byte
}

// signature is what a request says of its own signature.
type signature struct {
	accessKeyID           string
	date, region, service string // of the credential scope
	scope                 string
	headers               []string // signed, lower case
	value                 string   // hexadecimal
	amzDate               string
	time                  time.Time
	token                 string
	presigned             bool
	expires               time.Duration // of a presigned request
}

// authenticate verifies Signature Version 4, in the header or in the query, and returns who signed.
// nil, nil is an anonymous request. The order of the checks is AWS's.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func (s *Server) authenticate(c *call, service, payloadHash string, query url.Values) (*identity, *apiError) {
	sig, refused := parseSignature(c.Request, query)
	if sig == nil || refused != nil {
		return nil, refused
	}
	malformed := "AuthorizationHeaderMalformed"
	if sig.presigned {
		malformed = "AuthorizationQueryParametersError"
	}
	if sig.service != service {
		return nil, refuse(http.StatusBadRequest, malformed, fmt.Sprintf("The authorization header is malformed; incorrect service %q. This endpoint belongs to %q.", sig.service, service))
	}
	if want := s.regionOf(c.entry.Bucket); sig.region != want {
		if want != s.opt.Region && sig.region == s.opt.Region {
			return nil, c.wrongRegion(want)
		}
		return nil, refuse(http.StatusBadRequest, malformed,
			fmt.Sprintf("The authorization header is malformed; the region '%s' is wrong; expecting '%s'", sig.region, want),
			[2]string{"Region", want})
	}
	if !strings.HasPrefix(sig.amzDate, sig.date) {
		return nil, refuse(http.StatusForbidden, "SignatureDoesNotMatch", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP")
	}
	if refused := checkTime(sig, c.now); refused != nil {
		return nil, refused
	}

	s.mu.RLock()
	who := s.identities[sig.accessKeyID]
	s.mu.RUnlock()
	switch {
	case who == nil || who.token != "" && sig.token == "":
		return nil, refuse(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.",
			[2]string{"AWSAccessKeyId", sig.accessKeyID})
	case !hmac.Equal([]byte(who.token), []byte(sig.token)):
		return nil, refuse(http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid.")
	case who.token != "" && (who.revoked.Load() || !c.now.Before(who.expires)):
		return nil, refuse(http.StatusBadRequest, "ExpiredToken", "The provided token has expired.")
	}

	request := canonicalRequest(c.Request, sig, query, payloadHash)
	digest := sha256.Sum256(request)
	toSign := make([]byte, 0, 256)
	toSign = append(toSign, algorithm+"\n"...)
	toSign = append(toSign, sig.amzDate...)
	toSign = append(toSign, '\n')
	toSign = append(toSign, sig.scope...)
	toSign = append(toSign, '\n')
	toSign = hex.AppendEncode(toSign, digest[:])
	want := hex.EncodeToString(hmacSHA256(who.signingKey(sig), toSign))
	if !hmac.Equal([]byte(want), []byte(sig.value)) {
		return nil, refuse(http.StatusForbidden, "SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided. Check your key and signing method.",
			[2]string{"AWSAccessKeyId", sig.accessKeyID}, [2]string{"StringToSign", string(toSign)}, [2]string{"CanonicalRequest", string(request)})
	}
	return who, nil
}

// parseSignature reads the header or the query; nil, nil when there is neither.
func parseSignature(r *http.Request, query url.Values) (*signature, *apiError) {
	header := r.Header["Authorization"]
	inQuery := query.Has("X-Amz-Algorithm")
	switch {
	case len(header) == 0 && !inQuery:
		return nil, nil
	case len(header) > 1 || len(header) == 1 && inQuery:
		return nil, refuse(http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	case inQuery:
		return parsePresigned(query)
	}
	rest, ok := strings.CutPrefix(header[0], algorithm+" ")
	if !ok {
		return nil, refuse(http.StatusBadRequest, "InvalidArgument", "Unsupported Authorization Type")
	}
	sig := &signature{amzDate: r.Header.Get("X-Amz-Date"), token: r.Header.Get("X-Amz-Security-Token")}
	complete := 0
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Credential":
			complete += sig.parseCredential(value)
		case "SignedHeaders":
			sig.headers = strings.Split(value, ";")
			complete++
		case "Signature":
			sig.value = value
			complete++
		}
	}
	var err error
	if sig.time, err = time.Parse(timeFormat, sig.amzDate); err != nil || complete != 3 {
		return nil, refuse(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header that you provided is not valid.")
	}
	return sig, checkHeadersSigned(r, sig)
}

func parsePresigned(query url.Values) (*signature, *apiError) {
	bad := func(message string) *apiError {
		return refuse(http.StatusBadRequest, "AuthorizationQueryParametersError", message)
	}
	sig := &signature{
		presigned: true,
		amzDate:   query.Get("X-Amz-Date"),
		token:     query.Get("X-Amz-Security-Token"),
		headers:   strings.Split(query.Get("X-Amz-SignedHeaders"), ";"),
		value:     query.Get("X-Amz-Signature"),
	}
	if query.Get("X-Amz-Algorithm") != algorithm {
		return nil, bad(`X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"`)
	}
	var err error
	if sig.time, err = time.Parse(timeFormat, sig.amzDate); err != nil {
		return nil, bad(`X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`)
	}
	seconds, err := strconv.Atoi(query.Get("X-Amz-Expires"))
	if err != nil || sig.parseCredential(query.Get("X-Amz-Credential")) == 0 || !slices.Contains(sig.headers, "host") {
		return nil, bad("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
	}
	if seconds < 0 {
		return nil, bad("X-Amz-Expires must be non-negative")
	}
	if sig.expires = time.Duration(seconds) * time.Second; sig.expires > maxPresign {
		return nil, bad("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	return sig, nil
}

// parseCredential reads KEY/20261122/us-east-1/s3/aws4_request and returns 1 when it is whole.
func (sig *signature) parseCredential(credential string) int {
	key, scope, _ := strings.Cut(credential, "/")
	parts := strings.Split(scope, "/")
	if key == "" || len(parts) != 4 || parts[3] != "aws4_request" {
		return 0
	}
	sig.accessKeyID, sig.scope = key, scope
	sig.date, sig.region, sig.service = parts[0], parts[1], parts[2]
	return 1
}

// checkHeadersSigned refuses a request whose Host or X-Amz-* headers the signature leaves out:
// whoever replays it could have changed them.
func checkHeadersSigned(r *http.Request, sig *signature) *apiError {
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") && !slices.Contains(sig.headers, strings.ToLower(name)) {
			return refuse(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed", [2]string{"HeadersNotSigned", strings.ToLower(name)})
		}
	}
	if !slices.Contains(sig.headers, "host") {
		return refuse(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed", [2]string{"HeadersNotSigned", "host"})
	}
	return nil
}

func checkTime(sig *signature, now time.Time) *apiError {
	detail := [2]string{"ServerTime", now.UTC().Format(time.RFC3339)}
	if sig.presigned {
		expires := sig.time.Add(sig.expires)
		switch {
		case sig.time.Sub(now) > maxSkew:
			return refuse(http.StatusForbidden, "AccessDenied", "Request is not valid yet", detail)
		case now.After(expires):
			return refuse(http.StatusForbidden, "AccessDenied", "Request has expired",
				[2]string{"X-Amz-Expires", strconv.Itoa(int(sig.expires.Seconds()))}, [2]string{"Expires", expires.Format(time.RFC3339)}, detail)
		}
		return nil
	}
	if now.Sub(sig.time).Abs() > maxSkew {
		return refuse(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.",
			[2]string{"RequestTime", sig.amzDate}, detail, [2]string{"MaxAllowedSkewMilliseconds", "900000"})
	}
	return nil
}

func canonicalRequest(r *http.Request, sig *signature, query url.Values, payloadHash string) []byte {
	b := make([]byte, 0, 1024)
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = appendEncoded(b, r.URL.Path, true)
	b = append(b, '\n')
	b = appendQuery(b, query)
	b = append(b, '\n')
	for _, name := range sig.headers {
		b = append(b, name...)
		b = append(b, ':')
		b = appendHeader(b, r, name)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	for i, name := range sig.headers {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	return append(b, payloadHash...)
}

func appendHeader(b []byte, r *http.Request, name string) []byte {
	if name == "host" { // net/http takes it out of the header
		return append(b, r.Host...)
	}
	for i, value := range r.Header.Values(name) {
		if i > 0 {
			b = append(b, ',')
		}
		if strings.Contains(value, "  ") { // runs of spaces count as one
			value = strings.Join(strings.Fields(value), " ")
		}
		b = append(b, strings.TrimSpace(value)...)
	}
	return b
}

func appendQuery(b []byte, query url.Values) []byte {
	names := make([]string, 0, len(query))
	for name := range query {
		if name != "X-Amz-Signature" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	first := true
	for _, name := range names {
		values := query[name]
		if len(values) > 1 {
			values = slices.Sorted(slices.Values(values))
		}
		for _, value := range values {
			if !first {
				b = append(b, '&')
			}
			first = false
			b = appendEncoded(b, name, false)
			b = append(b, '=')
			b = appendEncoded(b, value, false)
		}
	}
	return b
}

// appendEncoded percent-encodes all but RFC 3986's unreserved characters, once: S3, unlike other
// services, does not encode the path twice.
func appendEncoded(b []byte, s string, path bool) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~', path && c == '/':
			b = append(b, c)
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

func (who *identity) signingKey(sig *signature) []byte {
	if k := who.key.Load(); k != nil && k.scope == sig.scope {
		return k.key
	}
	key := []byte("AWS4" + who.secret)
	for _, part := range []string{sig.date, sig.region, sig.service, "aws4_request"} {
		key = hmacSHA256(key, []byte(part))
	}
	who.key.Store(&signingKey{sig.scope, key})
	return key
}

func hmacSHA256(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}
